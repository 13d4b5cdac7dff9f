"""The `devkit` command and the table of what is below it; modules are imported when used."""

from __future__ import annotations

from devkit.cli.group import group
from devkit.cli.options import EXIT_CODES, global_options, version_option

# Where each command is, in the order in which one needs them.
_COMMANDS = {
    "init": "devkit.cli.workspace",
    "debug": "devkit.cli.run",
    "package": "devkit.cli.package",
    "audit": "devkit.cli.audit",
    "run": "devkit.cli.run",
    "launch": "devkit.cli.launch",
    "status": "devkit.cli.service",
    "logs": "devkit.cli.service",
    "invoke": "devkit.cli.service",
    "reload": "devkit.cli.service",
    "diagnose": "devkit.cli.diagnose",
    "break": "devkit.cli.break_",
    "replicas": "devkit.cli.replicas",
    "requests": "devkit.cli.requests",
    "replay": "devkit.cli.requests",
    "test": "devkit.cli.requests",
    "stack": "devkit.cli.requests",
    "sync": "devkit.cli.sync",
    "shell": "devkit.cli.inside",
    "exec": "devkit.cli.inside",
    "commit": "devkit.cli.versions",
    "history": "devkit.cli.versions",
    "diff": "devkit.cli.versions",
    "rollback": "devkit.cli.run",
    "update": "devkit.cli.run",
    "images": "devkit.cli.versions",
    "stop": "devkit.cli.run",
    "delete": "devkit.cli.run",
    "doctor": "devkit.cli.doctor",
    "base": "devkit.cli.package",
    "config": "devkit.cli.workspace",
    "completion": "devkit.cli.about",
    "version": "devkit.cli.about",
}


@group(
    "devkit",
    commands_in=_COMMANDS,
    params=[*global_options(), version_option()],
    epilog=EXIT_CODES,
    context_settings={"auto_envvar_prefix": "DEVKIT", "help_option_names": ["-h", "--help"]},
    examples=["devkit debug     in a folder with a score.py; then press F5 in VS Code"],
)
def cli() -> None:
    """Debug the model service that you deploy, in its container, with your own editor."""
