"""Step 3, attach: a service that runs becomes a launch.json entry, and the proof that it works."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devkit import contract, launch, results
from devkit.config import Workspace
from devkit.debug import proof
from devkit.engine import Placement, Progress
from devkit.errors import InitFailed
from devkit.running import Address

# Each file costs the debugger a moment; more of them are as right as these.
_MOST_PROVED = 200


@dataclass(frozen=True)
class Target:
    """What an editor attaches to; its entry in launch.json, and its task in tasks.json."""

    address: Address
    mappings: tuple[Placement, ...]
    entry: dict[str, Any]
    task: dict[str, Any]


def target(
    workspace: Workspace,
    address: Address,
    mappings: Iterable[Placement],
    *,
    files: Sequence[Path],
    arguments: Sequence[str],
) -> Target:
    """Describe a debugger for an editor.

    Args:
        workspace: where the editor works.
        address: where the debugger listens.
        mappings: those without one of `files` mean nothing to a debugger and drop out.
        files: the source files.
        arguments: what the task's `devkit debug --detach` needs to find the same service.
    """
    with_code = [m for m in mappings if any(file.is_relative_to(m.local) for file in files)]
    entry = launch.entry(
        workspace.root,
        host=address.host,
        port=address.port,
        mappings=with_code,
        just_my_code=workspace.config.debug.just_my_code,
    )
    task = launch.task(command=launch.devkit_command(workspace.root))
    task["args"] = [*task["args"], *arguments]
    return Target(address, tuple(with_code), entry, task)


def check_files(root: Path) -> None:
    """Read launch.json and tasks.json, so that a broken one is told before anything is done.

    Raises:
        LaunchFileBroken: one of them does not parse.
    """
    if (root / ".vscode").is_dir():
        launch.check(root, launch.entry(root, port=contract.DEBUG_PORT, mappings=()), launch.task())


def written(root: Path, target: Target, action: str) -> results.Launch:
    """Write, print or check the entries, as `action` says."""
    entry, task = target.entry, target.task
    if action == "write":
        changed = tuple(file.path for file in launch.write(root, entry, task) if file.changed)
        said = "\n".join(f"Wrote {path}" for path in changed)
        return results.Launch(changed, up_to_date=True, text=said or "Nothing to change.")
    if action == "print":
        rendered = launch.render(root, entry, task).items()
        text = "\n".join(f"// {path}\n{text}" for path, text in rendered)
        return results.Launch((), up_to_date=True, text=text)
    up_to_date = launch.check(root, entry, task)
    said = "Up to date." if up_to_date else "Not up to date; `devkit launch --write` changes that."
    return results.Launch((), up_to_date=up_to_date, text=said)


def removed(root: Path) -> results.Launch:
    """Take exactly devkit's own entries out."""
    changed = tuple(file.path for file in launch.remove(root) if file.changed)
    said = "\n".join(f"Removed devkit's entry from {path}" for path in changed)
    return results.Launch(changed, up_to_date=True, text=said or "Nothing to remove.")


def proved(
    workspace: Workspace, target: Target, files: Sequence[Path], *, note: Progress
) -> tuple[tuple[results.Mapping, ...], str | None]:
    """Attach as the editor will; return the mappings and who was attached already.

    Raises:
        MappingNotProved: the entry script's breakpoints would not bind. Other files are only
            named by `note`: one that does not compile need not be one that is used.
    """
    script = (workspace.source / workspace.config.entry_script).resolve()
    ordered = sorted(files, key=lambda file: file != script)[:_MOST_PROVED]
    found = proof.examine(
        target.address.host,
        target.address.port,
        entry=target.entry,
        root=workspace.root,
        files=ordered,
    )
    for file in found.files:
        if not file.is_proved and file.local == script:
            raise proof.refusal(file)
        if not file.is_proved:
            note(file.message)
    verdicts = {file.local: file.is_proved for file in found.files}
    return _judged(target.mappings, verdicts), found.beside


def unproved(mappings: Iterable[Placement]) -> tuple[results.Mapping, ...]:
    """Return mappings that nobody looked at."""
    return _judged(mappings, {})


def _judged(
    mappings: Iterable[Placement], verdicts: Mapping[Path, bool]
) -> tuple[results.Mapping, ...]:
    judged = []
    for mapping in mappings:
        within = [proved for file, proved in verdicts.items() if file.is_relative_to(mapping.local)]
        verified = bool(within) and all(within)
        judged.append(results.Mapping(str(mapping.local), str(mapping.remote), verified))
    return tuple(judged)


def problem_line(root: Path, error: InitFailed) -> str:
    """Say an error as the editor's task lists it under Problems."""
    if error.file is None:
        return launch.problem(error.message)
    file = Path(error.file)
    name = file.relative_to(root).as_posix() if file.is_relative_to(root) else error.file
    # The line says by itself where it is.
    message = error.message.removeprefix(f"{error.file}:{error.line}: ")
    return launch.problem(message, file=name, line=error.line or 1)
