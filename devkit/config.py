"""Step 0, configure: devkit.yaml and what the workspace shows become one checked `Config`.

A value comes from, weakest first: default, detected in the workspace, devkit.yaml, environment, option.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

CONFIG_FILE = "devkit.yaml"

Port = Literal["auto"] | Annotated[int, Field(ge=1, le=65535)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


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
    record: Annotated[int, Field(ge=0)] | Literal["off"] = 20


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

    service: Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]{0,30}[a-z0-9])?$")]
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
        """The source directory D, absolute; its base name is a folder below the application root."""
        return (self.root / self.config.source_directory).resolve()


def schema() -> dict[str, Any]:
    """The JSON schema of devkit.yaml."""
    return Config.model_json_schema()
