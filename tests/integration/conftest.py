"""What the tests on a real engine share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devkit.engine import Engine
from devkit.engines import connect


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """The engine of this machine; a module that tests another one has its own."""
    made = connect()
    yield made
    made.close()


def output(engine: Engine, container: str, line: str, *, user: str | None = None) -> str:
    """Run a line in a container's shell and return what it said; it has to succeed."""
    stream = engine.exec(container, ["sh", "-c", line], user=user)
    try:
        said = b"".join(iter(stream.read, b""))
        assert stream.wait() == 0, stream.stderr().decode()
    finally:
        stream.close()
    return said.decode()
