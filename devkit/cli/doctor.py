"""`devkit doctor`: is this machine ready, and what to do where it is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from devkit.cli.group import command
from devkit.cli.options import App
from devkit.errors import BadValue, ConfigError, DevkitError

if TYPE_CHECKING:
    from devkit.doctor.check import Machine, Report
    from devkit.doctor.end_to_end import Way


@command(
    "doctor",
    examples=[
        "devkit doctor",
        "devkit doctor --e2e                  a service goes the whole way",
        "devkit doctor --fix --dry-run        says what would be cleared away",
        "devkit doctor --bundle report.zip    for a bug report",
    ],
)
@click.option("--e2e", is_flag=True, help="Try it out: build, breakpoint, edit, reload.")
@click.option("--fix", is_flag=True, help="Clear away what devkits that were killed have left.")
@click.option(
    "--bundle",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a zip for a bug report, with secrets masked.",
)
@click.option("--force", is_flag=True, help="With --bundle: write over FILE.")
@click.pass_context
def doctor(ctx: click.Context, *, e2e: bool, fix: bool, bundle: Path | None, force: bool) -> None:
    """Say whether this machine is ready: engine, ports, editor, file events, and so on.

    Exit code 1 where something is in the way; a warning (!) is not.
    """
    from devkit.doctor import checks

    app = ctx.ensure_object(App)
    if app.dry_run and (not fix or e2e or bundle):
        raise BadValue("Only `devkit doctor --fix` has a dry run.", hint="Leave --dry-run out.")
    if bundle and bundle.exists() and not force:
        raise BadValue(f"{bundle} is there already.", hint="Name another one, or add --force.")
    machine = _machine(app)
    report = checks.checked(machine)
    result: dict[str, Any] = report.as_json()
    text, way = str(report), None
    if fix:
        done = _fixed(app, machine, report)
        result["dry_run" if app.dry_run else "fixed"] = done
        verb = "Would" if app.dry_run else "Done:"
        text += "\n\n" + ("\n".join(f"{verb} {it}" for it in done) or "There is nothing to fix.")
    if e2e and report.has_engine:
        way = _gone(app, machine)
        result["steps"] = way.steps
        result["findings"] += [way.finding] if way.finding else []
        text += "\n\n" + "\n".join(map(str, way.steps))
        text += f"\n\n{way.finding}" if way.finding else ""
    if bundle:
        result["bundle"] = {"path": bundle, "files": _bundled(app, bundle, machine, report, force)}
        names = ", ".join(result["bundle"]["files"])
        text += f"\n\nWrote {bundle}, for you to look at and send: {names}. Secrets are masked."
    ok = report.ok and (way is None or way.finding is None)
    app.out.result(result, text, ok=ok)
    ctx.exit(0 if ok else 1)


def _machine(app: App) -> Machine:
    from devkit.doctor.check import Machine

    choice = {"engine": app.engine, "host": app.host, "context": app.context}
    try:
        workspace = app.workspace()
    except ConfigError as error:
        return Machine(app.root.resolve(), problem=error, engine=choice)
    return Machine(workspace.root, workspace, engine=choice)


def _fixed(app: App, machine: Machine, report: Report) -> list[str]:
    """Do what can be done, or say what would be."""
    from devkit.doctor import repair
    from devkit.doctor.reach import Reach

    reach, done = Reach(machine.engine), list[str]()
    try:
        for item in repair.planned(machine, reach, report.findings):
            if app.dry_run:
                done.append(item.text)
                continue
            # --yes is for what is devkit's own; the machine's settings are not.
            if item.asks and not app.asked(f"{item.text}?"):
                app.out.note(f"Left as it is, as nobody said yes: {item.text}")
                continue
            try:
                item.do()
                done.append(item.text)
            except (DevkitError, OSError) as error:
                app.out.note(f"Not done: {item.text}: {error}")
    finally:
        reach.close()
    return done


def _gone(app: App, machine: Machine) -> Way:
    from devkit.doctor import end_to_end

    base = machine.workspace.config.image.base if machine.workspace else None
    with app.out.progress("Trying it out") as progress:
        return end_to_end.went(
            machine.engine,
            base=base,
            progress=progress,
            show=lambda step: progress(str(step)),
        )


def _bundled(app: App, path: Path, machine: Machine, report: Report, force: bool) -> list[str]:
    from devkit.doctor import bundle

    with _session(app, machine) as session:
        return bundle.written(path, machine, report, session, force=force)


@contextmanager
def _session(app: App, machine: Machine) -> Iterator[Any]:
    if machine.workspace is None:
        yield None
        return
    with app.session() as session:
        yield session
