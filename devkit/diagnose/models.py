"""Step 7, diagnose: the models. Where each is expected, and what is there."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from devkit.contract import APP_ROOT, MODELS_DIR
from devkit.diagnose import model_paths
from devkit.diagnose.case import Case, Spot, place
from devkit.diagnose.finding import Finding
from devkit.diagnose.raised import Raised
from devkit.errors import BadValue, ModelMissing
from devkit.package import models

_MODELS = APP_ROOT / MODELS_DIR
_MOST_SHOWN = 12


def configured(case: Case) -> Iterator[Finding]:
    """What devkit.yaml, or the folder, names has to be there, one entry to a version."""
    workspace = case.workspace
    origin = workspace.origins["models"]
    file, line = place(origin)
    try:
        models.placements(workspace.config.models, workspace.root)
    except ModelMissing as error:
        yield Finding(
            "model-file-missing", "error", error.message,
            "The image is made from this file, and init() will look for it.",
            error.hint or "Correct `models` in devkit.yaml.", file=file, line=line,
        )  # fmt: skip
    except BadValue as error:
        yield _several(error.message, "", file, line)


def looked_up(case: Case) -> Iterator[Finding]:
    """Each literal `get_model_path(NAME)` has to name a model of the service."""
    there = {(model.name, model.version) for model in case.workspace.config.models}
    names = {name for name, _ in there}
    for script in case.scripts:
        for wanted in model_paths.named(script):
            is_there = (
                wanted.name in names
                if wanted.version is None
                else (wanted.name, wanted.version) in there
            )
            if not is_there and not _exists(case.workspace.source, wanted.name):
                spot = Spot(script.name, wanted.line, "init")
                yield not_found(case, wanted.name, wanted.version, spot)


def joined(case: Case) -> Iterator[Finding]:
    """Each path that is joined to AZUREML_MODEL_DIR has to be there."""
    if len(case.placed) != len(case.workspace.config.models) or not case.placed:
        return
    folder = PurePosixPath(models.model_dir(case.workspace.config.models))
    there = {parent for file in case.model_files for parent in (file, *file.parents)}
    for script in case.scripts:
        for wanted in model_paths.asked(script):
            if folder / wanted.path not in there:
                yield path_wrong(case, folder / wanted.path, Spot(script.name, wanted.line, "init"))


def not_found(case: Case, name: str, version: int | None, spot: Spot) -> Finding:
    """`get_model_path` finds no model of that name, or not in that version."""
    known = {model.name: model.version for model in case.workspace.config.models}
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if name in known:
        remedy = f"Ask for version {known[name]}, or leave `version` out for the newest."
    elif near:
        remedy = f'Did you mean "{near[0]}"? Write Model.get_model_path("{near[0]}").'
    elif known:
        remedy = f"There are: {', '.join(known)}. Use one of these names, or add {name!r}."
    else:
        remedy = "Put the model into models/, or name it under `models` in devkit.yaml."
    which = name if version is None else f"{name}, version {version},"
    return Finding(
        "model-not-found", "error", f"The model {which} is not in the service.",
        f"Model.get_model_path() looks for {_MODELS / name} and then for ./{name}; "
        f"a model has the name under which it was registered, not that of its file.",
        remedy, tree(case), spot.file, spot.line,
    )  # fmt: skip


def path_wrong(case: Case, path: PurePosixPath, spot: Spot) -> Finding:
    """A path below the models' folder is not there; the right join() is said."""
    folder = PurePosixPath(models.model_dir(case.workspace.config.models))
    files = [file for file in case.model_files if file.is_relative_to(folder)]
    same = [file for file in files if file.name == path.name]
    names = {file.name: file for file in files}
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    chosen = same or [names[name] for name in near] or (files if len(files) == 1 else [])
    parts = ", ".join(f'"{part}"' for part in chosen[0].relative_to(folder).parts) if chosen else ""
    return Finding(
        "model-path-wrong", "error", f"{path} is not there.",
        f"AZUREML_MODEL_DIR is {folder}. A registered file lies in it by its name; a registered "
        "folder lies in it as a folder, one level more.",
        f'Write os.path.join(os.environ["AZUREML_MODEL_DIR"], {parts}).' if parts
        else "Correct the path by the listing, or add the file to the model.",
        tree(case), spot.file, spot.line,
    )  # fmt: skip


