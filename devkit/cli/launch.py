"""`devkit launch`: devkit's entries in .vscode/launch.json and tasks.json."""

from __future__ import annotations

import click

from devkit.cli.group import command
from devkit.cli.options import App


@command(
    "launch",
    examples=[
        "devkit launch --check",
        "devkit launch --remove",
    ],
)
@click.option("--write", "action", flag_value="write", default=True, help="Put them in (default).")
@click.option("--print", "action", flag_value="print", help="Print them; change nothing.")
@click.option(
    "--check", "action", flag_value="check", help="Exit code 1 when they are not up to date."
)
@click.option("--remove", "action", flag_value="remove", help="Take exactly devkit's own out.")
@click.pass_context
def launch(ctx: click.Context, *, action: str) -> None:
    """Write the attach configuration that F5 uses; all else in the files stays as it is."""
    app = ctx.ensure_object(App)
    with app.session() as session:
        if app.dry_run and action == "remove":
            folder = session.workspace.root / ".vscode"
            app.out.result({"would_remove_from": folder}, f"Would take devkit's out of {folder}.")
            return
        done = session.launch_files("print" if app.dry_run and action == "write" else action)
    app.out.result(done, done.text)
    ctx.exit(0 if done.up_to_date else 1)
