"""Step 4, use: a recorded request or a case sent again: stopped where it raised, or compared."""

from __future__ import annotations

import difflib
import json
import math
import os
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from devkit import breaking, cases, recorded
from devkit.cases import Case
from devkit.debug import dap
from devkit.debug.terminal_stop import local_variables
from devkit.errors import BadValue
from devkit.recorded import Request
from devkit.request import Answer, invoke
from devkit.running import RunningService

# What two runs of the same arithmetic may differ by.
_TOLERANCE = 1e-9
# How soon an answer that came without a stop is seen.
_LOOK_S = 0.1


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
        sending = beside.submit(sent, service, cases.of(found))
        stop = _stop(debugger, sending)
        if stop is None:
            return None, sending.result()
        frames = debugger.stack(int(stop.body["threadId"]), levels=1)
        values = local_variables(debugger, frames[0].id) if frames else {}
        # Leaving lets the request go on.
        debugger.disconnect()
        return Stop(wanted.file, wanted.line, values), sending.result()


def tested(service: RunningService, file: Path, *, update: bool) -> Tested:
    """Send a case again, and compare status and body; numbers may differ by rounding."""
    try:
        wanted = cases.read(file)
        answer = sent(service, wanted)
    except BadValue as error:  # the others are tested all the same
        return Tested(str(file), ok=False, difference=error.message)
    now = cases.value(answer.body)
    if answer.status == wanted.status and _same(now, wanted.answer):
        return Tested(str(file), ok=True)
    if update:
        cases.save(replace(wanted, status=answer.status, answer=now), file, force=True)
        return Tested(str(file), ok=True, difference="        updated")
    was, is_now = _pretty(wanted.status, wanted.answer), _pretty(answer.status, now)
    lines = difflib.unified_diff(was, is_now, "saved", "now", lineterm="")
    return Tested(str(file), ok=False, difference="\n".join(lines))


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


def _pretty(status: int, value: Any) -> list[str]:
    text = json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True)
    return [f"status {status}", *text.splitlines()]
