"""The scoring app in a worker: Microsoft's inference server where it is installed, else our own.

Microsoft's Flask app gives schema decorators, rawhttp, swagger and headers as they are in the
cloud.
"""

from __future__ import annotations

import base64
import dis
import importlib
import inspect
import json
import os
import sys
from types import CodeType
from typing import Any, Callable, Dict, List

from . import bare_app, failure, frame_locals, wire
from .settings import Settings

# A header line holds 64 KiB; base64 takes a third more than the text.
MAX_ENCODED = 45000


def load(settings: Settings) -> Scoring:
    """Load the entry script, run init(), and return what answers requests.

    Raises:
        BaseException: whatever the script or init() raised, unwrapped.
    """
    try:
        importlib.import_module("azureml_inference_server_http.server.create_app")
    except ImportError:
        return Scoring(bare_app.load(settings), settings)
    from . import azureml_app

    return Scoring(azureml_app.load(settings), settings)


class Scoring:
    """A WSGI app, and the failure of the request that it has in hand."""

    def __init__(self, inner: Any, settings: Settings) -> None:
        self._inner = inner
        self.run = inner.run
        self._roots = settings.watch_roots
        self._keeps_locals = settings.records > 0

    def __call__(self, environ: Dict[str, Any], start_response: Any) -> Any:
        """Answer one request; a failure of the user's code goes along in failure.HEADER."""
        self._inner.failure = None

        def start(status: str, headers: List[Any], exc_info: Any = None) -> Any:
            if self._inner.failure is not None:
                headers = [*headers, (failure.HEADER, self.encoded(self._inner.failure))]
            return (
                start_response(status, headers, exc_info)
                if exc_info
                else start_response(status, headers)
            )

        return self._inner.wsgi(environ, start)

    def encoded(self, error: BaseException) -> str:
        """`error` as the value of failure.HEADER."""
        described = failure.described(error, self._roots)
        if self._keeps_locals:
            described["locals"] = frame_locals.of(error, self._roots)
        while True:
            text = json.dumps(described, ensure_ascii=False).encode("utf-8", "replace")
            if len(text) < MAX_ENCODED or not described["traceback"]:
                return base64.b64encode(text[:MAX_ENCODED]).decode("ascii")
            described["traceback"] = failure.cut(described["traceback"])
            described["message"] = failure.cut(described["message"])
            described["locals"] = described.get("locals", [])[:10]


def hot_reload(run: Callable[..., Any], files: List[str]) -> bool:
    """Patch the functions of the changed `files` in place; what init() loaded stays.

    `run` leads to the entry script's namespace; the inference server keeps it out of sys.modules.
    """
    try:
        importlib.import_module("debugpy.server.api")
        from _pydevd_bundle import pydevd_reload
    except ImportError:
        return False
    pydevd_reload.code_objects_equal = _same_code
    modules = [
        module
        for module in [*sys.modules.values(), _EntryModule(run)]
        if os.path.realpath(getattr(module, "__file__", None) or os.devnull) in files
    ]
    patched = [_patched(pydevd_reload.xreload, module) for module in modules]
    return bool(patched) and all(patched)


def _same_code(old: CodeType, new: CodeType) -> bool:
    """Whether a function may stay as it is; with other lines, it would stop at the wrong ones."""
    return old == new and _lines(old) == _lines(new)


def _lines(code: CodeType) -> List[Any]:
    inner = [_lines(item) for item in code.co_consts if isinstance(item, CodeType)]
    return [*dis.findlinestarts(code), *inner]


class _EntryModule:
    """The entry script's module: its namespace outlives the module object, which nobody holds."""

    def __init__(self, run: Callable[..., Any]) -> None:
        self.__dict__ = getattr(inspect.unwrap(run), "__globals__", {})


def _patched(xreload: Any, module: Any) -> bool:
    try:
        return bool(xreload(module))
    except Exception as error:  # noqa: BLE001 - a syntax error: the old code keeps serving
        wire.say("{}: {}: {}".format(module.__name__, type(error).__name__, error))
        return False
