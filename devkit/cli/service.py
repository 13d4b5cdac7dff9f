"""`devkit status`, `logs`, `invoke` and `reload`: the service while it runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from devkit.cli.diagnose import tell
from devkit.cli.group import command
from devkit.cli.inside import up
from devkit.cli.options import App
from devkit.cli.types import Duration


@command(
    "status",
    examples=[
        "devkit status",
        "devkit status --json",
    ],
)
@click.pass_obj
def status(app: App) -> None:
    """Say how service and sync are, and what differs from the container."""
    with app.session() as session:
        found = session.status()
    app.out.result(found.as_json(), str(found))


@command(
    "logs",
    examples=[
        "devkit logs -f --since 10m --grep ERROR",
    ],
)
@click.option("-f", "--follow", is_flag=True, help="Go on until the container ends, or Ctrl-C.")
@click.option("--since", type=Duration(), help='How far back, as in "90s", "10m", "2h".')
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N lines.")
@click.option("--grep", metavar="REGEX", help="Only lines that match.")
@click.pass_obj
def logs(
    app: App, *, follow: bool, since: float | None, tail: int | None, grep: str | None
) -> None:
    """Print the service's log."""
    try:
        wanted = re.compile(grep or "")
    except re.error as error:
        raise click.BadParameter(f"{grep!r} is not a regular expression: {error}.") from error
    with app.session() as session:
        lines = (
            line
            for line in session.service().logs(follow=follow, since_s=since, tail=tail)
            if wanted.search(line)
        )
        if app.out.as_json:
            app.out.result({"lines": list(lines)}, "")
            return
        for line in lines:
            app.out.log(line)


@command(
    "invoke",
    always_acts=True,
    examples=[
        "devkit invoke -d '{\"data\": [[5.1, 3.5, 1.4, 0.2]]}'",
        "devkit invoke -d @sample.json",
    ],
)
@click.option(
    "-d", "--data", metavar="JSON|@FILE|-", help="The body; @FILE reads a file, - or @- stdin."
)
@click.option("--path", default="/score", show_default=True, help="Where to send it.")
@click.option("--header", multiple=True, metavar="NAME:VALUE", help="A header; repeatable.")
@click.option("--method", help="Default: POST with a body, else GET.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="How long to wait (default: as long as it takes, so one can debug).",
)
@click.pass_context
def invoke(
    ctx: click.Context,
    *,
    data: str | None,
    path: str,
    header: tuple[str, ...],
    method: str | None,
    timeout_s: float | None,
) -> None:
    """Send a request to the service; exit code 6 when the answer is an error."""
    app = ctx.ensure_object(App)
    with app.session() as session:
        service = up(session)
        answer = service.invoke(
            request_body(data, app.root),
            path=path,
            headers=header,
            method=method,
            timeout_s=timeout_s,
        )
        app.out.note(f"{answer.status} in {answer.seconds * 1000:.0f} ms")
        ok = answer.status < 400
        if not ok:
            tell(app, session, answer=answer)
    app.out.result(answer, answer.told(service.mappings), ok=ok)
    ctx.exit(0 if ok else 6)


@command(
    "reload",
    always_acts=True,
    examples=[
        "devkit reload",
    ],
)
@click.pass_obj
def reload(app: App) -> None:
    """Run init() again in a new worker, with the files that are in the container."""
    with app.session("Reloading") as session:
        found = up(session).reload()
    app.out.result(found, str(found))


def request_body(data: str | None, root: Path) -> bytes | None:
    """Return what -d says: a text, @FILE (here or in the workspace), - for stdin; None for none."""
    if data is None:
        return None
    if data in ("-", "@-"):
        return sys.stdin.buffer.read()
    if not data.startswith("@"):
        return data.encode()
    named = Path(data[1:])
    path = named if named.exists() else root / named
    try:
        return path.read_bytes()
    except OSError as error:
        raise click.BadParameter(f"{data[1:]} cannot be read: {error.strerror}.") from error
