"""Step 7, diagnose: which paths below AZUREML_MODEL_DIR, and which models, a script asks for."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath

from devkit.diagnose.sources import Function, Script, dotted

VARIABLE = "AZUREML_MODEL_DIR"
_JOINS = ("os.path.join", "path.join", "join")
_PATHS = ("Path", "pathlib.Path", "PurePosixPath", "str", "os.fspath", "os.path.abspath")
_LOOKS = ("exists", "isfile", "isdir", "is_file", "is_dir", "makedirs", "mkdir", "glob", "listdir")


@dataclass(frozen=True)
class Asked:
    """A path that the script builds, relative to AZUREML_MODEL_DIR, and in which line."""

    path: PurePosixPath
    line: int


@dataclass(frozen=True)
class Named:
    """A model that `get_model_path` is asked for; `version` None is the newest."""

    name: str
    version: int | None
    line: int


def asked(script: Script) -> Iterator[Asked]:
    """Yield what a script joins to AZUREML_MODEL_DIR, as far as it can be read off.

    In a function that looks whether something exists, it may not be meant to.
    """
    at_top = _names(script.tree.body, {})
    scopes: list[tuple[list[ast.stmt], Mapping[str, str]]] = [(script.tree.body, at_top)]
    functions = (n for n in ast.walk(script.tree) if isinstance(n, Function))
    scopes += [(node.body, _names(node.body, at_top)) for node in functions]
    for body, names in scopes:
        own = [n for n in body if not isinstance(n, ast.FunctionDef | ast.ClassDef)]
        if any(_looks_first(node) for node in own):
            continue
        for node in own:
            # An expression may be a sum of a thousand texts.
            with suppress(RecursionError):
                yield from _below(node, names)


def named(script: Script) -> Iterator[Named]:
    """Yield the models that a script looks up by a literal name."""
    for call in script.calls:
        if not dotted(call.func).endswith("get_model_path"):
            continue
        values = [*call.args, *(k.value for k in call.keywords if k.arg == "model_name")]
        versions = [*call.args[1:2], *(k.value for k in call.keywords if k.arg == "version")]
        name = values[0].value if values and isinstance(values[0], ast.Constant) else None
        version = versions[0].value if versions and isinstance(versions[0], ast.Constant) else None
        if isinstance(name, str):
            yield Named(name, version if isinstance(version, int) else None, call.lineno)


def _below(node: ast.AST, names: Mapping[str, str]) -> Iterator[Asked]:
    """Yield the longest expressions of a statement that lie below the variable."""
    if isinstance(node, ast.expr):
        text = _text(node, names)
        if text is not None and text.startswith(f"${VARIABLE}/"):
            is_name = isinstance(node, ast.Name)
            if not is_name:  # where it was joined is the line to change
                yield Asked(PurePosixPath(text[len(VARIABLE) + 2 :]), node.lineno)
            return
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.ClassDef):
            yield from _below(child, names)


def _names(body: list[ast.stmt], around: Mapping[str, str]) -> dict[str, str]:
    """Return the names that are assigned once in a body, and mean a text that can be read off."""
    names, times = dict(around), dict[str, int]()
    for statement in body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
                times[name] = times.get(name, 0) + 1
                try:
                    text = _text(node.value, names)
                except RecursionError:
                    text = None
                names.pop(name, None)
                if text is not None and times[name] == 1:
                    names[name] = text
    return names


def _text(node: ast.expr, names: Mapping[str, str]) -> str | None:
    """Return what an expression comes to, the variable as "$AZUREML_MODEL_DIR"; None: unknown."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name):
            return names.get(name)
        case ast.Subscript(value=value, slice=ast.Constant(value=key)):
            return f"${key}" if key == VARIABLE and dotted(value).endswith("environ") else None
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return _joined([left, right], names)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            first, second = _text(left, names), _text(right, names)
            return None if first is None or second is None else first + second
        case ast.JoinedStr(values=values):
            return _formatted(values, names)
        case ast.Call():
            return _called(node, names)
    return None


def _called(node: ast.Call, names: Mapping[str, str]) -> str | None:
    function = dotted(node.func)
    if function.endswith(("getenv", "environ.get")) and node.args:
        return f"${VARIABLE}" if _text(node.args[0], names) == VARIABLE else None
    if function in _JOINS or (function in _PATHS and node.args):
        return _joined(node.args, names)
    if isinstance(node.func, ast.Attribute) and node.func.attr in ("joinpath", "as_posix"):
        return _joined([node.func.value, *node.args], names)
    return None


def _joined(parts: list[ast.expr], names: Mapping[str, str]) -> str | None:
    texts = [_text(part, names) for part in parts]
    known = [text for text in texts if text is not None]
    return str(PurePosixPath(*known)) if known and len(known) == len(texts) else None


def _formatted(values: list[ast.expr], names: Mapping[str, str]) -> str | None:
    texts = [_text(v.value if isinstance(v, ast.FormattedValue) else v, names) for v in values]
    return None if None in texts else "".join(text for text in texts if text is not None)


def _looks_first(node: ast.AST) -> bool:
    return any(
        (isinstance(n, ast.Call) and dotted(n.func).rpartition(".")[2] in _LOOKS)
        or (isinstance(n, ast.Attribute) and n.attr in _LOOKS)
        for n in ast.walk(node)
    )
