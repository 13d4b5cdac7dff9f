"""Where models are expected and what is there; what an environment file cannot give."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devkit import package
from devkit.diagnose import diagnosis, environment, model_paths, models, sources
from devkit.diagnose.case import Spot
from devkit.diagnose.raised import Raised
from devkit.errors import ConfigError, SecretRefused
from tests.diagnosing import SCORE, made, only, places

MODELS = "/var/azureml-app/azureml-models"
OPENS = (
    "import os\n\n\ndef init():\n"
    '    open(os.path.join(os.environ["AZUREML_MODEL_DIR"], {}))\n\n\n'
    "def run(data):\n    return 1\n"
)


def script(text: str) -> sources.Script:
    return sources.Script(Path("score.py"), "score.py", ast.parse(text), text)


@pytest.mark.parametrize(
    ("expression", "path"),
    [
        ('os.path.join(os.environ["AZUREML_MODEL_DIR"], "a", "b.pkl")', "a/b.pkl"),
        ('os.path.join(os.getenv("AZUREML_MODEL_DIR"), "b.pkl")', "b.pkl"),
        ('os.path.join(os.environ.get("AZUREML_MODEL_DIR", "."), "b.pkl")', "b.pkl"),
        ('Path(os.environ["AZUREML_MODEL_DIR"]) / "a" / "b.pkl"', "a/b.pkl"),
        ('Path(os.environ["AZUREML_MODEL_DIR"]).joinpath("b.pkl")', "b.pkl"),
        ('os.environ["AZUREML_MODEL_DIR"] + "/b.pkl"', "b.pkl"),
        ("f\"{os.environ['AZUREML_MODEL_DIR']}/b.pkl\"", "b.pkl"),
        ('os.path.join(os.environ["AZUREML_MODEL_DIR"], name)', None),
        ('os.path.join(os.environ["OTHER"], "b.pkl")', None),
        ('"/b.pkl"', None),
    ],
)
def test_what_is_joined_to_the_models_folder_is_read_off(expression: str, path: str | None) -> None:
    found = [
        (str(a.path), a.line) for a in model_paths.asked(script(f"import os\nx = {expression}\n"))
    ]
    assert found == ([(path, 2)] if path else [])


def test_names_are_followed_and_what_is_looked_for_first_is_not_missed() -> None:
    text = (
        "root = os.environ['AZUREML_MODEL_DIR']\ndef init():\n    name = 'b.pkl'\n"
        "    open(os.path.join(root, name))\n"
        "def optional():\n    path = os.path.join(root, 'c.pkl')\n"
        "    if os.path.exists(path):\n        open(path)\n"
        "def twice():\n    name = 'd'\n    name = 'e'\n    open(os.path.join(root, name))\n"
    )
    assert [(str(a.path), a.line) for a in model_paths.asked(script(text))] == [("b.pkl", 4)]


def test_an_expression_of_a_thousand_parts_is_left_out() -> None:
    text = "x = " + " + ".join(["'a'"] * 1500) + "\ny = os.environ['AZUREML_MODEL_DIR'] + '/b'\n"
    assert [str(a.path) for a in model_paths.asked(script(text))] == ["b"]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ('Model.get_model_path("a")', ("a", None)),
        ('get_model_path(model_name="a", version=3)', ("a", 3)),
        ('Model.get_model_path("a", 2, ws)', ("a", 2)),
        ("Model.get_model_path(name)", None),
        ("Model.get_model_path()", None),
    ],
)
def test_the_models_that_are_looked_up_are_read_off(
    call: str, expected: tuple[str, int | None] | None
) -> None:
    found = [(n.name, n.version) for n in model_paths.named(script(f"{call}\n"))]
    assert found == ([expected] if expected else [])


def test_a_path_one_level_too_high_gets_the_right_join(tmp_path: Path) -> None:
    files = {"score.py": OPENS.format('"w.bin"'), "models/net/w.bin": "x"}
    found = only(models.joined(made(tmp_path, files)))
    assert places([found]) == [("model-path-wrong", "score.py", 5)]
    assert found.remedy == 'Write os.path.join(os.environ["AZUREML_MODEL_DIR"], "net", "w.bin").'
    assert found.evidence == f"{MODELS}/net/1/net/w.bin"


def test_a_near_name_is_suggested(tmp_path: Path) -> None:
    files = {"score.py": OPENS.format('"modle.pkl"'), "models/model.pkl": "x"}
    found = only(models.joined(made(tmp_path, files)))
    assert '"model.pkl"' in found.remedy


def test_a_path_that_is_there_is_not_spoken_of(tmp_path: Path) -> None:
    for name in ('"net", "w.bin"', '"net"'):
        files = {"score.py": OPENS.format(name), "models/net/w.bin": "x"}
        assert list(models.joined(made(tmp_path, files))) == []


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ('"net"', None),
        ('"net", version=1', None),
        ('"beside.bin"', None),
        ('"nett"', 'Did you mean "net"?'),
        ('"net", version=2', "Ask for version 1"),
        ('"zzzzzz"', "There are: net."),
        ('"' + "a" * 5000 + '"', "There are: net."),
    ],
)
def test_a_model_is_looked_up_under_the_name_it_has(
    tmp_path: Path, call: str, said: str | None
) -> None:
    text = f"from azureml.core.model import Model\nx = Model.get_model_path({call})\n{SCORE}"
    case = made(tmp_path, {"score.py": text, "models/net/w.bin": "x", "beside.bin": ""})
    found = list(models.looked_up(case))
    assert places(found) == ([("model-not-found", "score.py", 2)] if said else [])
    assert all(said in f.remedy for f in found if said)


def test_a_service_without_models_says_that_it_has_none(tmp_path: Path) -> None:
    found = models.not_found(made(tmp_path), "net", None, Spot("score.py", 1, "init"))
    assert found.remedy.startswith("Put the model into models/")
    assert found.evidence == f"{MODELS} is empty: the service has no model."


def test_models_of_the_configuration_have_to_be_there_one_to_a_version(tmp_path: Path) -> None:
    entry = "models:\n  - {name: net, path: NAME}\n"
    missing = made(tmp_path / "a", {"devkit.yaml": entry.replace("NAME", "x.pkl")})
    assert places(models.configured(missing)) == [("model-file-missing", "devkit.yaml", 1)]
    twice = entry.replace("NAME", "a.pkl") + "  - {name: net, path: b.pkl}\n"
    several = made(tmp_path / "b", {"devkit.yaml": twice, "a.pkl": "", "b.pkl": ""})
    assert places(models.configured(several)) == [("model-several-files", "devkit.yaml", 1)]
    sound = made(tmp_path / "c", {"devkit.yaml": entry.replace("NAME", "a.pkl"), "a.pkl": ""})
    assert list(models.configured(sound)) == []


@pytest.mark.parametrize(
    ("kind", "message", "id_", "line"),
    [
        ("ModelNotFoundException", "Model nett not found in cache at azureml-models or in",
         "model-not-found", 2),
        ("Exception", "Version directory may only contain 1 file or folder. Found: ['a', 'b']",
         "model-several-files", 9),
        ("FileNotFoundError", f"[Errno 2] No such file or directory: '{MODELS}/net/1/w.bin'",
         "model-path-wrong", 9),
        ("NotADirectoryError", f"[Errno 20] Not a directory: '{MODELS}/net/1/x'",
         "model-path-wrong", 9),
        ("FileNotFoundError", "[Errno 2] No such file or directory: 'beside.bin'",
         "file-not-found", 9),
        ("FileNotFoundError", "[Errno 2] No such file or directory: '" + "a" * 9000 + "'",
         "file-not-found", 9),
        ("FileNotFoundError", "nothing quoted", None, None),
        ("PermissionError", "[Errno 13] Permission denied: 'x'", None, None),
    ],
)  # fmt: skip
def test_what_the_sdk_and_the_file_system_say_is_explained(
    tmp_path: Path, kind: str, message: str, id_: str | None, line: int | None
) -> None:
    text = f"from azureml.core.model import Model\nx = Model.get_model_path('nett')\n{SCORE}"
    case = made(tmp_path, {"score.py": text, "models/net/w.bin": "x", "beside.bin": ""})
    found = models.of_raised(case, Raised(kind, message), Spot("score.py", 9, "init"))
    assert (found.id if found else None, found.line if found else None) == (id_, line)
    if id_ == "file-not-found" and "beside" in message:
        assert found is not None
        assert found.remedy == 'Write Path(__file__).parent / "beside.bin".'


def test_a_long_listing_is_cut(tmp_path: Path) -> None:
    case = made(tmp_path, {f"models/net/{n:03}.bin": "" for n in range(600)})
    lines = models.tree(case).splitlines()
    assert len(lines) == 13
    assert lines[-1] == "... and 488 more"


INVALID = [
    ("requirements.txt", "six\n=== no\n", 2),
    ("environment.yml", "name: x\ndependencies: [\n", 3),
    ("environment.yml", "nonsense: 1\n", 1),
    ("environment.yml", "", None),
    ("environment.yml", b"\xff\xfe", None),
    ("requirements.txt", "-r other\0.txt\n", 1),
]


@pytest.mark.parametrize(("name", "content", "line"), INVALID)
def test_an_environment_file_that_is_not_understood_is_named(
    tmp_path: Path, name: str, content: str | bytes, line: int | None
) -> None:
    case = made(tmp_path, {name: content})
    found = only(environment.readable(case))
    assert places([found]) == [("environment-invalid", name, line)]
    assert str(found).count(f"{name}:") <= 1
    assert case.environment is None


def test_a_conda_file_that_names_no_python_is_said_so(tmp_path: Path) -> None:
    case = made(tmp_path / "a", {"environment.yml": "name: x\ndependencies:\n  - numpy\n"})
    found = only(environment.python_named(case))
    assert places([found]) == [("python-unpinned", "environment.yml", 2)]
    assert found.severity == "warning"


@pytest.mark.parametrize(
    "files",
    [{"environment.yml": "dependencies:\n  - python=3.11\n"}, {"requirements.txt": "numpy\n"}, {}],
    ids=["named", "requirements", "none"],
)
def test_other_files_need_name_none(tmp_path: Path, files: dict[str, str | bytes]) -> None:
    case = made(tmp_path, files)
    assert list(environment.python_named(case)) == []
    assert list(environment.readable(case)) == []


WORDS = st.lists(
    st.one_of(
        st.text(max_size=12),
        st.sampled_from(
            [
                "\n",
                "- ",
                ": ",
                "dependencies:\n",
                "  - pip:\n",
                "    - ",
                "numpy",
                "==1",
                ">=",
                "@ ",
                "http://u:p@h/x",
                "-r requirements.txt",
                "-c x",
                "-e .",
                "--hash=sha256:0",
                "; ",
                "[",
                "]",
                "{",
                "}",
                "&a ",
                "*a",
                "!!python/object:x ",
                "\t",
                "#",
                "\\\n",
                "${X}",
                "\ufeff",
                "\0",
            ]
        ),
    ),
    max_size=14,
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(["requirements.txt", "environment.yml", "pyproject.toml"]),
    words=WORDS,
    raw=st.binary(max_size=8),
)
def test_any_text_as_an_environment_file_is_read_or_refused(
    tmp_path: Path, name: str, words: list[str], raw: bytes
) -> None:
    content = "".join(words).encode("utf-8", "surrogatepass") + raw
    entry = f"environment: {name}\n"
    case = made(tmp_path, {"devkit.yaml": entry, name: content})
    try:
        found = package.environment.read(case.workspace)
    except ConfigError:
        found = None
    assert (case.environment is None) == (found is None)
    made_of = diagnosis.diagnosed(case)
    assert "check-failed" not in {f.id for f in made_of.findings}


def test_a_password_in_an_address_is_not_shown(tmp_path: Path) -> None:
    text = "x @ https://user:geheim@example.org/x.whl\n"
    case = made(tmp_path, {"requirements.txt": text})
    with pytest.raises(SecretRefused):
        package.environment.read(case.workspace)
    assert "geheim" not in str(diagnosis.diagnosed(case))
