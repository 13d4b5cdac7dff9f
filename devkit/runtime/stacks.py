"""What the threads of a worker do, read out of a text like faulthandler's, said in one sentence.

A worker writes it itself. While run() holds the GIL in C it cannot: there faulthandler does, which
reads frames that nobody holds still, and so is not asked while Python code runs. The text passes
the user's process, so it is taken as words only.
"""

from __future__ import annotations

import os
import re
import sys
from types import FrameType
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from .failure import Failure, is_below

Frame = Dict[str, Any]
Thread = Dict[str, Any]
# Keys: after_s, threads, place (the user's innermost frame), held (one that it did not leave).
Stack = Dict[str, Any]

MOST_THREADS = 100
# As faulthandler has it.
_MOST_FRAMES = 100
_MOST_NAME = 500
_HERE = os.path.dirname(os.path.abspath(__file__))
_THREAD = re.compile(r"^(?:Current t|T)hread 0x([0-9a-f]{1,16})\b.*\(most recent call first\):$")
_FRAME = re.compile(r'^  File "(.*)", line (\d{1,9}|\?\?\?) in (.*)$')
# What debugpy runs in threads of its own.
_DEBUGGER = re.compile(r"[/\\](_?pydevd?|_pydev|debugpy)[^/\\]*[/\\]")
_OUTERMOST = " in _run_module_as_main"


def written() -> str:
    """What the threads of this process do; the calling thread has the GIL."""
    lines: List[str] = []
    frames = sys._current_frames()
    for number in list(frames)[:MOST_THREADS]:
        lines.append("Thread 0x{:x} (most recent call first):".format(number))
        frame: Optional[FrameType] = frames[number]
        for _ in range(_MOST_FRAMES):
            if frame is None:
                break
            code = frame.f_code
            where = (_one_line(code.co_filename), frame.f_lineno or 0, _one_line(code.co_name))
            lines.append('  File "{}", line {} in {}'.format(*where))
            frame = frame.f_back
    return "\n".join(lines) + "\n"


def _one_line(text: str) -> str:
    return text[:_MOST_NAME].replace("\n", "?")


def is_in_debugger(frame: Optional[FrameType]) -> bool:
    """Whether the debugger runs now, or code that it runs."""
    while frame is not None:
        if _DEBUGGER.search(frame.f_code.co_filename):
            return True
        frame = frame.f_back
    return False


def is_complete(text: str) -> bool:
    """Whether the text has come to its end: the main thread is the last one."""
    return text.endswith("\n") and text.rstrip("\n").endswith(_OUTERMOST)


def threads(text: str, names: Mapping[str, str], roots: Sequence[str]) -> List[Thread]:
    """The threads that are not devkit's nor the debugger's; the main thread first.

    `names` has the name of a thread by its number, "main" for the one that runs run().
    """
    found: List[Thread] = []
    for line in text.splitlines():
        head, frame = _THREAD.match(line), _FRAME.match(line)
        if head and len(found) < MOST_THREADS:
            number = str(int(head.group(1), 16))
            name = names.get(number) or "thread {}".format(number)
            found.append({"id": number, "name": name, "is_main": name == "main", "frames": []})
        elif frame and found:
            number_text = frame.group(2)
            found[-1]["frames"].append(
                {
                    "file": frame.group(1),
                    "line": int(number_text) if number_text.isdigit() else None,
                    "function": frame.group(3),
                    "is_own": is_below(frame.group(1), roots),
                }
            )
    if found and not any(item["is_main"] for item in found):
        found[-1].update(name="main", is_main=True)
    kept = [_trimmed(item) for item in found if item["is_main"] or not _is_ours(item)]
    return sorted(kept, key=lambda item: not item["is_main"])


def joined(last: List[Thread], after_s: float, seen: Sequence[Tuple[List[Thread], float]]) -> Stack:
    """What is said of a look at a request; `seen` are the earlier ones, with their seconds."""
    own = _own_frames(last)
    place = own[-1] if own else None
    helds = []
    for then, then_s in seen:
        frame = _held(own, _own_frames(then))
        if frame is not None:
            helds.append(dict(frame, for_s=after_s - then_s))
    # The longest time in the very line that it is in, else in what is around that.
    in_line = [held for held in helds if place and _is_same(held, place)]
    return {
        "after_s": after_s,
        "threads": last,
        "place": place,
        "held": next(iter(in_line or helds), None),
    }


def _held(own: List[Frame], before: List[Frame]) -> Optional[Frame]:
    """The innermost frame that was not left since an earlier look, or was entered again.

    A loop has the function in common, not the line.
    """
    held = None
    for now, then in zip(own, before):
        if now == then:
            held = now
            continue
        if (now["file"], now["function"]) == (then["file"], then["function"]):
            held = dict(now, line=None)
        break
    return held


def _is_same(one: Frame, other: Frame) -> bool:
    return all(one[key] == other[key] for key in ("file", "line", "function"))


def sentence(stack: Stack) -> str:
    """Where the user's code was when the time limit came near."""
    place, held = stack["place"], stack["held"]
    if held:
        text = "Your code has been in {} for {:.1f} s".format(_said(held), held["for_s"])
        return text + ("." if _is_same(held, place) else ", at last in {}.".format(_said(place)))
    if place:
        return "After {:.1f} s your code was in {}.".format(stack["after_s"], _said(place))
    return "After {:.1f} s no line of your code was running.".format(stack["after_s"])


def as_failure(stack: Optional[Stack], raised: Optional[Failure]) -> Optional[Failure]:
    """The failure of a request that took too long; `raised` is what ended run(), if that did."""
    if stack is None:
        return raised
    place = stack["held"] if stack["held"] and stack["held"]["line"] else stack["place"] or {}
    main = next((item for item in stack["threads"] if item["is_main"]), None)
    # As in a traceback: the innermost last.
    lines = [
        '  File "{}", line {}, in {}'.format(frame["file"], frame["line"], frame["function"])
        for frame in reversed(main["frames"] if main else [])
    ]
    said = sentence(stack)
    head = "{}\nStack after {:.1f} s (most recent call last):".format(said, stack["after_s"])
    failure = {
        "type": "Timeout",
        "message": said,
        "traceback": "\n".join([head, *lines]) + "\n",
        "file": place.get("file"),
        "line": place.get("line"),
        "function": place.get("function"),
    }
    if raised and "locals" in raised:
        failure["locals"] = raised["locals"]
    return failure


def _own_frames(found: List[Thread]) -> List[Frame]:
    """The user's frames of the main thread, outermost first."""
    main = next((item for item in found if item["is_main"]), None)
    return [frame for frame in reversed(main["frames"]) if frame["is_own"]] if main else []


def _said(frame: Frame) -> str:
    name = os.path.basename(frame["file"])
    line = " line {}".format(frame["line"]) if frame["line"] else ""
    return "{}{}, {}()".format(name, line, frame["function"])


def _is_ours(item: Thread) -> bool:
    """Whether a thread is devkit's or the debugger's: a user's may be called through pydevd."""
    frames = item["frames"]
    if item["name"] == "devkit" or not frames:
        return True
    is_users = any(frame["is_own"] for frame in frames)
    return not is_users and any(
        frame["file"].startswith(_HERE + os.sep) or _DEBUGGER.search(frame["file"])
        for frame in frames
    )


def _trimmed(item: Thread) -> Thread:
    """Without what called the user's code: that is devkit's, or the server's."""
    frames = item["frames"]
    last = max((n for n, frame in enumerate(frames) if frame["is_own"]), default=None)
    return item if last is None else dict(item, frames=frames[: last + 1])
