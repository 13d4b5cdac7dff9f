"""Step 4, use: a recorded request sent again, stopped where it raised, or kept as a case."""

from __future__ import annotations

import base64
import difflib
import json
import math
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from devkit import breaking, recorded
from devkit.debug import dap
from devkit.debug.terminal_stop import local_variables
from devkit.errors import BadValue
from devkit.recorded import Request
from devkit.request import Answer, invoke
from devkit.running import RunningService

# What two runs of the same arithmetic may differ by.
_TOLERANCE = 1e-9
_NO_CASE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
# Far below where comparing or writing one would run out of stack.
_DEEPEST = 200
# How soon an answer that came without a stop is seen.
_LOOK_S = 0.1


@dataclass(frozen=True)
class Case:
    """A request, and what was answered; the answer's body is what its JSON is, else a text."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    status: int
    answer: Any


@dataclass(frozen=True)
class Tested:
    """What became of a case; `difference` is a unified diff of the answers, or why not."""

    case: str
    ok: bool
    difference: str = ""

    def __str__(self) -> str:
        return f"{'ok    ' if self.ok else 'FAILED'}  {self.case}\n{self.difference}".rstrip()


@dataclass(frozen=True)
class Stop:
    """Where a request that was sent again stopped, and the variables there."""

    file: Path
    line: int
    locals: dict[str, str]

    def __str__(self) -> str:
        lines = [f"Stopped in {self.file}:{self.line}"]
        source = _source(self.file)
        for number in range(max(1, self.line - 2), min(len(source), self.line + 2) + 1):
            arrow = "->" if number == self.line else "  "
            lines.append(f"{arrow} {number:4}  {source[number - 1]}".rstrip())
        lines += [f"  {name} = {value}" for name, value in self.locals.items()]
        return "\n".join(lines)


def case(found: Request) -> Case:
    """Return a recorded request as a case.

    Raises:
        BadValue: not all of it was kept.
    """
    headers = found.sendable()
    entry = found.entry
    answer = _value(found.answer)
    return Case(entry.method, entry.path, headers, found.body, entry.status or 0, answer)


def sent(service: RunningService, wanted: Case, *, timeout_s: float | None = None) -> Answer:
    """Send it to the running service, without headers that are about one connection.

    Raises:
        BadValue: its path could name another host.
    """
    if not wanted.path.startswith("/"):
        raise BadValue(
            f"{wanted.path[:200]!r} is no path of {service.name}.",
            hint="`devkit invoke --path` sends to one.",
        )
    root = (service.score_uri or "").removesuffix("/score")
    has_body = wanted.method not in ("GET", "HEAD") or wanted.body
    return invoke(
        f"{root}{wanted.path}",
        wanted.body if has_body else None,
        headers=recorded.sendable(wanted.headers),
        method=wanted.method,
        timeout_s=timeout_s,
    )


def stopped(service: RunningService, found: Request) -> tuple[Stop | None, Answer]:
    """Send it again with a breakpoint where it raised; None where it did not come there.

    Raises:
        BadValue: it did not raise in a file of the workspace.
        AlreadyAttached: an editor is attached, which will stop by itself.
    """
    if found.file is None or found.line is None:
        raise BadValue(
            f"Request {found.entry.id} raised in no line of yours.",
            hint=f"`devkit requests show {found.entry.id}` shows what is known of it.",
        )
    wanted = breaking.Place(Path(os.path.normpath(found.file)), found.line)
    target = breaking.Target(recorded.debugger(service), service.root, service.mappings)
    breaking.check(target, wanted)
    point = dap.Breakpoint(wanted.line)
    with (
        ThreadPoolExecutor(1) as beside,
        breaking.attached(target, wanted, point) as debugger,
    ):
        sending = beside.submit(sent, service, case(found))
        stop = _stop(debugger, sending)
        if stop is None:
            return None, sending.result()
        frames = debugger.stack(int(stop.body["threadId"]), levels=1)
        values = local_variables(debugger, frames[0].id) if frames else {}
        # Leaving lets the request go on.
        debugger.disconnect()
        return Stop(wanted.file, wanted.line, values), sending.result()


def save(wanted: Case, file: Path, *, force: bool) -> None:
    """Write a case.

    Raises:
        BadValue: the file is there, or cannot be written.
    """
    if file.exists() and not force:
        raise BadValue(f"{file} is there already.", hint="--force writes over it.")
    if file.exists() and not file.is_file():
        raise BadValue(f"{file} is no file.", hint="`-o FILE` names one.")
    body = (
        {"text": wanted.body.decode()}
        if _is_text(wanted.body)
        else {"base64": base64.b64encode(wanted.body).decode()}
    )
    said = {
        "request": {
            "method": wanted.method,
            "path": wanted.path,
            "headers": wanted.headers,
            "body": body,
        },
        "answer": {"status": wanted.status, "body": wanted.answer},
    }
    text = json.dumps(said, indent=2, ensure_ascii=False) + "\n"
    try:
        # UTF-8 has no half of a character: what stands for it is JSON's own escape.
        _replace(file.resolve(), text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise BadValue(
            f"{file} cannot be written: {error.strerror}.",
            hint="Correct its folder's rights, or name another file.",
        ) from error


def files(paths: Iterable[Path]) -> list[Path]:
    """Return the cases: files as they are, of a folder all that end in .json.

    Raises:
        BadValue: a folder has none.
    """
    found = list[Path]()
    for path in paths:
        inside = sorted(path.rglob("*.json")) if path.is_dir() else [path]
        if not inside:
            raise BadValue(f"{path} has no case.", hint="`devkit requests save ID -o FILE`")
        found += inside
    return found


def tested(service: RunningService, file: Path, *, update: bool) -> Tested:
    """Send a case again, and compare status and body; numbers may differ by rounding."""
    try:
        wanted = _read(file)
        answer = sent(service, wanted)
    except BadValue as error:  # the others are tested all the same
        return Tested(str(file), ok=False, difference=error.message)
    now = _value(answer.body)
    if answer.status == wanted.status and _same(now, wanted.answer):
        return Tested(str(file), ok=True)
    if update:
        save(Case(**{**vars(wanted), "status": answer.status, "answer": now}), file, force=True)
        return Tested(str(file), ok=True, difference="        updated")
    was, is_now = _pretty(wanted.status, wanted.answer), _pretty(answer.status, now)
    lines = difflib.unified_diff(was, is_now, "saved", "now", lineterm="")
    return Tested(str(file), ok=False, difference="\n".join(lines))


def _replace(file: Path, content: bytes) -> None:
    """Write beside the file and rename: a failure leaves what was there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=file.parent, prefix=".devkit-") as folder:
        fresh = Path(folder, "case")
        fresh.write_bytes(content)
        if file.exists():
            shutil.copymode(file, fresh)
        fresh.replace(file)


