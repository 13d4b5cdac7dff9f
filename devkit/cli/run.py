"""`devkit debug`, `run`, `stop` and `delete`: the life of the container."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from devkit.cli import Terminated
from devkit.cli.diagnose import explained, tell
from devkit.cli.group import command
from devkit.cli.options import App, image_options, run_options, saved_files_told
from devkit.errors import Interrupted

if TYPE_CHECKING:
    from devkit.packaging import BuildOptions
    from devkit.results import Debugging, Running
    from devkit.session import Session
    from devkit.start import FromImage, StartOptions

# The problem matcher of the editor's task (templates/tasks.json) waits for lines that begin so.
TASK_STARTING = "devkit: starting"
TASK_READY = "devkit: ready"
TASK_FAILED = "devkit: failed"
# What templates/tasks.json sets.
TASK_VARIABLE = "DEVKIT_TASK"
# Of the log of a container that was kept: enough to see what it does.
_TAIL = 10


@command(
    "run",
    examples=[
        "devkit run",
        "devkit run --port auto --memory 2g --env LOG_LEVEL=debug",
        "devkit run debug:2     a committed image, without a build",
    ],
)
@click.argument("image", required=False)
@run_options
@image_options
@click.option("--no-debug", is_flag=True, help="Without a debugger: as fast as deployed.")
@click.pass_obj
def run(app: App, /, *, image: str | None, no_debug: bool, **options: Any) -> None:
    """Package and start the service, and wait until it answers.

    With IMAGE, a tag of `devkit history`, it is started as that one has it.
    """
    with app.session("Starting") as session, explained(app, session):
        build, start = _options(options, debug=not no_debug)
        version = _version(session, image, sync=False)
        if app.dry_run:
            plan = session.dry_run(build, start, version)
            app.out.result({"would": plan}, str(plan))
            return
        running = session.run(build, start, version=version)
    app.out.result(running, saved_files_told(_running_text(running), running.engine))


@command(
    "debug",
    examples=[
        "devkit debug",
        "devkit debug --detach --json",
        "devkit debug --wait-for-client     init() waits for F5",
        "devkit debug debug:2               a committed image, without a build",
    ],
)
@click.argument("image", required=False)
@run_options
@image_options
@click.option("-d", "--detach", is_flag=True, help="Return when one can attach.")
@click.option("--no-launch", is_flag=True, help="Leave .vscode/ alone.")
@click.option("--no-sync", is_flag=True, help="Do not keep workspace and container in step.")
@click.option("--no-proof", is_flag=True, help="Do not try out an attach before saying so.")
@click.pass_obj
def debug(
    app: App,
    /,
    *,
    image: str | None,
    detach: bool,
    no_launch: bool,
    no_sync: bool,
    no_proof: bool,
    **options: Any,
) -> None:
    """Package, run, prove that breakpoints work, then follow the log: press F5.

    From then on workspace and container are kept in step, both ways; `devkit sync` says more.
    Ctrl-C asks whether to stop the service. A container that runs is kept when only source files
    changed. Options stick until others are given or `devkit delete`, so that F5 and `devkit debug`
    find the service as it was started; but --bind, --allow-remote-debug and --no-debug have to be
    said each time.

    With IMAGE, a tag of `devkit history`, it is started as that one has it; files that differ from
    the workspace's stay as they are on both sides until they are edited.
    """
    # The editor's task matches these lines; a line that is redrawn would hide them.
    with app.session("Starting", live=not detach) as session, explained(app, session):
        build, start = _options(options)
        version = _version(session, image, sync=not no_sync)
        if app.dry_run:
            plan = session.dry_run(build, start, version)
            app.out.result({"would": plan}, str(plan))
            return
        session.progress(f"{TASK_STARTING} {session.workspace.config.service}")
        made = session.debug(
            build,
            start,
            write=not no_launch,
            prove=not no_proof,
            sync=not no_sync,
            version=version,
        )
        if made.error:
            tell(app, session, made.error)
    try:
        _show_debugging(app, made, detach=detach)
        if not detach:
            with app.session(live=False) as session:
                session.follow(show=app.out.log, tail=None if made.is_new else _TAIL)
    except KeyboardInterrupt as stopped:
        raise _left(app, made.running.container, stopped) from None


@command(
    "stop",
    examples=[
        "devkit stop",
    ],
)
@click.pass_obj
def stop(app: App) -> None:
    """Stop the service's container; `devkit run` starts it again."""
    with app.session("Stopping") as session:
        if app.dry_run:
            name = session.service().container.name
            app.out.result({"would_stop": name}, f"Would stop {name}.")
            return
        name = session.stop()
    app.out.result({"container": name}, f"Stopped {name}.")


