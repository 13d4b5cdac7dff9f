"""Step 4, use: a request and its answer as a file, to be sent again and compared later."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devkit.errors import BadValue
from devkit.recorded import Request
from devkit.whole_file import write_whole

_NO_CASE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
# Far below where comparing or writing one would run out of stack.
_DEEPEST = 200


@dataclass(frozen=True)
class Case:
    """A request, and what was answered; the answer's body is what its JSON is, else a text."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    status: int
    answer: Any


def of(found: Request) -> Case:
    """Return a recorded request as a case.

    Raises:
        BadValue: not all of it was kept.
    """
    headers = found.sendable()
    entry = found.entry
    answer = value(found.answer)
    return Case(entry.method, entry.path, headers, found.body, entry.status or 0, answer)


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


def read(file: Path) -> Case:
    """Read a case.

    Raises:
        BadValue: it cannot be read, or is none.
    """
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
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file.resolve(), text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise BadValue(
            f"{file} cannot be written: {error.strerror}.",
            hint="Correct its folder's rights, or name another file.",
        ) from error


def value(body: bytes) -> Any:
    """Return an answer's body: what its JSON is, else a text."""
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


def _is_text(body: bytes) -> bool:
    try:
        return "\0" not in body.decode()
    except UnicodeDecodeError:
        return False
