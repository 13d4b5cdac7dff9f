"""`python -m bench`: each group measures, its table follows; `--json` prints one object."""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import click

from bench import command, commit, debugging, idle, latency, package, reload, start, sync, sync_many
from bench.place import Place, place
from bench.row import Row
from bench.table import CAPTION, console, table
from devkit.errors import EngineError


@dataclass(frozen=True)
class Group:
    """A question, and what measures the answer."""

    title: str
    rows: Callable[[Place], Iterator[Row]]


GROUPS = {
    "command": Group("The command line", command.rows),
    "reload": Group("From a save to an answer (numpy and scikit-learn imported)", reload.rows),
    "package": Group("Packaging again", package.rows),
    "start": Group("Until an editor can attach", start.rows),
    "commit": Group("A commit of one edited line", commit.rows),
    "idle": Group("Idle", idle.rows),
    "sync": Group("One edit, workspace and container in step", sync.rows),
    "sync-many": Group("Many files, workspace and container in step", sync_many.rows),
    "latency": Group("The front, beside the server without one", latency.rows),
    "debugging": Group("2000 calls of a small function in a request", debugging.rows),
}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option("--only", multiple=True, type=click.Choice(list(GROUPS)), help="Only this group.")
def main(*, as_json: bool, only: tuple[str, ...]) -> None:
    """Print every figure of devkit beside what one would do by hand."""
    # So that containers go when the run is ended from outside.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    machine = {
        "cpus": os.cpu_count(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "python": platform.python_version(),
    }
    out = console()
    results: list[dict[str, Any]] = []
    if not as_json:
        out.print(f"{machine['cpus']} CPUs, load {machine['load']}. {CAPTION}.")
    with place() as here:
        for name in only or GROUPS:
            start = time.monotonic()
            rows, skipped = _measured(GROUPS[name], here)
            results.append(
                {
                    "group": name,
                    "seconds": round(time.monotonic() - start, 1),
                    "rows": [row.as_json() for row in rows],
                    "skipped": skipped,
                }
            )
            if not as_json:
                out.print(table(GROUPS[name].title, rows) if rows else GROUPS[name].title)
                if skipped:
                    out.print(f"  Left out: {skipped}\n")
    seconds = round(time.monotonic() - began, 1)
    if as_json:
        click.echo(json.dumps({"machine": machine, "seconds": seconds, "groups": results}))
    else:
        out.print(f"{seconds} s in all.")


def _measured(group: Group, here: Place) -> tuple[list[Row], str | None]:
    """The rows, and why some are missing."""
    click.echo(f"bench: {group.title} ...", err=True)
    rows: list[Row] = []
    try:
        for row in group.rows(here):
            rows.append(row)  # noqa: PERF402  what was measured before an error is kept
    except EngineError as error:
        return rows, error.message
    except Exception as error:  # noqa: BLE001  the other groups go on
        return rows, f"{type(error).__name__}: {error}"
    return rows, None


if __name__ == "__main__":
    main()
