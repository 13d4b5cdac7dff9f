"""The main job, watched: package, run, stop at a breakpoint, edit, break init(), mend it, clean up.

Everything goes through what a user has: the `devkit` command with --json, the scoring port, and
the debug port as an editor speaks to it. Exit code 0 only when every step was seen to work.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from debugged import DEVKIT, PATIENCE_S, Running, debugging
from rich.console import Console
from timeline import NotSeen, Step, Timeline

from devkit import base, service
from devkit.debug.dap import Breakpoint, Frame, Session
from devkit.engines import connect
from devkit.errors import BuildError, DevkitError, NoEngine

ROOT = Path(__file__).resolve().parents[1]
EDITS = 5
# A person looks at the answer before the next edit; the next worker gets ready meanwhile.
PAUSE_S = 1


def main() -> int:
    options = _options()
    console = Console(highlight=False, soft_wrap=True)
    show = Timeline(console)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # it cleans up, too
    try:
        with _workspace() as folder:
            engine, image = _place(options.engine, show)
            with debugging(folder, engine, image, show) as running:
                _first_answer(running, show)
                with running.attached() as session:
                    _breakpoint(running, session, show)
                    _edits(running, session, show)
                    _moved_breakpoint(running, session, show)
                    if engine != "process":  # there, both are the same files
                        _edited_inside(running, show)
                    _broken_init(running, session, show)
                    _mended(running, session, show)
        show.done(
            "cleaned up", "service and workspace are gone; what was built stays for next time"
        )
    except KeyboardInterrupt:
        show.failed("interrupted; what was started has been cleaned up")
        return 130
    except (NotSeen, DevkitError, TimeoutError, OSError) as error:
        show.failed(str(error) or type(error).__name__, getattr(error, "hint", None))
        return 1
    _by_hand(console, engine, image)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engine", choices=["docker", "podman", "process"], help="what runs it")
    return parser.parse_args()


@contextmanager
def _workspace() -> Iterator[Path]:
    """A copy of examples/iris below a path as real ones are: a space, a letter beyond ASCII."""
    with tempfile.TemporaryDirectory(prefix="devkit démo ") as folder:
        copy = Path(folder).resolve() / "iris démo"
        shutil.copytree(ROOT / "examples/iris", copy)
        yield copy


def _place(wanted: str | None, show: Timeline) -> tuple[str, str | None]:
    """Where the service is to run: an engine and a base image, or processes of this machine."""
    try:
        with show.step("where it runs") as step:
            engine = connect(wanted)
            if engine.name == "process":
                step.saw("as processes of this machine")
                return "process", None
            info = engine.info()
            image = str(base.ensure(engine, python="3.13", progress=step.progress))
            step.saw(f"{info.name} {info.version} at {info.endpoint}", f"base image {image}")
            engine.close()
            return engine.name, image
    except (NoEngine, BuildError) as error:
        if wanted:
            raise
        show.done(
            "no container to be had: going on with --engine process",
            error.message,
            "An engine would add: the image that is deployed, its isolation, `devkit shell`.",
        )
        return "process", None


def _first_answer(running: Running, show: Timeline) -> None:
    with show.step("a request") as step:
        answer = running.ask()
        _expect(answer, 200)
        step.saw(
            f"POST /score -> {answer.status} {answer.text()} in {answer.seconds * 1000:.0f} ms"
        )


def _breakpoint(running: Running, session: Session, show: Timeline) -> None:
    with show.step("breakpoint hit in run()") as step:
        _stop_and_look(running, session, step)


def _edits(running: Running, session: Session, show: Timeline) -> None:
    """Edit and ask at once, a few times; the debug session stays all along."""
    with show.step("edited: the new code answers, the debug session stays") as step:
        took: list[float] = []
        old = '{"species":'
        for number in range(1, EDITS + 1):
            new = f'{{"edit": {number}, "species":'
            time.sleep(PAUSE_S)
            running.save(old, new)
            _, milliseconds = running.until(lambda a, n=number: f'"edit": {n}' in a.text())  # type: ignore[misc]
            took.append(milliseconds)
            old = new
            session.threads()
        each = ", ".join(f"{milliseconds:.0f}" for milliseconds in took)
        step.saw(f"save -> new answer in {statistics.median(took):.0f} ms (median of {each})")


def _moved_breakpoint(running: Running, session: Session, show: Timeline) -> None:
    with show.step("breakpoint hit again, in the new code, in the same session") as step:
        generation = running.status().generation
        code = "    data = json"
        running.save(code, f"    # A line above: the breakpoint moves.\n{code}")
        running.loaded(generation + 1)
        _stop_and_look(running, session, step)


def _edited_inside(running: Running, show: Timeline) -> None:
    with show.step(
        "edited inside the container: the workspace has it, the service runs it"
    ) as step:
        generation = running.status().generation
        running.inside("sed", "-i", "s/A line above:/Edited inside:/")
        running.loaded(generation + 1)
        running.devkit("sync", "flush")
        if "Edited inside:" not in running.script.read_text("utf-8"):
            raise NotSeen("the edit made in the container did not come to the workspace")
        last = running.devkit("sync", "log", "-n", "1").stdout.split()
        step.saw(f"devkit sync log: {' '.join(last[3:])}")


def _stop_and_look(running: Running, session: Session, step: Step) -> None:
    """Stop before run() returns, look at a local variable, go on to the answer."""
    line = running.line_of("return {")
    session.set_breakpoints(str(running.script), [Breakpoint(line)])
    answer = running.ask_meanwhile()
    thread = session.wait_for("stopped", timeout_s=PATIENCE_S).body["threadId"]
    frame = session.stack(thread)[0]
    label = session.evaluate("label", frame.id)
    _expect_frame(frame, running, line)
    session.set_breakpoints(str(running.script), [])
    session.resume(thread)
    _expect(answer.result(timeout=PATIENCE_S), 200)
    code = running.script.read_text("utf-8").splitlines()[line - 1].strip()
    step.saw(
        f"score.py:{line}  {code}", f"label = {label}", f"then it answers {answer.result().text()}"
    )


def _broken_init(running: Running, session: Session, show: Timeline) -> None:
    with show.step("init() broken: the error has file and line") as step:
        running.save("open(path,", 'open(path + ".old",')
        answer, milliseconds = running.until(lambda a: a.status == 503)
        failure = running.status().error
        if failure is None or failure.file != running.script:
            raise NotSeen(f"the error is not in {running.script}: {failure}")
        session.threads()
        step.saw(
            f"POST /score -> {answer.status} after {milliseconds:.0f} ms",
            f"{failure.file}:{failure.line}, in {failure.function}()",
            f"{failure.kind}: {failure.message.splitlines()[0]}",
        )


def _mended(running: Running, session: Session, show: Timeline) -> None:
    with show.step("mended by the next edit, the debug session still attached") as step:
        running.save('open(path + ".old",', "open(path,")
        answer, milliseconds = running.until(lambda a: a.status == 200)
        attached = running.status().attached
        if not attached:
            raise NotSeen("the debug session was lost")
        session.threads()
        step.saw(f"POST /score -> {answer.status} after {milliseconds:.0f} ms")


def _expect(answer: service.Answer, status: int) -> None:
    if answer.status != status or "species" not in answer.text():
        raise NotSeen(f"the service answered {answer.status}: {answer.text()[:300]}")


def _expect_frame(frame: Frame, running: Running, line: int) -> None:
    seen = (frame.name, frame.path, frame.line)
    if seen != ("run", str(running.script), line):
        raise NotSeen(f"the program stopped at {seen}, not in run() at {running.script}:{line}")


def _by_hand(console: Console, engine: str, image: str | None) -> None:
    flags = " --engine process" if engine == "process" else f" --base {image}"
    devkit = DEVKIT.relative_to(ROOT) if DEVKIT.is_relative_to(ROOT) else DEVKIT
    console.print(
        f"\n[bold]By hand[/bold], in VS Code with Microsoft's Python Debugger extension:\n"
        f"  code examples/iris\n"
        f"  {devkit} debug -C examples/iris{flags}\n"
        f"  set a breakpoint in run(), press [bold]F5[/bold], and in another terminal:\n"
        f"  {devkit} invoke -C examples/iris -d @sample.json\n"
        f"  edit, save, invoke again; in the end: {devkit} delete -C examples/iris --yes"
    )


if __name__ == "__main__":
    sys.exit(main())
