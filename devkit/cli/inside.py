"""`devkit shell` and `devkit exec`: inside the container."""

from __future__ import annotations

import click

from devkit.cli.group import command
from devkit.cli.options import App


@command(
    "shell",
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
    with app.session() as session:
        code = session.service().shell(user=user)
    ctx.exit(code)


@command(
    "exec",
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
    with app.session() as session:
        code = session.service().exec(command, user=user, workdir=workdir, tty=not no_tty)
    ctx.exit(code)
