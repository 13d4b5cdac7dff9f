"""Step 7, diagnose: an exception of the user's code becomes a finding that says why."""

from __future__ import annotations

from collections.abc import Iterator

from devkit.diagnose import environment, imports, models, raised, results, script
from devkit.diagnose.case import Case, Spot
from devkit.diagnose.finding import Finding
from devkit.diagnose.raised import Frame, Raised

_CODE_OF = {"aks": "502", "managed": "424", "raw": "500"}


def loading(case: Case) -> Iterator[Finding]:
    """Why the script does not load, or init() failed: by the runtime, else by the log."""
    status = case.status
    if status and status.error and not status.is_ready:
        chain = (raised.chains(status.error.traceback) or [[]])[-1]
        error = status.error
        frame = Frame(str(error.file), error.line or 0, error.function or "<module>")
        plain = Raised(error.kind, error.message, (frame,) if error.file else ())
        one = case.ours(chain) if chain else plain
        yield explained(case, one if case.spot(one) else plain, "init")
        return
    if status and status.is_ready:
        return
    for one in case.raised:
        spot = case.spot(one)
        if spot is None or spot.phase != "run":
            yield from _of_log(case, one, spot)


def scoring(case: Case) -> Iterator[Finding]:
    """What requests came to, by the log."""
    for one in case.raised:
        spot = case.spot(one)
        if (spot and spot.phase == "run") or (spot is None and results.of_raised(case, one)):
            yield explained(case, one, "run")


def explained(case: Case, one: Raised, phase: str) -> Finding:
    """Say what an exception means: by what it is, else where it was raised."""
    spot = case.spot(one)
    known = (
        imports.server_of_raised(case, one)
        or environment.web_stack(case, one)
        or results.of_raised(case, one)
    )
    if known is None and spot:
        known = (
            models.of_raised(case, one, spot)
            or environment.of_raised(case, one, spot)
            or imports.of_raised(case, one, spot)
            or _empty_body(one, spot)
            or _memory(one, spot)
        )
    return known or _script_missing(case, one) or _plain(case, one, spot, phase)


def empty_body(one: Raised | None, spot: Spot | None, seen: str) -> Finding:
    """run() got no JSON: the usual reason is a client that names no content type."""
    return Finding(
        "empty-body", "error", "run() got an empty text, or one that is not JSON.",
        "A client that names no JSON content type sends a form, as `curl -d` does, and the server "
        "then hands run() an empty string.",
        "Send the header: curl -H 'Content-Type: application/json' -d @sample.json URL; "
        "`devkit invoke -d @sample.json` does so by itself.",
        "\n".join(filter(None, [seen, str(one) if one else ""])),
        spot.file if spot else None, spot.line if spot else None,
    )  # fmt: skip


def _of_log(case: Case, one: Raised, spot: Spot | None) -> Iterator[Finding]:
    found = explained(case, one, "init")
    # Without a line of the user's, only what is known by its words is worth saying.
    if spot or found.id not in ("init-raised", "import-raised", "run-raised"):
        yield found


def _empty_body(one: Raised, spot: Spot) -> Finding | None:
    is_empty = one.kind == "JSONDecodeError" and "(char 0)" in one.message
    return empty_body(one, spot, "") if is_empty and spot.phase == "run" else None


def _memory(one: Raised, spot: Spot) -> Finding | None:
    if one.kind != "MemoryError" and "CUDA out of memory" not in one.message:
        return None
    return Finding(
        "out-of-memory", "error", "There is not enough memory for this line.",
        "It asked for more than the container may have.",
        "Set run.memory in devkit.yaml higher, or load less at once.",
        str(one), spot.file, spot.line,
    )  # fmt: skip


def _script_missing(case: Case, one: Raised) -> Finding | None:
    name = case.workspace.config.entry_script
    modules = {"main", name.removesuffix(".py"), "score"}
    if one.kind in ("ModuleNotFoundError", "ImportError") and "'" in one.message:
        is_script = one.message.split("'")[1] in modules
    else:
        is_script = one.kind in ("FileNotFoundError", "OSError") and one.message.rstrip(
            "'\" "
        ).endswith(("/main.py", f"/{name}"))
    if not is_script:
        return None
    return script.missing(case, f"The server does not find the entry script {name}.", "", str(one))


def _plain(case: Case, one: Raised, spot: Spot | None, phase: str) -> Finding:
    phase = spot.phase if spot else phase
    file, line = (spot.file, spot.line) if spot else (None, None)
    text = str(one)
    if phase == "run":
        code = _CODE_OF[case.workspace.config.runtime.status]
        again = (
            "`devkit replay last-failed --break` sends it again and stops in that line."
            if case.recorded
            else "`devkit debug`, a breakpoint in that line, and send the request again."
        )
        return Finding(
            "run-raised", "error", f"run() raised {text}",
            f"The client sees {code} and a generic text; the traceback stands in the log only.",
            again,
            _source(case, spot), file, line,
        )  # fmt: skip
    what = "init() raised" if phase == "init" else "Loading the script raised"
    loads = ["models.pkl", "pickle", "joblib", "load", "open"]
    listing = models.tree(case) if any(w in _source(case, spot) for w in loads) else ""
    return Finding(
        "init-raised" if phase == "init" else "import-raised", "error", f"{what} {text}",
        "The server cannot start without it; in the cloud the container starts again and again: "
        "CrashLoopBackOff.",
        "Correct the line and save: under `devkit debug` it is loaded at once.",
        "\n".join(filter(None, [_source(case, spot), listing])), file, line,
    )  # fmt: skip


def _source(case: Case, spot: Spot | None) -> str:
    found = next((s for s in case.scripts if spot and s.name == spot.file), None)
    return found.line(spot.line or 0) if found and spot else ""
