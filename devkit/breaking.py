"""Step 4, use: a breakpoint typed in a terminal, checked against the running service, attached."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from devkit import launch
from devkit.debug import dap, proof
from devkit.debug.wire import ask
from devkit.engine import Placement
from devkit.errors import BadValue, MappingNotProved
from devkit.running import Address

# Not "devkit", which is the name of a short check that others wait for.
CLIENT = "devkit break"
# The runtime looks at no more lines in one question; an expression may take its time.
_LINES_AROUND = 400
_TIMEOUT_S = 30
_MOST_SOURCE = 4 << 20
_LONGEST_NAME = 200
_OTHER_FILE = "`devkit break FILE:LINE` stops in a source file of the service."


@dataclass(frozen=True)
class Place:
    """A line of a file of the workspace."""

    file: Path
    line: int


@dataclass(frozen=True)
class Target:
    """A running service's debugger, and which local folder is which of its folders."""

    address: Address
    root: Path
    mappings: tuple[Placement, ...]
    just_my_code: bool = True


def place(text: str, folders: Sequence[Path]) -> Place:
    """Read "score.py:12", the file in one of `folders`.

    Raises:
        BadValue: it is no such thing, or the file is not there.
    """
    name, _, number = text.rpartition(":")
    if not name or not number.isdecimal() or len(number) > 9 or int(number) < 1:
        raise BadValue(f"{text!r} is no FILE:LINE.", hint="As in: devkit break score.py:12")
    found = next((path for folder in folders if (path := folder / name).is_file()), None)
    if found is None:
        looked = ", ".join(str(folder) for folder in dict.fromkeys(folders))
        raise BadValue(f"There is no file {name}.", hint=f"Looked for in {looked}.")
    return Place(found.resolve(), int(number))


def condition(text: str) -> str:
    """Check that `text` is one Python expression.

    Raises:
        BadValue: it is not, and why.
    """
    try:
        ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        why = error.msg if isinstance(error, SyntaxError) else str(error)
        raise BadValue(
            f"{text!r} is no Python expression: {why}.", hint='As in: --if "len(data) > 3"'
        ) from error
    return text.strip()


def log_message(text: str) -> str:
    """Check the expressions in braces, and write the text as debugpy takes it.

    Raises:
        BadValue: braces that do not match, or hold no expression.
    """
    parts, depth, start = list[str](), 0, 0
    for index, letter in enumerate(text):
        if letter == "{":
            start, depth = (index + 1 if depth == 0 else start), depth + 1
        elif letter == "}" and depth:
            depth -= 1
            if depth == 0:
                parts.append("{" + condition(text[start:index]) + "}")
        elif depth == 0:
            parts.append(letter)
    if depth:
        raise BadValue(f"A brace of {text!r} is not closed.", hint='As in: --log "x={x}"')
    # debugpy makes a % format of a text with expressions.
    is_format = any(len(part) > 1 for part in parts)
    return "".join("%%" if part == "%" and is_format else part for part in parts)


def check(target: Target, wanted: Place) -> None:
    """Ask the running service whether the line can hold a breakpoint.

    Raises:
        MappingNotProved: the file is not the service's, or is another one there.
        BadValue: it is no source file that is there, or the line has no code; the nearest that
            has is named.
    """
    remote = _remote(target, wanted.file)
    content = _content(target, wanted.file)
    middle = min(wanted.line, content.count(b"\n") + 1)
    around = range(max(1, middle - _LINES_AROUND), middle + _LINES_AROUND)
    lines = sorted({wanted.line, *around}, key=lambda line: abs(line - wanted.line))
    seen = _seen(target.address, remote, lines)
    if not seen.get("exists"):
        raise MappingNotProved(
            f"{wanted.file} is mapped to {remote}, which is not in the container.",
            hint="`devkit debug` brings the files into the container as they are here.",
        )
    if seen.get("sha256") != hashlib.sha256(content).hexdigest():
        raise MappingNotProved(
            f"{wanted.file} and {remote} in the container differ, so it would stop elsewhere.",
            hint="`devkit debug` brings the files into the container as they are here.",
        )
    _refuse_empty(wanted, seen)


