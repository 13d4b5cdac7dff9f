"""Step 7, diagnose: a diagnosis as text, at most a screen: a colleague's answer."""

from __future__ import annotations

import textwrap
from dataclasses import replace

from devkit.diagnose.diagnosis import Diagnosis
from devkit.diagnose.finding import Finding

_EVIDENCE_LINES = 8
_OTHERS = 8
_WIDTH = 96
_LONGEST_TITLE = 300
_LONGEST_TEXT = 800


def text(diagnosis: Diagnosis, *, everything: bool = False) -> str:
    """Say the top finding in full and the others in a line each; all in full with `everything`."""
    found = list(diagnosis.findings)
    if not everything:
        found = [finding for finding in found if finding.severity != "note"]
    if not found:
        seen = "".join(f"\n  {what}" for what in diagnosis.looked_at)
        return f"Nothing is wrong with what could be looked at:{seen}"
    head = [f"The first step that fails: {diagnosis.step}.\n"] if diagnosis.step else []
    if everything:
        return "\n".join([*head, "\n\n".join(map(full, found))])
    lines = [*head, full(found[0])]
    if found[1:]:
        lines += ["", "Besides:", *map(_short, found[1 : 1 + _OTHERS])]
        more = len(found) - 1 - _OTHERS
        lines.append(f"  ... and {more} more; -v shows all" if more > 0 else "  -v shows all")
    return "\n".join(lines)


def full(finding: Finding) -> str:
    """A finding with its reason, what was seen, and the remedy."""
    evidence = [line[:_WIDTH] for line in finding.evidence.strip().splitlines()]
    if len(evidence) > _EVIDENCE_LINES:
        evidence = [*evidence[: _EVIDENCE_LINES - 1], "..."]
    wrapped = replace(
        finding,
        title=finding.title[:_LONGEST_TITLE],
        cause=_wrapped(finding.cause, "  "),
        evidence="\n".join(evidence),
        remedy=_wrapped(finding.remedy, "     "),
    )
    return str(wrapped)


def _wrapped(text: str, indent: str) -> str:
    if len(text) > _LONGEST_TEXT:
        text = f"{text[:_LONGEST_TEXT]}..."
    lines = textwrap.wrap(text, _WIDTH, break_on_hyphens=False, break_long_words=False)
    return f"\n{indent}".join(lines)


def _short(finding: Finding) -> str:
    return f"  {finding.severity:7}  {finding.place}{finding.title}"[: _WIDTH + 30]
