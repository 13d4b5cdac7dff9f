"""Step 7, diagnose: a deployment taken apart, in its own order; the first step that fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from devkit.diagnose import (
    answers,
    container,
    editor,
    environment,
    failures,
    imports,
    log,
    models,
    results,
    script,
)
from devkit.diagnose.case import MOST_LOG, Case
from devkit.diagnose.finding import Finding, ordered

logger = logging.getLogger(__name__)

# What these mean is said by the log.
_ECHOES = ("http-500", "http-502")
Check = Callable[[Case], Iterable[Finding]]

STEPS: dict[str, tuple[Check, ...]] = {
    "script": (script.complete, script.debuggers, results.encoded_twice),
    "model": (models.configured, models.looked_up, models.joined, environment.model_fits),
    "environment": (
        environment.readable,
        environment.python_named,
        imports.not_asked_for,
        imports.old_server,
        environment.installable,
    ),
    "image": (container.engine_answers, environment.of_log, container.image_is_of_environment),
    "start": (container.ports_free, log.server_lines, container.ended),
    "init": (failures.loading,),
    "health": (answers.health, log.operations),
    "score": (
        answers.of_exchanges,
        answers.of_recorded,
        answers.of_code,
        failures.scoring,
        log.workers,
    ),
    "debugger": (editor.mapped, editor.published, editor.in_step),
}


@dataclass(frozen=True)
class Diagnosis:
    """What was found, the worst first; `step` is the first that fails, None when all do."""

    findings: tuple[Finding, ...]
    step: str | None
    looked_at: tuple[str, ...]

    @property
    def is_fine(self) -> bool:
        """Whether there is nothing to be done; notes are only notes."""
        return all(finding.severity == "note" for finding in self.findings)


def diagnosed(case: Case) -> Diagnosis:
    """Make all checks."""
    by_step = {step: _made(checks, case) for step, checks in STEPS.items()}
    failing = (step for step, found in by_step.items() if any(f.severity == "error" for f in found))
    every = ordered(finding for found in by_step.values() for finding in found)
    return Diagnosis(_without_echoes(every), next(failing, None), _looked_at(case))


def top(case: Case) -> Finding | None:
    """Return the finding that explains most: the first error of the first step that has one.

    Of an answer, what it says itself, unless that is no more than a code.
    """
    answered = _made((answers.of_exchanges,), case)
    if answered and not answered[0].id.startswith(_ECHOES):
        return answered[0]
    found = diagnosed(case).findings
    return found[0] if found and found[0].severity == "error" else None


def _made(checks: Iterable[Check], case: Case) -> list[Finding]:
    found = list[Finding]()
    for check in checks:
        # What cannot be looked at must not hide what can: each check stands for itself.
        try:
            found += check(case)
        except Exception as error:
            logger.debug("the check %s failed", check.__name__, exc_info=True)
            found.append(_not_made(check, error))
    return found


def _not_made(check: Check, error: Exception) -> Finding:
    """A check that fails is a fault of devkit's, but what it would find is not known."""
    what = f"{check.__module__.rpartition('.')[2]}.{check.__name__}"
    return Finding(
        "check-failed", "warning", f"The check {what} could not be made: {type(error).__name__}.",
        f"Something here is as devkit does not expect it: {str(error)[:200] or 'no reason given'}",
        "Correct what else is found, then try again; -vv shows where it failed.",
    )  # fmt: skip


def _without_echoes(findings: list[Finding]) -> tuple[Finding, ...]:
    """Drop a code's general meaning where something says more: the code is only its echo."""
    # A request that is known by its reason need not be explained by its status.
    says_more = any(f.severity == "error" and not f.id.startswith("http-") for f in findings)
    return tuple(f for f in findings if not (says_more and f.id in _ECHOES))


def _looked_at(case: Case) -> tuple[str, ...]:
    config = case.workspace.config
    what = "and what it imports" if case.script else "(not what it imports: it cannot be read)"
    seen = [f"the entry script {config.entry_script} {what}"]
    seen.append(f"models: {len(config.models)}")
    seen.append(f"the environment {config.environment or '(none)'}")
    if case.log_text is not None:
        is_cut = len(case.log_text) > MOST_LOG
        seen.append("the last 1 MB of the log given" if is_cut else "the log given")
    elif case.running:
        state = case.status.state if case.status else case.running.container.state
        seen.append(f"the container {case.running.container.name} ({state}) and its log")
    elif case.engine:
        seen.append("the engine; there is no container yet")
    if case.code is not None:
        seen.append(f"the code {case.code}" + (", which is no failure" if case.code < 300 else ""))
    seen += [f"the answer of {e.url}: {e.answer.status}" for e in case.exchanges]
    return tuple(seen)
