"""When the background process tries again, and what it does not load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from devkit import background
from devkit.background import Retry
from devkit.errors import EngineError, OwnFolderUnusable
from devkit.in_step import Order

_LOADED = """
import sys
from devkit.keeper import Later
sys.meta_path.insert(0, Later("paramiko"))
import devkit.background, devkit.engines.docker
assert "paramiko.transport" not in sys.modules
import docker.transport.sshconn
assert docker.transport.sshconn.paramiko.SSHClient
assert "paramiko.transport" in sys.modules
"""


def test_after_a_stream_that_lasted_the_next_try_is_at_once_and_then_each_waits_longer() -> None:
    retry = Retry()
    retry.connected(10.0)
    waits = [retry.wait_s(20.0 + number) for number in range(20)]
    assert waits[0] == 0.0
    assert 0.0 < waits[1] < waits[2] < waits[3]
    assert waits[-1] == waits[-2] == 5.0
    retry.connected(50.0)
    assert [retry.wait_s(60.0), retry.wait_s(60.1)] == waits[:2]


def test_a_stream_that_ends_at_once_again_and_again_is_waited_for() -> None:
    retry = Retry()
    for number in range(10):
        retry.connected(float(number))
        assert retry.wait_s(number + 0.01) > 0.0


def test_paramiko_is_loaded_once_an_engine_is_reached_by_ssh() -> None:
    subprocess.run([sys.executable, "-c", _LOADED], check=True)


@pytest.fixture
def order(tmp_path: Path) -> Order:
    nowhere = {"engine": "docker", "host": f"unix://{tmp_path}/nowhere.sock"}
    return Order(tmp_path, tmp_path, "s", "c" * 64, engine=nowhere)


@pytest.mark.parametrize("place", [".devkit", ".devkit/trash", ".devkit/sync"])
def test_where_nothing_can_be_written_down_none_is_started(order: Order, place: str) -> None:
    (order.root / place).parent.mkdir(exist_ok=True)
    (order.root / place).write_text("a file")
    with pytest.raises(OwnFolderUnusable, match="Not a directory"):
        background.started(order)


def test_one_that_did_not_start_is_told_with_its_last_words(order: Order) -> None:
    with pytest.raises(EngineError, match=r"The sync did not start: .*nowhere\.sock"):
        background.started(order)


def test_one_that_did_not_start_and_said_nothing_is_told_with_its_exit_code(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(EngineError, match="The sync did not start: it ended with exit code 1"):
        background.started(order)