def _read(file: Path) -> Case:
    try:
        said = json.loads(file.read_text("utf-8"))
        request, answer = said["request"], said["answer"]
        body = request["body"]
        text = body.get("text")
        return Case(
            method=str(request["method"]),
            path=str(request["path"]),
            headers={str(name): str(value) for name, value in request["headers"].items()},
            body=base64.b64decode(body["base64"], validate=True)
            if text is None
            else str(text).encode(),
            status=int(answer["status"]),
            answer=_bounded(answer["body"]),
        )
    except OSError as error:
        raise BadValue(f"{file} cannot be read: {error.strerror}.") from error
    except _NO_CASE as error:
        raise BadValue(
            f"{file} is no case: {error}.", hint="`devkit requests save ID -o FILE` writes one."
        ) from error


def _source(file: Path) -> list[str]:
    # It may have gone since.
    with suppress(OSError):
        return file.read_text("utf-8", "replace").splitlines()
    return []


def _stop(debugger: dap.Session, sending: Future[Answer]) -> dap.Event | None:
    """Wait for the stop; None when the request is answered without one."""
    while True:
        is_answered = sending.done()
        with suppress(TimeoutError):
            return debugger.wait_for("stopped", timeout_s=_LOOK_S)
        if is_answered:
            return None


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    numbers = (int, float)
    are_numbers = isinstance(one, numbers) and isinstance(other, numbers)
    if are_numbers and not isinstance(one, bool) and not isinstance(other, bool):
        return _is_close(one, other)
    return type(one) is type(other) and bool(one == other)


def _is_close(one: float, other: float) -> bool:
    # JSON's whole numbers may be larger than any float.
    with suppress(OverflowError):
        return math.isclose(one, other, rel_tol=_TOLERANCE) or (one != one and other != other)
    return one == other


def _value(body: bytes) -> Any:
    try:
        return _bounded(json.loads(body))
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")


def _bounded(answer: Any) -> Any:
    """Return it; raises RecursionError where it is nested too deep to be compared."""
    level = [answer]
    for _ in range(_DEEPEST):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return answer
    raise RecursionError(f"its answer is nested deeper than {_DEEPEST} levels")


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _pretty(status: int, value: Any) -> list[str]:
    text = json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True)
    return [f"status {status}", *text.splitlines()]


def _is_text(body: bytes) -> bool:
    try:
        return "\0" not in body.decode()
    except UnicodeDecodeError:
        return False
