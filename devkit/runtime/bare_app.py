"""A small scoring app where there is no inference server: its routes, undecorated run() only."""

from __future__ import annotations

import importlib.util
import inspect
import json
import time
from typing import Any, Dict, List, Optional, Sequence, Tuple
from urllib.parse import parse_qs

from .failure import described, log
from .settings import Settings

Answer = Tuple[str, List[Tuple[str, str]], bytes]


class EntryScriptError(Exception):
    """The entry script does not have the two functions in the form that they need."""


def load(settings: Settings) -> Loaded:
    """Load the entry script and run init().

    Raises:
        BaseException: what the user's code raised.
    """
    spec = importlib.util.spec_from_file_location("entry_module", settings.entry_path)
    if spec is None or spec.loader is None:
        raise EntryScriptError("{} is not a Python file".format(settings.entry_path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("init", "run"):
        if not callable(getattr(module, name, None)):
            raise EntryScriptError("{} has no {}() function".format(settings.entry_path, name))
    names = list(inspect.signature(module.run).parameters)
    data_names = [name for name in names if name != "request_headers"]
    if not data_names:
        raise EntryScriptError("run() needs to accept an argument for input data.")
    module.init()
    return Loaded(module.run, data_names[0], "request_headers" in names, settings.watch_roots)


class Loaded:
    """The app as WSGI, and the exception behind its last answer."""

    def __init__(self, run: Any, data_name: str, wants_headers: bool, roots: Sequence[str]) -> None:
        self.run = run
        self._roots = roots
        self._data_name = data_name
        self._wants_headers = wants_headers
        self.failure: Optional[BaseException] = None

    def wsgi(self, environ: Dict[str, Any], start_response: Any) -> List[bytes]:
        """Answer one request."""
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        if path != "/score":
            status, headers, body = _json(
                "404 Not Found", {"message": "no such path: {}".format(path)}
            )
        elif method == "OPTIONS":
            status, headers, body = "200 OK", [], b""
        elif method not in ("GET", "POST"):
            status, headers, body = _json(
                "405 Method Not Allowed", {"message": "Method not allowed"}
            )
        else:
            status, headers, body = self._score(method, environ)
        start_response(status, [*headers, ("Content-Length", str(len(body)))])
        return [body]

    def _score(self, method: str, environ: Dict[str, Any]) -> Answer:
        try:
            data = _query(environ) if method == "GET" else _body(environ)
        except UnicodeDecodeError as error:
            return _json("400 Bad Request", {"message": "The body is not UTF-8: {}".format(error)})
        arguments: Dict[str, Any] = {self._data_name: data}
        if self._wants_headers:
            arguments["request_headers"] = _headers(environ)
        began = time.monotonic()
        try:
            result = self.run(**arguments)
            status, headers, body = _json("200 OK", {} if result is None else result)
        except Exception as error:  # noqa: BLE001 - the user's code may raise anything
            self.failure = error
            log("run() raised", described(error, self._roots))
            message = (
                "An unexpected error occurred in scoring script. Check the logs for more info."
            )
            status, headers, body = _json("500 Internal Server Error", {"message": message})
            return status, [*headers, ("x-ms-run-function-failed", "True")], body
        spent = "{:.3f}".format((time.monotonic() - began) * 1000)
        return (
            status,
            [*headers, ("x-ms-run-function-failed", "False"), ("x-ms-run-fn-exec-ms", spent)],
            body,
        )


def _json(status: str, value: Any) -> Answer:
    return status, [("Content-Type", "application/json")], json.dumps(value).encode("utf-8")


def _query(environ: Dict[str, Any]) -> str:
    pairs = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    return json.dumps(
        {name: values[0] if len(values) == 1 else values for name, values in pairs.items()}
    )


def _body(environ: Dict[str, Any]) -> str:
    length = int(environ.get("CONTENT_LENGTH") or 0)
    return environ["wsgi.input"].read(length).decode("utf-8")  # type: ignore[no-any-return]


def _headers(environ: Dict[str, Any]) -> Dict[str, str]:
    headers = {
        name[5:].replace("_", "-").title(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    if environ.get("CONTENT_TYPE"):
        headers["Content-Type"] = environ["CONTENT_TYPE"]
    return headers
