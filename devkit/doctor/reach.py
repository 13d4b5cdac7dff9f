"""Doctor: the engine, connected to once for all checks, and what it says about its machine."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from devkit.doctor.check import in_background
from devkit.engine import Engine
from devkit.engines import connect
from devkit.engines.docker_asked import Asked
from devkit.errors import NoEngine

_CONNECT_S = 8.0
_T = TypeVar("_T")


class Reach:
    """The engine that the options choose; asked for by several threads."""

    def __init__(self, choice: Mapping[str, str | None]) -> None:
        self._choice = choice
        kind, host, context = (choice.get(name) for name in ("engine", "host", "context"))
        self._engine = in_background(lambda: connect(kind, host=host, context=context))
        self._asked = in_background(self._opened)
        self._details = in_background(lambda: self.asked().details())

    def engine(self) -> Engine:
        """Return it.

        Raises:
            DevkitError: it is not to be had, and why.
        """
        try:
            return self._engine.result(_CONNECT_S)
        except TimeoutError:
            raise NoEngine(
                f"The engine gave no answer within {_CONNECT_S:.0f} s.",
                hint="It hangs: restart it.",
            ) from None

    def engine_or_none(self) -> Engine | None:
        """Return it where it answers; the check of the engine says why it does not."""
        with suppress(Exception):
            return self.engine()
        return None

    def asked(self) -> Asked:
        """Return what can be asked about its machine; of a Docker-like engine only.

        Raises:
            DevkitError: it is not to be had, and why.
        """
        return self._asked.result(_CONNECT_S)

    def details(self) -> Mapping[str, Any]:
        """Return what the engine says of itself (`docker info`)."""
        return self._details.result(_CONNECT_S)

    def close(self) -> None:
        """Let go."""
        # What has not answered by now is left behind with its thread.
        if (engine := _result_now(self._engine)) is not None:
            engine.close()
        if (asked := _result_now(self._asked)) is not None:
            asked.close()

    def _opened(self) -> Asked:
        return Asked.open(self.engine().info().endpoint, self._choice)


def _result_now(asked: Future[_T]) -> _T | None:
    return asked.result() if asked.done() and asked.exception() is None else None
