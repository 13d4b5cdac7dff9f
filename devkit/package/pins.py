"""Step 1, package: pins that no wheel fits are named before the build, with what could be had.

The index is asked by pypi-simple; an index that cannot be reached leaves the answer to the build.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag as WheelTag
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion, Version
from pypi_simple import DistributionPackage, NoSuchProjectError, PyPISimple
from requests.exceptions import RequestException

from devkit.errors import NoBuildForPython
from devkit.package.environment import PYTHONS, Environment
from devkit.package.network import Network
from devkit.package.requirements import Line

log = logging.getLogger(__name__)

_TIMEOUT_S = 10
_WHEEL_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True)
class _Pin:
    line: Line
    requirement: Requirement
    version: Version


@dataclass(frozen=True)
class _Missing:
    """A pin without a build, and the nearest versions that have one."""

    pin: _Pin
    nearest: tuple[Version, ...]

    def __str__(self) -> str:
        near = " or ".join(map(str, self.nearest))
        could = f"nearest that has one: {near}" if near else "no version has one"
        requirement = self.pin.requirement
        return f"{requirement.name}{requirement.specifier} ({self.pin.line.place}; {could})"


def check_pins(
    environment: Environment, network: Network, *, architecture: str, platform: str | None = None
) -> None:
    """Ask the index whether each exact pin has a build for the image's Python.

    Args:
        environment: whose pins.
        network: where its packages come from.
        architecture: the image's, in Docker's words ("amd64").
        platform: the one that was asked for, to be named.

    Raises:
        NoBuildForPython: some have none; all of them are named, with the nearest versions.
    """
    pins = list(_pins(environment))
    if not pins:
        return
    with ThreadPoolExecutor(max_workers=8) as pool:
        files = list(pool.map(lambda pin: _files(pin.requirement.name, network), pins))
    listed = list(zip(pins, files, strict=True))
    machine = _WHEEL_MACHINES.get(architecture, architecture)
    missing = _missing(listed, environment.python, machine)
    if missing:
        fits_all = (p for p in reversed(PYTHONS) if not _missing(listed, p, machine))
        raise NoBuildForPython(
            f"No build for Python {environment.python}{f' on {platform}' if platform else ''}: "
            f"{'; '.join(map(str, missing))}.",
            hint=_hint(environment, missing, next(fits_all, None)),
        )


def _missing(
    listed: Iterable[tuple[_Pin, list[DistributionPackage]]], python: str, machine: str
) -> list[_Missing]:
    tags = frozenset(_tags(python, machine))
    found = (missing_build(pin, files, python, tags) for pin, files in listed if files)
    return [problem for problem in found if problem]


def missing_build(
    pin: _Pin, files: Iterable[DistributionPackage], python: str, tags: frozenset[WheelTag]
) -> _Missing | None:
    """Compare a pin with the files that the index lists; None when it can be installed.

    A release that has only a source archive is left to the build, as it may need no compiler; one
    that has wheels, but none that fits, would be compiled with an old compiler's assumptions.
    """
    releases = dict[Version, list[DistributionPackage]]()
    for file in files:
        try:
            releases.setdefault(Version(file.version or ""), []).append(file)
        except InvalidVersion:
            continue
    asked = [v for v in releases if pin.requirement.specifier.contains(v, prereleases=True)]
    if any(_installs(releases[version], python, tags) for version in asked):
        return None
    return _Missing(pin, _nearest(pin.version, releases, python, tags))


def _pins(environment: Environment) -> Iterator[_Pin]:
    markers = {"python_version": environment.python, "sys_platform": "linux"}
    markers |= {"python_full_version": f"{environment.python}.0", "platform_system": "Linux"}
    markers |= {"os_name": "posix", "implementation_name": "cpython"}
    for line in environment.wants.lines:
        requirement = line.requirement
        if requirement is None or requirement.url:
            continue
        if requirement.marker and not requirement.marker.evaluate(markers):
            continue
        exact = (one for one in requirement.specifier if one.operator == "==")
        if pin := next(exact, None):
            yield _Pin(line, requirement, Version(pin.version.removesuffix(".*")))


def _tags(python: str, machine: str) -> Iterator[WheelTag]:
    """The wheel tags that a Debian or Ubuntu image with that Python takes."""
    version = tuple(int(part) for part in python.split("."))
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(41, 4, -1)]
    platforms += [f"manylinux{year}_{machine}" for year in ("2014", "2010", "1")]
    platforms.append(f"linux_{machine}")
    yield from cpython_tags(version, platforms=platforms)
    yield from compatible_tags(
        version, interpreter=f"cp{''.join(python.split('.'))}", platforms=platforms
    )


def _files(name: str, network: Network) -> list[DistributionPackage]:
    """List a project's files on all indexes; nothing where none answers."""
    found: list[DistributionPackage] = []
    for index in network.indexes:
        try:
            with PyPISimple(index) as client:
                if network.ca_path:
                    client.s.verify = str(network.ca_path)
                found += client.get_project_page(name, timeout=_TIMEOUT_S).packages
        except NoSuchProjectError:
            continue
        except (RequestException, ValueError) as error:
            log.info("The pins of %s are not checked: %s", name, error)
            return []
    return found


def _installs(
    files: Iterable[DistributionPackage],
    python: str,
    tags: frozenset[WheelTag],
    *,
    needs_wheel: bool = False,
) -> bool:
    usable = [file for file in files if _python_allowed(file.requires_python, python)]
    wheels = [file for file in usable if file.package_type == "wheel"]
    if any(_fits(file.filename, tags) for file in wheels):
        return True
    return not (wheels or needs_wheel) and any(f.package_type == "sdist" for f in usable)


def _python_allowed(requires: str | None, python: str) -> bool:
    try:
        # The image has the newest patch release.
        return SpecifierSet(requires or "").contains(f"{python}.99")
    except InvalidSpecifier:
        return True


def _fits(filename: str, tags: frozenset[WheelTag]) -> bool:
    try:
        return not tags.isdisjoint(parse_wheel_filename(filename)[3])
    except (InvalidWheelFilename, InvalidVersion):
        return False


def _nearest(
    wanted: Version,
    releases: dict[Version, list[DistributionPackage]],
    python: str,
    tags: frozenset[WheelTag],
) -> tuple[Version, ...]:
    """The closest older and newer final releases that install.

    In a project that makes wheels, a release without a fitting one is not near.
    """
    makes_wheels = any(f.package_type == "wheel" for files in releases.values() for f in files)
    good = sorted(
        version
        for version, files in releases.items()
        if not version.is_prerelease
        and not all(file.is_yanked for file in files)
        and _installs(files, python, tags, needs_wheel=makes_wheels)
    )
    older = [version for version in good if version < wanted][-1:]
    newer = [version for version in good if version > wanted][:1]
    return tuple(older + newer)


def _hint(environment: Environment, missing: list[_Missing], better_python: str | None) -> str:
    names = ", ".join(problem.pin.requirement.name for problem in missing)
    where = environment.python_place or "python in a conda file, requires-python in pyproject.toml"
    if better_python:
        remedy = f"or take Python {better_python}, which has them all ({where})"
        return f"Change these pins ({names}), {remedy}."
    return f"Change these pins ({names}); no Python from {PYTHONS[0]} on has them all."
