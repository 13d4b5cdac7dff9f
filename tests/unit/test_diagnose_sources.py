"""What a script imports and calls, read from its syntax tree; which package brings a module."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from devkit.diagnose import imports, module_names, script, sources
from devkit.diagnose.case import Spot
from devkit.diagnose.raised import Frame, Raised
from tests.diagnosing import SCORE, made, only, places


def imported(tmp_path: Path, text: str) -> list[tuple[str, str]]:
    path = tmp_path / "a.py"
    path.write_text(text, "utf-8")
    found = sources.read(path, "a.py")
    assert found is not None
    return [(item.module, item.function) for item in found.imports]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import a, b.c", [("a", ""), ("b.c", "")]),
        ("import a as b", [("a", "")]),
        ("from a import b", [("a", ""), ("a.b", "")]),
        ("from a import *", [("a", "")]),
        ("from . import b", [(".b", "")]),
        ("from .a import b", [(".a", ""), (".a.b", "")]),
        ("from ..a import b", [("..a", ""), ("..a.b", "")]),
        ("def run(d):\n    import a", [("a", "run")]),
        ("class A:\n    import a\n    def f(self):\n        import b", [("a", ""), ("b", "f")]),
        ("def f():\n    def g():\n        import a", [("a", "f")]),
        ("for x in y:\n    import a\nelse:\n    import b", [("a", ""), ("b", "")]),
        ("with x:\n    import a", [("a", "")]),
        ("match x:\n    case 1:\n        import a", [("a", "")]),
        # What is only tried is not needed.
        ("try:\n    import a\nexcept ImportError:\n    import b", []),
        ("try:\n    import a\nexcept (ValueError, ModuleNotFoundError):\n    pass", []),
        ("try:\n    import a\nexcept:\n    pass", []),
        ("try:\n    import a\nexcept* ImportError:\n    pass", []),
        ("from contextlib import suppress\nwith suppress(ImportError):\n    import a",
         [("contextlib", ""), ("contextlib.suppress", "")]),
        ("try:\n    import a\nexcept ValueError:\n    pass\nelse:\n    import b",
         [("a", ""), ("b", "")]),
        ("try:\n    import a\nexcept ImportError:\n    pass\nelse:\n    import b\n"
         "finally:\n    import c", [("b", ""), ("c", "")]),
        # What only a type checker, a main program, another system or another Python reads.
        ("if TYPE_CHECKING:\n    import a\nelse:\n    import b", [("b", "")]),
        ("if typing.TYPE_CHECKING:\n    import a", []),
        ("if not TYPE_CHECKING:\n    import a\nelse:\n    import b", [("a", "")]),
        ('if __name__ == "__main__":\n    import a', []),
        ('if sys.platform == "win32":\n    import a\nelse:\n    import b', []),
        ("if sys.version_info < (3, 8):\n    import a\nelse:\n    import b", []),
        ('if os.name == "nt":\n    import a', []),
        ("if x:\n    import a\nelif y:\n    import b", [("a", ""), ("b", "")]),
    ],
)  # fmt: skip
def test_imports_are_those_that_the_service_needs(
    tmp_path: Path, text: str, expected: list[tuple[str, str]]
) -> None:
    assert imported(tmp_path, text) == expected


def test_scripts_are_followed_by_name_by_dots_and_into_namespace_packages(tmp_path: Path) -> None:
    case = made(
        tmp_path,
        {
            "score.py": "import helper\nimport pack.deep.inner\nimport space.names\n" + SCORE,
            "helper.py": "import helper\nimport score\n",
            "unused.py": "import nothing\n",
            "pack/__init__.py": "",
            "pack/deep/__init__.py": "from ..beside import x\nfrom . import near\n",
            "pack/deep/inner.py": "from ....... import far\n",
            "pack/deep/near.py": "",
            "pack/beside.py": "",
            # The same names at the top are not what the dots mean.
            "beside.py": "import wrong\n",
            "near.py": "import wrong\n",
            "space/names.py": "",
        },
    )
    assert {item.name for item in case.scripts} == {
        "score.py", "helper.py", "pack/__init__.py", "pack/deep/__init__.py",
        "pack/deep/inner.py", "pack/deep/near.py", "pack/beside.py", "space/names.py",
    }  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        b"def init(:\n",
        b"\0",
        b"# \xe9\n",
        b"# coding: nonsense\n",
        b"x = " + b"(" * 3000,
        b"x = " + b"-" * 300_000 + b"1\n",
        b"x = a" + b".b" * 50_000 + b"\n",
        b"#" * (2 << 20),
    ],
    ids=["syntax", "nul", "latin-1", "codec", "nested", "signs", "dots", "large"],
)
def test_what_does_not_parse_is_no_script(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(content)
    assert sources.read(path, "a.py") is None


@pytest.mark.parametrize(
    "content",
    [b"\xef\xbb\xbfx = 1\n", b"# coding: latin-1\nx = '\xe9'\n", b"x = 1\r\n", b""],
    ids=["bom", "latin-1", "crlf", "empty"],
)
def test_what_python_reads_is_a_script(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(content)
    assert sources.read(path, "a.py") is not None


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.py")
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "loop.py").symlink_to("loop.py")
    names = ("fifo.py", "folder.py", "loop.py", "missing.py")
    assert [sources.read(tmp_path / name, name) for name in names] == [None] * 4


def test_a_name_is_followed_to_its_module() -> None:
    text = "from a.b import c as d, e\nimport f.g as h\nimport i.j\n"
    found = sources.Script(Path("a.py"), "a.py", ast.parse(text), text)
    assert found.origins == {"d": "a.b.c", "e": "a.b.e", "h": "f.g"}


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("sklearn.linear_model", "scikit-learn"),
        ("cv2", "opencv-python-headless"),
        ("yaml", "pyyaml"),
        ("PIL.Image", "pillow"),
        ("google.protobuf.message", "protobuf"),
        ("google.cloud.storage", "google-cloud-storage"),
        ("azure.storage.blob", "azure-storage-blob"),
        ("Some_Thing.x", "some-thing"),
        ("umap", "umap-learn"),
    ],
)
def test_a_module_is_brought_by_its_package(module: str, package: str) -> None:
    assert module_names.package(module) == package


def test_packages_bring_others_and_what_is_not_known_is_said() -> None:
    found, unknown = module_names.brought({"scikit-learn", "rarely-heard-of"})
    assert {"scikit-learn", "numpy", "scipy", "joblib", "flask", "rarely-heard-of"} <= found
    assert unknown == {"rarely-heard-of"}


NEEDS = {"score.py": "import sklearn\nimport numpy\nimport os, helper\n" + SCORE, "helper.py": ""}


def test_a_missing_package_is_named_with_its_line(tmp_path: Path) -> None:
    case = made(tmp_path, {**NEEDS, "requirements.txt": "numpy==2.0\n"})
    found = only(imports.not_asked_for(case))
    assert places([found]) == [("module-missing", "score.py", 1)]
    assert found.severity == "error"
    assert found.title == "The package scikit-learn (module sklearn) is missing."
    assert 'Add the line "scikit-learn" to requirements.txt' in found.remedy


def test_a_conda_file_and_no_file_get_the_line_that_fits(tmp_path: Path) -> None:
    text = "dependencies:\n  - python=3.11\n  - numpy\n"
    conda = only(imports.not_asked_for(made(tmp_path / "a", {**NEEDS, "environment.yml": text})))
    assert 'Add the line "- scikit-learn" to environment.yml' in conda.remedy
    none = next(iter(imports.not_asked_for(made(tmp_path / "b", NEEDS))))
    assert none.remedy == 'Create requirements.txt with the line "scikit-learn".'


@pytest.mark.parametrize(
    "wanted", ["scikit-learn\n", "scikit-learn==1.5\nnumpy\n", "imbalanced-learn\n"]
)
def test_what_is_asked_for_directly_or_not_is_not_missing(tmp_path: Path, wanted: str) -> None:
    case = made(tmp_path, {**NEEDS, "requirements.txt": wanted})
    assert list(imports.not_asked_for(case)) == []


def test_a_package_that_may_bring_it_makes_it_a_note(tmp_path: Path) -> None:
    case = made(tmp_path, {**NEEDS, "requirements.txt": "numpy\nrarely-heard-of\n"})
    assert [f.severity for f in imports.not_asked_for(case)] == ["note"]


def test_what_only_a_function_imports_is_a_warning(tmp_path: Path) -> None:
    text = "def init():\n    pass\n\n\ndef run(data):\n    import sklearn\n"
    found = only(imports.not_asked_for(made(tmp_path, {"score.py": text})))
    assert (found.severity, found.line) == ("warning", 6)


def test_a_module_that_left_the_standard_library_is_said_so(tmp_path: Path) -> None:
    case = made(tmp_path)
    found = imports.missing(case, "distutils.core", Spot("score.py", 3, "import"))
    assert "left the standard library with Python 3.12" in found.cause


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("No module named 'cv2'", "module-missing"),
        ("No module named 'outside'", "module-not-shipped"),
        ("No module named 'score'", None),
        ("No module named ", None),
        ("No module named 'cv2.data'", "module-missing"),
        ("No module named ''", None),
        ("No module named 'a..b'", None),
        ("No module named '\x1b[31m../../../etc'", None),
        ("No module named '../../../../etc/passwd'", None),
    ],
)
def test_a_module_that_is_not_found_is_a_package_or_a_file_of_the_users(
    tmp_path: Path, message: str, expected: str | None
) -> None:
    files = {"devkit.yaml": "source_directory: src\n", "src/score.py": SCORE, "outside.py": ""}
    one = Raised("ModuleNotFoundError", message)
    found = imports.of_raised(made(tmp_path, files), one, Spot("src/score.py", 1, "import"))
    assert (found.id if found else None) == expected


def test_the_server_is_missing_where_its_modules_are(tmp_path: Path) -> None:
    files = {"requirements.txt": "numpy\nazureml-defaults==1.0.45\n"}
    case = made(tmp_path, files)
    one = Raised("ModuleNotFoundError", "No module named 'azureml.core'")
    found = imports.server_of_raised(case, one)
    assert found is not None
    assert places([found]) == [("server-missing", "requirements.txt", 2)]
    old = only(imports.old_server(case))
    assert (old.severity, old.line) == ("warning", 2)
    assert imports.server_of_raised(case, Raised("ModuleNotFoundError", "No module 'x'")) is None


@pytest.mark.parametrize("line", ["azureml-defaults", "azureml-defaults==1.61.0", "numpy"])
def test_a_server_that_is_new_enough_is_not_spoken_of(tmp_path: Path, line: str) -> None:
    assert list(imports.old_server(made(tmp_path, {"requirements.txt": f"{line}\n"}))) == []


BROKEN = [
    ({}, None, None),
    ({"score.py": "def init(:\n"}, "entry-script-broken", 1),
    ({"score.py": "def init():\n    pass\n"}, "entry-script-broken", 2),
    ({"score.py": "x = " + "-" * 300_000 + "1\n"}, "entry-script-broken", None),
    ({"score.py": "x = a" + ".b" * 50_000}, "entry-script-broken", None),
    ({"score.py": b"# \xe9\n"}, "entry-script-broken", 1),
    ({"devkit.yaml": "service: abc\nentry_script: scroe.py\n"}, "entry-script-missing", 2),
]


@pytest.mark.parametrize(
    ("files", "id_", "line"),
    BROKEN,
    ids=["sound", "syntax", "no run", "deep", "chain", "latin-1", "name"],
)
def test_an_entry_script_is_there_and_whole(
    tmp_path: Path, files: dict[str, str | bytes], id_: str | None, line: int | None
) -> None:
    found = list(script.complete(made(tmp_path, files)))
    assert [(f.id, f.line) for f in found] == ([(id_, line)] if id_ else [])
    assert all(len(str(f).split(f"{f.file}:{f.line}")) <= 2 for f in found if f.line)


@pytest.mark.parametrize(
    ("line", "id_"),
    [
        ("import debugpy; debugpy.listen(5678)", "debugger-loopback"),
        ('import debugpy; debugpy.listen(("127.0.0.1", 5678))', "debugger-loopback"),
        ('from debugpy import listen as l; l(("localhost", 5678))', "debugger-loopback"),
        ('import debugpy as d; d.listen(("0.0.0.0", 5678))', "debugger-in-script"),
        ("import debugpy; debugpy.connect(1)", "debugger-in-script"),
        ("import ptvsd; ptvsd.enable_attach()", "debugger-in-script"),
        ("import debugpy; debugpy.wait_for_client()", "debugger-waits"),
        ("import ptvsd; ptvsd.wait_for_attach(5)", "debugger-waits"),
        ("import other; other.listen(5678)", None),
        ("listen(5678)", None),
    ],
)
def test_a_debugger_of_the_script_is_found_under_each_name(
    tmp_path: Path, line: str, id_: str | None
) -> None:
    found = list(script.debuggers(made(tmp_path, {"score.py": f"{line}\n{SCORE}"})))
    assert places(found) == ([(id_, "score.py", 1)] if id_ else [])


def test_what_ends_the_process_is_found(tmp_path: Path) -> None:
    text = "from os import _exit as leave\n\n\ndef run(data):\n    leave(3)\n"
    assert script.ends_process(made(tmp_path / "a", {"score.py": text})) == (
        "score.py",
        5,
        "os._exit",
    )
    assert script.ends_process(made(tmp_path / "b")) is None


def test_a_large_script_is_looked_through_once(tmp_path: Path) -> None:
    """Each call once walked the whole tree: 300 functions took 7 s."""
    text = SCORE + "".join(f"def f{n}(a):\n    return str(len(a)) + str(a)\n" for n in range(3000))
    found = made(tmp_path, {"score.py": text}).script
    assert found is not None
    walked = 0
    original = ast.walk

    def counted(node: ast.AST) -> object:
        nonlocal walked
        walked += node is found.tree
        return original(node)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ast, "walk", counted)
        for call in found.calls:
            assert script._qualified(found, call) in ("len", "str")
    assert walked == 2


def test_a_missing_script_is_told_from_its_name(tmp_path: Path) -> None:
    from devkit.diagnose import failures

    one = Raised("ModuleNotFoundError", "No module named 'main'", (Frame("/x/y.py", 1, "f"),))
    assert failures.explained(made(tmp_path), one, "init").id == "entry-script-missing"


def test_a_module_whose_name_is_nearly_one_of_ours_is_asked_about(tmp_path: Path) -> None:
    files = {"score.py": f"import helpr\n\n{SCORE}", "helper.py": "", "requirements.txt": "six\n"}
    found = only(imports.not_asked_for(made(tmp_path, files)))
    assert found.remedy.startswith("Did you mean helper, which is helper.py? Else: Add the line")
