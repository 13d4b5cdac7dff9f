"""Step 3, attach: JSON with comments, read: where a value stands, and what it means.

The two parsers (tree-sitter for places, Python's json for meaning) share nothing, so that an edit
made by the positions of one is checked by the other.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import tree_sitter
import tree_sitter_json

Steps = Sequence[str | int]
"""Keys and indexes from the root to a value."""

_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t"
_DEFAULT_INDENT = "    "
# What is not JSON in it, and the strings, in which all of it is text. An end may be missing: looked
# for from each beginning again, it would take for ever.
_STRING = r'"(?:[^"\\\n]|\\.)*"?'
_COMMENT = re.compile(rf"{_STRING}|//[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_TRAILING = re.compile(rf"{_STRING}|,(?=\s*[\]}}])")
_VISIBLE = re.compile(r"[^\r\n]")


class JsoncError(ValueError):
    """The text is not JSON with comments; `line` and `column` count from 1."""

    def __init__(self, reason: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {reason}")
        self.reason = reason
        self.line = line
        self.column = column


@dataclass(frozen=True)
class Document:
    """A text and where things stand in it.

    `root` is None when there is nothing but comments; `trailing` are the offsets of trailing
    commas, which the tree does not have.
    """

    source: bytes
    root: tree_sitter.Node | None
    trailing: frozenset[int]
    indent: str
    newline: str

    @classmethod
    def parse(cls, text: str) -> Document:
        """Read a text.

        Raises:
            JsoncError: it does not parse.
        """
        source = text.encode()
        root, trailing = _tree(source)
        values = [node for node in root.named_children if node.type != "comment"]
        if root.has_error or len(values) > 1:
            raise _error(text, root)
        value = values[0] if values else None
        return cls(source, value, trailing, _indent(text), _newline(text))

    def find(self, path: Steps) -> tree_sitter.Node:
        """The value at `path`; KeyError or IndexError when there is none."""
        node = self.root
        for step in path:
            if node is None:
                break
            node = self._child(node, step)
        if node is None:
            raise KeyError(path)
        return node

    def _child(self, node: tree_sitter.Node, step: str | int) -> tree_sitter.Node:
        found = self.items(node)
        if isinstance(step, int):
            return found[step]
        for pair in reversed(found):  # of two equal keys the last one counts, as in VS Code
            key, value = pair.child_by_field_name("key"), pair.child_by_field_name("value")
            if key is not None and value is not None and json.loads(key.text or b"") == step:
                return value
        raise KeyError(step)

    def items(self, container: tree_sitter.Node) -> list[tree_sitter.Node]:
        """The elements of an array, or the pairs of an object."""
        return [child for child in container.named_children if child.type != "comment"]

    def comma_after(self, item: tree_sitter.Node) -> tuple[int, int] | None:
        """The comma that follows an item, a trailing one included."""
        node = item.next_sibling
        while node is not None and node.type == "comment":
            node = node.next_sibling
        if node is None:
            return None
        if node.type == ",":
            return node.start_byte, node.end_byte
        found = [at for at in self.trailing if item.end_byte <= at < node.start_byte]
        return (found[0], found[0] + 1) if found else None

    def is_inline(self, node: tree_sitter.Node) -> bool:
        """Whether a value stands on one line."""
        return b"\n" not in self.source[node.start_byte : node.end_byte]

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of `offset`, both from 1."""
        before = self.source[self.line_start(offset) : offset].decode()
        return self.source.count(b"\n", 0, offset) + 1, len(before) + 1

    def line_start(self, offset: int) -> int:
        """Where the line of `offset` begins."""
        start = self.source.rfind(b"\n", 0, offset) + 1
        return len(_BOM) if start == 0 and self.source.startswith(_BOM) else start

    def line_indent(self, offset: int) -> str:
        """The blanks that the line of `offset` begins with."""
        line = self.source[self.line_start(offset) :]
        return line[: len(line) - len(line.lstrip(_BLANK))].decode()

    def is_first_on_line(self, offset: int) -> bool:
        """Whether only blanks stand before `offset` on its line."""
        return not self.source[self.line_start(offset) : offset].strip(_BLANK)


def data(text: str) -> Any:
    """What a text means; None when it holds nothing but comments.

    Raises:
        JsoncError: it does not parse.
    """
    return None if Document.parse(text).root is None else _meaning(text)


@functools.lru_cache(maxsize=1)
def _parser() -> tree_sitter.Parser:
    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_json.language()))


def _tree(source: bytes) -> tuple[tree_sitter.Node, frozenset[int]]:
    """Parse with trailing commas blanked: an error that is left then is a real one."""
    blanked = bytearray(source)
    trailing: set[int] = set()
    while True:
        root = _parser().parse(bytes(blanked)).root_node
        found = set(_trailing_commas(root)) if root.has_error else set()
        if not found:
            return root, frozenset(trailing)
        trailing |= found
        for at in found:
            blanked[at] = ord(" ")


def _trailing_commas(root: tree_sitter.Node) -> Iterator[int]:
    """Yield commas between a value and a closing bracket, however the grammar recovered."""
    tokens = list(_tokens(root))
    for before, comma, after in zip(tokens, tokens[1:], tokens[2:], strict=False):
        ends_value = before.is_named or before.type in ("}", "]", "true", "false", "null")
        if ends_value and comma.type == "," and after.type in ("}", "]"):
            yield comma.start_byte


def _tokens(node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    if node.is_missing or node.type == "comment":
        return
    if not node.children or node.type == "string":
        yield node
    else:
        for child in node.children:
            yield from _tokens(child)


def _meaning(text: str) -> Any:
    """Read with Python's json, comments and trailing commas blanked, so that places stay."""
    plain = text.removeprefix("\ufeff")
    for pattern in (_COMMENT, _TRAILING):
        plain = pattern.sub(_blanked, plain)
    try:
        return json.loads(plain)
    except RecursionError as error:
        raise JsoncError("it is nested too deeply", 1, 1) from error
    except json.JSONDecodeError as error:
        reason = error.msg[0].lower() + error.msg[1:]
        raise JsoncError(reason, error.lineno, error.colno) from error


def _blanked(found: re.Match[str]) -> str:
    text = found[0]
    is_open = text.startswith("/*") and (len(text) < 4 or not text.endswith("*/"))
    return text if is_open or text.startswith('"') else _VISIBLE.sub(" ", text)


def _error(text: str, root: tree_sitter.Node) -> JsoncError:
    """Say where it stops parsing, in json's words if it does not take it either."""
    try:
        _meaning(text)
    except JsoncError as error:
        return error
    node: tree_sitter.Node | None = root
    while node is not None:
        place = node.start_point
        node = next((c for c in node.children if c.has_error or c.is_missing), None)
    before = text.encode().split(b"\n")[place.row][: place.column].decode(errors="replace")
    return JsoncError("this is not JSON with comments", place.row + 1, len(before) + 1)


def _indent(text: str) -> str:
    """The indentation of the first line that has one, comments aside."""
    match = re.search(r"^[ \t]+(?=[\"{}\[\]])", text, re.MULTILINE)
    return match[0] if match else _DEFAULT_INDENT


def _newline(text: str) -> str:
    head, separator, _ = text.partition("\n")
    return "\r\n" if separator and head.endswith("\r") else "\n"
