"""Step 1, package: the build context but for the source directory.

Requirements, certificates, runtime, models, each at the place that the Dockerfile copies it from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import devkit
from devkit import contract as c
from devkit.engine import ContextFile, Placement
from devkit.package import build_files
from devkit.package.environment import Environment
from devkit.package.network import Network

_LOCAL_IN_BUILD = "/tmp/devkit/local"


def files(
    wanted: Environment, reach: Network, tools: Sequence[str], placed: Sequence[Placement]
) -> Iterator[ContextFile]:
    """Yield all of the context but the source directory."""
    yield from _installer(wanted, reach, tools, placed)
    yield from _runtime()
    yield from _models(placed)


def _installer(
    wanted: Environment, reach: Network, tools: Sequence[str], placed: Sequence[Placement]
) -> Iterator[ContextFile]:
    """What only the stage that installs packages sees."""
    build = PurePosixPath("build")
    if reach.ca is not None:
        yield ContextFile(build / "ca.pem", reach.ca)
    yield ContextFile(build / "devkit.txt", _lines(tools))
    requirements = list(wanted.wants.options) + list(wanted.requirements)
    for number, local in enumerate(wanted.wants.local):
        # pip reads no spaces in a path; a wheel's name says what it is, and has none.
        name = "project" if local.path.is_dir() else local.path.name
        below = PurePosixPath("local", str(number), name)
        requirements.append(local.requirement(f"{_LOCAL_IN_BUILD}/{number}/{name}"))
        if local.path.is_dir():
            yield from build_files.source(
                local.path,
                build / below,
                ignore=local.path,
                leave_out={item.local for item in placed},
            ).files
        else:
            yield from build_files.whole(local.path, build / below)
    yield ContextFile(build / "requirements/requirements.txt", _lines(requirements))
    constraints = [line.text for line in wanted.wants.constraints]
    yield ContextFile(build / "requirements/constraints.txt", _lines(constraints))


def _lines(texts: Sequence[str]) -> bytes:
    return "".join(f"{text}\n" for text in texts).encode()


def _runtime() -> tuple[ContextFile, ...]:
    folder = Path(devkit.__file__).parent / "runtime"
    under = PurePosixPath("runtime")
    return build_files.source(folder, under, ignore=folder, leave_out=set()).files


def _models(placed: Sequence[Placement]) -> Iterator[ContextFile]:
    for item in placed:
        below = item.remote.relative_to(c.APP_ROOT / c.MODELS_DIR)
        yield from build_files.whole(item.local, PurePosixPath("models") / below)
