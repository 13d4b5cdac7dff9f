"""`devkit shell` and `devkit exec`: inside the container."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from devkit.cli.group import command
from devkit.cli.options import App
from devkit.errors import NoService

if TYPE_CHECKING:
    from devkit.running import RunningService
    from devkit.session import Session


@command(
    "shell",
    always_acts=True,
    examples=[
        "devkit shell",
    ],
)
@click.option(
    "-u", "--user", metavar="UID", help='Whom to be (default: the service\'s; "root" works).'
)
@click.pass_context
def shell(ctx: click.Context, *, user: str | None) -> None:
    """Open a shell in the container, as `docker exec -it` does; vim is there."""
    app = ctx.ensure_object(App)
    if app.out.as_json:
        raise click.UsageError(
            "A shell does not answer with JSON; `devkit exec --json -- COMMAND` does.", ctx
        )
    with app.session() as session:
        code = up(session).shell(user=user)
    ctx.exit(code)


@command(
    "exec",
    always_acts=True,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    examples=[
        'devkit exec -- python -c "import sklearn; print(sklearn.__version__)"',
    ],
)
@click.option("-u", "--user", metavar="UID", help="Whom to run it as (default: the service's).")
@click.option("-w", "--workdir", metavar="PATH", help="Where to run it.")
@click.option("-T", "--no-tty", is_flag=True, help="Plain streams, on a terminal too.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def exec_(
    ctx: click.Context,
    *,
    command: tuple[str, ...],
    user: str | None,
    workdir: str | None,
    no_tty: bool,
) -> None:
    """Run a command in the container; its exit code is devkit's."""
    app = ctx.ensure_object(App)
    # A --json behind the command is the child's.
    app.out.as_json = app.json
    with app.session() as session:
        service = up(session)
        if app.json:
            done = _captured(service, command, user=user, workdir=workdir)
            app.out.result(done, "", ok=done.exit_code == 0)
            ctx.exit(done.exit_code)
        code = service.exec(command, user=user, workdir=workdir, tty=not no_tty)
    ctx.exit(code)


@dataclass(frozen=True)
class Done:
    """What a command in the container came to; bytes that are no text are replaced."""

    exit_code: int
    stdout: bytes
    stderr: bytes


def up(session: Session) -> RunningService:
    """Return the service, for what needs it to run.

    Raises:
        NoService: there is none, or its container does not run.
    """
    service = session.service()
    if not service.container.is_running:
        raise NoService(
            f"The container {service.container.name} does not run.",
            hint="`devkit run` starts it again; `devkit logs` shows what it said last.",
        )
    return service


def _captured(
    service: RunningService, command: Sequence[str], *, user: str | None, workdir: str | None
) -> Done:
    from devkit import terminal

    errors = bytearray()
    stream = service.engine.exec(
        service.container.id, command, user=user, workdir=workdir, on_stderr=errors.extend
    )
    try:
        code, output = terminal.captured(stream)
    finally:
        stream.close()
    return Done(code, output, bytes(errors))
