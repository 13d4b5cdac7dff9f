"""Ctrl-C while something must not be cut short."""

from __future__ import annotations

import signal
import threading

import pytest

from devkit import interrupt


def pressed(times: int, *, error: Exception | None = None) -> list[str]:
    """Press in the block, and return what was done after it."""
    done = list[str]()

    def work() -> None:
        with interrupt.held():
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
            done.append("all")
            if error:
                raise error

    with pytest.raises(type(error) if error else KeyboardInterrupt):
        work()
    return done


def test_an_interrupt_comes_at_the_end_of_the_block() -> None:
    assert pressed(1) == ["all"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_one_comes_at_once() -> None:
    assert pressed(2) == []


def test_an_error_in_the_block_is_what_is_told() -> None:
    assert pressed(1, error=ValueError()) == ["all"]


def test_other_threads_have_no_part_in_it() -> None:
    def work() -> None:
        with interrupt.held():
            done.append(1)

    done = list[int]()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [1]
