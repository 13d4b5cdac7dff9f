"""`devkit requests`, `replay`, `test` and `stack`: what the service was asked, and asked again."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from devkit.cli.group import command, group
from devkit.cli.inside import up
from devkit.cli.options import App, global_options
from devkit.output import jsonable, sanitized

if TYPE_CHECKING:
    from devkit.recorded import Entry, Request, Worker

_TITLES = ("id", "time", "request", "status", "ms", "error")
_WIDEST = 60
_LONGEST_ERROR = 200


@group(
    "requests",
    invoke_without_command=True,
    params=global_options(),
    examples=["devkit requests --failed", "devkit requests show 7"],
)
@click.option("--failed", is_flag=True, help="Only those that failed.")
@click.pass_context
def requests(ctx: click.Context, *, failed: bool) -> None:
    """List the last requests, and the last failing ones; keys and passwords are masked."""
    from devkit import recorded

    if ctx.invoked_subcommand:
        return
    app = ctx.ensure_object(App)
    with app.session() as session:
        found = recorded.entries(up(session), failed=failed)
    app.out.result({"requests": found}, _table(found) if found else "No request yet.")


@requests.command("show", examples=["devkit requests show last-failed"])
@click.argument("which", metavar="ID|last|last-failed")
@click.pass_obj
def show(app: App, *, which: str) -> None:
    """Show a request, its answer, and of a failure the traceback with its local variables."""
    from devkit import recorded

    with app.session() as session:
        found = recorded.request(up(session), which)
    app.out.result(_as_json(found), _shown(found))


@requests.command("save", always_acts=True, examples=["devkit requests save 7 -o case.json"])
@click.argument("which", metavar="ID|last|last-failed")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The file.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@click.pass_obj
def save(app: App, *, which: str, output: Path, force: bool) -> None:
    """Save a request and its answer as a case for `devkit test`."""
    from devkit import cases, recorded

    with app.session() as session:
        found = recorded.request(up(session), which)
    cases.save(cases.of(found), output, force=force)
    app.out.result({"file": output}, f"Saved request {found.entry.id} as {output}.")


@command(
    "replay",
    always_acts=True,
    examples=["devkit replay last-failed", "devkit replay 7 --break"],
)
@click.argument("which", metavar="ID|last|last-failed")
@click.option("--break", "stops", is_flag=True, help="Stop in the line that raised, and show it.")
@click.pass_context
def replay(ctx: click.Context, *, which: str, stops: bool) -> None:
    """Send a recorded request again; exit code 6 when the answer is an error."""
    from devkit import cases, recorded, replayed

    app = ctx.ensure_object(App)
    with app.session() as session:
        service = up(session)
        found = recorded.request(service, which)
        if found.masked:
            app.out.note(f"Sent without {', '.join(found.masked)}, of which no value is kept.")
        stop = None
        if stops:
            stop, answer = replayed.stopped(service, found)
            where = f"{found.file}:{found.line}"
            app.out.note(str(stop or f"It did not come to {where} this time."))
        else:
            answer = replayed.sent(service, cases.of(found))
    app.out.note(f"{answer.status} in {answer.seconds * 1000:.0f} ms")
    told = {**jsonable(answer), "stop": stop}
    app.out.result(told, answer.told(service.mappings), ok=answer.status < 400)
    ctx.exit(0 if answer.status < 400 else 6)


@command(
    "test", always_acts=True, examples=["devkit test cases/", "devkit test case.json --update"]
)
@click.argument(
    "paths",
    metavar="CASES...",
    type=click.Path(exists=True, path_type=Path),
    nargs=-1,
    required=True,
)
@click.option("--update", is_flag=True, help="Take the answers of now as the right ones.")
@click.pass_context
def test(ctx: click.Context, *, paths: tuple[Path, ...], update: bool) -> None:
    """Send saved cases again, and compare the answers; exit code 1 when one differs."""
    from devkit import cases, replayed

    app = ctx.ensure_object(App)
    with app.session() as session:
        results = [replayed.tested(up(session), path, update=update) for path in cases.files(paths)]
    ok = all(result.ok for result in results)
    app.out.result({"cases": results}, "\n".join(map(str, results)), ok=ok)
    ctx.exit(0 if ok else 1)


@command("stack", examples=["devkit stack"])
@click.pass_obj
def stack(app: App) -> None:
    """Show where each worker of the service is now, thread by thread."""
    from devkit import recorded

    with app.session() as session:
        found = recorded.stack(up(session))
    told = "\n".join(map(_worker, found)) or "No worker serves; `devkit diagnose` says why."
    app.out.result({"workers": found}, told)


def _table(found: list[Entry]) -> str:
    rows = [_TITLES, *(_cells(entry) for entry in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_TITLES) - 1)]
    return "\n".join("  ".join([*map(str.ljust, row, widths), row[-1]]).rstrip() for row in rows)


def _cells(entry: Entry) -> list[str]:
    """A row as text from outside may be shown: on one line, and no wider than a screen."""
    *cells, error = (" ".join(sanitized(text).split()) for text in entry.row())
    return [*(_cut(cell, _WIDEST) for cell in cells), _cut(error, _LONGEST_ERROR)]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _as_json(found: Request) -> dict[str, Any]:
    return {
        "request": found.entry,
        "headers": dict(found.headers),
        "masked": found.masked,
        "body": found.body.decode("utf-8", "replace"),
        "body_base64": base64.b64encode(found.body).decode(),
        "body_bytes": found.body_bytes,
        "is_replayable": found.is_replayable,
        "answer": found.answer.decode("utf-8", "replace"),
        "answer_bytes": found.answer_bytes,
        "traceback": found.traceback,
        "file": found.file,
        "line": found.line,
        "locals": dict(found.variables),
    }


def _shown(found: Request) -> str:
    entry = found.entry
    took = "" if entry.ms is None else f" after {entry.ms:.0f} ms"
    lines = [f"{entry.id}  {entry.method} {entry.path} -> {entry.status or 'no answer yet'}{took}"]
    lines += [f"  {name}: {value}" for name, value in found.headers]
    lines += ["", _text(found.body, found.body_bytes)]
    # The answer to a failure is little more than the traceback, with the container's paths.
    if not (found.traceback and b'"traceback"' in found.answer):
        lines += ["", _text(found.answer, found.answer_bytes)]
    if found.traceback:
        lines += ["", found.traceback.rstrip()]
    if found.variables:
        lines += ["", f"Locals in {found.file}:{found.line}"]
        lines += [f"  {name} = {value}" for name, value in found.variables]
    return "\n".join(lines)


def _text(content: bytes, size: int) -> str:
    text = content.decode("utf-8", "replace")
    with suppress(ValueError, RecursionError):
        text = json.dumps(json.loads(text), indent=1, ensure_ascii=False)
    rest = f"\n({size - len(content)} bytes more)" if size > len(content) else ""
    return f"{text or '(empty)'}{rest}"


def _worker(worker: Worker) -> str:
    is_idle = worker.running_s is None
    busy = "waits for a request" if is_idle else f"its request runs for {worker.running_s:.1f} s"
    lines = [f"worker {worker.pid}: {busy}"]
    if worker.threads is None:
        lines.append("  it does not say where it is")
    for thread in worker.threads or ():
        if is_idle and thread.is_main:
            continue  # what waits there is devkit's
        lines.append(f"  {thread.name}")
        lines += [f"    {frame}" for frame in thread.frames]
    return "\n".join(lines)
