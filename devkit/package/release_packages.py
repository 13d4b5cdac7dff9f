"""Runs in the build of a release, on the image's own Python (3.7 and up): the packages made fit.

Debuggers go. The stand-in for azureml.core.model stays where azureml-core is not installed: the
service needs it, whoever debugs. What then still asks for a debugger is refused, with its line.
"""

from __future__ import annotations

import ast
import importlib.util
import shutil
import subprocess
import sys
import sysconfig
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def main(entry: str, stand_ins: str, *debuggers: str) -> int:
    """Do it; say what is missing as a line of the build, and return the exit code."""
    _remove(debuggers)
    if not _is_there("azureml_inference_server_http"):
        return _refused(
            "Nothing in the image can serve a release: azureml-inference-server-http is missing.",
            "Add azureml-inference-server-http to the environment file.",
        )
    if not _is_there("azureml.core"):
        _copy(Path(stand_ins), Path(sysconfig.get_paths()["purelib"]))
    with tokenize.open(entry) as file:
        tree = ast.parse(file.read())
    for line, module in _imported(tree):
        if module.split(".")[0] in debuggers:
            return _refused(
                f"{entry}:{line} imports {module}, which a release has not.",
                "Take the import out: devkit attaches without it. Or put it into try or if.",
            )
    return 0


def _remove(words: Sequence[str]) -> None:
    """Uninstall them, and remove what is named after them all the same, as a bundled copy."""
    pip = [sys.executable, "-m", "pip", "uninstall", "--yes", "--quiet"]
    subprocess.run(
        [*pip, "--disable-pip-version-check", *words], stderr=subprocess.DEVNULL, check=False
    )
    # Below a folder that goes, nothing is left to be looked at: the shortest paths first.
    for path in sorted(Path(sys.prefix).rglob("*")):
        if not any(word in path.name.lower() for word in words):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(str(path))
        elif path.is_symlink() or path.exists():
            path.unlink()


def _copy(folder: Path, into: Path) -> None:
    for path in folder.rglob("*.py"):
        place = into / path.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(path), str(place))


def _imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield (line, module) of the imports that always run; in `try` or `if` they may fail."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # a package above it is missing
        return False


def _refused(message: str, hint: str) -> int:
    sys.stdout.write(f"devkit-error: {message}\ndevkit-error-hint: {hint}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
