"""Step 3, attach: JSON with comments, edited by splices: all other bytes stay as they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import tree_sitter

from devkit.launch.jsonc_tree import Document, JsoncError, Steps, data

__all__ = ["JsoncError", "Steps", "comments", "data", "inserted", "place", "removed", "replaced"]

_Cut = tuple[int, int, str]
_BLANK = (b" ", b"\t")


def replaced(text: str, path: Steps, value: Any) -> str:
    """Put `value` where the value at `path` stands."""
    document = Document.parse(text)
    node = document.find(path)
    inline = document.is_inline(node if document.items(node) else _container(node) or node)
    rendered = _rendered(document, value, document.line_indent(node.start_byte), inline=inline)
    return _spliced(document, [(node.start_byte, node.end_byte, rendered)])


def inserted(text: str, path: Steps, value: Any, *, key: str | None = None, note: str = "") -> str:
    """Add `value` as the last element of the array, or as member `key` of the object, at `path`.

    A `note` is a comment to stand behind the value's opening bracket.
    """
    document = Document.parse(text)
    container = document.find(path)
    items = document.items(container)
    if not items:
        return _spliced(document, _first(document, container, value, key, note))
    return _spliced(document, _further(document, items[-1], value, key, note))


def removed(text: str, path: Steps) -> str:
    """Take out the element or member at `path`, the comma that goes with it, and its line."""
    document = Document.parse(text)
    node = document.find(path)
    item = node.parent if node.parent is not None and node.parent.type == "pair" else node
    return _spliced(document, _removal(document, item))


def comments(text: str, path: Steps) -> list[str]:
    """The comments that stand directly in the container at `path`."""
    children = Document.parse(text).find(path).children
    return [(child.text or b"").decode() for child in children if child.type == "comment"]


def place(text: str, path: Steps) -> tuple[int, int]:
    """Line and column, from 1, at which the value at `path` begins."""
    document = Document.parse(text)
    return document.place(document.find(path).start_byte)


def _container(value: tree_sitter.Node) -> tree_sitter.Node | None:
    parent = value.parent
    return parent.parent if parent is not None and parent.type == "pair" else parent


def _spliced(document: Document, cuts: Sequence[_Cut]) -> str:
    result = document.source
    for start, end, text in sorted(cuts, reverse=True):
        result = result[:start] + text.encode() + result[end:]
    return result.decode()


def _rendered(
    document: Document,
    value: Any,
    indent: str,
    *,
    inline: bool,
    key: str | None = None,
    note: str = "",
) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=None if inline else document.indent)
    if note and not inline:
        text = f"{text[0]} {note}{text[1:]}"
    if key is not None:
        text = f"{json.dumps(key, ensure_ascii=False)}: {text}"
    return text.replace("\n", document.newline + indent)


def _first(
    document: Document, container: tree_sitter.Node, value: Any, key: str | None, note: str
) -> list[_Cut]:
    outer = document.newline + document.line_indent(container.start_byte)
    indent = document.line_indent(container.start_byte) + document.indent
    item = _rendered(document, value, indent, inline=False, key=key, note=note)
    start, end = container.start_byte + 1, container.end_byte - 1
    notes = [child for child in container.children if child.type == "comment"]
    if not notes:
        return [(start, end, document.newline + indent + item + outer)]
    at = notes[-1].end_byte
    if b"\n" in document.source[at:end]:
        return [(at, at, document.newline + indent + item)]
    return [(at, end, document.newline + indent + item + outer)]


def _further(
    document: Document, last: tree_sitter.Node, value: Any, key: str | None, note: str
) -> list[_Cut]:
    inline = last.parent is not None and document.is_inline(last.parent)
    indent = document.line_indent(last.start_byte)
    item = _rendered(document, value, indent, inline=inline, key=key, note=note)
    comma = document.comma_after(last)
    at, needs_line = _end_of_line(document, last, comma)
    own_line = not inline and document.is_first_on_line(last.start_byte)
    gap = document.newline + indent if own_line or needs_line else " "
    if comma is not None:
        return [(at, at, gap + item + ",")]
    if at == last.end_byte:
        return [(at, at, "," + gap + item)]
    return [(last.end_byte, last.end_byte, ","), (at, at, gap + item)]


def _end_of_line(
    document: Document, last: tree_sitter.Node, comma: tuple[int, int] | None
) -> tuple[int, bool]:
    """Where an item's own line ends, and whether by a comment that runs to its end.

    A comment beside an item belongs to it, so a new item goes behind the comment.
    """
    at = max(last.end_byte, comma[1] if comma else 0)
    needs_line = False
    node = last.next_sibling
    while node is not None and node.type == "comment":
        if b"\n" in document.source[min(at, node.start_byte) : node.start_byte]:
            break
        if node.end_byte > at:
            at = node.end_byte
            needs_line = (node.text or b"").startswith(b"//")
        node = node.next_sibling
    return at, needs_line


def _removal(document: Document, item: tree_sitter.Node) -> list[_Cut]:
    container = item.parent
    if container is None or container.type not in ("array", "object"):
        raise KeyError("the root")
    items = document.items(container)
    comma = document.comma_after(item)
    span = (item.start_byte, item.end_byte)
    if comma is None and len(items) > 1:
        comma = document.comma_after(items[-2])
    if len(items) == 1 and not _rest(document, container, [span, comma or span]):
        return [(container.start_byte + 1, container.end_byte - 1, "")]
    if comma is None:
        return [(*_widened(document, *span), "")]
    first, second = sorted([span, comma])
    if not document.source[first[1] : second[0]].strip(b" \t"):
        return [(*_widened(document, first[0], second[1]), "")]
    return [(*comma, ""), (*_widened(document, *span), "")]


def _rest(
    document: Document, container: tree_sitter.Node, spans: Sequence[tuple[int, int]]
) -> bytes:
    """What is in the container beside the spans and blank space."""
    left = bytearray(document.source)
    for start, end in spans:
        left[start:end] = b" " * (end - start)
    return bytes(left[container.start_byte + 1 : container.end_byte - 1].strip())


def _widened(document: Document, start: int, end: int) -> tuple[int, int]:
    """Take the whole line when nothing else stands on it, else the blanks on one side."""
    source = document.source
    after = end
    while source[after : after + 1] in _BLANK:
        after += 1
    follows = source[after : after + 1]
    if follows in (b"\n", b"\r"):
        if document.is_first_on_line(start):
            return document.line_start(start), source.index(b"\n", after) + 1
        return start, end
    if follows not in (b"]", b"}"):
        return start, after
    while source[start - 1 : start] in _BLANK:
        start -= 1
    return start, end
