"""Step 0, configure: devkit.yaml and what the workspace shows become one checked `Config`.

A value comes from, weakest first: default, detected, devkit.yaml, environment, option.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from devkit.config import file as config_file
from devkit.config.detect import detected
from devkit.config.file import Place, Written
from devkit.config.problem import problem
from devkit.errors import BadValue

CONFIG_FILE = "devkit.yaml"

Port = Literal["auto"] | Annotated[int, Field(ge=1, le=65535)]


class _Section(BaseModel):
    # `env: {OMP_NUM_THREADS: 1}` and `memory: 1024` mean what they seem to.
    model_config = ConfigDict(
        extra="forbid", frozen=True, str_strip_whitespace=True, coerce_numbers_to_str=True
    )


class ModelEntry(_Section):
    """A model to place under azureml-models/<name>/<version>/."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9\-\._]{0,254}$")]
    path: str
    version: Annotated[int, Field(ge=0)] = 1


class ImageSection(_Section):
    """What the image is made from and called."""

    base: str | None = None
    tag: str = "debug:1"
    apt: tuple[str, ...] = ()
    dockerfile: str | None = None


class BuildSection(_Section):
    """What the build needs and the image must not keep."""

    ca_certificates: tuple[str, ...] = ()
    args: dict[str, str] = {}
    secrets: tuple[str, ...] = ()


class PortsSection(_Section):
    """Host ports on loopback."""

    score: Port = 8000
    debug: Port = 5678


class RunSection(_Section):
    """How the container runs."""

    env: dict[str, str] = {}
    env_file: str | None = None
    user: int | str = 1000
    memory: Annotated[str, Field(pattern=r"^\d+[bkmgBKMG]?$")] | None = None
    cpus: Annotated[float, Field(gt=0)] | None = None
    gpus: str | None = None
    read_only: bool = False


class RuntimeSection(_Section):
    """How the service behaves inside."""

    status: Literal["aks", "raw", "managed"] = "aks"
    reload: Literal["process", "hot", "off"] = "process"
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    scoring_timeout_ms: Annotated[int, Field(ge=1)] = 60_000
    # How many requests are kept to be looked at and sent again, and as many failing ones.
    record: Annotated[int, Field(ge=0, le=200)] | Literal["off"] = 20
    # Per worker, as a cloud counts them per replica; beyond them a request queues.
    max_concurrent_requests: Annotated[int, Field(ge=1, le=10_000)] = 1
    max_queue_wait_ms: Annotated[int, Field(ge=0, le=10_000_000_000)] = 500


class SyncSection(_Section):
    """How workspace and container are kept in step."""

    mode: Literal["two-way", "push", "pull", "mirror"] = "two-way"
    ignore: tuple[str, ...] = ()


class DebugSection(_Section):
    """What the debugger does."""

    wait_for_client: bool = False
    just_my_code: bool = True


class Config(_Section):
    """The whole configuration, with every default filled in."""

    service: Annotated[str, Field(pattern=r"^[a-z][-a-z0-9]{0,30}[a-z0-9]$")]
    entry_script: str = "score.py"
    source_directory: str = "."
    environment: str | None = None
    models: tuple[ModelEntry, ...] = ()
    image: ImageSection = ImageSection()
    build: BuildSection = BuildSection()
    ports: PortsSection = PortsSection()
    run: RunSection = RunSection()
    runtime: RuntimeSection = RuntimeSection()
    sync: SyncSection = SyncSection()
    debug: DebugSection = DebugSection()


