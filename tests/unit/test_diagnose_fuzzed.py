"""Any log, any script and any launch.json: findings or none, and never an error of a check."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devkit.diagnose import diagnosis, raised, report
from tests.diagnosing import APP, SCORE, made

FUZZED = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LOG_PARTS = [
    "Traceback (most recent call last):\n",
    "  + Exception Group Traceback (most recent call last):\n",
    f'  File "{APP}/score.py", line 6, in run\n',
    '  File "/x/y.py", line 1\n',
    "    return [1]\n",
    "  | ",
    "    +---------------- 2 ----------------\n",
    "+-",
    "\n",
    " ",
    "\r",
    "\0",
    "\x1b[31m",
    "ValueError: x\n",
    "ModuleNotFoundError: No module named 'cv2'\n",
    "ModuleNotFoundError: '\n",
    "ImportError: cannot import name 'escape' from 'jinja2' (x)\n",
    "ImportError: cannot import name '",
    "FileNotFoundError: [Errno 2] x: '/var/azureml-app/azureml-models/a/1/b'\n",
    "FileNotFoundError: [Errno 2] x: '",
    "JSONDecodeError: (char 0)\n",
    "Model  not found in cache at",
    "TypeError: Object of type set is not JSON serializable\n",
    "TypeError: keys must be str, int, float, bool or None, not tuple\n",
    "During handling of the above exception",
    "Fatal Python error: ",
    "Current thread 0x1",
    "worker 1 ended by itself: signal SIGSEGV\n",
    "worker 1 ended by itself: exit code 3\n",
    "WORKER TIMEOUT (pid:1)",
    "gunicorn: not found",
    "No matching distribution found for ",
    "ResolvePackageNotFound:\n",
    "  - a=1\n",
    "==",
    "[x]",
    "Version directory may only contain 1 file. Found: ",
    "409 Conflict",
    "2026-11-27T08:00:00.1Z ",
    "_pickle.UnpicklingError: incompatible dtype\n",
    "\ufffd",
    "\u2028",
]
CODE_PARTS = [
    "import os\n",
    "import ",
    "from . import x\n",
    "from .... import x\n",
    "from a import *\n",
    "def run(data):\n",
    "def init():\n",
    "    ",
    "return ",
    "json.dumps(data)",
    "{'a': {1}, **x}",
    "[*x]",
    "os.environ['AZUREML_MODEL_DIR']",
    " + '/a\\0b'",
    "/ 'x'",
    "f'{x!r:>{y}}'",
    "Model.get_model_path(",
    "'a'",
    ", version=",
    "1",
    ")",
    "debugpy.listen(",
    "*a",
    "@input_schema(",
    "'d', T([1]))\n",
    "lambda: 0",
    "\n",
    "try:\n",
    "except ImportError:\n",
    "if TYPE_CHECKING:\n",
    "with suppress(",
    "match x:\n",
    "  case _:\n",
    "class A:\n",
    "\ufeff",
    "\0",
    "# coding: latin-1\n",
    "\t",
    "\\\n",
    "os._exit(3)\n",
    "(yield)",
]
JSON_PARTS = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    '"configurations"',
    '"type"',
    '"debugpy"',
    '"request"',
    '"attach"',
    '"pathMappings"',
    '"localRoot"',
    '"${workspaceFolder}"',
    '"remoteRoot"',
    '"/x"',
    '"connect"',
    '"port"',
    "1",
    "1e999",
    "null",
    "//x\n",
    "/*",
    "*/",
    '"',
    "\\u0000",
    "\ufeff",
]


def pieces(parts: list[str]) -> st.SearchStrategy[str]:
    return st.lists(st.one_of(st.sampled_from(parts), st.text(max_size=5)), max_size=25).map(
        "".join
    )


def looked_through(tmp_path: Path, files: dict[str, str | bytes], log_text: str) -> None:
    found = diagnosis.diagnosed(made(tmp_path, files, log_text=log_text))
    assert "check-failed" not in {f.id for f in found.findings}, found.findings
    report.text(found)
    report.text(found, everything=True)


@FUZZED
@given(parts=pieces(LOG_PARTS), raw=st.binary(max_size=20))
def test_any_log_is_looked_through(tmp_path: Path, parts: str, raw: bytes) -> None:
    log_text = (parts.encode("utf-8", "replace") + raw).decode("utf-8", "replace")
    files: dict[str, str | bytes] = {"models/a.pkl": raw, "requirements.txt": "flask\n"}
    looked_through(tmp_path, files, log_text)
    raised.fatal(log_text)


@FUZZED
@given(code=pieces(CODE_PARTS), raw=st.binary(max_size=8), is_whole=st.booleans())
def test_any_script_is_looked_through(
    tmp_path: Path, code: str, raw: bytes, *, is_whole: bool
) -> None:
    content = code.encode("utf-8", "replace") + (b"" if is_whole else raw)
    log_text = (
        f'Traceback (most recent call last):\n  File "{APP}/score.py", line 2, in run\n'
        "TypeError: Object of type set is not JSON serializable\n"
    )
    looked_through(tmp_path, {"score.py": content, "models/a.pkl": b""}, log_text)


@FUZZED
@given(text=pieces(JSON_PARTS))
def test_any_launch_file_is_looked_through(tmp_path: Path, text: str) -> None:
    content = text.encode("utf-8", "replace")
    looked_through(tmp_path, {".vscode/launch.json": content, "score.py": SCORE}, "")
