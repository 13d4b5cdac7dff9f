"""What variables, ports, users and commands tell: the same in an image and in a manifest. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from devkit.audit import finding
from devkit.audit.finding import Finding
from devkit.runtime.secret_names import ENDS, WORDS

# Set at all, they are about debugging; the flags only where they are on.
_DEBUG_PREFIXES = ("PYDEVD_", "DEBUGPY_", "PTVSD_", "DEVKIT_DEBUG_")
_DEBUG_FLAGS = {
    "AZUREML_DEBUG_PORT",
    "DEVKIT_DEBUG",
    "DEVKIT_RELOAD",
    "DEVKIT_SHOW_ERRORS",
    "DEVKIT_WAIT_FOR_CLIENT",
    "FLASK_DEBUG",
    "PYTHONBREAKPOINT",
    "PYTHONINSPECT",
}
_OFF = {"", "0", "false", "no", "off", "none"}
_DEVELOPMENT = {"FLASK_ENV": "development"}

_DEBUG_COMMAND = re.compile(
    r"(?<![\w/])(debugpy|ptvsd|pydevd)(?!\w)|--wait-for-client|-m pdb\b|devkit_runtime"
)

# The debuggers' usual ports; on the second kind something else may answer as well.
_DEBUG_PORTS = {5678: "debugpy and ptvsd", 5679: "debugpy and ptvsd"}
_PERHAPS_DEBUG_PORTS = {
    3000: "ptvsd in many examples",
    4444: "remote-pdb",
    5005: "Java's debugger",
    9229: "Node's inspector",
}

_NO_SECRET_ENDS = ("_FILE", "_PATH", "_DIR", "_NAME", "_URL", "_URI", "_ENDPOINT", "_ENABLED")
_NOT_SECRET_NAMES = {"PWD", "OLDPWD"}
_SECRET_VALUE = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY|\bAccountKey=|\bSharedAccessKey=|^gh[pousr]_\w{20}|"
    r"^github_pat_|^AKIA[A-Z0-9]{16}$|^xox[abp]-|^eyJ[\w-]+\.eyJ|[?&]sig=[\w%]{20}"
)
_REFERENCE = re.compile(r"^\$(\(\w+\)|\{\w+(:?[-?].*)?\}|\w+)$")


def of_variables(variables: Mapping[str, str], where: str) -> Iterator[Finding]:
    """Yield what variables tell; a value is never shown. `where` ends in what they belong to."""
    for name, value in variables.items():
        place = f"{where} {name}"
        if _debugs(name, value):
            yield Finding.of(finding.DEBUG_VARIABLE, f"{name} is about debugging.", place)
        elif _is_secret(name, value):
            yield Finding.of(finding.SECRET, f"{name} looks like a secret.", place)


def of_port(port: int, where: str) -> Iterator[Finding]:
    """Yield whether a debugger usually listens on an open port."""
    if whose := _DEBUG_PORTS.get(port):
        yield Finding.of(finding.DEBUG_PORT, f"Port {port} ({whose}) is open.", where)
    elif whose := _PERHAPS_DEBUG_PORTS.get(port):
        title = f"Port {port} (usual for {whose}) is open."
        yield Finding.of(finding.PERHAPS_DEBUG_PORT, title, where)


def of_command(words: Sequence[str], where: str) -> Iterator[Finding]:
    """Yield whether a command starts a debugger."""
    if match := _DEBUG_COMMAND.search(" ".join(words)):
        yield Finding.of(
            finding.DEBUG_COMMAND, f"What is started debugs: {match[0].strip()}.", where
        )


def is_root(user: str) -> bool:
    """Whether a user, as USER or `user:` have it, is root; an image without one runs as root."""
    name = user.partition(":")[0].strip()
    return name in ("", "root") or (name.isdecimal() and int(name) == 0)


def _debugs(name: str, value: str) -> bool:
    off = value.strip().lower() in _OFF
    if name in _DEBUG_FLAGS:
        return not off
    if name in _DEVELOPMENT:
        return value.strip().lower() == _DEVELOPMENT[name]
    return name.startswith(_DEBUG_PREFIXES)


def _is_secret(name: str, value: str) -> bool:
    if not value.strip() or _REFERENCE.match(value.strip()):
        return False
    if _SECRET_VALUE.search(value) or _has_password(value):
        return True
    upper = re.sub(r"[^A-Z0-9]+", "_", name.upper())
    if upper in _NOT_SECRET_NAMES or upper.endswith(_NO_SECRET_ENDS):
        return False
    named = WORDS.intersection(upper.split("_")) or ENDS.search(upper)
    return bool(named) and value.strip().lower() not in {*_OFF, "1", "true", "yes", "on"}


def _has_password(value: str) -> bool:
    try:
        return "://" in value and bool(urlsplit(value.strip()).password)
    except ValueError:  # what only resembles an address
        return False
