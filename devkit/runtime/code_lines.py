"""Whether a line can hold a breakpoint, found without disturbing an attached debugger."""

from __future__ import annotations

import dis
import hashlib
import os
from types import CodeType
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

from .failure import is_below

# Compiling holds the interpreter, and with it the debugger.
MAX_SOURCE = 1024 * 1024


def verified(path: str, lines: List[int], roots: Sequence[str]) -> Dict[str, Any]:
    """Digest of a file below `roots`, and for each line whether code starts on it.

    A file elsewhere is answered as a missing one: the debugger's port is no way to read the
    container.
    """
    missing = _checked(path, None, _unverified(lines, "no such file"))
    if not is_below(path, roots) or not os.path.isfile(path):
        return missing
    try:
        digest, content = _read(path)
    except OSError:
        return missing
    try:
        possible = executable(content, path) if lines else set()
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return _checked(path, digest, _unverified(lines, str(error)))
    breakpoints = [
        {
            "line": line,
            "verified": line in possible,
            "message": "" if line in possible else "no code on this line",
        }
        for line in lines
    ]
    return _checked(os.path.realpath(path), digest, breakpoints)


def _checked(path: str, digest: Optional[str], breakpoints: List[Dict[str, Any]]) -> Dict[str, Any]:
    exists = digest is not None
    return {"path": path, "exists": exists, "sha256": digest, "breakpoints": breakpoints}


def _read(path: str) -> Tuple[str, bytes]:
    """Digest of the whole file, and as much of it as a source may have."""
    digest, first = hashlib.sha256(), b""
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(MAX_SOURCE), b""):
            digest.update(block)
            first = first or block
    return digest.hexdigest(), first


def _unverified(lines: List[int], message: str) -> List[Dict[str, Any]]:
    return [{"line": line, "verified": False, "message": message} for line in lines]


def executable(content: bytes, path: str) -> Set[int]:
    """The lines that code starts on; SyntaxError where the file does not compile."""
    found: Set[int] = set()
    pending: List[CodeType] = [compile(content, path, "exec", dont_inherit=True)]
    while pending:
        code = pending.pop()
        found.update(line for _, line in dis.findlinestarts(code) if line)
        pending.extend(item for item in code.co_consts if isinstance(item, CodeType))
    return found
