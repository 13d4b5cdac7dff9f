"""One thing that does not belong in production: what, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SEVERITIES = ("high", "medium", "low")


@dataclass(frozen=True)
class Kind:
    """A kind of finding; `id` is what programs key on, the texts may change."""

    id: str
    severity: str
    remedy: str


DEBUGGER = Kind(
    "debugger", "high", "Release without it: `devkit package --release`, or uninstall it."
)
DEBUG_VARIABLE = Kind("debug-variable", "high", "Remove the variable.")
DEBUG_COMMAND = Kind("debug-command", "high", "Start the plain server instead.")
DEBUG_PORT = Kind("debug-port", "high", "Remove the port.")
PERHAPS_DEBUG_PORT = Kind(
    "debug-port", "medium", "Remove the port, unless the service itself answers there."
)
SECRET = Kind(
    "secret", "high", "Set it when the container starts, from a secret store; then change it."
)
KEY_FILE = Kind("key-file", "medium", "Leave the file out, and change what it gives access to.")
PRIVILEGED = Kind("privileged", "high", "Remove `privileged`; add the capabilities it needs.")
ROOT = Kind("root-user", "medium", "Run as a user with an id above 0.")
PERHAPS_ROOT = Kind(
    "root-user", "medium", "Set securityContext.runAsNonRoot: true, or runAsUser to an id above 0."
)
EDITOR = Kind("editor", "low", "Install no editor in a production image.")


@dataclass(frozen=True)
class Finding:
    """One finding; `where` is a path in the image, a variable, or a place in a manifest."""

    id: str
    severity: str
    title: str
    where: str
    remedy: str

    @classmethod
    def of(cls, kind: Kind, title: str, where: str) -> Finding:
        """Make one of a kind."""
        return cls(kind.id, kind.severity, title, where, kind.remedy)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings without doubles, the worst first."""
    once = dict.fromkeys(findings)
    return sorted(once, key=lambda it: (SEVERITIES.index(it.severity), it.id, it.where))
