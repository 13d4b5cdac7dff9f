"""What an answer or a status code means, and what run() returns that JSON does not have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devkit.diagnose import answers, diagnosis, results
from devkit.diagnose.case import Exchange
from devkit.diagnose.raised import Raised
from devkit.request import Answer
from tests.diagnosing import APP, SCORE, made, only, places

DECORATED = (
    "import numpy as np\n\n\ndef init():\n    pass\n\n\n"
    '@input_schema("rows", NumpyParameterType(np.array([[1, 2]])))\n'
    '@input_schema(param_name="kind", param_type=StandardPythonParameterType("a"))\n'
    "def run(rows, kind):\n    return 1\n"
)


def answered(status: int, body: bytes | object, **said: str | bytes) -> Exchange:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = said.get("sent", b"{}")
    kind = said.get("content_type", "application/json")
    assert isinstance(sent, bytes)
    assert isinstance(kind, str)
    return Exchange(Answer(status, (), content, 0.1), sent, kind, "http://x/score")


def failure(kind: str, message: str, line: int, function: str = "run") -> object:
    traceback = (
        f'Traceback (most recent call last):\n  File "{APP}/score.py", line {line}, in {function}\n'
        f"{kind}: {message}\n"
    )
    return {"message": "m", "error": {"type": kind, "message": message, "traceback": traceback}}


CODES = [
    (400, "request-shape", "not what run() declares", None),
    (401, "http-401", "key or token was refused", None),
    (404, "http-404", "no such path", None),
    (405, "http-405", "does not take that method", None),
    (408, "http-408", "took too long", 5),
    (409, "http-409", "Another operation", None),
    (413, "http-413", "too large", None),
    (415, "request-shape", "not what run() declares", None),
    (424, "http-424", "own code failed", 5),
    (429, "http-429", "Too many requests", None),
    (431, "http-431", "header of the request is too long", None),
    (500, "http-500", "run() raised, or returned what is not JSON", 5),
    (502, "http-502", "run() raised or ended its process", 5),
    (503, "http-503", "No replica was free", None),
    (504, "http-504", "longer than the time limit", 5),
    (418, "http-418", "The service answered 418", None),
    (599, "http-599", "The service answered 599", None),
]


@pytest.mark.parametrize(("code", "id_", "title", "line"), CODES)
def test_a_code_that_somebody_saw_is_explained(
    tmp_path: Path, code: int, id_: str, title: str, line: int | None
) -> None:
    found = only(answers.of_code(made(tmp_path, code=code)))
    assert (found.id, found.severity, found.line) == (id_, "error", line)
    assert found.title.startswith(f"{code}: ")
    assert title in found.title


@pytest.mark.parametrize(("code", "severity"), [(100, "note"), (200, "note"), (302, "warning")])
def test_a_code_that_is_no_failure_is_none(tmp_path: Path, code: int, severity: str) -> None:
    assert only(answers.of_code(made(tmp_path, code=code))).severity == severity


def test_the_formula_of_the_guide_stands_beside_503(tmp_path: Path) -> None:
    found = only(answers.of_code(made(tmp_path, code=503)))
    assert "20 x 10 / 0.7 / 1 = 286" in found.remedy


def test_a_decorated_run_is_shown_with_its_names_and_a_sample(tmp_path: Path) -> None:
    case = made(tmp_path, {"score.py": DECORATED}, code=400)
    found = only(answers.of_code(case))
    assert places([found]) == [("request-shape", "score.py", 8)]
    assert '{"rows": [[1, 2]], "kind": "a"}' in found.remedy
    assert answers.sample(case) == b'{"rows": [[1, 2]], "kind": "a"}'


def test_a_sample_file_counts_for_more(tmp_path: Path) -> None:
    files = {"score.py": DECORATED, "sample.json": "[7]"}
    assert answers.sample(made(tmp_path / "a", files)) == b"[7]"
    assert answers.sample(made(tmp_path / "b")) is None


@pytest.mark.parametrize(
    ("exchange", "id_", "line"),
    [
        (answered(200, [1]), None, None),
        (answered(200, "text"), None, None),
        (answered(200, b"\xff"), None, None),
        (answered(200, "[1]"), "answer-double-encoded", None),
        (answered(200, "5"), None, None),
        (answered(404, b"no"), "http-404", None),
        (answered(500, b"[" * 100_000), "http-500", 5),
        (answered(500, {"error": "text"}), "http-500", 5),
        (answered(500, {"error": {"traceback": 5, "line": "x", "file": 3}}), "run-raised", None),
        (answered(500, failure("ValueError", "x", 6)), "run-raised", 6),
        (answered(502, failure("KeyError", "'a'", 6)), "run-raised", 6),
        (
            answered(
                500,
                failure("JSONDecodeError", "Expecting value (char 0)", 6),
                content_type="text/plain",
            ),
            "empty-body",
            6,
        ),
        (answered(500, failure("JSONDecodeError", "Extra data (char 9)", 6)), "run-raised", 6),
        (answered(504, failure("Timeout", "line 6 for 57 s", 6)), "http-504", 6),
        (
            answered(
                500, {"error": {"type": "E", "message": "m", "file": f"{APP}/score.py", "line": 6}}
            ),
            "run-raised",
            6,
        ),
    ],
)
def test_an_answer_is_explained(
    tmp_path: Path, exchange: Exchange, id_: str | None, line: int | None
) -> None:
    found = list(answers.of_exchanges(made(tmp_path, exchanges=(exchange,))))
    assert [(f.id, f.line) for f in found] == ([(id_, line)] if id_ else [])


@pytest.mark.parametrize("line", [7, 1_000_000, 0, -5, True, 10**3999, "6", None])
def test_a_line_that_the_file_does_not_have_is_left_out(tmp_path: Path, line: object) -> None:
    error = {"type": "E", "message": "m", "file": f"{APP}/score.py", "line": line}
    case = made(tmp_path, exchanges=(answered(500, {"error": error}),))
    assert places(answers.of_exchanges(case)) == [("run-raised", "score.py", None)]


def test_a_line_of_a_traceback_that_the_file_does_not_have_is_left_out(tmp_path: Path) -> None:
    case = made(tmp_path, exchanges=(answered(500, failure("E", "m", 9_999_999)),))
    assert places(answers.of_exchanges(case)) == [("run-raised", "score.py", None)]


def test_a_server_that_is_not_healthy_is_said_so(tmp_path: Path) -> None:
    asked = Exchange(Answer(503, (), b"", 0.1), url="http://x/")
    case = made(tmp_path, exchanges=(asked,))
    assert [f.id for f in diagnosis.diagnosed(case).findings] == ["not-healthy"]
    fine = Exchange(Answer(200, (), b"Healthy", 0.1), url="http://x/")
    assert list(answers.health(made(tmp_path, exchanges=(fine,)))) == []


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    status=st.integers(100, 599),
    body=st.one_of(
        st.binary(max_size=80),
        st.dictionaries(
            st.just("error"),
            st.dictionaries(
                st.sampled_from(["type", "message", "traceback", "file", "line"]),
                st.one_of(st.none(), st.integers(), st.text(max_size=30), st.lists(st.none())),
            ),
        ).map(lambda value: json.dumps(value).encode()),
    ),
)
def test_any_answer_is_explained_without_an_error(tmp_path: Path, status: int, body: bytes) -> None:
    case = made(tmp_path, exchanges=(answered(status, body),))
    assert "check-failed" not in {f.id for f in diagnosis.diagnosed(case).findings}


@pytest.mark.parametrize(
    ("body", "kind", "line", "cause", "remedy"),
    [
        ('return {"a": {1}}', "set", 2, "result['a']", "sorted({1})"),
        ("return [1, {1}]", "set", 2, "result[1]", "sorted({1})"),
        (
            "x = model.predict(d)\n    return {'y': [x]}",
            "ndarray",
            3,
            "result['y'][0]",
            "x.tolist()",
        ),
        ("return {'p': x.mean()}", "float32", 2, "result['p']", "x.mean().item()"),
        ("return {'p': x[0]}", "int64", 2, "result['p']", "x[0].item()"),
        ("return b'a'", "bytes", 2, "result", ".decode()"),
        ("out = {'a': now()}\n    return out", "datetime", 2, "result['a']", "now().isoformat()"),
        ("return [float(x) for x in {1}] + y", "Odd", 2, "result", "Turn "),
        ("pass", "set", 1, "A value in what run() returns", "VALUE"),
    ],
)
def test_what_is_not_json_is_named_by_its_key_path_and_type(
    tmp_path: Path, body: str, kind: str, line: int, cause: str, remedy: str
) -> None:
    case = made(tmp_path, {"score.py": f"def run(d):\n    {body}\n\n\ndef init():\n    pass\n"})
    message = f"Object of type {kind} is not JSON serializable"
    found = results.of_raised(case, Raised("TypeError", message))
    assert found is not None
    assert places([found]) == [("result-not-json", "score.py", line)]
    assert found.title.endswith(f": {kind}.")
    assert cause in found.cause
    assert remedy in found.remedy


def test_a_key_that_is_no_text_is_named(tmp_path: Path) -> None:
    case = made(tmp_path, {"score.py": SCORE.replace("[1]", "{(1, 2): 3}")})
    one = Raised("TypeError", "keys must be str, int, float, bool or None, not tuple")
    found = results.of_raised(case, one)
    assert found is not None
    assert "for the key" in found.remedy
    assert results.of_raised(case, Raised("TypeError", "other")) is None


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("return json.dumps(data)", 6),
        ("text = dumps(data)\n    return text", 7),
        ("return frame.to_json()", 6),
        ("return data", None),
        ("other = json.dumps(data)\n    return data", None),
    ],
)
def test_json_that_is_encoded_twice_is_a_note(tmp_path: Path, body: str, line: int | None) -> None:
    case = made(tmp_path, {"score.py": SCORE.replace("return [1]", body)})
    found = list(results.encoded_twice(case))
    assert [(f.severity, f.line) for f in found] == ([("note", line)] if line else [])
    seen = made(
        tmp_path,
        {"score.py": SCORE.replace("return [1]", body)},
        exchanges=(answered(200, '{"a": 1}'),),
    )
    assert [(f.severity, f.line) for f in answers.of_exchanges(seen)] == [("warning", line)]
