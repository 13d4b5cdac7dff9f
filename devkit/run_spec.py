"""Step 2, run: what to run, from the configuration and what is said per run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devkit import __version__, contract, ports
from devkit.config import Config, Port
from devkit.container import network_name
from devkit.engine import PortBinding, RunSpec, Tag
from devkit.env_file import read_env_file
from devkit.errors import RemoteDebugRefused


@dataclass(frozen=True)
class RunOptions:
    """What is said per run and not in devkit.yaml; `labels` are added to the container's."""

    bind: str = "127.0.0.1"
    allow_remote_debug: bool = False
    debug: bool = True
    show_errors: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)


def spec_of(
    config: Config, tag: Tag, *, workspace_root: Path, options: RunOptions | None = None
) -> RunSpec:
    """Return what to run. Only run.env_file is read; a port "auto" becomes host port 0.

    Raises:
        BadValue: an address or a line of the env file that is none.
        RemoteDebugRefused: the debugger would listen beyond loopback without an explicit yes.
    """
    options = options or RunOptions()
    _check_bind(options, config.ports.debug)
    published = [(contract.SCORE_PORT, config.ports.score)]
    if options.debug:
        published.append((contract.DEBUG_PORT, config.ports.debug))
    run = config.run
    return RunSpec(
        image=tag,
        name=config.service,
        labels={
            contract.LABEL_SERVICE: config.service,
            contract.LABEL_WORKSPACE: str(workspace_root),
            contract.LABEL_VERSION: __version__,
            **options.labels,
        },
        env=_environment(config, workspace_root, options),
        ports=tuple(
            PortBinding(inside, 0 if outside == "auto" else outside, options.bind)
            for inside, outside in published
        ),
        network=network_name(config.service),
        user=str(run.user),
        memory=run.memory,
        cpus=run.cpus,
        gpus=run.gpus,
        read_only=run.read_only,
    )


def _environment(config: Config, workspace_root: Path, options: RunOptions) -> dict[str, str]:
    runtime = config.runtime
    from_file = read_env_file(workspace_root / config.run.env_file) if config.run.env_file else {}
    ours = {
        contract.ENV_DEBUG: _flag(options.debug),
        contract.ENV_WAIT_FOR_CLIENT: _flag(options.debug and config.debug.wait_for_client),
        contract.ENV_RELOAD: runtime.reload,
        contract.ENV_STATUS: runtime.status,
        contract.ENV_WORKERS: str(runtime.workers),
        contract.ENV_MAX_CONCURRENT_REQUESTS: str(runtime.max_concurrent_requests),
        contract.ENV_RECORD: str(runtime.record),
        contract.ENV_MAX_QUEUE_WAIT: str(runtime.max_queue_wait_ms),
        contract.ENV_SHOW_ERRORS: _flag(options.show_errors),
        contract.ENV_DEBUG_CLIENTS: "host" if ports.is_loopback(options.bind) else "any",
    }
    # Ours come last: an env file must not open the debugger, which asked --allow-remote-debug.
    return {
        contract.ENV_SCORING_TIMEOUT: str(runtime.scoring_timeout_ms),
        **from_file,
        **config.run.env,
        **ours,
    }


def _check_bind(options: RunOptions, debug_port: Port) -> None:
    if ports.is_loopback(options.bind) or not options.debug or options.allow_remote_debug:
        return
    raise RemoteDebugRefused(
        f"The debugger on {options.bind}:{debug_port} would let everybody who reaches this machine "
        "run any code in the container: its protocol has no password.",
        hint="Leave --bind out and use `ssh -L`; or --no-debug; or, if you mean it, "
        "--allow-remote-debug.",
    )


def _flag(value: bool) -> str:
    return "1" if value else "0"
