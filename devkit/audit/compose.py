"""The services of a compose file become findings, as far as the file itself says it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from devkit.audit import finding, settings
from devkit.audit.finding import Finding

# A range may be long, and only the ports of debuggers count.
_LARGEST = 65535


def is_compose(document: dict[str, Any]) -> bool:
    """Whether it is a compose file, and no Kubernetes object."""
    return "kind" not in document and isinstance(document.get("services"), dict)


def findings(document: dict[str, Any], name: str) -> Iterator[Finding]:
    """Yield what does not belong in production; without `user` the image decides about root."""
    for service, spec in document["services"].items():
        if isinstance(spec, dict):
            yield from _of_service(spec, f"{name}: {service}")


def _of_service(spec: dict[str, Any], where: str) -> Iterator[Finding]:
    yield from settings.of_variables(_environment(spec.get("environment")), f"{where}, environment")
    for key in ("ports", "expose"):
        entries = spec.get(key)
        for entry in entries if isinstance(entries, list) else ():
            for port in _ports(entry):
                yield from settings.of_port(port, f"{where}, {key} {port}")
    for key in ("entrypoint", "command"):
        yield from settings.of_command(_words(spec.get(key)), f"{where}, {key}")
    if spec.get("privileged") is True:
        yield Finding.of(finding.PRIVILEGED, "The container is privileged.", where)
    if spec.get("user") is not None and settings.is_root(str(spec["user"])):
        yield Finding.of(finding.ROOT, "It runs as root.", f"{where}, user")


def _environment(value: Any) -> dict[str, str]:
    """Read the mapping, or the list of NAME=value; a NAME alone is set when it starts."""
    if isinstance(value, dict):
        return {str(key): str(inner) for key, inner in value.items() if inner is not None}
    pairs = (str(entry).partition("=") for entry in (value if isinstance(value, list) else ()))
    return {name: text for name, separator, text in pairs if separator}


def _ports(entry: Any) -> Iterator[int]:
    """Yield an entry's ports: "5678", "127.0.0.1:8000:5678/tcp", "5000-5010" or a mapping."""
    if isinstance(entry, dict):
        texts = [str(entry.get("target")), str(entry.get("published"))]
    else:
        texts = str(entry).partition("/")[0].split(":")[-2:]
    for text in texts:
        first, _, last = text.partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            yield from range(int(first), min(int(last or first), _LARGEST) + 1)


def _words(value: Any) -> list[str]:
    if isinstance(value, list):
        return [str(word) for word in value]
    try:
        return shlex.split(value) if isinstance(value, str) else []
    except ValueError:
        return str(value).split()
