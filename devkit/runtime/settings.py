"""The runtime's settings, read once from the environment that image and `devkit run` set."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Mapping, Tuple

Address = Tuple[str, int]

PROFILES = ("aks", "raw", "managed")
RELOADS = ("process", "hot", "off")


class BadSetting(Exception):
    """A variable whose value cannot be used; the text names it and what is allowed."""


@dataclass(frozen=True)
class Settings:
    """What the runtime does and where; times in seconds."""

    root: str
    entry_script: str
    source_directory: str
    debug: bool
    wait_for_client: bool
    reload: str
    profile: str
    workers: int
    max_concurrent_requests: int
    max_queue_wait_s: float
    show_errors: bool
    scoring_timeout_s: float
    score_address: Address
    debug_address: Address
    any_client: bool
    record: int

    @property
    def records(self) -> int:
        """How many requests are kept, and as many failing ones; 0 where nobody debugs."""
        return self.record if self.debug else 0

    @property
    def entry_path(self) -> str:
        """The entry script's one true path: with links resolved, a breakpoint has one place."""
        return os.path.realpath(os.path.join(self.root, self.entry_script))

    @property
    def watch_roots(self) -> Tuple[str, ...]:
        """The folders whose files belong to the service, links resolved, without nested ones."""
        roots = [os.path.realpath(self.root)]
        for path in (os.path.join(self.root, self.source_directory), self.entry_path):
            folder = os.path.realpath(path)
            folder = folder if os.path.isdir(folder) else os.path.dirname(folder)
            if not any(folder == root or folder.startswith(root + os.sep) for root in roots):
                roots.append(folder)
        return tuple(roots)


def from_environment(env: Mapping[str, str]) -> Settings:
    """Read the settings.

    Raises:
        BadSetting: a value does not fit.
    """
    return Settings(
        root=env.get("AML_APP_ROOT") or "/var/azureml-app",
        entry_script=env.get("AZUREML_ENTRY_SCRIPT") or "score.py",
        source_directory=env.get("AZUREML_SOURCE_DIRECTORY") or "",
        debug=_flag(env, "DEVKIT_DEBUG", True),
        wait_for_client=_flag(env, "DEVKIT_WAIT_FOR_CLIENT", False),
        reload=_choice(env, "DEVKIT_RELOAD", RELOADS),
        profile=_choice(env, "DEVKIT_STATUS", PROFILES),
        workers=_number(env, "DEVKIT_WORKERS", 1, 1, 64),
        max_concurrent_requests=_number(env, "DEVKIT_MAX_CONCURRENT_REQUESTS", 1, 1, 10**4),
        max_queue_wait_s=_number(env, "DEVKIT_MAX_QUEUE_WAIT_MS", 500, 0, 10**10) / 1000.0,
        show_errors=_flag(env, "DEVKIT_SHOW_ERRORS", False),
        scoring_timeout_s=_number(env, "SCORING_TIMEOUT_MS", 60000, 1, 10**10) / 1000.0,
        score_address=_address(env, "DEVKIT_SCORE_ADDRESS", ("0.0.0.0", 5001)),
        debug_address=_address(env, "DEVKIT_DEBUG_ADDRESS", ("0.0.0.0", 5678)),
        any_client=_choice(env, "DEVKIT_DEBUG_CLIENTS", ("host", "any")) == "any",
        record=_records(env, "DEVKIT_RECORD"),
    )


def _records(env: Mapping[str, str], name: str) -> int:
    is_off = env.get(name, "").strip().lower() in ("off", "no", "false")
    return 0 if is_off else _number(env, name, 20, 0, 200)


def _flag(env: Mapping[str, str], name: str, default: bool) -> bool:
    text = env.get(name, "").strip().lower()
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off"):
        return False
    if text:
        raise BadSetting("{}={!r}: use 1 or 0.".format(name, env[name]))
    return default


def _choice(env: Mapping[str, str], name: str, allowed: Tuple[str, ...]) -> str:
    text = env.get(name, "").strip() or allowed[0]
    if text not in allowed:
        raise BadSetting("{}={!r}: use {}.".format(name, text, " or ".join(allowed)))
    return text


def _number(env: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = env.get(name, "").strip()
    if not text:
        return default
    if not text.isdigit() or not low <= int(text) <= high:
        raise BadSetting("{}={!r}: use a whole number from {} to {}.".format(name, text, low, high))
    return int(text)


def _address(env: Mapping[str, str], name: str, default: Address) -> Address:
    text = env.get(name, "").strip()
    if not text:
        return default
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise BadSetting("{}={!r}: use HOST:PORT.".format(name, text))
    return host, int(port)
