"""`devkit version` and `devkit completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from devkit import __version__
from devkit.cli.group import command
from devkit.cli.options import App

_SHELLS = ("bash", "zsh", "fish", "powershell")


@command(
    "version",
    examples=[
        "devkit version --json",
    ],
)
@click.pass_obj
def version(app: App) -> None:
    """Print the version."""
    app.out.result({"version": __version__}, f"devkit {__version__}")


@command(
    "completion",
    examples=[
        'eval "$(devkit completion bash)"',
    ],
)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"There is no completion for {shell}.")
    script = kind(ctx.find_root().command, {}, "devkit", "_DEVKIT_COMPLETE").source()
    ctx.ensure_object(App).out.result({"script": script}, script)
