"""Step 2, run: files of NAME=value lines, read as `docker run --env-file` reads them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from devkit.errors import BadValue


def read_env_file(path: Path, *, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables of a file.

    Values are taken as they stand, quotes too; a NAME alone takes this machine's value, if any.

    Raises:
        BadValue: no such file, or a line that is none; its value is not shown.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadValue(
            f"The env file {path} cannot be read: {error}.",
            hint="Correct run.env_file or --env-file.",
        ) from error
    return dict(_variables(path, text, environment))


def _variables(path: Path, text: str, environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    # Only "\n" ends a line for Docker: a value may hold any other separator.
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.removesuffix("\r").lstrip()
        if not line or line.startswith("#"):
            continue
        name, has_value, value = line.partition("=")
        name = name if has_value else name.rstrip()
        if not name or any(character.isspace() for character in name):
            raise BadValue(
                f"{path}:{number}: this line does not begin with a variable's name.",
                hint='Write NAME=value, with no space before the "=".',
            )
        if has_value:
            yield name, value
        elif name in environment:
            yield name, environment[name]
