from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devkit.launch import jsonc

EDITED = [
    # text, path, value, key, what it becomes
    ("[]", (), 1, None, "[\n    1\n]"),
    ("[1]", (), 2, None, "[1, 2]"),
    ("[1,]", (), 2, None, "[1, 2,]"),
    ("[\n\t1\n]", (), 2, None, "[\n\t1,\n\t2\n]"),
    ("[\n\t1,\n]", (), 2, None, "[\n\t1,\n\t2,\n]"),
    ("[\n  1 // one\n]", (), 2, None, "[\n  1, // one\n  2\n]"),
    ("[\n  1, // one\n]", (), 2, None, "[\n  1, // one\n  2,\n]"),
    ("[\n  1 /* one */,\n  // more?\n]", (), 2, None, "[\n  1 /* one */,\n  2,\n  // more?\n]"),
    ("[\n  // none yet\n]", (), 1, None, "[\n  // none yet\n    1\n]"),
    ("[ /* none */ ]", (), 1, None, "[ /* none */\n    1\n]"),
    ("[1 // one\n]", (), 2, None, "[1, // one\n2\n]"),
    ("{}", (), [], "a", '{\n    "a": []\n}'),
    ('{"a": 1}', (), 2, "b", '{"a": 1, "b": 2}'),
    ('{\r\n "a": [{\r\n  "x": 1\r\n }]\r\n}', ("a",), {"x": 2}, None,
     '{\r\n "a": [{\r\n  "x": 1\r\n }, {\r\n  "x": 2\r\n }]\r\n}'),
    ('\ufeff{"a": 1}', (), 2, "b", '\ufeff{"a": 1, "b": 2}'),
    ('{\n  "é": {"ü": 1}\n}', ("é",), "ß", "ö", '{\n  "é": {"ü": 1, "ö": "ß"}\n}'),
]  # fmt: skip


@pytest.mark.parametrize(("text", "path", "value", "key", "result"), EDITED)
def test_an_insertion_touches_only_its_place(
    text: str, path: jsonc.Steps, value: Any, key: str | None, result: str
) -> None:
    assert jsonc.inserted(text, path, value, key=key) == result


@pytest.mark.parametrize(("text", "path", "value", "key", "result"), EDITED)
def test_a_removal_undoes_an_insertion(
    text: str, path: jsonc.Steps, value: Any, key: str | None, result: str
) -> None:
    at = key if key is not None else len(_at(jsonc.data(text), path))
    undone = jsonc.removed(result, (*path, at))
    # Whether a comment alone in brackets had them on its line is not known any more.
    assert undone == text or undone.replace("\n]", " ]") == text


REMOVED = [
    ("[1, 2, 3]", (0,), "[2, 3]"),
    ("[1, 2, 3]", (1,), "[1, 3]"),
    ("[1, 2, 3]", (2,), "[1, 2]"),
    ("[1, 2, 3,]", (2,), "[1, 2,]"),
    ("[\n  1,\n  2\n]", (0,), "[\n  2\n]"),
    ("[\n  1,\n  2\n]", (1,), "[\n  1\n]"),
    ("[\n  1, // one\n  2 // two\n]", (1,), "[\n  1 // one\n  // two\n]"),
    ("[\n  1 // one\n  , 2\n]", (1,), "[\n  1 // one\n]"),
    ("[\n  // before\n  1\n]", (0,), "[\n  // before\n]"),
    ('{"a": 1, "b": [1,],}', ("b", 0), '{"a": 1, "b": [],}'),
    ('{"a": 1, "b": 2}', ("a",), '{"b": 2}'),
]


@pytest.mark.parametrize(("text", "path", "result"), REMOVED)
def test_a_removal_takes_the_comma_and_the_line_and_no_comment(
    text: str, path: jsonc.Steps, result: str
) -> None:
    assert jsonc.removed(text, path) == result


REPLACED = [
    ('{"a": 1}', ("a",), True, '{"a": true}'),
    ('{\n  "a": [] // none\n}', ("a",), [1], '{\n  "a": [\n    1\n  ] // none\n}'),
    ('{\n  "a": [2],\n  "b": 1,\n}', ("a",), [1, 3], '{\n  "a": [1, 3],\n  "b": 1,\n}'),
    ('{"a": 1, "a": 2}', ("a",), 3, '{"a": 1, "a": 3}'),
    ('[\n\t{"a": {"b": "x"}}\n]', (0, "a", "b"), "y", '[\n\t{"a": {"b": "y"}}\n]'),
]


