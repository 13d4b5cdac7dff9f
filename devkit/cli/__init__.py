"""The command line: words typed -> one Session call -> text or JSON. Only here: click.

Nothing heavy is imported on the way to `devkit --help`: what a command needs comes when it runs.
"""

from __future__ import annotations

import gc
import signal
import sys
from typing import NoReturn


class Terminated(KeyboardInterrupt):
    """SIGTERM, which cleans up as Ctrl-C does."""


def main() -> NoReturn:
    """Run the command line of this process; ends it."""
    # Modules are most of what a command makes, and no garbage: a seventh of its time went there.
    gc.set_threshold(100_000)
    try:
        signal.signal(signal.SIGTERM, _terminate)
        # Here, so that a Ctrl-C meanwhile is none of Python's own tracebacks.
        from devkit.cli.commands import cli

        cli.main(prog_name="devkit")
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        sys.exit(130)
    finally:
        # All goes with the process: to look for garbage in it took a quarter of a command's time.
        gc.freeze()


def _terminate(*_: object) -> NoReturn:
    raise Terminated
