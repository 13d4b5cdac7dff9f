"""Step 7, diagnose: the user's Python files as syntax trees; nothing of them is run."""

from __future__ import annotations

import ast
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

_MOST_FILES = 200
_LARGEST_BYTES = 1 << 20

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Import:
    """An import of a module: in which line, and in which function ("" at the top)."""

    module: str
    line: int
    function: str


@dataclass(frozen=True)
class Script:
    """A file that parses; `name` is how findings call it."""

    path: Path
    name: str
    tree: ast.Module
    text: str

    def function(self, name: str) -> Function | None:
        """Return a function at the top level."""
        named = (n for n in self.tree.body if isinstance(n, Function) and n.name == name)
        return next(named, None)

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """What it imports when it is loaded or its functions are called; not what it only tries."""
        return tuple(_imports(self.tree.body, ""))

    @cached_property
    def calls(self) -> tuple[ast.Call, ...]:
        """All calls, in the order of the lines."""
        found = [node for node in ast.walk(self.tree) if isinstance(node, ast.Call)]
        return tuple(sorted(found, key=lambda node: (node.lineno, node.col_offset)))

    def line(self, number: int) -> str:
        """Return a line's text without its indentation; "" where there is none."""
        lines = self.text.splitlines()
        return lines[number - 1].strip() if 0 < number <= len(lines) else ""


def read(path: Path, name: str) -> Script | None:
    """Read a file; None when it is not there, too large, or does not parse."""
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            return None
        with tokenize.open(path) as file:
            text = file.read()
        return Script(path, name, ast.parse(text), text)
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None


def reachable(entry: Script, root: Path, folders: tuple[Path, ...]) -> tuple[Script, ...]:
    """Return the entry script and what it imports of its own folders, directly or not."""
    found = {entry.path: entry}
    pending = [entry]
    while pending and len(found) < _MOST_FILES:
        script = pending.pop()
        for item in script.imports:
            for path in local_files(item.module, (*folders, script.path.parent)):
                name = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
                if path not in found and (inner := read(path, name)):
                    found[path] = inner
                    pending.append(inner)
    return tuple(found.values())


def local_files(module: str, folders: tuple[Path, ...]) -> list[Path]:
    """Return the files that importing a dotted module runs, where it is one of these folders'."""
    parts = module.lstrip(".").split(".")
    for folder in folders:
        found = list[Path]()
        for length in range(1, len(parts) + 1):
            inner = folder.joinpath(*parts[:length])
            for path in (inner / "__init__.py", inner.with_name(inner.name + ".py")):
                if path.is_file():
                    found.append(path)
        if found or (folder / parts[0]).is_dir():
            return found
    return []


def is_local(module: str, folders: tuple[Path, ...]) -> bool:
    """Say whether a module is the user's own: a file or a folder beside the entry script."""
    top = module.split(".")[0]
    return not top or any((f / top).is_dir() or (f / f"{top}.py").is_file() for f in folders)


def dotted(node: ast.expr) -> str:
    """Return "a.b.c" of a name or attribute; "" of anything else."""
    parts = list[str]()
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(parts)])


def _imports(body: list[ast.stmt], function: str) -> Iterator[Import]:
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _named(node, function)
        elif isinstance(node, Function | ast.ClassDef):
            inner = node.name if isinstance(node, Function) and not function else function
            yield from _imports(node.body, inner)
        else:
            for block in _blocks(node):
                yield from _imports(block, function)


def _named(node: ast.Import | ast.ImportFrom, function: str) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif not node.level:
        # `from package import module` runs the module, too.
        names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    else:
        names = [f".{name}" for name in ([node.module] if node.module else _aliases(node))]
    yield from (Import(name, node.lineno, function) for name in names)


def _aliases(node: ast.ImportFrom) -> list[str]:
    return [alias.name for alias in node.names]


def _blocks(node: ast.stmt) -> Iterator[list[ast.stmt]]:
    """Yield the statements within one that run, and may fail."""
    if isinstance(node, ast.If) and _never_runs(node.test):
        yield node.orelse
        return
    is_tried = isinstance(node, ast.Try) and any(map(_catches_import, node.handlers))
    for name in ("orelse", "finalbody") if is_tried else ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if isinstance(block, list):
            yield block


def _never_runs(test: ast.expr) -> bool:
    """Whether it is `if TYPE_CHECKING` or `if __name__ == "__main__"`."""
    words = {n.id for n in ast.walk(test) if isinstance(n, ast.Name)}
    words |= {n.attr for n in ast.walk(test) if isinstance(n, ast.Attribute)}
    return bool(words & {"TYPE_CHECKING", "__name__"})


def _catches_import(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    names = {n.id for n in ast.walk(handler.type) if isinstance(n, ast.Name)}
    return bool(names & {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})