def attached(target: Target, wanted: Place, breakpoint_: dap.Breakpoint) -> dap.Session:
    """Attach as an editor does, with one breakpoint; leaving the session detaches.

    Raises:
        AlreadyAttached: an editor is.
        DebuggerUnreachable: nothing to attach to.
    """
    entry = launch.entry(
        target.root,
        host=target.address.host,
        port=target.address.port,
        mappings=target.mappings,
        just_my_code=target.just_my_code,
    )
    configuration = {**proof.filled(entry, target.root), "redirectOutput": False}
    return dap.Session.attach(
        target.address.host,
        target.address.port,
        configuration,
        breakpoints={str(wanted.file): [breakpoint_]},
        client=CLIENT,
        timeout_s=_TIMEOUT_S,
    )


def _remote(target: Target, file: Path) -> PurePosixPath:
    for mapping in sorted(target.mappings, key=lambda m: -len(m.local.parts)):
        if file.is_relative_to(mapping.local):
            return PurePosixPath(mapping.remote / file.relative_to(mapping.local).as_posix())
    folders = ", ".join(str(mapping.local) for mapping in target.mappings)
    raise MappingNotProved(
        f"{_cut(file)} is not in the service.", hint=f"The service has what is below {folders}."
    )


def _content(target: Target, file: Path) -> bytes:
    """Read a file that a container may have named: one of the service's own, or nothing."""
    try:
        real = file.resolve(strict=True)
        if not any(real.is_relative_to(mapping.local.resolve()) for mapping in target.mappings):
            raise MappingNotProved(
                f"{_cut(file)} leads out of the service's folders, to {_cut(real)}.",
                hint="Put the file itself there instead of a link.",
            )
        if real.is_file():
            with real.open("rb") as opened:
                content = opened.read(_MOST_SOURCE + 1)
            if len(content) <= _MOST_SOURCE:
                return content
    except FileNotFoundError as error:
        raise BadValue(
            f"{_cut(file)} is not there any more.",
            hint="`devkit sync undo` may bring it back; `devkit replay` without --break sends the "
            "request all the same.",
        ) from error
    except (OSError, ValueError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or "that is no file's name"
        raise BadValue(f"{_cut(file)} cannot be read: {why}.", hint=_OTHER_FILE) from error
    raise BadValue(f"{_cut(file)} is no source file of at most 4 MB.", hint=_OTHER_FILE)


def _cut(file: Path) -> str:
    text = str(file)
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}..."


def _seen(address: Address, remote: PurePosixPath, lines: list[int]) -> dict[str, object]:
    asked = {"files": [{"path": str(remote), "lines": lines}]}
    body = ask(address.host, address.port, "devkit/verify", asked, timeout_s=_TIMEOUT_S)
    files = body.get("files")
    seen = files[0] if isinstance(files, list) and files else None
    return seen if isinstance(seen, dict) else {}


def _refuse_empty(wanted: Place, seen: dict[str, object]) -> None:
    answers = seen.get("breakpoints")
    found = (
        [item for item in answers if isinstance(item, dict)] if isinstance(answers, list) else []
    )
    with_code = [item["line"] for item in found if item.get("verified") and "line" in item]
    if wanted.line in with_code:
        return
    name = wanted.file.name
    if with_code:
        nearest = with_code[0]
        raise BadValue(
            f"{name}:{wanted.line} holds no code; the nearest line that does is {nearest}.",
            hint=f"`devkit break {name}:{nearest}`",
        )
    why = found[0].get("message") if found else "the runtime does not say why"
    raise BadValue(
        f"{name}:{wanted.line} cannot hold a breakpoint: {why}.",
        hint="Correct the file, or name another line.",
    )
