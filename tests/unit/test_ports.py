"""An engine's refusal of a port is told with its owner, for the port that it names."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from devkit import ports
from devkit.engine import EngineInfo, PortBinding
from devkit.errors import PortInUse
from tests.fake_engine import FakeEngine


class LocalEngine(FakeEngine):
    def info(self) -> EngineInfo:
        return EngineInfo("fake", "1", "unix:///there", "linux", "amd64")


@pytest.fixture
def held() -> Iterator[int]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield listener.getsockname()[1]


def test_the_refusal_is_told_for_the_whole_number_only(held: int) -> None:
    part = int(str(held)[1:])
    bindings = [PortBinding(5001, part), PortBinding(5678, held)]
    refused = PortInUse(f"Port {held} of this machine is already in use.")
    told = ports.explained(LocalEngine(), bindings, refused)
    assert f"Port {held} " in told.message
    assert "--debug-port" in (told.hint or "")


def test_a_refusal_of_an_engine_elsewhere_stays_as_it_is() -> None:
    refused = PortInUse("Port 8000 of this machine is already in use.")
    assert ports.explained(FakeEngine(), [PortBinding(5001, 8000)], refused) is refused


def test_ports_that_are_chosen_are_free_and_different() -> None:
    wanted = [PortBinding(5001, 0), PortBinding(5678, 0)]
    first, second = (binding.host_port for binding in ports.chosen(wanted, own=()))
    assert first != second
    for port in (first, second):
        assert ports.is_free("127.0.0.1", port)


def test_all_taken_ports_are_named_with_one_command_that_avoids_them(held: int) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        bindings = [PortBinding(5001, held), PortBinding(5678, other.getsockname()[1])]
        with pytest.raises(PortInUse) as refused:
            ports.refuse_taken(LocalEngine(), bindings, own=())
        for binding in bindings:
            assert f"ort {binding.host_port} of this machine is already used" in str(refused.value)
    hint = refused.value.hint or ""
    found = re.match(r"`devkit debug --port (\d+) --debug-port (\d+)`", hint)
    assert found is not None, hint
    assert len({held, bindings[1].host_port, *map(int, found.groups())}) == 4
    assert "`devkit debug --port auto --debug-port auto`" in hint


def test_a_port_that_the_service_has_itself_is_not_taken(held: int) -> None:
    ports.refuse_taken(LocalEngine(), [PortBinding(5001, held)], own={("127.0.0.1", held)})
