"""Step 1, package: the models of the configuration get their places in the container."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from devkit.config import ModelEntry
from devkit.contract import APP_ROOT, MODELS_DIR
from devkit.engine import ContextFile, Placement
from devkit.errors import BadValue, ModelMissing


def placements(models: Sequence[ModelEntry], root: Path) -> tuple[Placement, ...]:
    """Place each model at azureml-models/<name>/<version>/<file or folder>.

    A path may lie outside the workspace; a link is followed, and the model keeps the link's name.

    Raises:
        ModelMissing: a path is not there; the names beside it are suggested.
        BadValue: two models of the same name and version: a version holds exactly one entry.
    """
    found: dict[tuple[str, int], Placement] = {}
    for model in models:
        key = (model.name, model.version)
        if key in found:
            raise BadValue(
                f"Model {model.name!r} has version {model.version} twice.",
                hint="Give one of them another version, or one folder that holds both files.",
            )
        found[key] = _placement(model, root)
    return tuple(found.values())


def model_dir(models: Sequence[ModelEntry]) -> str:
    """AZUREML_MODEL_DIR: the version's folder of the only model, else the folder of all."""
    if len(models) == 1:
        return str(APP_ROOT / MODELS_DIR / models[0].name / str(models[0].version))
    return str(APP_ROOT / MODELS_DIR)


def notes(models: Sequence[ModelEntry]) -> tuple[str, ...]:
    """Say what AZUREML_MODEL_DIR is where there is more than one: not what it is with one."""
    if len(models) < 2:
        return ()
    names = ", ".join(f"{model.name}/{model.version}" for model in models)
    return (f"Several models ({names}): AZUREML_MODEL_DIR is their folder, {model_dir(models)}.",)


def _placement(model: ModelEntry, root: Path) -> Placement:
    written = Path(os.path.normpath(root / Path(model.path).expanduser()))
    if not written.exists():
        raise _missing(model, written)
    remote = APP_ROOT / MODELS_DIR / model.name / str(model.version) / written.name
    return Placement(written.resolve(), remote)


def _missing(model: ModelEntry, written: Path) -> ModelMissing:
    if written.is_symlink():
        problem = f"is a link to {written.readlink()}, which is not there"
    else:
        problem = "is not there"
    near = _near(written)
    if near:
        hint = f"Did you mean {' or '.join(near)}? Correct `models` in devkit.yaml."
    else:
        hint = "Train or copy the model first, or correct `models` in devkit.yaml."
    return ModelMissing(f"The path {model.path} of model {model.name!r} {problem}.", hint=hint)


def _near(written: Path) -> list[str]:
    folder = written.parent
    while not folder.is_dir():
        written, folder = folder, folder.parent
    names = [entry.name for entry in folder.iterdir()]
    close = difflib.get_close_matches(written.name, names, n=3, cutoff=0.6)
    same_stem = [name for name in sorted(names) if Path(name).stem == written.stem]
    return list(dict.fromkeys([*close, *same_stem]))[:3]


def links(
    placed: Iterable[Placement], source: Path, place: PurePosixPath, *, under: PurePosixPath
) -> Iterator[ContextFile]:
    """Yield a link where each model stands in the source directory, to where it is placed.

    A script that opens models/m.pkl beside itself finds it there, as it does on this machine.

    Args:
        placed: the models.
        source: the source directory.
        place: its path in the container.
        under: its path in the build context.
    """
    for model in placed:
        if not model.local.is_relative_to(source) or model.local == source:
            continue
        inner = PurePosixPath(model.local.relative_to(source).as_posix())
        target = os.path.relpath(model.remote, (place / inner).parent)
        yield ContextFile(under / inner, b"", 0o777, link=target)
