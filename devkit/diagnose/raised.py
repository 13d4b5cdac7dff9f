"""Step 7, diagnose: tracebacks in a text, such as a log, become exceptions with their frames."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_START = "Traceback (most recent call last):"
_FRAME = re.compile(r'^\s*File "([^"]+)", line (\d{1,7})(?:,? in (\S+))?')
_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z?\s")
_RAISED = re.compile(r"^([A-Za-z_][\w.]*)(?::\s?(.*))?$")
# What follows a message that has more than one line.
_NEXT = re.compile(r"^(\d{4}-\d\d-\d\d|devkit: |\[\d{4}-|\s*$|Traceback )")
_CHAINED = ("The above exception was", "During handling of the above")
# An ExceptionGroup is drawn as a tree: each line has its bars before it.
_GROUP = re.compile(r"^\s*\+ Exception Group Traceback \(most recent call last\):")
_BARS = re.compile(r"^ +(?:\| ?|\+(?: |-+(?: \d+ -+)?$|-\+-+ \d+ -+$))")
_MESSAGE_LINES = 12
_LONGEST_LINE = 2000


@dataclass(frozen=True)
class Frame:
    """One frame: the file as the text names it, and the source line where it was shown."""

    file: str
    line: int
    function: str
    text: str = ""


@dataclass(frozen=True)
class Raised:
    """An exception: `kind` without its module, frames outermost first."""

    kind: str
    message: str
    frames: tuple[Frame, ...] = ()

    def __str__(self) -> str:
        first = self.message.strip().splitlines()[:1]
        return f"{self.kind}: {first[0]}" if first else self.kind


def chains(text: str) -> list[list[Raised]]:
    """Return the exceptions in a text, in order; those that led to one another in one list."""
    found, is_chained = list[list[Raised]](), False
    lines = list(_without_bars(_STAMP.sub("", line[:_LONGEST_LINE]) for line in text.splitlines()))
    at = 0
    while at < len(lines):
        if lines[at].startswith(_CHAINED):
            is_chained = True
        if _START in lines[at]:
            raised, at = _read(lines, at + 1)
            if raised and is_chained and found:
                found[-1].append(raised)
            elif raised:
                found.append([raised])
            is_chained = False
            continue
        at += 1
    return found


def fatal(text: str) -> Raised | None:
    """Return the last crash that Python's fault handler wrote, frames outermost first."""
    _, mark, rest = text.rpartition("Fatal Python error: ")
    if not mark:
        return None
    _, _, current = rest.partition("Current thread ")
    frames = list[Frame]()
    for line in current.splitlines()[1:]:
        match = _FRAME.match(_STAMP.sub("", line)[:_LONGEST_LINE])
        if match is None:
            break
        frames.append(Frame(match[1], int(match[2]), match[3] or ""))
    return Raised(rest.partition("\n")[0].strip(), "", tuple(reversed(frames)))


def _without_bars(lines: Iterable[str]) -> Iterator[str]:
    is_group = False
    for line in lines:
        is_group = bool(_GROUP.match(line) or (is_group and _BARS.match(line)))
        yield _BARS.sub("", line) if is_group else line


def _read(lines: list[str], at: int) -> tuple[Raised | None, int]:
    """Read one traceback whose first frame is at `at`; return it and where it ends."""
    frames = list[Frame]()
    while at < len(lines) and (lines[at][:1].isspace() or not lines[at]):
        match = _FRAME.match(lines[at])
        if match:
            following = lines[at + 1] if at + 1 < len(lines) else ""
            # Without its source a frame is followed by the next one, or by the exception.
            is_source = following[:1].isspace() and not _FRAME.match(following)
            text = following.strip() if is_source else ""
            frames.append(Frame(match[1], int(match[2]), match[3] or "<module>", text))
        at += 1
    match = _RAISED.match(lines[at]) if at < len(lines) else None
    if match is None:
        return None, at
    message = [match[2] or "", *_rest(lines, at + 1)]
    return Raised(match[1].rpartition(".")[2], "\n".join(message), tuple(frames)), at + 1


def _rest(lines: list[str], at: int) -> Iterator[str]:
    for line in lines[at : at + _MESSAGE_LINES]:
        if _NEXT.match(line) or _START in line:
            return
        yield line
