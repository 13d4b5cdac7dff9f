"""Microsoft's inference server app inside a worker, with the user's exceptions kept for the front.

Its classes are wrapped, not forked: names used here exist in azureml-inference-server-http 0.8 to
1.5.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import Any, Iterator, List, Optional

from .settings import Settings


class Loaded:
    """The Flask app as WSGI, and the exception behind its last answer."""

    def __init__(self) -> None:
        self.failure: Optional[BaseException] = None
        self.wsgi: Any = None
        self.run: Any = None


def load(settings: Settings) -> Loaded:
    """Create the app, which loads the entry script and runs init().

    Raises:
        BaseException: what the user's code raised.
    """
    from azureml_inference_server_http.server import create_app, routes, user_script

    loaded = Loaded()
    raised: List[BaseException] = []
    user_script.timeout = _no_timeout
    for name in ("load_script", "invoke_init"):
        _keep_exceptions(user_script, name, raised)
    _load_from(user_script, settings.entry_path)
    try:
        with _only_the_users_lines():
            app = create_app.create()
    except SystemExit:
        if raised:
            raise raised[-1] from None
        raise
    # create() has reloaded `routes`, so only now its classes are the ones in use.
    _keep_failures(routes, loaded)
    loaded.wsgi = app.wsgi_app
    loaded.run = routes.main_blueprint.user_script.get_run_function()
    return loaded


@contextlib.contextmanager
def _only_the_users_lines() -> Iterator[None]:
    """Leave out what the server says about itself at each load, unless a log level is asked for.

    What the user prints goes through a logger of the server, so that one keeps its level.
    """
    server, prints = logging.getLogger("azmlinfsrv"), logging.getLogger("azmlinfsrv.print")
    level = server.level
    if "AZUREML_LOG_LEVEL" not in os.environ:
        prints.setLevel(level)
        server.setLevel(logging.WARNING)
    try:
        yield
    finally:
        server.setLevel(level)


@contextlib.contextmanager
def _no_timeout(_timeout_ms: int) -> Iterator[None]:
    # The front keeps the time: only it knows whether a breakpoint holds the process.
    yield


def _keep_exceptions(user_script: Any, name: str, raised: Any) -> None:
    original = getattr(user_script.UserScript, name)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return original(self, *args, **kwargs)
        except user_script.UserScriptError as error:
            raised.append(getattr(error, "user_ex", error))
            raise

    setattr(user_script.UserScript, name, method)


def _load_from(user_script: Any, path: str) -> None:
    """Load the script from its one true path, so that a breakpoint has one place."""
    original = user_script.UserScript.__init__

    def init(self: Any, _entry_script: Optional[str] = None) -> None:
        original(self, path)

    user_script.UserScript.__init__ = init


def _keep_failures(routes: Any, loaded: Loaded) -> None:
    original = routes.ErrorResponse

    def error_response(status_code: int, *args: Any, **kwargs: Any) -> Any:
        error = sys.exc_info()[1]
        if status_code >= 500 and error is not None:
            loaded.failure = getattr(error, "user_ex", error)
        return original(status_code, *args, **kwargs)

    routes.ErrorResponse = error_response
