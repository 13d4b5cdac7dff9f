"""Doctor: a zip for a bug report: what was seen here, with secrets masked."""

from __future__ import annotations

import io
import json
import os
import platform
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import devkit
from devkit.doctor.check import Machine
from devkit.doctor.masked import Masker, handed_in
from devkit.doctor.reach import Reach
from devkit.env_file import read_env_file
from devkit.errors import BadValue, DevkitError
from devkit.launch import jsonc_tree
from devkit.output import jsonable
from devkit.running import RunningService
from devkit.runtime.secret_names import is_secret
from devkit.session import Session
from devkit.whole_file import write_whole

_LOG_LINES = 500
_MOST_BYTES = 2_000_000

Part = Callable[[], Any]


def refuse(target: Path, *, force: bool) -> None:
    """Refuse a file that cannot become the bundle.

    Raises:
        BadValue: it is there already, or its folder is not.
    """
    if target.exists() and not force:
        raise BadValue(f"{target} is there already.", hint="Name another one, or add --force.")
    if not target.parent.is_dir():
        raise BadValue(f"There is no folder {target.parent}.", hint="Make it, or name another.")


def written(
    target: Path,
    machine: Machine,
    said: Mapping[str, Any],
    session: Session | None,
    *,
    force: bool,
) -> list[str]:
    """Write the zip, readable by this user only; return the names of what is in it.

    `said` is the command's own answer.

    Raises:
        BadValue: it is there already, or cannot be written.
    """
    refuse(target, force=force)
    parts = contents(machine, said, session)
    try:
        write_whole(target, _zipped(parts), mode=0o600)
    except OSError as error:
        hint = "Name another one."
        raise BadValue(f"{target} cannot be written: {error.strerror}.", hint=hint) from error
    return list(parts)


def contents(machine: Machine, said: Mapping[str, Any], session: Session | None) -> dict[str, str]:
    """Return what goes into it, masked, by name."""
    reach = Reach(machine.engine)
    try:
        running = _running(session)
        secrets = _secrets(machine, running)
        masker = Masker(secrets)
        made = dict[str, str]()
        for name, part in _parts(machine, said, session, running, reach):
            made[name] = _text(part, masker)
        return made
    finally:
        reach.close()


def _zipped(parts: Mapping[str, str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return packed.getvalue()


def _parts(
    machine: Machine,
    said: Mapping[str, Any],
    session: Session | None,
    running: RunningService | None,
    reach: Reach,
) -> Iterator[tuple[str, Part]]:
    yield "doctor.json", lambda: said
    yield "versions.json", _versions
    yield "config.json", lambda: _config(machine)
    engine = reach.engine_or_none()
    if engine is None or engine.name != "process":
        yield "docker-info.json", reach.details
        yield "docker-version.json", lambda: reach.asked().version()
    for path in _editor_files(machine):
        yield f"vscode/{path.name}", partial(_tail, path)
    sync = machine.root / ".devkit" / "sync"
    for path in sorted(sync.glob("*.log")) if not sync.is_symlink() else []:
        if not path.is_symlink():
            yield f"sync/{path.name}", partial(_tail, path)
    if session is not None and running is not None:
        yield "status.json", lambda: _status(session)
        yield "service.log", lambda: "".join(running.logs(tail=_LOG_LINES))
        image = running.container.image_id
        yield "image.json", lambda: reach.asked().described(image)


def _running(session: Session | None) -> RunningService | None:
    try:
        return session.service() if session else None
    except DevkitError:  # what there is none of is left out; doctor.json says why
        return None


def _editor_files(machine: Machine) -> list[Path]:
    paths = [machine.root / ".vscode" / name for name in ("launch.json", "tasks.json")]
    return [path for path in paths if path.is_file()]


def _secrets(machine: Machine, running: RunningService | None) -> set[str]:
    """Values that were handed in as variables, which a log may repeat."""
    workspace, found = machine.workspace, set[str]()
    if workspace is not None:
        run = workspace.config.run
        found |= set(run.env.values()) | set(workspace.config.build.args.values())
        if run.env_file:
            with suppress(DevkitError):
                found |= set(read_env_file(workspace.root / run.env_file).values())
    for path in _editor_files(machine):
        with suppress(DevkitError, OSError, ValueError, RecursionError):
            found |= set(handed_in(jsonc_tree.data(path.read_text("utf-8"))))
    if running is not None:
        found |= {value for name, value in running.container.env.items() if is_secret(name)}
    return found


def _text(part: Part, masker: Masker) -> str:
    try:
        value = part()
    except Exception as error:  # noqa: BLE001 - what is broken is what the report is about
        value = f"It could not be had: {type(error).__name__}: {error}\n"
    if isinstance(value, str):
        return masker.text(value)
    return json.dumps(masker.value(jsonable(value)), indent=2, ensure_ascii=False) + "\n"


def _versions() -> Mapping[str, Any]:
    return {
        "devkit": devkit.__version__,
        "python": sys.version,
        "platform": platform.platform(),
        "packages": sorted(f"{it.name} {it.version}" for it in distributions()),
        # Their values are nobody's business.
        "variables": sorted(name for name in os.environ if name.startswith(("DEVKIT", "DOCKER"))),
    }


def _config(machine: Machine) -> Mapping[str, Any]:
    """Return what `devkit config show --origin --json` prints."""
    workspace = machine.workspace
    if workspace is None:
        return {"error": str(machine.problem)}
    values = workspace.config.model_dump(mode="json")
    return {"root": workspace.root, "config": values, "origins": workspace.origins}


def _status(session: Session) -> Mapping[str, Any]:
    return session.status().as_json()


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _MOST_BYTES))
        return file.read().decode("utf-8", "replace")
