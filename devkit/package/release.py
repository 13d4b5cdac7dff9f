"""Step 1, package: an image for production, made of what was debugged, without what debugs it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import devkit
from devkit import contract as c
from devkit.config import Workspace
from devkit.engine import BuildSpec, ContextFile, Engine, Image, Progress, Tag
from devkit.errors import BadValue, EngineError, ImageMissing, NotOurs, Unsupported
from devkit.package import (
    build_secrets,
    dockerfile,
    environment,
    fingerprint,
    image,
    network,
    template,
)

# On release images instead of all other labels of devkit's: whose release, made from which image.
LABEL_RELEASE = "devkit.release"
LABEL_OF = "devkit.release.of"

DEBUGGERS = ("debugpy", "ptvsd", "pydevd")
# Of the runtime's shims those that a service needs in production, too, and where they belong.
_STAND_INS = {
    "azureml/core/__init__.py": "azureml_core.py",
    "azureml/core/model.py": "azureml_core_model.py",
    "azureml/exceptions.py": "azureml_exceptions.py",
}
_DEBUGGING = ("DEVKIT_", "DEBUGPY_", "PTVSD_", "PYDEVD_")
_SUFFIX = "-release"
# What of the debug image's variables the service itself reads, or Python.
_KEPT = (
    "AML_APP_ROOT",
    "AZUREML_ENTRY_SCRIPT",
    "AZUREML_SOURCE_DIRECTORY",
    "AZUREML_MODEL_DIR",
    c.ENV_SCORING_TIMEOUT,
    "PYTHONUNBUFFERED",
    "VIRTUAL_ENV",
)


@dataclass(frozen=True)
class Released:
    """An image without a debugger, and the image that its code, models and packages come from."""

    image: str
    id: str
    source: str
    reused: bool
    release_s: float


@dataclass(frozen=True)
class Plan:
    """A release that is decided but not built; `base` is the image below the system's packages."""

    spec: BuildSpec
    base: str


def check(engine: Engine, source: str, tag: str | None) -> None:
    """Check, before anything is packaged, that a release can be made and has a name.

    Raises:
        Unsupported: the engine has no images.
        BadValue: a name is none, or the very one that the release is made from.
    """
    if engine.name == "process":
        raise Unsupported(
            "A release is an image, and `--engine process` makes none.",
            hint="Take Docker or Podman.",
        )
    name_for(source, tag)


def name_for(source: str, tag: str | None) -> Tag:
    """Return what the release of `source` is called: `tag`, else its own name and "-release".

    Raises:
        BadValue: no name for an image, or the very one that it is made from.
    """
    debugged = Tag.parse(source)
    name = Tag.parse(tag) if tag else replace(debugged, version=debugged.version + _SUFFIX)
    if name == debugged:
        raise BadValue(
            f"{name} is what the release would be made from.",
            hint=f"Name another, or none: then it is {debugged}{_SUFFIX}.",
        )
    return name


def plan(
    workspace: Workspace,
    source: str,
    variables: Mapping[str, str] | None = None,
    *,
    tag: str | None = None,
    base: str | None = None,
    platform: str | None = None,
) -> Plan:
    """Decide the build; no engine is asked.

    Args:
        workspace: whose configuration says base image, Debian packages and user.
        source: the image that code, models and packages come from.
        variables: that image's own; None takes those that an image of this workspace has.
        tag: see `name_for`.
        base: the base image where the configuration names none.
        platform: as in "linux/arm64".
    """
    wanted = environment.read(workspace)
    reach = network.found(workspace, wanted.wants)
    official = c.OFFICIAL_BASE.format(python=wanted.python)
    start = dockerfile.base(workspace, None, default=base or official)
    if variables is None:
        variables = dockerfile.variables(workspace, wanted, workspace.source.name)
    env = _env(variables, own=[name for name, _ in wanted.variables])
    common = dockerfile.values(workspace, wanted, reach, start, env=env, has_models=False)
    values = common | _values(common, source, env)
    args = {**workspace.config.build.args, **reach.proxies}
    spec = BuildSpec(
        tag=name_for(source, tag),
        dockerfile=template.render(values, buildkit=False, name=template.RELEASE),
        buildkit_dockerfile=template.render(values, buildkit=True, name=template.RELEASE),
        context=tuple(_context()),
        labels={
            LABEL_RELEASE: workspace.config.service,
            LABEL_OF: str(Tag.parse(source)),
            c.LABEL_VERSION: devkit.__version__,
        },
        args={name: value for name, value in args.items() if name not in reach.secrets},
        secrets=build_secrets.named(workspace),
        platform=platform,
        env=env,
    )
    return Plan(spec, start.image)


