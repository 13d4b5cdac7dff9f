"""Step 3, attach: what can be known of a line before it is stopped at, from its file alone. Pure.

debugpy takes a condition with a name that has no value for false and says nothing, so that one
would wait for ever.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_BUILTINS = frozenset(dir(builtins))


def runs_at_load_only(source: bytes, line: int) -> bool:
    """Whether no function's body has the line, so that no request comes by it."""
    tree = _parsed(source)
    return tree is not None and _function(tree, line) is None


def names_without_value(expression: str, source: bytes, line: int) -> list[str]:
    """Names of an expression that seem to have no value at the line."""
    tree, asked = _parsed(source), ast.parse(expression)
    if tree is None or any(_is_star(node) for node in ast.walk(tree)):
        return []
    names = {node.id for node in ast.walk(asked) if isinstance(node, ast.Name)}
    # A comprehension of it has variables of its own.
    return sorted(names - _BUILTINS - _all_bound(asked) - _bound_before(tree, line))


def _bound_before(tree: ast.Module, line: int) -> set[str]:
    """Names of the module, of other functions (which may be around it), and set before the line."""
    here = _function(tree, line)
    if here is None:
        return _all_bound(tree)
    loops = [node for node in ast.walk(here) if isinstance(node, _LOOPS) and _spans(node, line)]
    # What is set further down in a loop has the last round's value.
    again = {node for loop in loops for node in ast.walk(loop)}
    later = {node for node in ast.walk(here) if getattr(node, "lineno", 0) >= line} - again
    found = _all_bound(here.args)
    for node in ast.walk(tree):
        if node not in later:
            found.update(_bound(node))
    return found


def _all_bound(tree: ast.AST) -> set[str]:
    return {name for node in ast.walk(tree) for name in _bound(node)}


def _bound(node: ast.AST) -> Iterator[str]:
    """The names that a node gives a value."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
            yield name
        case ast.alias(name=name, asname=other):
            yield other or name.partition(".")[0]
        case (
            ast.FunctionDef(name=name)
            | ast.AsyncFunctionDef(name=name)
            | ast.ClassDef(name=name)
            | ast.ExceptHandler(name=str(name))
            | ast.MatchAs(name=str(name))
            | ast.MatchStar(name=str(name))
            | ast.MatchMapping(rest=str(name))
        ):
            yield name
        case ast.Global(names=names):
            yield from names


def _function(tree: ast.Module, line: int) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """The innermost function whose body has the line."""
    around = [
        node
        for node in ast.walk(tree)
        if isinstance(node, _FUNCTIONS) and node.body[0].lineno <= line <= (node.end_lineno or 0)
    ]
    return max(around, key=lambda node: node.lineno, default=None)


def _spans(node: ast.stmt, line: int) -> bool:
    return node.lineno <= line <= (node.end_lineno or 0)


def _is_star(node: ast.AST) -> bool:
    return isinstance(node, ast.ImportFrom) and any(it.name == "*" for it in node.names)


def _parsed(source: bytes) -> ast.Module | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
