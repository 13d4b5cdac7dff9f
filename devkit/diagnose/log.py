"""Step 7, diagnose: what single lines of a log mean, ours and those of the cloud's servers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from devkit.diagnose import imports, raised, script
from devkit.diagnose.case import Case
from devkit.diagnose.finding import Finding

_TIMEOUT = re.compile(r"WORKER TIMEOUT \(pid:\s?\d+\)")
_KILLED = re.compile(
    r"(?:terminated due to signal|was sent) (?:SIGKILL|9)|signal 9\b|exit code 137"
)
_NO_GUNICORN = re.compile(
    r"(?:exec: |/bin/\w+: (?:\d+: )?)?(?:gunicorn|azmlinfsrv): (?:command )?not found"
    r"|executable file not found in \$PATH.{0,40}gunicorn|No module named '?gunicorn"
)
_NO_MAIN = re.compile(
    r"No module named '?main\b|can't open file '[^'\n]{0,300}main\.py'|user_script.{0,80}not found"
)
_ENDED = re.compile(
    r"worker (\d+) ended by itself: (?:exit code (-?\d+)|signal (\w+))", re.IGNORECASE
)
_CONFLICT = re.compile(r"\b409\b.{0,80}(?:Conflict|operation)|has no attribute 'reload'")
_OTHERS = (
    (re.compile(r"no space left on device", re.IGNORECASE), "disk-full",
     "There is no space left on the engine's disk.", "Building and pulling images fills it.",
     "`docker system df` shows what does; `docker image prune` removes what nothing uses."),
    (re.compile(r"exec format error"), "wrong-architecture",
     "The image is for another kind of processor.", "An arm64 machine cannot run an amd64 image, "
     "nor the cloud one of arm64.", "Build it with --platform linux/amd64."),
    (re.compile(r"port is already allocated|address already in use", re.IGNORECASE), "port-taken",
     "A port of this machine is taken.", "Another container, or another program, has it.",
     "`devkit diagnose` without --logs names the owner; --port auto takes a free one."),
    (re.compile(r"blocked by CORS policy", re.IGNORECASE), "cors", "The browser refuses the "
     "answer: it comes from another origin.", "The server names no origin that may read it.",
     "Set AML_CORS_ORIGINS to the page's origin, in run.env."),
)  # fmt: skip


def server_lines(case: Case) -> Iterator[Finding]:
    """The server did not even start: it, or the script, is missing."""
    if match := _NO_GUNICORN.search(case.log):
        yield imports.no_server(case, match[0])
    if match := _NO_MAIN.search(case.log):
        yield script.missing(case, "The server does not find the script it loads.", "", match[0])
    for pattern, id_, title, cause, remedy in _OTHERS:
        if found := pattern.search(case.log):
            yield Finding(id_, "error", title, cause, remedy, found[0])


def workers(case: Case) -> Iterator[Finding]:
    """A worker process that ended: by itself, by a signal, or by gunicorn's patience."""
    if match := _TIMEOUT.search(case.log):
        yield _timed_out(case, match[0])
    ended = list(_ENDED.finditer(case.log))
    # One for each way to end; the newest of them.
    for match in {(m[2], m[3]): m for m in ended}.values():
        yield _ended(case, match)


def operations(case: Case) -> Iterator[Finding]:
    """A reload or update that the service refused."""
    if match := _CONFLICT.search(case.log):
        yield Finding(
            "update-refused", "error", "The service refused the reload or update.",
            "Only a local service has reload(); in the cloud one operation runs at a time (409), "
            "and a new model or environment needs update().",
            "Wait until the service is Healthy, then call update(); here: `devkit update`.",
            match[0],
        )  # fmt: skip


def _timed_out(case: Case, line: str) -> Finding:
    killed = _KILLED.search(case.log)
    file, number = _init_place(case)
    return Finding(
        "worker-timeout", "error",
        "gunicorn gave up on a worker that was silent for 300 s, and killed it.",
        "init() took longer than WORKER_TIMEOUT, or a debugger paused it, or it waits for "
        "something; signal 9 right after a timeout is gunicorn's own, not a lack of memory.",
        "Load the model faster, or raise WORKER_TIMEOUT; devkit's own server never ends a worker "
        "that a breakpoint holds.",
        "\n".join([line, *([killed[0]] if killed else [])]), file, number,
    )  # fmt: skip


def _ended(case: Case, match: re.Match[str]) -> Finding:
    code, signal = match[2], match[3]
    if signal == "SIGKILL":
        return killed_for_memory(case, match[0])
    crash = raised.fatal(case.log) if signal else None
    spot = case.spot(crash) if crash else None
    ends = script.ends_process(case) if code is not None else None
    file, line = script.run_line(case)
    if spot:
        file, line, how = spot.file, spot.line, f"by {signal}, in this line"
    elif ends:
        file, line, how = ends[0], ends[1], f"by {ends[2]}(), with code {code}"
    else:
        how = f"with code {code}" if code is not None else f"by {signal}"
    remedy = "Raise an exception instead: the worker stays, and the client gets the reason."
    if signal:
        remedy = "A compiled package crashed: try another version of it, with the same input."
    return Finding(
        "worker-crashed", "error", f"A request ended the worker process, {how}.",
        "The connection closes without an answer, which clients see as 502; another worker then "
        "runs init() again.",
        remedy, match[0], file, line,
    )  # fmt: skip


def killed_for_memory(case: Case, seen: str) -> Finding:
    """A process was killed by the system, which is nearly always for its memory."""
    limit = case.workspace.config.run.memory
    file, line = script.run_line(case)
    return Finding(
        "out-of-memory", "error", "The service was killed because it used too much memory.",
        f"It may have {limit or 'all of the engine'}; what it did last needed more. Clients see "
        "502, as the worker is gone before it answers.",
        "Set run.memory in devkit.yaml higher (--memory), or hold less in memory at once.",
        seen, file, line,
    )  # fmt: skip


def _init_place(case: Case) -> tuple[str | None, int | None]:
    function = case.script.function("init") if case.script else None
    return (case.script.name, function.lineno) if case.script and function else (None, None)