def _context() -> Iterator[ContextFile]:
    step = Path(__file__).with_name("release_packages.py")
    yield ContextFile(PurePosixPath("build/packages.py"), step.read_bytes())
    shims = Path(devkit.__file__).parent / "runtime" / "shims"
    for place, name in _STAND_INS.items():
        yield ContextFile(PurePosixPath("build/stand-ins", place), (shims / name).read_bytes())


def _env(variables: Mapping[str, str], *, own: Sequence[str]) -> dict[str, str]:
    names = [name for name in (*own, *_KEPT) if not name.startswith(_DEBUGGING)]
    kept = {name: variables[name] for name in names if name in variables}
    return {**kept, "WORKER_COUNT": variables.get(c.ENV_WORKERS, "1")}


def _values(common: Mapping[str, Any], source: str, env: Mapping[str, str]) -> dict[str, Any]:
    """What the template is filled with that is not as in the image which is debugged."""
    script = env.get("AZUREML_ENTRY_SCRIPT", "")
    return {
        "editor": [],
        # Not root, whatever the workspace debugs as.
        "uid": common["uid"] or c.UID,
        "gid": common["gid"] or c.UID,
        "debugged": str(Tag.parse(source)),
        "debuggers": list(DEBUGGERS),
        "entry_script": str(c.APP_ROOT / script),
        "ports": (c.SCORE_PORT,),
        # Microsoft's own server, by itself, as in the cloud: devkit's runtime stays out.
        "command": ["azmlinfsrv", "--entry_script", script],
    }


def release(
    engine: Engine,
    workspace: Workspace,
    source: str,
    *,
    progress: Progress,
    tag: str | None = None,
    platform: str | None = None,
    no_cache: bool = False,
) -> Released:
    """Make the release of an image that devkit made or committed, or find that it is there.

    Raises:
        ImageMissing: there is no such image.
        NotOurs: devkit did not make it, or the name is taken by another image.
        BuildError: the build failed; the service may need what only a debug image has.
    """
    started = time.monotonic()
    debugged = _debugged(engine, source)
    python = environment.read(workspace).python
    base = image.default_base(engine, python)
    decided = plan(workspace, source, debugged.env, tag=tag, base=base, platform=platform)
    before = engine.image(str(decided.spec.tag))
    _check_taken(before, decided.spec)
    spec = replace(_labelled(engine, decided, debugged), no_cache=no_cache)
    reused = not no_cache and before is not None and _is_same(before, spec)
    made = before
    if made is None or not reused:
        made = engine.build(spec, progress=progress)
        _remove_replaced(engine, before, made)
    seconds = time.monotonic() - started
    return Released(str(spec.tag), made.id, spec.labels[LABEL_OF], reused, seconds)


def _debugged(engine: Engine, source: str) -> Image:
    found = engine.image(str(Tag.parse(source)))
    if found is None:
        raise ImageMissing(
            f"There is no image {source}.", hint="`docker images` lists those that are there."
        )
    if c.LABEL_SERVICE not in found.labels or "AZUREML_ENTRY_SCRIPT" not in found.env:
        raise NotOurs(
            f"The image {source} was not made by devkit.",
            hint="Name one that `devkit package` made or that was committed from its container.",
        )
    return found


def _check_taken(there: Image | None, spec: BuildSpec) -> None:
    if there and there.labels.get(LABEL_RELEASE) != spec.labels[LABEL_RELEASE]:
        raise NotOurs(
            f"{spec.tag} is another image already, which would lose its name.",
            hint="Name the release: `devkit package --release NAME:VERSION`",
        )


def _labelled(engine: Engine, decided: Plan, debugged: Image) -> BuildSpec:
    """Add the hash of all that decides the image: base and source are known by their ids."""
    spec, base = decided.spec, engine.image(decided.base)
    content = fingerprint.of(spec, base_id=f"{debugged.id} {base.id if base else ''}")
    return replace(spec, labels={**spec.labels, c.LABEL_CONTENT: content})


def _is_same(there: Image, spec: BuildSpec) -> bool:
    return there.labels.get(c.LABEL_CONTENT) == spec.labels[c.LABEL_CONTENT]


def _remove_replaced(engine: Engine, before: Image | None, now: Image) -> None:
    """Remove the release that lost its name, unless something holds it."""
    old = engine.image(before.id) if before and before.id != now.id else None
    if old and not old.tags and not any(it.image_id == old.id for it in engine.containers({})):
        with suppress(EngineError):  # another image may be made from it
            engine.remove_image(old.id)
