"""Step 1, package: secrets that a build may read and no image keeps."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from devkit.config import Workspace
from devkit.errors import BadValue

# The id of the file with index addresses that hold a password.
INDEX = "devkit-index"


def named(workspace: Workspace) -> dict[str, Path]:
    """Read build.secrets, "id=token,src=token.txt" as docker build has it.

    Raises:
        BadValue: one does not name an id and a file that is there.
    """
    secrets = {}
    for text in workspace.config.build.secrets:
        parts = dict(part.partition("=")[::2] for part in text.split(","))
        source = parts.get("src") or parts.get("source")
        path = workspace.root / Path(source or "").expanduser()
        if not parts.get("id") or not source or not path.is_file():
            raise BadValue(
                f"build.secrets: {text!r} does not name an id and a file that is there.",
                hint='Write it as "id=token,src=token.txt".',
            )
        secrets[parts["id"]] = path
    return secrets


@contextmanager
def file(secrets: Mapping[str, str]) -> Iterator[dict[str, Path]]:
    """Hold the settings with a password in a file that only this user can read."""
    if not secrets:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="devkit-") as folder:
        path = Path(folder) / INDEX
        path.touch(mode=0o600)
        exports = (f"export {name}={shlex.quote(value)}\n" for name, value in secrets.items())
        path.write_text("".join(exports), encoding="utf-8")
        yield {INDEX: path}
