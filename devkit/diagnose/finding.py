"""Step 7, diagnose: what a check found, as a colleague would say it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
_ORDER: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    `id` is stable ("model-not-found"); `title` one line; `cause` why, in a sentence or two;
    `evidence` what was seen (lines of a log, a listing); `file` a path of the workspace or None;
    `remedy` what to type or change.
    """

    id: str
    severity: Severity
    title: str
    cause: str
    remedy: str
    evidence: str = ""
    file: str | None = None
    line: int | None = None

    @property
    def place(self) -> str:
        """The file and line as they stand before the title: "score.py:3: "; "" without one."""
        file = self.file
        if file is None or self.title.startswith((f"{file}:", f"{file} ")):
            return ""
        return f"{file}:{self.line}: " if self.line else f"{file}: "

    def __str__(self) -> str:
        evidence = "".join(f"\n    {line}" for line in self.evidence.splitlines())
        return f"{self.place}{self.title}\n  {self.cause}{evidence}\n  -> {self.remedy}"


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Return the most severe first, each once; among equals the order in which they came."""
    unique = dict[tuple[str, str | None, int | None], Finding]()
    for item in findings:
        unique.setdefault((item.id, item.file, item.line), item)
    return sorted(unique.values(), key=lambda item: _ORDER.index(item.severity))
