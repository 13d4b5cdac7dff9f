"""Step 7, diagnose: the environment file: Python, pins, and the scikit-learn of the model."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

from devkit import contract
from devkit.diagnose import pickles
from devkit.diagnose.case import Case, Spot, place
from devkit.diagnose.finding import Finding, Severity
from devkit.diagnose.raised import Raised
from devkit.errors import ConfigError, DevkitError, NoBuildForPython
from devkit.package import environment, network
from devkit.package.requirements import Line

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_WEB_STACK = {
    "jinja2": ("escape", "Markup", "contextfunction", "environmentfilter"),
    "itsdangerous": ("json",),
    "markupsafe": ("soft_unicode",),
    "werkzeug": ("url_quote", "url_decode", "url_encode", "safe_str_cmp", "escape"),
    "flask": ("_request_ctx_stack", "_app_ctx_stack", "escape", "Markup", "json"),
}
_UNPICKLING = re.compile(
    r"sklearn\.externals|sklearn\.\w+\.(?:forest|tree|base|classes|label|_forest|_gb)'"
    r"|node array from the pickle has an incompatible dtype|incompatible dtype"
    r"|__pyx_unpickle|object has no attribute '(?:monotonic_cst|_fill_dtype|_n_features|"
    r"n_features_in_|max_features_|estimator_|_label_binarizer|store_cv_values|multi_class)'"
)
_PICKLE_ATTRIBUTE = re.compile(r"Can't get attribute '([^']{1,200})' on <module '(sklearn[\w.]*)")
_NO_MATCH = re.compile(r"No matching distribution found for ([\w.\-\[\]=<>!~,* ]{1,120})")
_NOT_FOUND = re.compile(r"(?:ResolvePackageNotFound|PackagesNotFoundError):")
_CONDA_ITEM = re.compile(r"^\s*- ([\w.\-]+[\w.=<>!*\- ]*)$")


def readable(case: Case) -> Iterator[Finding]:
    """The file can be read, and understood."""
    try:
        environment.read(case.workspace)
    except ConfigError as error:
        file, line = place(error.message)
        yield Finding(
            "environment-invalid", "error", error.message,
            "Nothing can be installed from a file that is not understood.",
            error.hint or "Correct that line.", "",
            file or case.workspace.config.environment, line,
        )  # fmt: skip


def python_named(case: Case) -> Iterator[Finding]:
    """A conda file names its Python; else each service chooses one of its own."""
    wanted = case.environment
    name = case.workspace.config.environment or ""
    if wanted is None or wanted.python_place or not name.endswith((".yml", ".yaml")):
        return
    yield Finding(
        "python-unpinned", "warning", f"{name} names no Python; here it becomes {wanted.python}.",
        "Azure ML silently takes 3.8.13 or 3.10.18 for such a file, so the same packages may be "
        "others there, or have no build.",
        f'Add "- python={wanted.python}" as the first of the dependencies.',
        "", name, _line_of(case.workspace.root / name, "dependencies:"),
    )  # fmt: skip


def installable(case: Case) -> Iterator[Finding]:
    """Each pin has a build for the Python; the index is asked, unless the image is there."""
    wanted = case.environment
    if wanted is None or not case.asks_index or case.log_text is not None:
        return
    if _is_built(case, wanted.digest):
        return
    from devkit.package.pins import check_pins

    machine = _MACHINES.get(platform.machine(), platform.machine())
    try:
        check_pins(wanted, network.found(case.workspace, wanted.wants), architecture=machine)
    except NoBuildForPython as error:
        pins = error.message.partition(": ")[2].split("; ")
        for line in wanted.wants.lines:
            said = next((pin for pin in pins if f"({line.place};" in f"{pin};"), None)
            said = said or next((pin for pin in pins if line.place in pin), None)
            if said:
                yield _no_build(line, wanted.python, error.message, error.hint or "")
                return
        first = wanted.wants.lines[0]
        yield _no_build(first, wanted.python, error.message, error.hint or "")
    except DevkitError:
        return


def of_log(case: Case) -> Iterator[Finding]:
    """What pip and conda say in a build's log when there is no such package."""
    match = _NO_MATCH.search(case.log)
    conda = _NOT_FOUND.search(case.log)
    if match:
        yield _not_found(case, match[1].strip())
    elif conda:
        for line in case.log[conda.end() :].splitlines():
            if item := _CONDA_ITEM.match(line[:300]):
                yield _not_found(case, item[1].strip())
                return


def model_fits(case: Case) -> Iterator[Finding]:
    """The scikit-learn that made a pickle is the one that loads it."""
    if case.environment is None:
        return
    for path in _pickles(case):
        version = pickles.sklearn_version(path)
        if version is None:
            continue
        line = case.line("scikit-learn")
        if line is None:
            if not case.environment.wants.local:
                yield _without(case, path, version)
        elif finding := _compared(case, path, version, line):
            yield finding


def of_raised(case: Case, one: Raised, spot: Spot) -> Finding | None:
    """A pickle of another scikit-learn, or a web stack that does not fit, as Python says it."""
    attribute = _PICKLE_ATTRIBUTE.search(one.message)
    if attribute or _UNPICKLING.search(one.message):
        return _unpickled(case, one, spot)
    return None


