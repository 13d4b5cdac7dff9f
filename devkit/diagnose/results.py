"""Step 7, diagnose: what run() returns: what JSON does not have, and what is JSON already."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from devkit.diagnose.case import Case, Spot
from devkit.diagnose.finding import Finding
from devkit.diagnose.raised import Raised
from devkit.diagnose.sources import Function, Script, dotted

_NOT_JSON = re.compile(r"(?:Object|object) of type '?(\w+)'? is not JSON serializable")
_KEYS = re.compile(r"keys must be str, int, float, bool or None, not (\w+)")
_REMEDIES = {
    "ndarray": "Write {}.tolist().",
    "set": "Write sorted({}) or list({}).",
    "bytes": 'Write {}.decode(), or base64.b64encode({}).decode("ascii").',
    "DataFrame": 'Write {}.to_dict(orient="records").',
    "Series": "Write {}.tolist().",
    "Timestamp": "Write {}.isoformat().",
    "datetime": "Write {}.isoformat().",
    "date": "Write {}.isoformat().",
    "Decimal": "Write float({}) or str({}).",
    "Tensor": "Write {}.tolist().",
}
_NUMPY_SCALAR = re.compile(r"(?:float|int|uint|bool|str|datetime)\d*_?")
# What the calls that most often end in run()'s result come to.
_MADE_BY = {
    "ndarray": "predict predict_proba transform decision_function array asarray zeros ones argsort "
    "softmax exp round dot reshape to_numpy",
    "set": "set frozenset",
    "bytes": "encode dumps_bytes tobytes read_bytes",
    "DataFrame": "DataFrame read_csv head",
    "Series": "Series value_counts",
    "datetime": "now utcnow today fromtimestamp",
    "date": "today",
    "Timestamp": "Timestamp to_datetime",
    "Decimal": "Decimal",
    "Tensor": "tensor forward detach cpu softmax",
}
_SCALARS = "mean max min sum std median item argmax argmin float32 float64 int64 int32 float16"


def of_raised(case: Case, one: Raised) -> Finding | None:
    """run() returned, and json.dumps of the server refused: the key path and the type are said."""
    match, keys = _NOT_JSON.search(one.message), _KEYS.search(one.message)
    kind = (match or keys)[1] if match or keys else None  # type: ignore[index]
    function = case.script.function("run") if case.script else None
    if kind is None or case.script is None or function is None:
        return None
    path, value = _found(function, kind, is_key=keys is not None)
    where = f"The value at {path}" if path else "A value in what run() returns"
    line = value.lineno if value else function.lineno
    text = ast.unparse(value)[:60] if value else "VALUE"
    numpy = "Write {}.item(), or float({})." if _NUMPY_SCALAR.fullmatch(kind) else None
    remedy = _REMEDIES.get(kind) or numpy or "Turn {} into str, numbers, list or dict."
    if keys:
        where, remedy = f"A key of the dict at {path or 'run()'}", "Write str({}) for the key."
    return Finding(
        "result-not-json", "error", f"run() returned, but its result is not JSON: {kind}.",
        f"{where} is of type {kind}, which json.dumps does not know; the server then answers 500 "
        "although run() went through.",
        remedy.replace("{}", text), str(one), case.script.name, line,
    )  # fmt: skip


def encoded_twice(case: Case) -> Iterator[Finding]:
    """`return json.dumps(...)` in run(): the server encodes it once more."""
    if spot := dumps_spot(case):
        yield double("note", spot, "")


def double(severity: str, spot: Spot | None, seen: str) -> Finding:
    """The client has to decode the answer twice."""
    return Finding(
        "answer-double-encoded", "warning" if severity == "warning" else "note",
        "The answer is JSON within a JSON string: a client has to decode it twice.",
        "run() returns a str that is JSON already, and the server encodes whatever run() returns.",
        "Return the dict or list itself, without json.dumps(); clients that decode twice have to "
        "change with it.",
        seen, spot.file if spot else None, spot.line if spot else None,
    )  # fmt: skip


def dumps_spot(case: Case) -> Spot | None:
    """Find where run() returns the text of json.dumps or to_json."""
    function = case.script.function("run") if case.script else None
    if case.script is None or function is None:
        return None
    names = _assigned(function)
    for node in _returns(function):
        value = names.get(node.value.id) if isinstance(node.value, ast.Name) else node.value
        if isinstance(value, ast.Call):
            name = value.func.attr if isinstance(value.func, ast.Attribute) else dotted(value.func)
            if name in ("dumps", "to_json"):
                return Spot(case.script.name, node.lineno, "run")
    return None


def raw(script: Script) -> bool:
    """Whether run() makes answers of its own."""
    return "AMLResponse" in script.text or "make_response" in script.text


def _found(function: Function, kind: str, *, is_key: bool) -> tuple[str, ast.expr | None]:
    """Return the key path of the value that most likely is of that type, and the value."""
    names = _assigned(function)
    values = [
        found
        for node in _returns(function)
        if node.value
        for found in _values("result", node.value, names, 0)
    ]
    if is_key:
        return "", values[0][1] if values else None
    likely = [(path, value) for path, value in values if _may_be(value, kind, names)]
    if likely:
        return likely[0]
    unknown = [(path, value) for path, value in values if not isinstance(value, ast.Constant)]
    return unknown[0] if len(unknown) == 1 else ("", next((v for _, v in values), None))


def _values(
    path: str, value: ast.expr, names: dict[str, ast.expr], depth: int
) -> Iterator[tuple[str, ast.expr]]:
    """Yield the leaves of an expression that makes dicts and lists, by their key paths."""
    target = names.get(value.id) if isinstance(value, ast.Name) else None
    if isinstance(target, ast.Dict | ast.List) and depth < 5:
        value = target
    match value:
        case ast.Dict(keys=keys, values=inner):
            for key, item in zip(keys, inner, strict=True):
                said = repr(key.value) if isinstance(key, ast.Constant) else "..."
                yield from _values(f"{path}[{said}]", item, names, depth + 1)
        case ast.List(elts=items) | ast.Tuple(elts=items):
            for number, item in enumerate(items):
                yield from _values(f"{path}[{number}]", item, names, depth + 1)
        case ast.ListComp(elt=item):
            yield from _values(f"{path}[...]", item, names, depth + 1)
        case _:
            yield path, value


def _may_be(value: ast.expr, kind: str, names: dict[str, ast.expr]) -> bool:
    if isinstance(value, ast.Name) and value.id in names:
        value = names[value.id]
    if isinstance(value, ast.Set | ast.SetComp):
        return kind == "set"
    if isinstance(value, ast.Constant):
        return isinstance(value.value, bytes) and kind == "bytes"
    if not isinstance(value, ast.Call):
        return isinstance(value, ast.Subscript) and bool(_NUMPY_SCALAR.fullmatch(kind))
    name = value.func.attr if isinstance(value.func, ast.Attribute) else dotted(value.func)
    if _NUMPY_SCALAR.fullmatch(kind):
        return name in _SCALARS.split()
    return name in _MADE_BY.get(kind, "").split() or name == kind


def _assigned(function: Function) -> dict[str, ast.expr]:
    found = dict[str, ast.expr]()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node.value
    return found


def _returns(function: Function) -> list[ast.Return]:
    return [node for node in ast.walk(function) if isinstance(node, ast.Return)]
