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

_IMPORT_ERRORS = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
# What a module asks before it imports what only some machines or Pythons need.
_ELSEWHERE = ("sys.platform", "os.name", "sys.version_info", "platform.system")


@dataclass(frozen=True)
class Import:
    """An import of a module: in which line, and in which function ("" at the top).

    A relative one keeps its dots: ".helper", "..shared.names".
    """

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

    @cached_property
    def origins(self) -> dict[str, str]:
        """What the names that `from` and `as` bind stand for: {"listen": "debugpy.listen"}."""
        found = dict[str, str]()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    found.setdefault(alias.asname or alias.name, f"{node.module}.{alias.name}")
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.asname:
                        found.setdefault(alias.asname, alias.name)
        return found

    def line(self, number: int) -> str:
        """Return a line's text without its indentation; "" where there is none."""
        lines = self.text.splitlines()
        return lines[number - 1].strip() if 0 < number <= len(lines) else ""


def read(path: Path, name: str) -> Script | None:
    """Read a file; None when it is not there, too large, or does not parse."""
    try:
        # Opening a FIFO waits until somebody writes to it.
        if not path.is_file() or path.stat().st_size > _LARGEST_BYTES:
            return None
        with tokenize.open(path) as file:
            text = file.read()
        return Script(path, name, ast.parse(text), text)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        # Too deeply nested is a MemoryError, too.
        return None


def reachable(entry: Script, root: Path, folders: tuple[Path, ...]) -> tuple[Script, ...]:
    """Return the entry script and what it imports of its own folders, directly or not."""
    found = {entry.path: entry}
    pending = [entry]
    while pending and len(found) < _MOST_FILES:
        script = pending.pop()
        for item in script.imports:
            for path in _imported(item.module, script, root, folders):
                name = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
                if path not in found and (inner := read(path, name)):
                    found[path] = inner
                    pending.append(inner)
    return tuple(found.values())


def _imported(module: str, script: Script, root: Path, folders: tuple[Path, ...]) -> list[Path]:
    """Return the user's files that an import in a script runs."""
    name = module.lstrip(".")
    level = len(module) - len(name)
    if not level:
        return local_files(name, (*folders, script.path.parent))
    base = script.path.parents[min(level, len(script.path.parents)) - 1]
    is_ours = any(base.is_relative_to(folder) for folder in (root, *folders))
    return local_files(name, (base,)) if is_ours else []


def local_files(module: str, folders: tuple[Path, ...]) -> list[Path]:
    """Return the files that importing a dotted module runs, where it is one of these folders'."""
    parts = module.split(".")
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
    else:
        # `from package import module` runs the module, too.
        start = "." * node.level + (f"{node.module}." if node.module else "")
        names = [start.rstrip(".")] if node.module else []
        names += [f"{start}{alias.name}" for alias in node.names if alias.name != "*"]
    yield from (Import(name, node.lineno, function) for name in names)


def _blocks(node: ast.stmt) -> Iterator[list[ast.stmt]]:
    """Yield the statements within one that run, and may not fail."""
    match node:
        case ast.If():
            yield from _branches(node)
        case ast.Try() | ast.TryStar() if any(_catches(handler.type) for handler in node.handlers):
            yield from (node.orelse, node.finalbody)
        case ast.With() if any(_suppresses(item.context_expr) for item in node.items):
            return
        case ast.Match():
            yield from (case.body for case in node.cases)
        case _:
            blocks = (getattr(node, name, None) for name in ("body", "orelse", "finalbody"))
            yield from (block for block in blocks if isinstance(block, list))


def _branches(node: ast.If) -> Iterator[list[ast.stmt]]:
    """Yield the branches that run in the service, as far as the question tells."""
    asked = [dotted(n) for n in ast.walk(node.test) if isinstance(n, ast.Name | ast.Attribute)]
    if any(name.startswith(_ELSEWHERE) for name in asked):
        return
    if any(name.rpartition(".")[2] in ("TYPE_CHECKING", "__name__") for name in asked):
        is_not = isinstance(node.test, ast.UnaryOp) and isinstance(node.test.op, ast.Not)
        yield node.body if is_not else node.orelse
        return
    yield from (node.body, node.orelse)


def _suppresses(context: ast.expr) -> bool:
    """Whether it is contextlib.suppress(ImportError)."""
    if not isinstance(context, ast.Call) or not dotted(context.func).endswith("suppress"):
        return False
    return any(map(_catches, context.args))


def _catches(caught: ast.expr | None) -> bool:
    """Whether a failing import is among what is caught; None catches all."""
    if caught is None:
        return True
    return bool({n.id for n in ast.walk(caught) if isinstance(n, ast.Name)} & _IMPORT_ERRORS)
