"""`devkit break`: a breakpoint without an editor."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from devkit.cli.group import command
from devkit.cli.inside import up
from devkit.cli.options import App
from devkit.errors import DebuggerError, Interrupted

if TYPE_CHECKING:
    from devkit.breaking import Place, Target
    from devkit.debug.dap import Breakpoint, Session
    from devkit.debug.terminal import Terminal
    from devkit.debug.terminal_stop import Stop, View
    from devkit.session import Session as Workspace


@command(
    "break",
    always_acts=True,
    examples=[
        "devkit break score.py:12",
        'devkit break score.py:12 --if "len(data) > 3" --once --json',
        'devkit break score.py:12 --log "data={data}"',
    ],
)
@click.argument(
    "place",
    metavar="FILE:LINE",
    shell_complete=lambda _ctx, _param, typed: [CompletionItem(typed, type="file")],
)
@click.option("--if", "condition", metavar="EXPR", help="Stop only where this is true.")
@click.option("--log", metavar="MSG", help='Print "x={x}" each time instead of stopping.')
@click.option("--once", is_flag=True, help="Show the first stop and end; nothing is asked.")
@click.pass_obj
def break_(app: App, *, place: str, condition: str | None, log: str | None, once: bool) -> None:
    """Stop the service at a line, from this terminal; `help` at a stop lists what can be typed."""
    from devkit import breaking
    from devkit.debug import dap, terminal

    with app.session() as session:
        target, folders = _target(session)
        wanted = breaking.place(place, [Path.cwd(), *folders])
        point = dap.Breakpoint(
            wanted.line,
            condition=breaking.condition(condition) if condition is not None else None,
            log_message=breaking.log_message(log) if log is not None else None,
        )
        breaking.check(target, wanted)
        _warn(app, wanted, point)
        try:
            with breaking.attached(target, wanted, point) as debugger:
                _refuse_unbound(debugger, wanted)
                if log is not None:
                    app.out.note("logging: send a request (Ctrl-C ends)")
                    terminal.logged(debugger, lambda text: _show_log(app, text), once=once)
                else:
                    _terminal(app, debugger, target).run(once=once)
        except KeyboardInterrupt:
            raise Interrupted("Detached; requests go on.") from None
    app.out.note("Detached; requests go on.")


def _target(session: Workspace) -> tuple[Target, list[Path]]:
    """The running service's debugger, and the folders in which a file is looked for."""
    from devkit import breaking

    service = up(session)
    config = session.workspace.config
    target = breaking.Target(
        service.debug_address(), service.root, service.mappings, config.debug.just_my_code
    )
    return target, [service.root, session.workspace.source]


def _warn(app: App, wanted: Place, point: Breakpoint) -> None:
    from devkit.debug import line_facts

    source = wanted.file.read_bytes()
    if line_facts.runs_at_load_only(source, wanted.line):
        app.out.note("No request comes by this line: it runs when the file is loaded.")
    names = line_facts.names_without_value(point.condition or "None", source, wanted.line)
    if names:
        has = "have" if len(names) > 1 else "has"
        where = f"at {wanted.file.name}:{wanted.line}"
        app.out.note(f"{', '.join(names)} {has} no value {where}: it may not stop at all.")


def _refuse_unbound(debugger: Session, wanted: Place) -> None:
    bound = next(iter(debugger.bound.get(str(wanted.file), [])), {})
    if not bound.get("verified") and bound.get("message"):
        raise DebuggerError(
            f"The breakpoint does not bind: {bound['message']}", hint="`devkit logs` may tell more."
        )


def _terminal(app: App, debugger: Session, target: Target) -> Terminal:
    from devkit.debug.terminal import Terminal
    from devkit.debug.terminal_stop import View

    stream = sys.stderr if app.out.as_json else sys.stdout
    view = View(
        target.root,
        [mapping.local for mapping in target.mappings],
        lambda text, style: app.out.styled(text, style, stream=stream),
    )

    def show(text: str) -> None:
        # Each part of it was made harmless by the view; the colours are ours.
        stream.write(text)
        stream.flush()

    return Terminal(
        debugger,
        view,
        read=_read,
        show=show,
        note=app.out.note,
        on_stop=lambda stop: _show_stop(app, view, stop, show),
    )


def _show_stop(app: App, view: View, stop: Stop, show: Callable[[str], None]) -> None:
    if app.out.as_json:
        app.out.result(stop, "")
    else:
        show(view.stop(stop))


def _show_log(app: App, text: str) -> None:
    app.out.result({"message": text}, text)


def _read() -> str | None:
    """A line of commands; on a terminal with a prompt and the keys one knows."""
    from devkit import terminal

    if not terminal.is_terminal():
        return sys.stdin.readline() or None
    with suppress(ImportError):
        import readline  # noqa: F401  # input() edits lines with it
    try:
        return input("(devkit) ")
    except EOFError:
        sys.stdout.write("\n")
        return None
