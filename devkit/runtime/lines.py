"""Where a line of the old text stands in the new one: breakpoints follow an edit at once."""

from __future__ import annotations

import difflib
from typing import List

# The text between common start and end is compared line by line, at a cost that grows with its
# square.
MAX_COMPARED = 4000


def shifted(old: List[str], new: List[str], lines: List[int]) -> List[int]:
    """The places in `new` of the 1-based `lines` of `old`.

    A line that was changed keeps its place within the changed block; one that was deleted moves to
    the line that took its place.
    """
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    old_middle, new_middle = old[head : len(old) - tail], new[head : len(new) - tail]
    delta = len(new) - len(old)
    blocks = _blocks(old_middle, new_middle)

    def place(line: int) -> int:
        index = line - 1
        if index < head:
            return line
        if index >= len(old) - tail:
            return line + delta
        for old_start, old_end, new_start, new_end in blocks:
            if old_start <= index - head < old_end:
                moved = new_start + (index - head - old_start)
                return head + min(moved, max(new_end - 1, new_start)) + 1
        return line

    return [max(1, min(place(line), max(len(new), 1))) for line in lines]


def _common(a: List[str], b: List[str]) -> int:
    count = 0
    for left, right in zip(a, b):
        if left != right:
            break
        count += 1
    return count


def _blocks(old: List[str], new: List[str]) -> List[List[int]]:
    if len(old) > MAX_COMPARED or len(new) > MAX_COMPARED:
        return [[0, len(old), 0, len(new)]]
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    return [[i1, i2, j1, j2] for _, i1, i2, j1, j2 in matcher.get_opcodes()]
