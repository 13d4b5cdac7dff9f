"""Where the service under test runs: on this machine, or in a real container (marker `engine`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests import running

Start = Callable[..., running.Service]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A function that starts a service; all of them end with the test."""
    with ExitStack() as stack:
        count = iter(range(100))

        def begin(**kwargs: Any) -> running.Service:
            folder = tmp_path / str(next(count))
            folder.mkdir()
            return stack.enter_context(running.on_host(folder, **kwargs))

        yield begin


@pytest.fixture
def service(start: Start) -> running.Service:
    """A ready service."""
    return start()
