"""`devkit doctor`: is this machine ready, and what to do where it is not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
    from devkit.doctor import bundle as packing
    from devkit.doctor import checks

    app = ctx.ensure_object(App)
    if app.dry_run and (not fix or e2e or bundle):
        raise BadValue("Only `devkit doctor --fix` has a dry run.", hint="Leave --dry-run out.")
    if bundle:
        # Before what takes time.
        packing.refuse(bundle, force=force)
    machine = _machine(app)
    report = checks.checked(machine)
    told = _Told(report.as_json(), [str(report)], report.ok)
    if fix:
        _fix(app, machine, report, told)
    if e2e:
        _try_out(app, machine, report, told)
    if bundle:
        _write_bundle(app, bundle, machine, told, force=force)
    app.out.result(told.value, "\n\n".join(told.parts), ok=told.ok)
    ctx.exit(0 if told.ok else 1)


@dataclass
class _Told:
    """The answer so far: its JSON, and the parts of its text."""

    value: dict[str, Any]
    parts: list[str]
    ok: bool


def _fix(app: App, machine: Machine, report: Report, told: _Told) -> None:
    done = _fixed(app, machine, report)
    told.value["dry_run" if app.dry_run else "fixed"] = done
    verb = "Would" if app.dry_run else "Done:"
    told.parts.append("\n".join(f"{verb} {it}" for it in done) or "There is nothing to fix.")


def _try_out(app: App, machine: Machine, report: Report, told: _Told) -> None:
    if not report.has_engine:
        told.value["steps"] = []
        told.parts.append("Nothing was tried out: there is no engine.")
        return
    way = _gone(app, machine)
    told.value["steps"] = way.steps
    told.parts.append("\n".join(map(str, way.steps)))
    if way.finding:
        told.ok = False
        told.value["findings"].append(way.finding)
        told.parts.append(str(way.finding))


def _write_bundle(app: App, path: Path, machine: Machine, told: _Told, *, force: bool) -> None:
    from devkit.doctor import bundle

    with _session(app, machine) as session:
        said = {"ok": told.ok, **told.value}
        names = bundle.written(path, machine, said, session, force=force)
    told.value["bundle"] = {"path": path, "files": names}
    text = f"Wrote {path}, for you to look at and send: {', '.join(names)}. Secrets are masked."
    told.parts.append(text)


def _machine(app: App) -> Machine:
    from devkit.doctor.check import Machine

    choice = {"engine": app.engine, "host": app.host, "context": app.context}
    try:
        workspace = app.workspace()
    except ConfigError as error:
        return Machine(Path(os.path.realpath(app.root)), problem=error, engine=choice)
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


@contextmanager
def _session(app: App, machine: Machine) -> Iterator[Any]:
    if machine.workspace is None:
        yield None
        return
    with app.session() as session:
        yield session
