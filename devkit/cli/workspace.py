"""`devkit init` and `devkit config`: what the workspace says, and where each value comes from."""

from __future__ import annotations

import json
from typing import Any

import click

from devkit.cli.group import Command, command, group
from devkit.cli.options import App


@command(
    "init",
    examples=[
        "devkit init",
        "devkit init --dry-run      shows it",
    ],
)
@click.option("--force", is_flag=True, help="Write over a devkit.yaml that is there.")
@click.pass_obj
def init(app: App, *, force: bool) -> None:
    """Write devkit.yaml with what was detected; nothing needs it, it is a place for changes."""
    from devkit.config.init_file import write

    written = write(app.workspace(), force=force, dry_run=app.dry_run)
    app.out.result(written, written.text if app.dry_run else f"Wrote {written.path}.")


@group(
    "config",
    examples=[
        "devkit config show --origin",
    ],
)
def config() -> None:
    """Show, check and describe the configuration."""


@config.command(
    "show",
    cls=Command,
    examples=[
        "devkit config show --origin",
    ],
)
@click.option("--origin", is_flag=True, help="Say where each value comes from.")
@click.pass_obj
def show(app: App, *, origin: bool) -> None:
    """Print the configuration that devkit works with, every default filled in."""
    workspace = app.workspace()
    values = workspace.config.model_dump(mode="json")
    lines = [
        (f"{key}: {json.dumps(_value(values, key), ensure_ascii=False)}", where)
        for key, where in workspace.origins.items()
    ]
    width = min(max(len(line) for line, _ in lines), 60)
    text = "\n".join(f"{line:<{width}}  # {where}" if origin else line for line, where in lines)
    result = {"root": workspace.root, "config": values, "origins": workspace.origins}
    app.out.result(result, text)


@config.command(
    "validate",
    cls=Command,
    examples=[
        "devkit config validate",
    ],
)
@click.pass_obj
def validate(app: App) -> None:
    """Check devkit.yaml; exit code 2 and file:line when it is wrong."""
    workspace = app.workspace()
    app.out.result(
        {"valid": True, "service": workspace.config.service},
        f"The configuration of {workspace.config.service} is valid.",
    )


@config.command(
    "schema",
    cls=Command,
    examples=[
        "devkit config schema > devkit.schema.json",
    ],
)
@click.pass_obj
def schema(app: App) -> None:
    """Print the JSON schema of devkit.yaml."""
    from devkit.config import schema as made

    text = json.dumps(made(), indent=2)
    app.out.result({"schema": made()}, text)


def _value(values: dict[str, Any], key: str) -> Any:
    for step in key.split("."):
        values = values[step]
    return values
