"""What is known of a line before anybody stops there."""

from __future__ import annotations

import pytest

from devkit.debug.line_facts import names_without_value, runs_at_load_only

SCORE = b"""\
import os.path
import numpy as np
from json import loads

FACTOR = 3


def init():
    global model
    model = 1


def run(raw_data, *, scale=1):
    data = loads(raw_data)
    for row in data:
        total = row
        seen = total
    answer = total * FACTOR
    try:
        with open("x") as file:
            pass
    except OSError as error:
        return lambda late: late
    return answer
"""


def line(text: str) -> int:
    return 1 + next(n for n, it in enumerate(SCORE.decode().splitlines()) if text in it)


@pytest.mark.parametrize(
    ("at", "expression", "names"),
    [
        ("answer =", "data and len(data) > FACTOR and model", []),
        ("answer =", "answer > 1", ["answer"]),
        ("answer =", "rows and raw_dat", ["raw_dat", "rows"]),
        ("return answer", "answer > 1 and file and error", []),
        ("answer =", "scale and np.x and os.path", []),
        ("total = row", "seen > 1 and row", []),  # of the round before
        ("data =", "data", ["data"]),
        ("answer =", "any(x > 1 for x in data)", []),
        ("answer =", "(lambda y: y)(1)", []),
        ("answer =", "'row'.x", []),
        ("FACTOR =", "model", []),
    ],
)
def test_names_that_have_no_value_at_a_line(at: str, expression: str, names: list[str]) -> None:
    assert names_without_value(expression, SCORE, line(at)) == names


def test_nothing_is_said_of_a_file_that_takes_names_from_elsewhere() -> None:
    assert names_without_value("anything", b"from x import *\n" + SCORE, 3) == []
    assert names_without_value("anything", b"def run(:", 1) == []


def test_a_function_of_one_line_has_its_arguments() -> None:
    assert names_without_value("x and y", b"def f(x): return x\n", 1) == ["y"]


def test_which_lines_no_request_comes_by() -> None:
    assert runs_at_load_only(SCORE, line("FACTOR ="))
    assert runs_at_load_only(SCORE, line("def run"))
    assert not runs_at_load_only(SCORE, line("data ="))
    assert not runs_at_load_only(b"def run(:", 1)