def of_raised(case: Case, one: Raised, spot: Spot) -> Finding | None:
    """What the SDK's Model and the file system say of a model that is not where it should be."""
    message = one.message
    if "not found in cache at" in message:
        name = _word_after(message, "Model ")
        return not_found(case, name, None, _call(case, name) or spot)
    if "may only contain 1 file or folder" in message or "may only contain 1 " in message:
        return _several(str(one), message, spot.file, spot.line)
    if one.kind in ("FileNotFoundError", "NotADirectoryError", "IsADirectoryError", "OSError"):
        path = _quoted(message)
        if path and PurePosixPath(path).is_relative_to(_MODELS):
            return path_wrong(case, PurePosixPath(path), _join(case, path) or spot)
        if path and one.kind == "FileNotFoundError":
            return _relative(case, path, spot)
    return None


def tree(case: Case) -> str:
    """List what stands below azureml-models, as the container has it."""
    files = case.model_files
    shown = [str(file) for file in files[:_MOST_SHOWN]]
    more = [f"... and {len(files) - _MOST_SHOWN} more"] if len(files) > _MOST_SHOWN else []
    return "\n".join([*shown, *more]) or f"{_MODELS} is empty: the service has no model."


def _several(title: str, message: str, file: str | None, line: int | None) -> Finding:
    return Finding(
        "model-several-files", "error", title,
        "A version of a model holds exactly one entry, a file or a folder; several files that "
        "belong together are registered as their folder.",
        "Put the files into one folder and name that as the model's path; in the script: "
        'os.path.join(Model.get_model_path(NAME), "FILE").',
        message.partition("Found: ")[2].partition("\n")[0], file, line,
    )  # fmt: skip


def _relative(case: Case, path: str, spot: Spot) -> Finding:
    pure = PurePosixPath(path)
    here = next((f for f in case.folders if not pure.is_absolute() and _exists(f, path)), None)
    if here:
        remedy = f'Write Path(__file__).parent / "{path}".'
        cause = f"The server runs in {APP_ROOT}; the file lies beside the script, in the folder "
        cause += f"{case.workspace.source.name}/ below it."
    else:
        cause = f"Neither the container has it, nor the source directory {case.folders[0]}."
        remedy = "Add the file to the source directory, or to the model, and open it from there."
    return Finding(
        "file-not-found", "error", f"{path} is not there.", cause, remedy,
        file=spot.file, line=spot.line,
    )  # fmt: skip


def _call(case: Case, name: str) -> Spot | None:
    found = ((s, n) for s in case.scripts for n in model_paths.named(s) if n.name == name)
    return next((Spot(script.name, wanted.line, "init") for script, wanted in found), None)


def _join(case: Case, path: str) -> Spot | None:
    folder = PurePosixPath(models.model_dir(case.workspace.config.models))
    found = ((s, a) for s in case.scripts for a in model_paths.asked(s))
    wanted = PurePosixPath(path)
    return next((Spot(s.name, a.line, "init") for s, a in found if folder / a.path == wanted), None)


def _word_after(text: str, mark: str) -> str:
    return text.partition(mark)[2].partition(" ")[0].strip("'\"")


def _quoted(text: str) -> str:
    return text.split("'")[1] if text.count("'") >= 2 else ""


def _exists(folder: Path, name: str) -> bool:
    """Whether a name that a script or a log gives is a path below a folder."""
    try:
        return (folder / name).exists()
    except (OSError, ValueError):
        # Longer than a name may be.
        return False