@command(
    "delete",
    examples=[
        "devkit delete --yes",
    ],
)
@click.option("--keep-launch", is_flag=True, help="Leave launch.json and tasks.json as they are.")
@click.pass_obj
def delete(app: App, *, keep_launch: bool) -> None:
    """Remove the service's container and network, and devkit's entries in .vscode/."""
    from devkit import deleting

    with app.session("Deleting") as session:
        plan = deleting.planned(session, with_launch=not keep_launch)
        if app.dry_run:
            app.out.result(plan, str(plan))
            return
        app.confirm(f"Delete {plan}?")
        plan = deleting.delete(session, plan)
    app.out.result(plan, f"Deleted {plan}.")


@command(
    "rollback",
    examples=[
        "devkit rollback debug:1",
        "devkit rollback 3 --workspace pull",
    ],
)
@click.argument("image")
@click.option(
    "--workspace",
    type=click.Choice(["keep", "pull"]),
    default="keep",
    show_default=True,
    help="keep: files stay as they are, on both sides, until one is edited. pull: the workspace "
    "gets the version's files; `devkit sync undo` takes that back.",
)
@click.pass_obj
def rollback(app: App, *, image: str, workspace: str) -> None:
    """Start the service from an earlier image; `devkit history` lists them.

    What was edited in the container that it replaces, and not committed, is kept in .devkit/trash.
    """
    from devkit.packaging import BuildOptions
    from devkit.start import StartOptions

    with app.session("Rolling back") as session:
        version = _version(session, image, pull=workspace == "pull", sync=True)
        assert version is not None
        if app.dry_run:
            told = f"Would start {session.workspace.config.service} from {version.tag}."
            app.out.result({"would_start": version.tag, "workspace": workspace}, told)
            return
        made = session.debug(BuildOptions(), StartOptions(), version=version)
    _show_debugging(app, made, detach=True)


@command(
    "update",
    examples=[
        "devkit update",
        "devkit update --model models/iris-2.pkl",
    ],
)
@image_options
@click.option("--model", metavar="[NAME=]PATH", help="Instead of the configured model.")
@click.option("--env", "anew", is_flag=True, help="Install the packages anew: newer ones, too.")
@click.pass_obj
def update(app: App, /, *, model: str | None, anew: bool, **options: Any) -> None:
    """Build what changed, and swap the container: it comes back if the new one is not ready.

    It is started with the options of the one that runs.
    """
    from devkit import committing

    with app.session("Updating") as session:
        build, start = _options({**options, "no_cache": anew or options["no_cache"]})
        if app.dry_run:
            plan = session.dry_run(build, start)
            app.out.result({"would": plan}, str(plan))
            return
        made = committing.update(session, build, start, model=model)
    _show_debugging(app, made, detach=True)


def _version(
    session: Session, tag: str | None, *, sync: bool, pull: bool = False
) -> FromImage | None:
    if tag is None:
        return None
    from devkit import committing

    return committing.version(session, tag, pull=pull, sync=sync)


def _options(options: dict[str, Any], *, debug: bool = True) -> tuple[BuildOptions, StartOptions]:
    from devkit.packaging import BuildOptions
    from devkit.start import StartOptions

    build = {name: options.pop(name) for name in ("no_cache", "pull", "platform")}
    return BuildOptions(**build), StartOptions(debug=debug, **options)


def _show_debugging(app: App, made: Debugging, *, detach: bool) -> None:
    out = app.out
    if made.error:
        if _is_read_by_the_editor():
            out.note(made.problem_line or made.error.message)
            out.note(TASK_FAILED)
        if detach:
            raise made.error
    else:
        out.note(f"{TASK_READY} {made.running.service}")
    text = str(made)
    out.result(made.contract(), text)
    if made.error:
        out.failure(made.error)


def _is_read_by_the_editor() -> bool:
    """Whether the task's problem matcher may read along: its terminal is one too."""
    return not _is_terminal() or TASK_VARIABLE in os.environ


def _is_terminal() -> bool:
    return sys.stderr.isatty()


def _left(app: App, container: str, stopped: KeyboardInterrupt) -> Interrupted:
    """Ask what becomes of the service, which runs by now."""
    # Whoever ends the process from outside waits for no answer.
    asks = not isinstance(stopped, Terminated)
    if app.yes or (asks and app.asked(f"\nStop {container}?")):
        with app.session(live=False) as session:
            session.stop()
        return Interrupted(f"Stopped {container}.")
    return Interrupted(f"{container} goes on running; `devkit stop` ends it.")


def _running_text(running: Running) -> str:
    lines = [f"{running.service} answers on {running.score_uri}"]
    if running.debug:
        lines.append(f"The debugger listens on {running.debug.host}:{running.debug.port}")
    return "\n".join(lines)
