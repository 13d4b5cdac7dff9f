"""An image's configuration, as OCI has it, and its files become findings; nothing of it is run."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from devkit.audit import finding, settings
from devkit.audit.files import Files
from devkit.audit.finding import Finding, in_order
from devkit.errors import EngineError
from devkit.tar_stream import tar_of


def findings(config: Mapping[str, Any], trees: Iterable[Iterator[bytes]]) -> list[Finding]:
    """Return what does not belong in production.

    Args:
        config: "Config" of the image.
        trees: its files as tar streams, one after the other.

    Raises:
        EngineError: a stream is cut.
    """
    files = Files()
    for tree in trees:
        try:
            with tar_of(tree) as archive:
                files.take(archive)
        except tarfile.TarError as error:
            raise EngineError(
                f"The engine's answer is no whole image: {error}.", hint="Try once more."
            ) from error
    return in_order([*of_config(config, files), *files.findings()])


def of_config(config: Mapping[str, Any], files: Files) -> Iterator[Finding]:
    """Yield what variables, ports, command and user tell."""
    yield from settings.of_variables(_variables(config.get("Env")), "ENV")
    for port in config.get("ExposedPorts") or ():
        number = str(port).partition("/")[0]
        if number.isdecimal():
            yield from settings.of_port(int(number), f"EXPOSE {number}")
    for key in ("Entrypoint", "Cmd"):
        yield from settings.of_command(_words(config.get(key)), key.upper())
    user = str(config.get("User") or "")
    if settings.is_root(user) or files.is_root(user):
        yield Finding.of(finding.ROOT, "It runs as root.", f"USER {user}" if user else "no USER")


def _variables(env: Any) -> dict[str, str]:
    pairs = (str(entry).partition("=") for entry in env or ())
    return {name: value for name, _, value in pairs}


def _words(command: Any) -> Sequence[str]:
    return [str(word) for word in command or ()]
