"""`devkit sync`: workspace and container kept in step, looked at, paused, and undone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import click

from devkit.cli.group import group
from devkit.cli.options import App, global_options
from devkit.errors import Interrupted
from devkit.output import as_json_line

if TYPE_CHECKING:
    from devkit.sync.reconcile import Mode, Plan
    from devkit.syncing import Syncing


@group(
    "sync",
    invoke_without_command=True,
    params=global_options(),
    examples=[
        "devkit sync                    until Ctrl-C, says what goes where",
        "devkit sync --once --dry-run   says what would be done",
        "devkit sync undo               takes the last change back",
    ],
)
@click.option("--once", is_flag=True, help="Bring both sides in step one time.")
@click.option("--push", "direction", flag_value="push", help="One time, into the container.")
@click.option("--pull", "direction", flag_value="pull", help="One time, into the workspace.")
@click.option(
    "--mode",
    type=click.Choice(["two-way", "push", "pull", "mirror"]),
    help="Default: two-way, or sync.mode. mirror makes the container what the workspace is.",
)
@click.pass_context
def sync(ctx: click.Context, *, once: bool, direction: str | None, mode: str | None) -> None:
    """Keep workspace and container in step, both ways, until Ctrl-C.

    One process per service does it; after `devkit debug --detach` it goes on by itself, and this
    follows it. Nothing is overwritten that both sides changed: a conflict keeps both.
    """
    app = ctx.ensure_object(App)
    if ctx.invoked_subcommand:
        return
    with _opened(app, direction or mode) as syncing:
        if once or direction or app.dry_run:
            done = syncing.once(dry_run=app.dry_run)
            said = {**_plan(done.plan), "failed": done.failed, "is_done": done.is_done}
            app.out.result(said, str(done), ok=not done.failed)
            ctx.exit(1 if done.failed else 0)
        else:
            _follow(app, syncing)


@sync.command("status", examples=["devkit sync status --json"])
@click.pass_obj
def status(app: App) -> None:
    """Say whether both are in step, what is on its way, in conflict, left alone, or held up."""
    with _opened(app) as syncing:
        _show(app, syncing.status())


@sync.command("diff", examples=["devkit sync diff"])
@click.pass_obj
def diff(app: App) -> None:
    """Say what differs now: -> goes into the container, <- into the workspace."""
    with _opened(app) as syncing:
        plan = syncing.diff()
    app.out.result(_plan(plan), str(plan) or "Nothing differs.")


@sync.command("pause", always_acts=True, examples=["devkit sync pause"])
@click.pass_obj
def pause(app: App) -> None:
    """Change nothing on either side until `devkit sync resume`."""
    _ask(app, "pause")


@sync.command("resume", always_acts=True, examples=["devkit sync resume"])
@click.pass_obj
def resume(app: App) -> None:
    """Go on after a pause, or after a halt: then what it halted for is done."""
    _ask(app, "resume")


@sync.command(
    "flush", always_acts=True, examples=["devkit sync flush && devkit invoke -d @sample.json"]
)
@click.pass_obj
def flush(app: App) -> None:
    """Return when both sides have the same."""
    _ask(app, "flush")


@sync.command("reset", always_acts=True, examples=["devkit sync reset"])
@click.pass_obj
def reset(app: App) -> None:
    """Compare both sides as if they never met: each gets what it has not, nothing is deleted."""
    _ask(app, "reset")


@sync.command("stop", always_acts=True, examples=["devkit sync stop"])
@click.pass_obj
def stop(app: App) -> None:
    """End the process that keeps them in step, when what was edited has arrived."""
    with _opened(app) as syncing:
        was = syncing.stop()
    app.out.result({"stopped": was}, "Sync ended." if was else "None was running.")


@sync.command("log", examples=["devkit sync log -n 50"])
@click.option(
    "-n",
    "most",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="How many at most.",
)
@click.pass_obj
def log(app: App, *, most: int) -> None:
    """List what was changed on which side, the newest first."""
    with _opened(app) as syncing:
        records = syncing.log(most=most)
    text = "\n".join(map(str, records)) or "Nothing was changed yet."
    app.out.result({"changes": records}, text)


@sync.command(
    "undo",
    examples=[
        "devkit sync undo",
        "devkit sync undo 17",
        "devkit sync undo --back-to 17     all since, and that one",
    ],
)
@click.argument("number", type=int, required=False)
@click.option("--back-to", type=int, metavar="NUMBER", help="This change and all since.")
@click.pass_obj
def undo(app: App, *, number: int | None, back_to: int | None) -> None:
    """Give a file back what it had before a change of `devkit sync log` (default: the last)."""
    with _opened(app) as syncing:
        done = syncing.undo(number, back_to=back_to, dry_run=app.dry_run)
    verb = "would be" if app.dry_run else "is"
    lines = [f"{record.path} {verb} again as before change {record.id}." for record in done]
    app.out.result({"undone": done, "dry_run": app.dry_run}, "\n".join(lines))


@contextmanager
def _opened(app: App, mode: str | None = None) -> Iterator[Syncing]:
    with app.session("Syncing") as session:
        yield session.syncing(cast("Mode | None", mode))


def _ask(app: App, what: str) -> None:
    with _opened(app) as syncing:
        _show(app, syncing.ask(what))


def _show(app: App, found: dict[str, Any]) -> None:
    text = found.pop("text")
    app.out.result(found, text)


def _plan(plan: Plan) -> dict[str, Any]:
    """What of a plan is for others: not each file that is the same on both sides."""
    return {"changes": plan.changes, "conflicts": plan.conflicts, "left": plan.left}


def _follow(app: App, syncing: Syncing) -> None:
    """Show what happens until Ctrl-C; with --json a line for each."""
    try:
        for said in syncing.follow():
            if app.out.as_json:
                click.echo(as_json_line(said), nl=False)
            else:
                app.out.log(_line(said))
    except KeyboardInterrupt:
        why = "It goes on in the background; `devkit sync stop` ends it."
        raise Interrupted(why) from None
    app.out.note("The sync has ended.")


def _line(said: dict[str, Any]) -> str:
    took = f"  {said['ms']} ms" if said.get("ms") is not None else ""
    return f"{said['text']}{took}\n"
