"""Step 7, diagnose: modules that the service imports and its environment does not have."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from difflib import get_close_matches

from devkit.diagnose import module_names, sources
from devkit.diagnose.case import Case, Spot, place
from devkit.diagnose.finding import Finding, Severity
from devkit.diagnose.raised import Raised

# Of Pythons that a service may ask for, and no longer of this one.
_ONCE_STANDARD = {"distutils": "3.12", "imp": "3.12", "asyncore": "3.12", "cgi": "3.13"}
_SERVER_MODULES = (
    "azureml_inference_server_http",
    "azureml.core",
    "azureml.exceptions",
    "azureml.contrib.services",
    "gunicorn",
    "inference_schema",
)


def not_asked_for(case: Case) -> Iterator[Finding]:
    """Each module that is imported has to be the standard library's, the user's, or asked for."""
    if case.environment is None or (case.status and case.status.is_ready):
        return
    wants = case.environment.wants
    named = {line.name for line in wants.lines if line.name}
    has, unknown = module_names.brought(named)
    is_sure = not (unknown or wants.local or len(named) < len(wants.lines) or _has_own_base(case))
    for script in case.scripts:
        for item in _foreign(case, script):
            if module_names.package(item.module) not in has:
                is_needed = item.function in ("", "init")
                severity: Severity = ("error" if is_needed else "warning") if is_sure else "note"
                spot = Spot(script.name, item.line, "import")
                yield missing(case, item.module, spot, severity=severity)


def missing(case: Case, module: str, spot: Spot, *, severity: Severity = "error") -> Finding:
    """A module is not there; the package and the line for the environment file are said."""
    top = module.split(".")[0]
    environment = case.environment
    if top in _ONCE_STANDARD:
        return Finding(
            "module-missing", severity, f"Python has no module {top} any more.",
            f"It left the standard library with Python {_ONCE_STANDARD[top]}.",
            "Use what replaced it, or ask for an older Python in the environment file.",
            file=spot.file, line=spot.line,
        )  # fmt: skip
    wanted = module_names.package(module)
    file = case.workspace.config.environment
    if environment is None or file is None:
        remedy = f'Create requirements.txt with the line "{wanted}".'
        where = "The service has no environment file, so it has no packages of its own."
    else:
        line = f"- {wanted}" if file.endswith((".yml", ".yaml")) else wanted
        remedy = f'Add the line "{line}" to {file}, then `devkit debug` builds it in.'
        where = f"{file} asks for no package that is known to bring it."
    if own := _own_module_like(case, top):
        remedy = f"Did you mean {own}, which is {own}.py? Else: {remedy}"
    named = "" if wanted == top else f" (module {top})"
    return Finding(
        "module-missing", severity, f"The package {wanted}{named} is missing.",
        f"{spot.file} imports {module}. {where}", remedy, file=spot.file, line=spot.line,
    )  # fmt: skip


def _own_module_like(case: Case, name: str) -> str | None:
    """A module of the user's own that a name may mean."""
    own = [path.stem for folder in case.folders for path in sorted(folder.glob("*.py"))]
    return next(iter(get_close_matches(name, own, n=1, cutoff=0.8)), None)


def of_raised(case: Case, one: Raised, spot: Spot) -> Finding | None:
    """ModuleNotFoundError: which package is missing, or which file of the user's."""
    if one.kind != "ModuleNotFoundError" or "'" not in one.message:
        return None
    module = one.message.split("'")[1]
    if not all(part.isidentifier() for part in module.split(".")):
        return None
    if module in ("main", "score", case.workspace.config.entry_script.removesuffix(".py")):
        return None
    if module == "devkit" or sources.is_local(module, (case.workspace.root, *case.folders)):
        return Finding(
            "module-not-shipped", "error", f"The module {module} is not in the container.",
            f"It lies in the workspace, but not in the source directory {case.folders[0]}, or "
            ".dockerignore leaves it out.",
            "Move it into the source directory, or set source_directory to a folder above both.",
            file=spot.file, line=spot.line,
        )  # fmt: skip
    return missing(case, module, spot)


def server_of_raised(case: Case, one: Raised) -> Finding | None:
    """The inference server itself is missing: only in images that devkit did not make."""
    message = one.message
    if one.kind == "ModuleNotFoundError" and any(f"'{m}" in message for m in _SERVER_MODULES):
        return no_server(case, str(one))
    return None


def no_server(case: Case, seen: str) -> Finding:
    """The environment of the cloud has no inference server, or one that brings none."""
    line = case.line("azureml-defaults") or case.line("azureml-inference-server-http")
    file, number = place(_raw_place(case, "azureml-defaults") or (line.place if line else ""))
    config = case.workspace.config.environment
    return Finding(
        "server-missing", "error", "The inference server is not in the environment.",
        "In the cloud the environment brings the server: azureml-defaults up to 1.0.45 brought "
        "none, as the base image had it then. devkit's own images always have it.",
        'Add "azureml-defaults>=1.61" (or "azureml-inference-server-http") to '
        f"{config or 'the environment file'}, in its pip list.",
        seen, file or config, number,
    )  # fmt: skip


def old_server(case: Case) -> Iterator[Finding]:
    """azureml-defaults in a version that brings no server: it works here, and not in the cloud."""
    said = _raw_line(case, "azureml-defaults")
    if said is None:
        return
    number, text = said
    version = text.partition("==")[2].strip("\"' ")
    parts = [int(p) for p in version.split(".")[:3] if p.isdigit()]
    # 1.35 is the first that depends on azureml-inference-server-http.
    if parts and parts < [1, 35]:
        found = no_server(case, text.strip())
        yield Finding(
            found.id, "warning", f"azureml-defaults {version} brings no inference server.",
            found.cause, found.remedy, text.strip(), case.workspace.config.environment, number,
        )  # fmt: skip


def _foreign(case: Case, script: sources.Script) -> Iterator[sources.Import]:
    seen = set[str]()
    for item in script.imports:
        top = item.module.split(".")[0]
        folders = (*case.folders, script.path.parent)
        if top in sys.stdlib_module_names or sources.is_local(item.module, folders):
            continue
        # Of `from a import b` the module is known to be a, and b perhaps a name in it.
        name = module_names.package(item.module)
        if top == "azureml" or name in seen or any(name.startswith(f"{n}-") for n in seen):
            continue
        seen.add(name)
        yield item


def _has_own_base(case: Case) -> bool:
    image = case.workspace.config.image
    return bool(image.dockerfile or (image.base and not image.base.startswith("devkit-base:")))


def _raw_line(case: Case, name: str) -> tuple[int, str] | None:
    """Find a package in the file's own text: devkit leaves some out when it reads it."""
    file = case.workspace.config.environment
    if file is None:
        return None
    try:
        lines = (case.workspace.root / file).read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    numbered = ((number, line.strip().lstrip("- ")) for number, line in enumerate(lines, 1))
    return next(((number, line) for number, line in numbered if line.startswith(name)), None)


def _raw_place(case: Case, name: str) -> str:
    found = _raw_line(case, name)
    return f"{case.workspace.config.environment}:{found[0]}" if found else ""
