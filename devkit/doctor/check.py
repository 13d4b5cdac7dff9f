"""Doctor: checks side by side, each bounded; what they saw, as a line each, and findings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswer
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from devkit.config import Workspace
from devkit.diagnose.finding import Finding, ordered
from devkit.errors import DevkitError

BOUND_S = 10.0
_T = TypeVar("_T")


@dataclass(frozen=True)
class Seen:
    """What a check saw, in one line, and what is wrong."""

    text: str
    findings: tuple[Finding, ...] = ()
    is_known: bool = True


def unseen(why: str) -> Seen:
    """Nothing to look at, or no way to."""
    return Seen(why, is_known=False)


Check = Callable[[], Seen]


@dataclass(frozen=True)
class Machine:
    """What is looked at.

    `root` is the workspace's folder, `workspace` its configuration, None with `problem` where that
    cannot be read. `engine`: the options that choose one. `system` is where /proc, /mnt and /run
    are looked for.
    """

    root: Path
    workspace: Workspace | None = None
    problem: DevkitError | None = None
    engine: Mapping[str, str | None] = field(default_factory=dict)
    system: Path = Path("/")


@dataclass(frozen=True)
class Result:
    """One check: a line about it, and whether that is as it should be."""

    name: str
    text: str
    findings: tuple[Finding, ...] = ()
    is_known: bool = True

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; a note is nothing wrong."""
        return all(finding.severity == "note" for finding in self.findings)

    @property
    def mark(self) -> str:
        """A sign for the line."""
        severities = {finding.severity for finding in self.findings}
        if "error" in severities:
            return "✗"
        if "warning" in severities:
            return "!"
        return "✓" if self.is_known else "-"


@dataclass(frozen=True)
class Report:
    """All checks; `str` is what a person reads."""

    results: tuple[Result, ...]

    @property
    def findings(self) -> list[Finding]:
        """What is wrong, the most severe first."""
        return ordered(finding for result in self.results for finding in result.findings)

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not any(finding.severity == "error" for finding in self.findings)

    @property
    def has_engine(self) -> bool:
        """Whether something can be tried out on an engine."""
        return not any(f.id.startswith("engine-") for f in self.findings if f.severity == "error")

    def as_json(self) -> dict[str, Any]:
        """Return the object that --json prints, without "ok"."""
        checks = [{"name": r.name, "ok": r.ok, "text": r.text} for r in self.results]
        return {"checks": checks, "findings": self.findings}

    def __str__(self) -> str:
        width = max((len(result.name) for result in self.results), default=0)
        lines = [f"{r.mark} {r.name:<{width}}  {r.text}" for r in self.results]
        return "\n".join(lines + [f"\n{finding}" for finding in self.findings])


def examined(checks: Mapping[str, Check], *, bound_s: float = BOUND_S) -> Report:
    """Do all checks at once; one that has no answer in time is left behind, and says so."""
    # Daemon threads, not an executor: that one would wait for a check that hangs.
    asked = {name: in_background(check) for name, check in checks.items()}
    deadline = time.monotonic() + bound_s
    return Report(tuple(_result(name, it, deadline, bound_s) for name, it in asked.items()))


def in_background(work: Callable[[], _T]) -> Future[_T]:
    """Do it in a thread that holds nobody up."""
    future = Future[_T]()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001 - a check that fails is a finding
            future.set_exception(error)

    Thread(target=run, daemon=True, name="doctor").start()
    return future


def _result(name: str, asked: Future[Seen], deadline: float, bound_s: float) -> Result:
    try:
        seen = asked.result(max(deadline - time.monotonic(), 0.0))
    except NoAnswer:
        if not asked.done():
            why = f"There was no answer within {bound_s:.0f} s."
            return _failed(name, "check-hangs", why, "`devkit doctor -vv` shows what it waits for.")
        return _broken(name, asked.exception())
    except Exception as error:  # noqa: BLE001 - likewise
        return _broken(name, error)
    return Result(name, seen.text, seen.findings, seen.is_known)


def _broken(name: str, error: BaseException | None) -> Result:
    message = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
    hint = getattr(error, "hint", None) or "`devkit doctor --bundle FILE` makes a bug report of it."
    return _failed(name, "check-failed", message, hint)


def _failed(name: str, id_: str, why: str, remedy: str) -> Result:
    title = f"The check of {name} came to no result."
    return Result(name, f"unknown: {why}", (Finding(id_, "warning", title, why, remedy),))
