"""Step 1, package: the Dockerfile's template filled in.

What was rendered is kept, as Jinja2 costs 40 ms, twice what all else of an unchanged build costs.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from devkit import TEMPLATES
from devkit.errors import BadValue
from devkit.whole_file import write_whole

PACKAGE, RELEASE = "Dockerfile.j2", "Release.j2"
_INCLUDED = "system.j2"
_MOST_KEPT = 100


def render(values: Mapping[str, Any], *, buildkit: bool, name: str = PACKAGE) -> str:
    """Fill a template in; plain, or with BuildKit's mounts."""
    files = (Path(TEMPLATES, name), Path(TEMPLATES, _INCLUDED), Path(__file__))
    decides = [file.read_text("utf-8") for file in files]
    said = json.dumps([decides, values, buildkit], default=str)
    kept = user_cache_path("devkit") / "dockerfiles" / hashlib.sha256(said.encode()).hexdigest()
    with suppress(OSError, ValueError):
        return kept.read_text("utf-8")
    text = _rendered(name, values, buildkit=buildkit)
    with suppress(OSError):  # without a cache it only takes longer
        _keep(kept, text)
    return text


def _keep(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(path, text.encode())
    newest_first = sorted(path.parent.glob("[!.]*"), key=lambda it: -it.stat().st_mtime)
    for old in newest_first[_MOST_KEPT:]:
        old.unlink(missing_ok=True)


def _rendered(name: str, values: Mapping[str, Any], *, buildkit: bool) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # no HTML; `quoted` and `sh` escape
    )
    templates.filters["quoted"] = _quoted
    templates.filters["sh"] = shlex.quote
    return templates.get_template(name).render(values, buildkit=buildkit)


def _quoted(value: str) -> str:
    """A value of an ENV line; spaces, quotes and dollar signs stay what they are."""
    if "\n" in value:
        raise BadValue(
            "A variable of the image holds a line break, which a Dockerfile cannot express.",
            hint="Set it when the container runs: `run.env` in devkit.yaml.",
        )
    escaped = re.sub(r'([\\"$])', r"\\\1", value)
    return f'"{escaped}"'
