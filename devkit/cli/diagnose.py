"""`devkit diagnose`: what is wrong, in which line of the user's file, and what to do."""

from __future__ import annotations

import codecs
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from os import SEEK_END
from typing import IO, TYPE_CHECKING

import click

from devkit.cli.group import command
from devkit.cli.options import App
from devkit.errors import BadValue, ConfigError, DevkitError, NoService, NotReady

if TYPE_CHECKING:
    from devkit.diagnose.case import Case
    from devkit.diagnose.diagnosis import Diagnosis
    from devkit.request import Answer
    from devkit.session import Session

# Of these, an error or an answer says as much by itself.
_PLAIN = ("init-raised", "import-raised", "run-raised", "http-424", "http-500", "http-502")
# Twice what is looked at, in UTF-16; the rest shows that there is more.
_MOST_LOG = 8 << 20
_MOST_ANSWER = 1 << 20
_TIMEOUT_S = 65


@command(
    "diagnose",
    always_acts=True,
    examples=[
        "devkit diagnose",
        "devkit diagnose --logs cloud.log",
        "devkit diagnose --url http://127.0.0.1:8000/score",
        "devkit diagnose --http 503",
    ],
)
@click.option("--logs", type=click.File("rb"), help="A log from elsewhere; - is stdin.")
@click.option("--url", metavar="URL", help="Ask a service: GET / and a POST with a sample.")
@click.option(
    "--http", "code", type=click.IntRange(100, 599), metavar="CODE", help="What it means."
)
@click.pass_context
def diagnose(
    ctx: click.Context, *, logs: IO[bytes] | None, url: str | None, code: int | None
) -> None:
    """Look for what is wrong, and say where and what to do; exit code 1 when something is found.

    It looks at the workspace, and at the container if there is one, running or not: model,
    environment, image, start, init(), health, score. Nothing is changed.
    """
    from devkit.diagnose import diagnosis, report
    from devkit.diagnose.case import Case

    app = ctx.ensure_object(App)
    try:
        with app.session("Looking") as session:
            case = Case(session.workspace, lambda: session.engine, code=code)
            if logs is not None:
                case.log_text = _text(_end(logs))
                case.connect = None
            if url is not None:
                _ask(case, url)
            found = diagnosis.diagnosed(case)
    except ConfigError as error:
        found = _of_config(error)
    told = report.text(found, everything=app.out.verbosity > 0)
    value = {"findings": found.findings, "step": found.step, "looked_at": found.looked_at}
    app.out.result(value, told, ok=found.is_fine)
    ctx.exit(0 if found.is_fine else 1)


@contextmanager
def explained(app: App, session: Session) -> Iterator[None]:
    """Say the top finding when a command fails; the error follows it."""
    try:
        yield
    except DevkitError as error:
        tell(app, session, error)
        raise


def tell(
    app: App, session: Session, error: DevkitError | None = None, answer: Answer | None = None
) -> None:
    """Say the top finding, if one says more than the error does."""
    from devkit.diagnose import diagnosis, report
    from devkit.diagnose.case import Case, Exchange

    # What the command itself would have asked the index, it has asked.
    case = Case(session.workspace, lambda: session.engine, asks_index=False)
    if answer is not None:
        case.exchanges = (Exchange(answer, b""),)  # not GET /, which says 503 until it is ready
    logging.getLogger("devkit.diagnose").setLevel(logging.CRITICAL)
    # The command has failed already: that is what the user has to see.
    with suppress(DevkitError, OSError):
        found = diagnosis.top(case)
        said = error.message if error else ""
        if found and found.id not in _PLAIN and said not in (found.title, found.cause):
            app.out.note(report.full(found))


def _end(file: IO[bytes]) -> bytes:
    """Read a log's end, where the newest is; a pipe has to be read through to come to it."""
    end = b""
    if file.seekable():
        file.seek(max(file.seek(0, SEEK_END) - _MOST_LOG, 0))
        return file.read(_MOST_LOG)
    while chunk := file.read(_MOST_LOG):
        end = (end + chunk)[-_MOST_LOG:]
    return end


def _text(log: bytes) -> str:
    """Read a log; PowerShell's `>` writes UTF-16."""
    if log.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return log.decode("utf-16", "replace")
    start = log[:1000]
    # The end of a long one has no mark at its begin.
    is_wide = start[1::2].count(0) > len(start) // 4
    return log.decode("utf-16-le" if is_wide else "utf-8-sig", "replace")


def _ask(case: Case, url: str) -> None:
    """Ask a service: is it healthy, and what does it answer to a sample?"""
    from devkit.diagnose import answers
    from devkit.diagnose.case import Exchange
    from devkit.request import invoke

    root = url.removesuffix("/").removesuffix("/score")
    asked = partial(invoke, timeout_s=_TIMEOUT_S, most_bytes=_MOST_ANSWER)
    try:
        case.exchanges = (Exchange(asked(f"{root}/"), url=f"{root}/"),)
        if (body := answers.sample(case)) is not None:
            sent = Exchange(asked(f"{root}/score", body), body, "application/json", f"{root}/score")
            case.exchanges = (*case.exchanges, sent)
    except BadValue as error:
        raise click.BadParameter(error.message, param_hint="'--url'") from error
    except (NoService, NotReady) as error:
        case.unanswered = error


def _of_config(error: ConfigError) -> Diagnosis:
    """A configuration that cannot be read is what is wrong."""
    from devkit.diagnose.case import place
    from devkit.diagnose.diagnosis import Diagnosis
    from devkit.diagnose.finding import Finding

    file, line = place(error.message)
    found = Finding(
        "config-invalid",
        "error",
        error.message,
        "Nothing can be decided before the configuration is understood.",
        error.hint or "Correct that line.",
        file=file,
        line=line,
    )
    return Diagnosis((found,), "configuration", ("devkit.yaml",))