def web_stack(case: Case, one: Raised) -> Finding | None:
    """Flask, Jinja2 and their family in versions that do not go together."""
    if one.kind != "ImportError" or "cannot import name" not in one.message:
        return None
    words = one.message.split("'")
    if len(words) < 4:
        return None
    name, package = words[1], words[3].split(".")[0]
    if name not in _WEB_STACK.get(package, ()):
        return None
    culprit = next(filter(None, map(case.line, ("flask", "azureml-inference-server-http"))), None)
    file, line = place(culprit.place) if culprit else (case.workspace.config.environment, None)
    return Finding(
        "web-stack", "error", f"{package} is too new for the server: it has no {name} any more.",
        "An old Flask or inference server does not limit the versions of the packages below it, "
        "so the newest ones were installed.",
        "Take azureml-inference-server-http>=1.0 without a pin of flask; or, with the old one, "
        'pin "jinja2<3.1", "markupsafe<2.1", "itsdangerous<2.1" and "werkzeug<2.1".',
        str(one), file, line,
    )  # fmt: skip


def _pickles(case: Case) -> Iterator[Path]:
    for item in case.placed:
        paths = [item.local] if item.local.is_file() else sorted(item.local.rglob("*"))[:200]
        yield from (path for path in paths if path.is_file() and pickles.is_pickle(path))


def _compared(case: Case, path: Path, version: str, line: Line) -> Finding | None:
    installed = case.installed("scikit-learn")
    try:
        made = Version(version)
        pinned = Version(installed) if installed else _pinned(line.requirement)
    except InvalidVersion:
        return None
    if pinned is None or (pinned.release[:2] == made.release[:2]):
        return None
    if not installed and line.requirement and line.requirement.specifier.contains(made):
        return None
    is_older = pinned < made
    # Within a major version a newer one warns, and most often loads.
    severity: Severity = "error" if is_older or made.major != pinned.major else "warning"
    return _mismatch(case, path, version, str(pinned), line, severity)


def _mismatch(
    case: Case, path: Path, version: str, pinned: str, line: Line | None, severity: Severity
) -> Finding:
    file, number = place(line.place) if line else (case.workspace.config.environment, None)
    made = "an old version, before 0.18," if version == "0" else version
    minor = ".".join(version.split(".")[:2])
    remedy = "Train it again with the version that serves it."
    if version != "0":
        remedy = f'Write "scikit-learn=={minor}.*", which is the newest that surely loads it; or '
        remedy += f"train it again with {pinned}."
    return Finding(
        "model-version-mismatch", severity,
        f"{case.shown(path)} was made by scikit-learn {made}, and {pinned} has to load it.",
        "A pickle holds the inner state of the objects, which other versions lay out differently.",
        remedy, line.text if line else "", file, number,
    )  # fmt: skip


def _without(case: Case, path: Path, version: str) -> Finding:
    file = case.workspace.config.environment
    wanted = "scikit-learn" if version == "0" else f"scikit-learn=={version}"
    return Finding(
        "model-package-missing", "error",
        f"{case.shown(path)} needs scikit-learn, which the environment does not have.",
        "Loading a pickle imports the package that its objects are of.",
        f'Add "{wanted}" to {file or "a new requirements.txt"}.', "", file or case.shown(path),
    )  # fmt: skip


def _unpickled(case: Case, one: Raised, spot: Spot) -> Finding:
    for path in _pickles(case):
        version = pickles.sklearn_version(path)
        if version:
            line = case.line("scikit-learn")
            pinned = _pinned(line.requirement) if line else None
            found = _mismatch(case, path, version, str(pinned or "another"), line, "error")
            return Finding(
                found.id, "error", found.title, found.cause, found.remedy, str(one),
                found.file if line else spot.file, found.line if line else spot.line,
            )  # fmt: skip
    return Finding(
        "model-version-mismatch", "error",
        "The model was made by another version of its package than the one that loads it.",
        "A pickle holds the inner state of the objects, which other versions lay out differently.",
        "Pin the version that trained it in the environment file, or train it again.",
        str(one), spot.file, spot.line,
    )  # fmt: skip


def _no_build(line: Line, python: str, message: str, hint: str) -> Finding:
    file, number = place(line.place)
    return Finding(
        "package-not-installable", "error", f"{line.text} has no build for Python {python}.",
        message, hint, line.text, file, number,
    )  # fmt: skip


def _not_found(case: Case, wanted: str) -> Finding:
    name = re.split(r"[=<>!~\[ ]", wanted, maxsplit=1)[0]
    from packaging.utils import canonicalize_name

    line = case.line(canonicalize_name(name))
    file, number = place(line.place) if line else (case.workspace.config.environment, None)
    python = case.environment.python if case.environment else "this"
    return Finding(
        "package-not-installable", "error", f"{wanted} cannot be installed.",
        f"No index has a build of it for Python {python} and this platform, or there is no package "
        "of that name.",
        "`devkit diagnose` without --logs asks the index for the nearest versions; correct the "
        "pin, or choose another Python.",
        wanted, file, number,
    )  # fmt: skip


def _pinned(requirement: Requirement | None) -> Version | None:
    if requirement is None:
        return None
    exact = [s.version.removesuffix(".*") for s in requirement.specifier if s.operator == "=="]
    limits = [s.version for s in requirement.specifier if s.operator in ("<", "<=", "~=")]
    lowest = [s.version for s in requirement.specifier if s.operator in (">=", ">")]
    said = [*exact, *limits, *lowest]
    try:
        return Version(said[0]) if said else None
    except InvalidVersion:
        return None


def _is_built(case: Case, digest: str) -> bool:
    if case.engine is None:
        return False
    try:
        image = case.engine.image(case.workspace.config.image.tag)
    except DevkitError:
        return False
    there = [image.labels] if image else []
    if case.container:
        there.append(case.container.labels)
    return any(labels.get(contract.LABEL_ENVIRONMENT) == digest for labels in there)


def _line_of(path: Path, text: str) -> int | None:
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    return next((n for n, line in enumerate(lines, 1) if line.startswith(text)), None)
