"""Step 1, package: a conda file, requirements.txt or pyproject.toml becomes an `Environment`.

It says which Python and which packages; nothing is installed and no network is asked here.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from devkit.config import Workspace
from devkit.errors import EnvironmentInvalid
from devkit.package import conda, requirements
from devkit.package.requirements import Line, Requirements, shown

DEFAULT_PYTHON = "3.13"
# The runtime needs 3.7; what is newest here is the newest that has been tried.
PYTHONS = ("3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14")

_CONDA_KEYS = frozenset({"name", "channels", "dependencies", "prefix", "variables"})
_DROPPED = {
    "azureml-defaults": "devkit installs the inference server by itself",
    "ptvsd": "devkit's ptvsd speaks through debugpy",
}
_RESPECTED = ("debugpy", "azureml-inference-server-http")


@dataclass(frozen=True)
class Environment:
    """What to install, and for which Python.

    `python_place` is the "file:line" that decides the Python; "" when it is the default.
    `conda_only` are conda packages that are no Python packages. `wants` is what pip is asked for.
    """

    python: str
    python_place: str
    origin: str
    wants: Requirements
    conda_only: tuple[conda.CondaPackage, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def requirements(self) -> tuple[str, ...]:
        """The lines for pip: PEP 508, or an address."""
        return tuple(line.text for line in self.wants.lines)

    @property
    def digest(self) -> str:
        """Changes whenever something else would be installed from an index."""
        wants = self.wants
        said = [
            self.python,
            self.requirements,
            [line.text for line in wants.constraints],
            [str(local.path) for local in wants.local],
            wants.options,
            wants.index_url,
            wants.extra_index_urls,
        ]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def read(workspace: Workspace) -> Environment:
    """Read the environment file of a workspace; without one there is only Python.

    Raises:
        EnvironmentInvalid: the file is missing or says what cannot be installed, with file:line.
        SecretRefused: an address in it holds a password.
    """
    name = workspace.config.environment
    if name is None:
        note = "No environment file: the image has no packages of your own."
        return Environment(DEFAULT_PYTHON, "", "", Requirements(), notes=(note,))
    path = Path(os.path.realpath(workspace.root / name))
    if not path.is_file():
        raise EnvironmentInvalid(
            f"The environment file {name} is not there.",
            hint="Create it, or correct `environment` in devkit.yaml.",
        )
    if path.suffix in (".yml", ".yaml"):
        return _settled(_conda(path, workspace.root))
    if path.name == "pyproject.toml":
        return _settled(_pyproject(path, workspace.root))
    wants = requirements.read(path, workspace.root)
    return _settled(Environment(DEFAULT_PYTHON, "", shown(path, workspace.root), wants))


def _settled(environment: Environment) -> Environment:
    """Drop what devkit brings by itself, and say so."""
    notes = list(environment.wants.notes)
    lines = []
    for line in environment.wants.lines:
        if line.name in _DROPPED:
            notes.append(f"{line.place}: {line.name} is left out: {_DROPPED[line.name]}.")
            continue
        if line.name in _RESPECTED:
            notes.append(f"{line.place}: {line.text} is taken as you ask, not the newest.")
        lines.append(line)
    if not environment.python_place:
        notes.append(
            f"{environment.origin} names no Python: the base image decides, {environment.python} "
            "unless you choose one."
        )
    return replace(
        environment,
        wants=replace(environment.wants, lines=tuple(lines)),
        notes=(*environment.notes, *notes),
    )


def _conda(path: Path, root: Path) -> Environment:
    name = shown(path, root)
    document = _mapping(path, name)
    packages = list[tuple[conda.CondaPackage, str]]()
    pip = Requirements()
    for number, item in _items(document.get("dependencies"), name):
        if isinstance(item, str):
            packages.append((conda.parse(item, f"{name}:{number}"), f"{name}:{number}"))
        else:
            pip += requirements.parse(_pip_lines(item, name, number), path, root)
    pinned = [(p, place) for p, place in packages if p.name == "python"]
    python, place = _python_of_conda(pinned)
    in_pip = {line.name for line in pip.lines}
    translated, notes = _translated(packages, in_pip)
    return Environment(
        python,
        place,
        name,
        Requirements(lines=tuple(translated), files=(path,)) + pip,
        conda_only=tuple(package for package, _ in packages if package.is_only_conda),
        variables=_variables(document.get("variables"), name),
        notes=tuple(notes),
    )


def _mapping(path: Path, name: str) -> dict[str, yaml.Node]:
    """Compose the file's top mapping: key -> node, nodes because they know their lines."""
    try:
        node = yaml.compose(path.read_text(encoding="utf-8-sig"), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{name}:{mark.line + 1}" if mark else name
        problem = getattr(error, "problem", None) or "it is not UTF-8 text"
        raise EnvironmentInvalid(
            f"{place}: the file is not valid YAML: {problem}.", hint="Correct that line."
        ) from error
    if not isinstance(node, yaml.MappingNode):
        raise EnvironmentInvalid(
            f"{name} is empty or not a conda environment file.",
            hint='It starts with "dependencies:" and a list of packages.',
        )
    document = {str(key.value): value for key, value in node.value}
    for key, _ in node.value:
        if key.value not in _CONDA_KEYS:
            raise EnvironmentInvalid(
                f"{name}:{key.start_mark.line + 1}: {key.value!r} is no key of a conda file.",
                hint=f"Known: {', '.join(sorted(_CONDA_KEYS))}.",
            )
    return document


def _items(node: yaml.Node | None, name: str) -> Iterator[tuple[int, str | yaml.Node]]:
    """Yield (line, package) or (line, pip's list) of a dependencies list."""
    if node is None or (isinstance(node, yaml.ScalarNode) and not node.value):
        return
    if not isinstance(node, yaml.SequenceNode):
        raise EnvironmentInvalid(
            f"{name}:{node.start_mark.line + 1}: `dependencies` is not a list.",
            hint='Start each package with "- ".',
        )
    for item in node.value:
        number = item.start_mark.line + 1
        if isinstance(item, yaml.MappingNode):
            for key, value in item.value:
                if key.value != "pip":
                    raise EnvironmentInvalid(
                        f"{name}:{number}: a list of {key.value!r} packages cannot be installed.",
                        hint="Only `pip:` can hold a list of its own.",
                    )
                yield number, value
        else:
            yield number, str(item.value)


def _pip_lines(node: str | yaml.Node, name: str, number: int) -> Iterator[tuple[int, str]]:
    if not isinstance(node, yaml.SequenceNode):
        raise EnvironmentInvalid(
            f"{name}:{number}: `pip` is not a list.", hint='Start each requirement with "- ".'
        )
    for item in node.value:
        yield item.start_mark.line + 1, str(item.value)


def _translated(
    packages: Iterable[tuple[conda.CondaPackage, str]], in_pip: set[str]
) -> tuple[list[Line], list[str]]:
    lines, notes = list[Line](), list[str]()
    for package, place in packages:
        if package.name == "python" or package.is_only_conda:
            continue
        if package.only_selects:
            notes.append(f"{place}: {package.name} is left out; pip's packages need no such thing.")
            continue
        line = Line(f"{package.pip_name}{package.versions}", place)
        if line.name in in_pip:
            notes.append(f"{place}: {package.name} stands in the pip list too, which decides.")
            continue
        if package.pip_name != package.name:
            notes.append(f"{place}: conda's {package.name} is {package.pip_name} for pip.")
        lines.append(line)
    return lines, notes


def _variables(node: yaml.Node | None, name: str) -> tuple[tuple[str, str], ...]:
    if node is None:
        return ()
    if not isinstance(node, yaml.MappingNode):
        raise EnvironmentInvalid(
            f"{name}:{node.start_mark.line + 1}: `variables` is not a mapping.",
            hint='Write "NAME: value" lines.',
        )
    return tuple((str(key.value), str(value.value)) for key, value in node.value)


def _python_of_conda(pinned: list[tuple[conda.CondaPackage, str]]) -> tuple[str, str]:
    if not pinned or not pinned[-1][0].versions:
        return DEFAULT_PYTHON, ""
    package, place = pinned[-1]
    return _python_for(package.versions, place), place


def _python_for(versions: str, place: str) -> str:
    """The default Python where it is allowed, else the newest that is."""
    try:
        allowed = SpecifierSet(versions)
    except InvalidSpecifier as error:
        raise EnvironmentInvalid(
            f"{place}: {versions!r} is not a Python version.", hint='Write it as "python=3.11".'
        ) from error
    exact = [s.version for s in allowed if s.operator in ("==", "===", "~=")]
    for minor in (DEFAULT_PYTHON, *reversed(PYTHONS)):
        # A pin on a patch release means its minor release: images have the newest patch.
        patches = [p for p in exact if p.split(".")[:2] == minor.split(".")]
        if any(allowed.contains(p.rstrip(".*")) for p in patches):
            return minor
        if any(allowed.contains(f"{minor}.{patch}") for patch in (0, 99)):
            return minor
    raise EnvironmentInvalid(
        f"{place} asks for Python {versions}, which devkit's runtime does not run on.",
        hint=f"It runs on {PYTHONS[0]} to {PYTHONS[-1]}.",
    )


def _pyproject(path: Path, root: Path) -> Environment:
    name = shown(path, root)
    try:
        text = path.read_text(encoding="utf-8")
        project: dict[str, Any] = tomllib.loads(text).get("project", {})
    except ValueError as error:  # not TOML, or not UTF-8
        raise EnvironmentInvalid(
            f"{name} is not valid TOML: {error}.", hint="Correct that line."
        ) from error
    if "dependencies" in project.get("dynamic", ()) or "dependencies" not in project:
        raise EnvironmentInvalid(
            f"{name} has no list [project] dependencies.",
            hint="Write one, or export: `uv export`, `poetry export`, `pip-compile` make a "
            "requirements.txt that `environment` in devkit.yaml can name.",
        )
    numbered = [(_line_of(text, item), item) for item in project["dependencies"]]
    wants = Requirements(files=(path,)) + requirements.parse(numbered, path, root)
    versions = project.get("requires-python", "")
    if not versions:
        return Environment(DEFAULT_PYTHON, "", name, wants)
    place = f"{name}:{_line_of(text, 'requires-python')}"
    return Environment(_python_for(versions, place), place, name, wants)


def _line_of(text: str, part: str) -> int:
    return text[: max(text.find(part), 0)].count("\n") + 1
