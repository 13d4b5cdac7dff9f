"""Step 0, configure: what a workspace without devkit.yaml shows by itself.

A folder with score.py needs nothing else. What is found can be overruled by any key.
"""

from __future__ import annotations

import ast
import re
import tomllib
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_SCRIPTS_FIRST = ("score.py", "main.py")
_ENVIRONMENTS = (
    "environment.yml",
    "environment.yaml",
    "conda.yml",
    "conda.yaml",
    "conda_dependencies.yml",
    "requirements.txt",
)
_MODEL_SUFFIXES = frozenset(
    [
        ".pkl",
        ".pickle",
        ".joblib",
        ".onnx",
        ".pt",
        ".pth",
        ".h5",
        ".hdf5",
        ".keras",
        ".safetensors",
        ".cbm",
        ".bst",
        ".pmml",
        ".gguf",
        ".ckpt",
    ]
)
_NOT_MODELS = frozenset(
    [
        ".py",
        ".pyc",
        ".ipynb",
        ".md",
        ".rst",
        ".txt",
        ".yml",
        ".yaml",
        ".toml",
        ".cfg",
        ".ini",
        ".csv",
        ".tsv",
        ".png",
        ".jpg",
        ".log",
        ".sh",
    ]
)
_MAX_SCRIPT_BYTES = 1024 * 1024
_MAX_LOOKED_AT = 500


def detected(root: Path) -> dict[str, Any]:
    """Return configuration keys and the values that the files of `root` suggest."""
    found: dict[str, Any] = {"service": service_name(root.name)}
    script = _entry_script(root)
    if script:
        found["entry_script"] = script.name
        if script.parent != root:
            found["source_directory"] = script.parent.name
    environment = _environment(root, script.parent if script else root)
    if environment:
        found["environment"] = environment.relative_to(root).as_posix()
    models = _models(root)
    if models:
        found["models"] = models
    return found


def service_name(folder: str) -> str:
    """Make a valid service name of a folder's name: "My Modèl_2" becomes "my-model-2"."""
    plain = unicodedata.normalize("NFKD", folder).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    # Engines refuse a container whose name is one letter.
    if not name[:1].isalpha() or len(name) == 1:
        name = f"service-{name}".strip("-")
    return name[:32].strip("-")


def _entry_script(root: Path) -> Path | None:
    for folder in (root, root / "src"):
        if (folder / "score.py").is_file():
            return folder / "score.py"
    for folder in (root, root / "src"):
        scripts = [path for path in _listed(folder) if path.suffix == ".py" and _scores(path)]
        named = [path for path in scripts if path.name in _SCRIPTS_FIRST]
        if named or len(scripts) == 1:
            return (named or scripts)[0]
    return None


def _scores(path: Path) -> bool:
    """Whether a script has init() and run() at its top level."""
    try:
        # Opening a FIFO waits until somebody writes to it.
        if not path.is_file() or path.stat().st_size > _MAX_SCRIPT_BYTES:
            return False
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    functions = {
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    return {"init", "run"} <= functions


def _environment(root: Path, source: Path) -> Path | None:
    for folder in dict.fromkeys((root, source)):
        for name in _ENVIRONMENTS:
            if (folder / name).is_file():
                return folder / name
        if _has_dependencies(folder / "pyproject.toml"):
            return folder / "pyproject.toml"
    return None


def _has_dependencies(pyproject: Path) -> bool:
    """Whether it describes a project; many hold only the settings of a linter."""
    try:
        return "dependencies" in tomllib.loads(pyproject.read_text("utf-8")).get("project", {})
    except (OSError, ValueError):
        return False


def _models(root: Path) -> list[dict[str, Any]]:
    folder = root / "models"
    if folder.is_dir():
        if (folder / "__init__.py").exists():
            return []
        paths = [path for path in _listed(folder) if _is_model(path)]
    else:
        paths = [path for path in _listed(root) if path.suffix.lower() in _MODEL_SUFFIXES]
    stems = [_model_name(path.stem) for path in paths]
    names = [
        stem if stems.count(stem) == 1 else _model_name(path.name)
        for stem, path in zip(stems, paths, strict=True)
    ]
    return [
        {"name": name, **_newest_version(root, path)}
        for name, path in zip(names, paths, strict=True)
        if name
    ]


def _is_model(path: Path) -> bool:
    if path.is_dir():
        inside = (entry for entry in _walked(path) if entry.is_file())
        return any(entry.suffix.lower() not in _NOT_MODELS for entry in inside)
    return path.suffix.lower() not in _NOT_MODELS


def _newest_version(root: Path, path: Path) -> dict[str, Any]:
    """Read models/iris/3/iris.pkl as version 3, as Azure ML lays models out."""
    inside = _listed(path) if path.is_dir() else []
    versions = [entry for entry in inside if entry.is_dir() and entry.name.isdecimal()]
    if not versions or len(versions) != len(inside):
        return {"path": path.relative_to(root).as_posix(), "version": 1}
    newest = max(versions, key=lambda entry: int(entry.name))
    content = _listed(newest)
    chosen = content[0] if len(content) == 1 else newest
    return {"path": chosen.relative_to(root).as_posix(), "version": int(newest.name)}


def _model_name(text: str) -> str:
    return re.sub(r"[^a-zA-Z0-9\-._]+", "-", text).lstrip("-._")[:255]


def _listed(folder: Path) -> list[Path]:
    """List a folder by name, without hidden entries; nothing when it cannot be read."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []


def _walked(folder: Path) -> Iterator[Path]:
    """Yield the first few hundred entries below: enough to see what a folder is."""
    for count, path in enumerate(folder.rglob("*")):
        if count >= _MAX_LOOKED_AT:
            return
        yield path
