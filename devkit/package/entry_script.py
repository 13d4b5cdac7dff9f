"""Step 1, package: the entry script is looked at before anything is built.

The server would find the same faults, but only after the build, and with a traceback of its own.
"""

from __future__ import annotations

import ast
import difflib
import tokenize
from pathlib import Path

from devkit.config import Workspace
from devkit.errors import EntryScriptBroken, EntryScriptMissing
from devkit.package.requirements import shown

_TEMPLATE_HINT = "It needs init(), called once, and run(data), called for each request."
# run() may have it beside the parameter for the data (azureml-spec.md 2.1).
_HEADERS = "request_headers"

Function = ast.FunctionDef | ast.AsyncFunctionDef


def check(workspace: Workspace) -> None:
    """Check that the entry script is there, parses, and has init() and run(data).

    Raises:
        EntryScriptMissing: no such file; near names are suggested.
        EntryScriptBroken: it does not parse or lacks a function; file:line is named.
    """
    path = workspace.source / workspace.config.entry_script
    name = shown(path, workspace.root)
    if not path.is_file():
        raise _missing(workspace, path, name)
    if ".." in Path(workspace.config.entry_script).parts or not path.is_relative_to(
        workspace.source
    ):
        raise EntryScriptMissing(
            f"The entry script {name} lies outside the source directory {workspace.source}.",
            hint="Set source_directory in devkit.yaml to a folder above it.",
        )
    if path.suffix != ".py":
        raise EntryScriptBroken(f"The entry script {name} is not a .py file.", hint=_TEMPLATE_HINT)
    module = _parsed(path, name)
    names = _defined(module.body)
    for wanted in ("init", "run"):
        if wanted not in names and not _imports_everything(module.body):
            raise EntryScriptBroken(
                f"{name}:{_last_line(module)}: there is no {wanted}() up to the end of the script.",
                hint=_TEMPLATE_HINT,
            )
    _check_arguments(names.get("init"), names.get("run"), name)


def _missing(workspace: Workspace, path: Path, name: str) -> EntryScriptMissing:
    scripts = sorted(p.name for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, scripts, n=3, cutoff=0.5) or scripts[:3]
    if not workspace.source.is_dir():
        hint = f"There is no folder {workspace.config.source_directory}: correct source_directory."
    elif near:
        hint = f"Did you mean {' or '.join(near)}? Set entry_script in devkit.yaml."
    else:
        hint = "Set entry_script in devkit.yaml; it is relative to source_directory."
    return EntryScriptMissing(f"The entry script {name} is not there.", hint=hint)


def _parsed(path: Path, name: str) -> ast.Module:
    try:
        with tokenize.open(path) as file:
            return ast.parse(file.read(), filename=name)
    except SyntaxError as error:
        line = (error.text or "").strip()
        raise EntryScriptBroken(
            f"{name}:{error.lineno or 1}: {error.msg}" + (f": {line}" if line else "."),
            hint="Correct that line; nothing was built.",
        ) from error
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise EntryScriptBroken(
            f"{name} cannot be read: {error}.", hint="Save it as a UTF-8 text file."
        ) from error


def _defined(body: list[ast.stmt]) -> dict[str, Function | None]:
    """Names bound at the top level -> their function, None when bound in another way."""
    names: dict[str, Function | None] = {}
    for statement in body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                names[statement.name] = statement
            case ast.Import() | ast.ImportFrom():
                names |= {(a.asname or a.name): None for a in statement.names}
            case ast.Assign():
                targets = [n for t in statement.targets for n in ast.walk(t)]
                names |= {t.id: None for t in targets if isinstance(t, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=assigned)):
                names[assigned] = None
            case ast.If() | ast.Try() | ast.With():
                for block in ("body", "orelse", "finalbody"):
                    names |= _defined(getattr(statement, block, []))
    return names


def _imports_everything(body: list[ast.stmt]) -> bool:
    stars = (s for s in body if isinstance(s, ast.ImportFrom))
    return any(alias.name == "*" for s in stars for alias in s.names)


def _last_line(module: ast.Module) -> int:
    return module.body[-1].end_lineno or 1 if module.body else 1


def _check_arguments(init: Function | None, run: Function | None, name: str) -> None:
    if init is not None:
        arguments = init.args
        required = len(arguments.posonlyargs + arguments.args) - len(arguments.defaults)
        if required > 0:
            raise EntryScriptBroken(
                f"{name}:{init.lineno}: init() takes an argument, but is called without one.",
                hint="Write it as `def init():`; read settings from os.environ.",
            )
    if run is None or run.decorator_list:
        return
    arguments = run.args
    taken = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    if not [a for a in taken if a.arg != _HEADERS]:
        raise EntryScriptBroken(
            f"{name}:{run.lineno}: run() takes no argument for the request's data.",
            hint="Write it as `def run(data):`.",
        )