@pytest.mark.parametrize(("text", "path", "value", "result"), REPLACED)
def test_a_replacement_touches_only_the_value(
    text: str, path: jsonc.Steps, value: Any, result: str
) -> None:
    assert jsonc.replaced(text, path, value) == result


BROKEN = [
    ('{"a": 1,,}', 1, 10),
    ('{\n  "a": 1\n  "b": 2\n}', 3, 3),
    ('{\n  "a": [1\n', 3, 1),
    ("{\n  'a': 1\n}", 2, 3),
    ("[,]", 1, 2),
    ("{} {}", 1, 4),
    ('{"a": 1', 1, 8),
    ("{\n  a: 1\n}", 2, 3),
    ('{"a": +1}', 1, 7),
    ("<<<<<<< HEAD\n{}", 1, 1),
    ("[" * 5000, 1, 1),
    ('{"a": 1} /* no end', 1, 10),
    ('["no end]', 1, 2),
    ("[NaN]", 1, 2),
]


@pytest.mark.parametrize(("text", "line", "column"), BROKEN)
def test_what_does_not_parse_is_named_by_line_and_column(text: str, line: int, column: int) -> None:
    with pytest.raises(jsonc.JsoncError) as caught:
        jsonc.data(text)
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize("text", ["", "\ufeff", " \r\n", "// only\n", "/* only */"])
def test_a_text_without_a_value_means_none(text: str) -> None:
    assert jsonc.data(text) is None


_SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=6)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=10,
)
_GAPS = st.sampled_from(["", " ", "\n", "\r\n\t", "/* c, } */", "// c ]\n", " // é\r\n  "])


@st.composite
def _texts(draw: st.DrawFn, value: Any) -> str:
    """The value as typed by somebody: comments, odd spaces, trailing commas anywhere."""
    gap = draw(_GAPS)
    if isinstance(value, dict | list):
        pairs = list(value.items()) if isinstance(value, dict) else [(None, v) for v in value]
        items = [
            ("" if key is None else f"{json.dumps(key, ensure_ascii=False)}:{draw(_GAPS)}")
            + draw(_texts(inner))
            for key, inner in pairs
        ]
        comma = draw(st.sampled_from(["", ","])) if items else ""
        inside = ",".join(items) + comma + draw(_GAPS)
        return (
            gap + ("{" + inside + "}" if isinstance(value, dict) else f"[{inside}]") + draw(_GAPS)
        )
    return gap + json.dumps(value, ensure_ascii=False) + draw(_GAPS)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), value=st.lists(_VALUES, max_size=4))
def test_any_text_can_be_edited_and_means_what_was_intended(
    data: st.DataObject, value: Any
) -> None:
    text = data.draw(_texts(value))
    assert jsonc.data(text) == value
    longer = jsonc.inserted(text, (), {"new": [1]})
    assert jsonc.data(longer) == [*value, {"new": [1]}]
    assert jsonc.data(jsonc.removed(longer, (len(value),))) == value
    if value:
        at = data.draw(st.integers(0, len(value) - 1))
        assert jsonc.data(jsonc.removed(text, (at,))) == value[:at] + value[at + 1 :]
        assert jsonc.data(jsonc.replaced(text, (at,), "x")) == [*value[:at], "x", *value[at + 1 :]]


def _at(value: Any, path: jsonc.Steps) -> Any:
    for step in path:
        value = value[step]
    return value


def test_comments_and_commas_in_strings_are_text() -> None:
    text = r'{"a//b": "/* c */", /* d "e */ "f": ["g,]", "\"//",], // h,]' + "\n}"
    assert jsonc.data(text) == {"a//b": "/* c */", "f": ["g,]", '"//']}


@pytest.mark.parametrize("piece", ["/*", '"\\"', ",", '"a', " , "])
def test_a_long_text_that_does_not_parse_is_refused_in_time(piece: str) -> None:
    with pytest.raises(jsonc.JsoncError):
        jsonc.data("[" + piece * 50_000)
