"""Breakpoints follow the text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devkit.runtime.lines import shifted

OLD = ["import json", "", "def run(x):", "    y = x", "    return y"]


@pytest.mark.parametrize(
    ("new", "before", "after"),
    [
        (["# new", *OLD], [1, 4], [2, 5]),
        (OLD[1:], [4, 5], [3, 4]),
        ([*OLD, "# end"], [1, 5], [1, 5]),
        ([*OLD[:3], "    # why", *OLD[3:]], [3, 4, 5], [3, 5, 6]),
        ([*OLD[:3], "    y = x + 1", OLD[4]], [4, 5], [4, 5]),
        ([*OLD[:3], OLD[4]], [4, 5], [4, 4]),
        ([], [4], [1]),
        (["    y = x", "import json", "", "def run(x):", "    return y"], [3], [4]),
    ],
    ids=["above", "deleted above", "below", "between", "changed", "deleted", "emptied", "moved"],
)
def test_a_line_is_found_where_the_edit_put_it(
    new: list[str], before: list[int], after: list[int]
) -> None:
    assert shifted(OLD, new, before) == after


texts = st.lists(st.sampled_from("abcdef"), max_size=30)


@given(old=texts, new=texts, line=st.integers(1, 40))
def test_the_place_is_always_a_line_of_the_new_text(
    old: list[str], new: list[str], line: int
) -> None:
    (place,) = shifted(old, new, [line])
    assert 1 <= place <= max(len(new), 1)


@given(old=texts.filter(bool), added=st.lists(st.just("new"), min_size=1, max_size=9))
def test_lines_put_above_all_others_move_each_line_by_as_many(
    old: list[str], added: list[str]
) -> None:
    lines = list(range(1, len(old) + 1))
    assert shifted(old, added + old, lines) == [line + len(added) for line in lines]
