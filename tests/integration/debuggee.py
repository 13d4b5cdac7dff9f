"""A program for the debugger tests: listens, says its port, then does what each line says."""

# ruff: noqa: T201 - what it prints is what the tests read

from __future__ import annotations

import os
import sys

import debugpy


def doubled(number: int) -> int:
    result = number * 2
    note = f"twice {number}"
    return result if note else 0


def forked(number: int) -> int:
    child = os.fork()
    if child == 0:
        os._exit(doubled(number))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def failing() -> None:
    raise ValueError("as asked")


_, port = debugpy.listen(("127.0.0.1", int(sys.argv[1])))
print(port, flush=True)
for line in sys.stdin:
    word, _, rest = line.strip().partition(" ")
    if word == "double":
        print(doubled(int(rest)), flush=True)
    elif word == "fork":
        print(forked(int(rest)), flush=True)
    elif word == "fail":
        try:
            failing()
        except ValueError:
            print("failed", flush=True)
