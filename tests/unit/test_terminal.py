"""This terminal, or these pipes, joined to a process."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
from devkit import terminal
from devkit.engines.pipe_stream import PipeStream
stream = PipeStream(sys.argv[2:], env=os.environ, on_stderr=terminal.to_stderr)
sys.exit(getattr(terminal, sys.argv[1])(stream))
"""


def relayed(*command: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    words = [sys.executable, "-c", PROGRAM, "relay", *command]
    return subprocess.run(words, input=stdin, capture_output=True, check=False, timeout=60)


def test_bytes_go_through_unchanged_both_ways() -> None:
    data = bytes(range(256)) * 4096
    done = relayed("cat", stdin=data)
    assert (done.returncode, done.stdout) == (0, data)


def test_standard_error_stays_apart_and_the_exit_code_is_the_childs() -> None:
    done = relayed("sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


def test_standard_error_is_all_shown_and_as_it_comes() -> None:
    script = "head -c 300000 /dev/zero >&2; echo told >&2; read answer; echo $answer"
    words = [sys.executable, "-c", PROGRAM, "relay", "sh", "-c", script]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin
        assert process.stderr
        assert process.stderr.read(300_005) == bytes(300_000) + b"told\n"
        process.stdin.write(b"goes on\n")
        process.stdin.close()
        assert process.stdout
        assert process.stdout.read() == b"goes on\n"


def test_a_child_that_reads_nothing_is_not_waited_for_at_its_input() -> None:
    assert relayed("true", stdin=b"x" * 1_000_000).returncode == 0


def test_a_child_ends_although_nobody_ends_its_input() -> None:
    reader, writer = os.pipe()
    words = [sys.executable, "-c", PROGRAM, "relay", "echo", "done"]
    done = subprocess.run(words, stdin=reader, capture_output=True, check=False, timeout=60)
    os.close(reader)
    os.close(writer)
    assert done.stdout == b"done\n"


@pytest.mark.skipif(os.name != "posix", reason="pseudo terminals are POSIX's")
def test_a_terminal_is_raw_meanwhile_and_as_before_afterwards() -> None:
    # stty says how the terminal is: before, as the child sees the keys, and after.
    script = (
        'stty -g; "$@"; code=$?; stty -g; exit $code',
        "sh",
        *(sys.executable, "-c", PROGRAM, "interact"),
        *("sh", "-c", "echo ready; head -c 3 | od -An -tx1; exit 5"),
    )
    child, screen = pty.fork()
    if child == 0:
        os.execvp("sh", ["sh", "-c", *script])
    shown = b""
    while b"ready" not in shown:
        shown += os.read(screen, 4096)
    os.write(screen, b"\x03\x04\r")
    try:
        while data := os.read(screen, 4096):
            shown += data
    except OSError:
        pass  # Linux says so when the other side is closed
    _, status = os.waitpid(child, 0)
    before, *_, after = shown.decode().split()
    assert os.waitstatus_to_exitcode(status) == 5
    assert "03 04 0d" in shown.decode()
    assert before == after


def test_output_can_be_captured_while_stdin_goes_in() -> None:
    script = "import os, sys\nfrom devkit import terminal\n"
    script += "from devkit.engines.pipe_stream import PipeStream\n"
    script += "stream = PipeStream(['cat'], env=os.environ, on_stderr=terminal.to_stderr)\n"
    script += "print(terminal.captured(stream))"
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, input=b"in", capture_output=True, check=True, timeout=60)
    assert done.stdout == b"(0, b'in')\n"
