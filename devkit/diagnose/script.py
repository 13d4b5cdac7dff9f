"""Step 7, diagnose: the entry script: what it lacks, and debuggers in the wrong place."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from devkit.diagnose.case import Case, place
from devkit.diagnose.finding import Finding
from devkit.diagnose.sources import Script, dotted
from devkit.errors import EntryScriptBroken, EntryScriptMissing
from devkit.package import entry_script

_LISTENS = ("debugpy.listen", "debugpy.connect", "ptvsd.enable_attach")
_WAITS = ("debugpy.wait_for_client", "ptvsd.wait_for_attach")
_ENDS = ("os._exit", "os.abort", "sys.exit", "exit", "quit", "os.kill")


def complete(case: Case) -> Iterator[Finding]:
    """The entry script is there, parses, and has init() and run(data)."""
    try:
        entry_script.check(case.workspace)
    except EntryScriptMissing as error:
        yield missing(case, error.message, error.hint or "")
    except EntryScriptBroken as error:
        file, line = place(error.message)
        yield Finding(
            "entry-script-broken", "error", error.message,
            "The server loads this script before anything else, and cannot.",
            error.hint or "Correct that line.", "", file, line,
        )  # fmt: skip
    except (RecursionError, MemoryError):
        yield Finding(
            "entry-script-broken", "error",
            f"{case.workspace.config.entry_script} is nested too deeply for Python to read.",
            "Brackets, or operators in one expression, lie within one another a thousand times or "
            "more; the server's Python gives up on that, too.",
            "Split that expression, or read its data from a file.",
            file=case.shown(case.workspace.source / case.workspace.config.entry_script),
        )  # fmt: skip


def missing(case: Case, title: str, remedy: str, evidence: str = "") -> Finding:
    """The entry script is not where it is looked for."""
    config = case.workspace.config
    file, line = place(case.workspace.origins["entry_script"])
    expected = f"{case.workspace.source.name}/{config.entry_script}"
    return Finding(
        "entry-script-missing", "error", title,
        f"The server looks for /var/azureml-app/{expected}: the folder is source_directory, and "
        "entry_script is relative to it.",
        remedy or "Set entry_script and source_directory in devkit.yaml.",
        evidence, file, line,
    )  # fmt: skip


def debuggers(case: Case) -> Iterator[Finding]:
    """A debugger that the script starts itself: it waits in the cloud, or listens to nobody."""
    for script in case.scripts:
        for call in script.calls:
            name = _qualified(script, call)
            if name in _WAITS:
                yield _waits(script, call, name)
            elif name in _LISTENS:
                yield _listens(script, call, name)


def ends_process(case: Case) -> tuple[str, int, str] | None:
    """Find where run() ends its process: file, line, and the call."""
    for script in case.scripts:
        for call in script.calls:
            if (name := _qualified(script, call)) in _ENDS:
                return script.name, call.lineno, name
    return None


def run_line(case: Case) -> tuple[str | None, int | None]:
    """The place of run()."""
    function = case.script.function("run") if case.script else None
    return (case.script.name, function.lineno) if case.script and function else (None, None)


def _waits(script: Script, call: ast.Call, name: str) -> Finding:
    timeout = bool(call.args or call.keywords)
    return Finding(
        "debugger-waits", "warning", f"{name}() holds the service until an editor attaches.",
        "devkit's debugger is there before the script is loaded. In the cloud nobody attaches, "
        + ("so each start takes that long." if timeout else "so init() never comes to its end."),
        "Take the line out; `devkit debug --wait-for-client` does the same without it.",
        script.line(call.lineno), script.name, call.lineno,
    )  # fmt: skip


def _listens(script: Script, call: ast.Call, name: str) -> Finding:
    inside = any(
        isinstance(n, ast.Constant) and n.value in ("127.0.0.1", "localhost")
        for n in ast.walk(call)
    )
    # debugpy.listen(5678) means 127.0.0.1, too.
    is_port = bool(call.args) and isinstance(call.args[0], ast.Constant)
    if (inside or is_port) and name == "debugpy.listen":
        return Finding(
            "debugger-loopback", "error", "The debugger listens inside the container only.",
            "On 127.0.0.1 of the container no published port reaches it: an editor's attach is "
            "refused, or closes at once.",
            "Take the line out: devkit's debugger listens already, and `devkit debug` publishes "
            'it. Without devkit, it is debugpy.listen(("0.0.0.0", 5678)).',
            script.line(call.lineno), script.name, call.lineno,
        )  # fmt: skip
    return Finding(
        "debugger-in-script", "warning", f"{name}() starts a second debugger.",
        "devkit's debugger is there already; each further worker, and each reload, finds the "
        "port taken, and in production whoever reaches it may run any code.",
        "Take the line out; `devkit debug` needs no change of the script.",
        script.line(call.lineno), script.name, call.lineno,
    )  # fmt: skip


def _qualified(script: Script, call: ast.Call) -> str:
    """Return a call's name with the module, also where it was imported by `from` or `as`."""
    first, _, rest = dotted(call.func).partition(".")
    return ".".join(filter(None, [script.origins.get(first, first), rest]))
