"""BuildKit, through `docker buildx build` as a child: the SDK has none (docker-py#2230)."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from typing import IO

from devkit.engine import BuildSpec, Progress
from devkit.engines import build_output
from devkit.engines.build_context import DOCKERFILE, tar_stream
from devkit.engines.endpoint import Endpoint
from devkit.errors import BuildError

_KEPT_LINES = 400
_END_WAIT_S = 10
_LAST_WORDS = re.compile(
    r"ERROR: (?:failed to (?:build|solve): )+(?:.*failed to create LLB definition: )?(.+)"
)


def is_installed() -> bool:
    """Say whether the docker CLI is here, with buildx."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    answer = subprocess.run([docker, "buildx", "version"], capture_output=True, check=False)
    return answer.returncode == 0


def command(spec: BuildSpec, endpoint: Endpoint) -> tuple[str, ...]:
    """Return the child's command line; the values of build arguments go through its environment."""
    # The engine's own builder has the engine's images, which a bootstrapped base is only in;
    # buildx names it after the context.
    builder = endpoint.cli[1] if endpoint.cli[:1] == ("--context",) else "default"
    words = ["docker", *endpoint.cli, "buildx", "build", "--builder", builder, "--load"]
    words += ["--progress", "plain", "--tag", str(spec.tag), "--file", DOCKERFILE]
    for name, value in sorted(spec.labels.items()):
        words += ["--label", f"{name}={value}"]
    for name in sorted(spec.args):
        words += ["--build-arg", name]
    for name, path in sorted(spec.secrets.items()):
        words += ["--secret", f"id={name},src={path}"]
    words += ["--platform", spec.platform] if spec.platform else []
    words += ["--no-cache"] if spec.no_cache else []
    return (*words, "-")


def build(spec: BuildSpec, endpoint: Endpoint, *, progress: Progress) -> None:
    """Build an image into the engine.

    Raises:
        BuildError: or one of its kind, as the output says.
    """
    child = subprocess.Popen(
        command(spec, endpoint),
        env={**os.environ, **spec.args},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # Ctrl-C reaches this process alone, which then ends the child and waits for it.
        start_new_session=True,
    )
    with _ended(child):
        _follow(child, spec, progress)


def _follow(child: subprocess.Popen[bytes], spec: BuildSpec, progress: Progress) -> None:
    assert child.stdin is not None
    assert child.stdout is not None
    feeder = _Feeder(child.stdin, tar_stream(spec, spec.buildkit_dockerfile or spec.dockerfile))
    feeder.start()
    output: deque[str] = deque(maxlen=_KEPT_LINES)
    words, repeats = "", False
    for line in io.TextIOWrapper(child.stdout, encoding="utf-8", errors="replace"):
        # After a line of dashes BuildKit says all about the failure once more.
        repeats = repeats or line.startswith("------")
        if match := _LAST_WORDS.match(line):
            words = match[1]
        elif not repeats and (text := build_output.shown(line)):
            output.append(text)
            progress(text)
    code = child.wait()
    feeder.join()
    if feeder.error is not None:
        raise feeder.error
    if code:
        raise build_output.failure(list(output), words or f"exit code {code}", tag=spec.tag)


class _Feeder(threading.Thread):
    """Sends the context while the output is read; `error` is what went wrong with a file of it."""

    def __init__(self, pipe: IO[bytes], chunks: Iterator[bytes]) -> None:
        super().__init__(daemon=True)
        self._pipe = pipe
        self._chunks = chunks
        self.error: BuildError | None = None

    def run(self) -> None:
        """Send it; the end of the pipe is the end of the context."""
        try:
            # A child that fails early reads no further; its output says why.
            with contextlib.suppress(BrokenPipeError), self._pipe:
                for chunk in self._chunks:
                    self._pipe.write(chunk)
        except BuildError as error:
            self.error = error


@contextlib.contextmanager
def _ended(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """See that the child is gone in the end, whatever happens inside."""
    try:
        yield
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
            try:
                child.wait(timeout=_END_WAIT_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if child.stdout is not None:
            child.stdout.close()