class Workspace(BaseModel):
    """A folder with a service in it: its configuration and where each value came from."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    root: Path
    config: Config
    origins: dict[str, str]

    @property
    def source(self) -> Path:
        """The source directory D, absolute; its name is a folder below the application root."""
        return Path(os.path.realpath(self.root / self.config.source_directory))


@dataclass(frozen=True)
class Override:
    """A value from the command line, and the option that gave it."""

    value: Any
    origin: str


def load(
    root: Path,
    *,
    file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Workspace:
    """Find the configuration of the service in `root`.

    Args:
        root: the workspace folder.
        file: a configuration file other than `root`/devkit.yaml; it has to exist.
        overrides: dotted key ("image.base") -> value or `Override`.
        environ: where DEVKIT_<KEY> is looked up.

    Raises:
        UnknownKey: a key that devkit does not know, with file:line and the nearest name.
        BadValue: a value that does not fit, with where it stands and what is allowed.
    """
    root = Path(os.path.realpath(root))
    if not root.is_dir():
        raise BadValue(f"{root} is not a folder.", hint="Name the service's folder with -C DIR.")
    written = _written(root, file)
    values: dict[str, Any] = {}
    origins: dict[Place, str] = {}
    for place, value, origin in chain(
        (((key,), value, "detected") for key, value in detected(root).items()),
        _from_file(written),
        _from_environment(environ),
        (_from_option(key, value) for key, value in (overrides or {}).items()),
    ):
        _put(values, place, value)
        origins[place] = origin
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise problem(error, Config, values, lambda at: _origin(at, origins, written)) from error
    return Workspace(
        root=root,
        config=config,
        origins={key: origins.get(place, "default") for key, place in _LEAVES.items()},
    )


def overridden(workspace: Workspace, values: Mapping[str, Any], origin: str) -> Workspace:
    """Return the workspace with other values for some dotted keys, checked before."""
    changed = workspace.config.model_dump()
    for key, value in values.items():
        _put(changed, tuple(key.split(".")), value)
    origins = {**workspace.origins, **dict.fromkeys(values, origin)}
    return Workspace(root=workspace.root, config=Config.model_validate(changed), origins=origins)


def schema() -> dict[str, Any]:
    """The JSON schema of devkit.yaml."""
    # Only the service name has no default, and it is detected: nothing is required in the file.
    return {key: value for key, value in Config.model_json_schema().items() if key != "required"}


def _leaves() -> Iterator[tuple[Place, FieldInfo]]:
    for name, field in Config.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, _Section):
            yield from (((name, key), inner) for key, inner in section.model_fields.items())
        else:
            yield (name,), field


_FIELDS = dict(_leaves())
_LEAVES = {".".join(map(str, place)): place for place in _FIELDS}
_SECTIONS = {place[0] for place in _FIELDS if len(place) > 1}


def _written(root: Path, file: Path | None) -> Written:
    if file is not None:
        return config_file.read(file)
    path = root / CONFIG_FILE
    return config_file.read(path) if path.exists() else Written(CONFIG_FILE)


def _from_file(written: Written) -> Iterator[tuple[Place, Any, str]]:
    for name, value in written.values.items():
        if name in _SECTIONS and isinstance(value, dict):
            places: list[tuple[Place, Any]] = [((name, key), inner) for key, inner in value.items()]
        else:
            places = [((name,), value)]
        for place, inner in places:
            # "image:" with every key below commented out says nothing; "environment: null" does.
            says_nothing = inner is None and place in _FIELDS and _FIELDS[place].default is not None
            if not says_nothing and not (inner is None and name in _SECTIONS and len(place) == 1):
                yield place, inner, written.origin(place)


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[Place, Any, str]]:
    for place, field in _FIELDS.items():
        name = "DEVKIT_" + "_".join(map(str, place)).upper()
        if text := environ.get(name, "").strip():
            yield place, _from_text(text, field, name), name


def _from_text(text: str, field: FieldInfo, name: str) -> Any:
    """Read a value out of one line: "a,b" or "[a, b]" is a list, "A=1 B=2" a mapping."""
    kind = get_origin(field.annotation)
    if kind not in (tuple, dict):
        return text
    if text[0] in "[{":
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise BadValue(f"{name} cannot be read: {text!r}.", hint="Quote it as YAML.") from error
    if kind is dict:
        return dict(pair.partition("=")[::2] for pair in shlex.split(text))
    return text.replace(",", " ").split()


def _from_option(key: str, value: Any) -> tuple[Place, Any, str]:
    given = value if isinstance(value, Override) else Override(value, "option")
    return tuple(key.split(".")), given.value, given.origin


def _put(values: dict[str, Any], place: Place, value: Any) -> None:
    *sections, name = map(str, place)
    for section in sections:
        below = values.setdefault(section, {})
        if not isinstance(below, dict):
            return  # "image: 3" is wrong already; the check of the whole says so
        values = below
    before = values.get(name)
    # Variables add up: those of the file, of DEVKIT_RUN_ENV and of --env.
    if isinstance(before, dict) and isinstance(value, dict):
        value = {**before, **value}
    values[name] = value


def _origin(place: Place, origins: Mapping[Place, str], written: Written) -> str:
    """Return where a value, or the one that it is a part of, comes from."""
    for length in range(len(place), 0, -1):
        origin = origins.get(place[:length])
        if origin and not origin.startswith(f"{written.name}:"):
            return origin
    return written.origin(place)
