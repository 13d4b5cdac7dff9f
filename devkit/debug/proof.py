"""Step 3, attach: prove before F5 that breakpoints bind and that both sides have the same files.

It does with the entry of launch.json what the editor will do with it, then leaves.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from devkit.debug.dap import Breakpoint, Session
from devkit.debug.wire import Message, ask
from devkit.errors import AlreadyAttached, DebuggerUnreachable, MappingNotProved


@dataclass(frozen=True)
class FileProof:
    """What is known about one source file.

    `opened_as` is its name in the editor, which differs when the workspace was opened through a
    link. `remote` is None when no mapping covers the file, `line` when it has no code to stop at.
    `message` says why it is not proved, and is empty when it is.
    """

    local: Path
    opened_as: Path
    remote: PurePosixPath | None
    line: int | None
    verified: bool
    same_content: bool
    message: str = ""

    @property
    def is_proved(self) -> bool:
        """Whether a breakpoint in this file will stop at the line that the editor shows."""
        return self.verified and self.same_content


@dataclass(frozen=True)
class Proof:
    """All files, and the client beside which they were looked at (None: devkit attached itself)."""

    files: tuple[FileProof, ...]
    beside: str | None = None


def examine(
    host: str,
    port: int,
    *,
    entry: Mapping[str, Any],
    root: Path,
    files: Sequence[Path],
    timeout_s: float = 30,
) -> Proof:
    """Try the entry of launch.json on each of `files`, in the workspace `root`.

    While a client is attached, its session stays as it is: the runtime is asked instead.

    Raises:
        DebuggerUnreachable: no devkit runtime answers on the port.
    """
    configuration = filled(entry, root)
    sources = {file: _source(file) for file in files}
    known = [_known(file, _as_opened(file, root), sources[file], configuration) for file in files]
    seen = _runtime_view(host, port, known, timeout_s)
    client = _client(ask(host, port, "devkit/status", {}, timeout_s=timeout_s))
    bound: dict[str, Message] = {}
    if client is None:
        try:
            bound = _bound(host, port, configuration, known, timeout_s)
        except AlreadyAttached:  # an editor was faster
            status = ask(host, port, "devkit/status", {}, timeout_s=timeout_s)
            client = _client(status) or "another client"
    judged = [
        _judged(
            file,
            sources[file.local],
            seen.get(str(file.remote), {}),
            bound.get(str(file.opened_as)),
        )
        for file in known
    ]
    return Proof(tuple(judged), client)


def refusal(file: FileProof) -> MappingNotProved:
    """The error that says why a file is not proved."""
    if file.remote is None:
        hint = "`devkit launch --write` writes the mappings again."
    else:
        hint = "`devkit debug` brings the files into the container as they are here."
    return MappingNotProved(file.message, hint=hint)


def filled(entry: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """The entry with ${workspaceFolder} filled in, as the editor hands it to the debugger."""

    def value(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: value(inner) for key, inner in item.items()}
        if isinstance(item, list):
            return [value(inner) for inner in item]
        return item.replace("${workspaceFolder}", str(root)) if isinstance(item, str) else item

    return {key: value(item) for key, item in entry.items()}


def first_line(source: bytes) -> int | None:
    """The first line of a module that a breakpoint can stop at; None when it has no code.

    Raises:
        SyntaxError: it does not compile.
    """
    tree = ast.parse(source)
    if not tree.body:
        return None
    code = compile(tree, "<source>", "exec", dont_inherit=True)
    # Line 0 is where the interpreter enters a module.
    return min(line for _, _, line in code.co_lines() if line)


def _as_opened(file: Path, root: Path) -> Path:
    """The name by which the editor knows a file, when the workspace was opened through a link."""
    real = file.resolve()
    if not file.is_relative_to(root) and real.is_relative_to(root.resolve()):
        return root / real.relative_to(root.resolve())
    return file


def _source(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None


def _known(
    local: Path, opened_as: Path, source: bytes | None, configuration: Mapping[str, Any]
) -> FileProof:
    """What can be said about a file before anybody is asked."""
    remote = _remote(opened_as, configuration)
    start = FileProof(local, opened_as, remote, None, verified=False, same_content=False)
    if remote is None:
        return replace(start, message=f"No path mapping of the entry covers {local}.")
    if source is None:
        return replace(start, message=f"{local} cannot be read.")
    try:
        return replace(start, line=first_line(source))
    except (SyntaxError, ValueError) as error:
        return replace(start, message=f"{local} does not compile: {error}.")


def _remote(local: Path, configuration: Mapping[str, Any]) -> PurePosixPath | None:
    """Translate as debugpy does: by the first mapping that fits."""
    for mapping in configuration.get("pathMappings", []):
        if local.is_relative_to(mapping["localRoot"]):
            relative = local.relative_to(mapping["localRoot"]).as_posix()
            return PurePosixPath(mapping["remoteRoot"]) / relative
    return None


def _runtime_view(
    host: str, port: int, files: Sequence[FileProof], timeout_s: float
) -> dict[str, Message]:
    asked = [
        {"path": str(file.remote), "lines": [file.line] if file.line else []}
        for file in files
        if not file.message
    ]
    body = ask(host, port, "devkit/verify", {"files": asked}, timeout_s=timeout_s)
    answered = body.get("files")
    if not isinstance(answered, list):
        raise DebuggerUnreachable(
            f"The runtime at {host}:{port} answered devkit/verify with nonsense.",
            hint="`devkit run` starts it anew.",
        )
    return {str(item.get("path")): item for item in answered if isinstance(item, dict)}


def _client(status: Message) -> str | None:
    attached = status.get("attached")
    return str(attached.get("client")) if isinstance(attached, dict) else None


def _bound(
    host: str,
    port: int,
    configuration: Mapping[str, Any],
    files: Sequence[FileProof],
    timeout_s: float,
) -> dict[str, Message]:
    """Attach, set one breakpoint per file, see what becomes of it and leave, which unsets them."""
    wanted = {
        str(file.opened_as): [Breakpoint(file.line)]
        for file in files
        if file.line and not file.message
    }
    with Session.attach(
        host, port, configuration, breakpoints=wanted, timeout_s=timeout_s
    ) as session:
        if not session.disconnect():
            raise DebuggerUnreachable(
                f"The debugger at {host}:{port} did not let go of devkit's own session.",
                hint="`devkit reload` starts the worker again.",
            )
    return {path: found[0] for path, found in session.bound.items()}


def _judged(
    file: FileProof, source: bytes | None, seen: Message, bound: Message | None
) -> FileProof:
    """Join what file, runtime and debugger say; the first thing wrong is the message."""
    if file.message or source is None:
        return file
    if not seen.get("exists"):
        missing = f"{file.local} is mapped to {file.remote}, which is not in the container."
        return replace(file, message=missing)
    result = bound or _asked_breakpoint(seen)
    local_hash, remote_hash = hashlib.sha256(source).hexdigest(), str(seen.get("sha256"))
    verified, same = bool(result.get("verified")), local_hash == remote_hash
    message = ""
    if not same:
        message = (
            f"{file.local} and {file.remote} in the container differ (sha256 {local_hash[:12]} "
            f"and {remote_hash[:12]}), so breakpoints would stop at wrong lines."
        )
    elif not verified:
        why = result.get("message") or "no reason given"
        message = f"A breakpoint in {file.local}:{file.line} does not bind: {why}"
    return replace(file, verified=verified, same_content=same, message=message)


def _asked_breakpoint(seen: Message) -> Message:
    """What the runtime itself says about the line; a file without code has none to ask about."""
    breakpoints = seen.get("breakpoints")
    if isinstance(breakpoints, list) and breakpoints and isinstance(breakpoints[0], dict):
        return breakpoints[0]
    return {"verified": True}
