from __future__ import annotations

import json
import re
import stat
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from devkit import launch
from devkit.cli.run import TASK_FAILED, TASK_READY, TASK_STARTING, TASK_VARIABLE
from devkit.contract import RUNTIME_ROOT
from devkit.engine import Placement
from devkit.errors import LaunchFileBroken
from devkit.launch import jsonc
from devkit.launch.text import LAUNCH, TASKS, merged, removed, template

ROOT = Path("/work space/Größe")


def made(root: Path = ROOT, port: int = 5678, **options: Any) -> dict[str, Any]:
    source = Placement(root, PurePosixPath("/var/azureml-app/iris"))
    return launch.entry(root, port=port, mappings=[source], **options)


ENTRY = made()
TASK = launch.task()

FILES = {
    "with comments": """// Ours, all of it.
{
    /* since 2019 */
    "version": "0.2.0",
    "configurations": [
        { // the app
            "name": "app", "type": "node", // keep
            "request": "launch"
        } // last
        // and more to come
    ],
    "compounds": [{"name": "all", "configurations": ["app", "devkit: attach"]}],
    "inputs": [{"id": "x", "type": "promptString"},],
}
""",
    "with tabs and CRLF": (
        '{\r\n\t"version": "0.2.0",\r\n\t"configurations": [\r\n\t\t{"name": "a"},\r\n\t],\r\n}\r\n'
    ),
    "with a byte order mark": (
        '\ufeff{\n  "configurations": [\n    {\n      "name": "a"\n    }\n  ]\n}'
    ),
    "on one line": '{"version":"0.2.0","configurations":[{"name":"a"}]}',
    "with brackets side by side": '{\n  "configurations": [{\n    "name": "a"\n  }]\n}\n',
    "with an empty list": '{\n  "version": "0.2.0",\n  "configurations": []\n}\n',
    "without a list": '{\n  // soon\n  "version": "0.2.0"\n}\n',
    "with an empty object": "{}",
    "with nothing": "",
    "with comments only": "// Nothing here yet.\n",
    "with items that are no objects": '{"configurations": [null, "devkit: attach", {"name": 1}]}',
    "with a list that is given twice": '{"configurations": [1], "configurations": [{"name": "a"}]}',
}


@pytest.fixture(params=list(FILES.values()), ids=list(FILES))
def text(request: pytest.FixtureRequest) -> str:
    assert isinstance(request.param, str)
    return request.param


def test_an_entry_is_a_stock_attach_that_leaves_the_runtime_out() -> None:
    expected = {
        "name": "devkit: attach",
        "type": "debugpy",
        "request": "attach",
        "connect": {"host": "127.0.0.1", "port": 5678},
        "pathMappings": [
            {"localRoot": "${workspaceFolder}", "remoteRoot": "/var/azureml-app/iris"}
        ],
        "justMyCode": True,
        "subProcess": True,
        "rules": [{"path": f"{RUNTIME_ROOT}/**", "include": False}],
        "preLaunchTask": TASK["label"],
    }
    assert expected == ENTRY


def test_the_editors_system_is_written_only_where_it_matters() -> None:
    assert made(windows=True)["clientOS"] == "windows"
    assert "clientOS" not in made(windows=False)


def test_mappings_are_longest_first_and_relative_where_they_can_be() -> None:
    pairs = {"/w": "/app/w", "/w/a/b": "/site/b", "/elsewhere/lib": "/lib", "/w/a": "/site/a"}
    mappings = [Placement(Path(a), PurePosixPath(b)) for a, b in pairs.items()]
    written = launch.path_mappings(Path("/w"), mappings)
    assert [(m["localRoot"], m["remoteRoot"]) for m in written] == [
        ("${workspaceFolder}/a/b", "/site/b"),
        ("/elsewhere/lib", "/lib"),
        ("${workspaceFolder}/a", "/site/a"),
        ("${workspaceFolder}", "/app/w"),
    ]


def test_a_workspace_opened_through_a_link_maps_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "real" / "src").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    mapping = Placement(tmp_path / "real" / "src", PurePosixPath("/app"))
    written = launch.path_mappings(tmp_path / "link", [mapping])
    assert written == [{"localRoot": "${workspaceFolder}/src", "remoteRoot": "/app"}]


def test_ours_is_added_and_all_else_means_what_it_meant(text: str) -> None:
    value = jsonc.data(text)
    before = {"version": "0.2.0"} if value is None else value
    after = jsonc.data(merged(text, ENTRY))
    others = before.get("configurations", [])
    assert after == {**before, "configurations": [*others, ENTRY]}


def test_every_byte_of_the_rest_stays(text: str) -> None:
    rest = iter(merged(text, ENTRY))
    # What was there is still there in order; only a comma may be new between.
    assert all(letter in rest for letter in re.sub(r"[\[\]{}\s]", "", text))


def test_editing_twice_changes_nothing(text: str) -> None:
    once = merged(text, ENTRY)
    assert merged(once, ENTRY) == once


def test_removing_takes_exactly_ours_out(text: str) -> None:
    assert removed(merged(text, ENTRY)) == text
    assert removed(text) == text


def test_a_new_port_changes_one_line(text: str) -> None:
    before, after = merged(text, ENTRY), merged(text, made(port=5679))
    changed = [
        pair
        for pair in zip(before.splitlines(), after.splitlines(), strict=True)
        if len({*pair}) > 1
    ]
    assert merged(before, made(port=5679)) == after
    assert len(changed) == 1
    assert changed[0][0].replace("5678", "5679") == changed[0][1]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_line_endings_and_indentation_are_the_files_own(newline: str) -> None:
    text = FILES["with tabs and CRLF"].replace("\r\n", newline)
    after = merged(text, ENTRY)
    assert after.count("\n") == after.count(newline)
    assert {line[:2] for line in after.splitlines()[3:-2]} == {"\t\t"}
    assert "  " not in after


def test_a_comment_stays_beside_the_item_it_is_about() -> None:
    lines = merged(FILES["with comments"], ENTRY).splitlines()
    assert "        }, // last" in lines
    assert lines.index("        // and more to come") > lines.index(
        '            "name": "devkit: attach",'
    )


OURS_EDITED = """{
    "configurations": [
        {
            // my own order
            "type": "python",
            "name": "devkit: attach", /* ours */
            "request": "attach",
            "connect": {"host": "127.0.0.1", "port": 1, "extra": true},
            "pathMappings": [
                {"localRoot": "${workspaceFolder}", "remoteRoot": "/var/azureml-app/iris"}, // right
            ],
            "presentation": {"order": 1}, // first, please
        },
    ]
}
"""


def test_keys_and_comments_of_the_user_in_our_item_stay() -> None:
    after = merged(OURS_EDITED, ENTRY)
    item = jsonc.data(after)["configurations"][0]
    assert item == {
        **ENTRY,
        "connect": {"host": "127.0.0.1", "port": 5678, "extra": True},
        "presentation": {"order": 1},
    }
    for comment in ("// my own order", "/* ours */", "// right", "// first, please"):
        assert comment in after
    assert merged(after, ENTRY) == after


def test_every_item_of_our_name_is_kept_up_to_date_and_removed() -> None:
    text = json.dumps({"configurations": [made(port=1), {"name": "a"}, made(port=2)]}, indent=1)
    after = merged(text, ENTRY)
    assert jsonc.data(after) == {"configurations": [ENTRY, {"name": "a"}, ENTRY]}
    assert jsonc.data(removed(after)) == {"configurations": [{"name": "a"}]}


def test_a_number_is_not_taken_for_true() -> None:
    text = merged("", {**ENTRY, "justMyCode": 1})
    assert '"justMyCode": true' in merged(text, ENTRY)


def test_a_file_that_devkit_made_is_the_template_with_the_values_in() -> None:
    assert jsonc.data(merged("", ENTRY)) == {"version": "0.2.0", "configurations": [ENTRY]}
    assert merged("", jsonc.data(template(LAUNCH))["configurations"][0]) == template(LAUNCH)
    assert jsonc.data(merged("", TASK, TASKS)) == {"version": "2.0.0", "tasks": [TASK]}


def test_a_file_that_devkit_made_stays_when_somebody_added_to_it() -> None:
    text = merged("", ENTRY)
    for addition in ("// mine", '"inputs": [],'):
        edited = text.replace('"version"', f'{addition}\n    "version"')
        assert addition in removed(edited)


def test_the_task_waits_for_the_lines_that_devkit_prints() -> None:
    matcher = TASK["problemMatcher"]
    background = matcher["background"]
    assert TASK["isBackground"]
    assert re.search(background["beginsPattern"], TASK_STARTING)
    for line in (TASK_READY, TASK_FAILED):
        assert re.search(background["endsPattern"], line)
        assert not re.search(background["endsPattern"], f"a log line about {line}")


def test_a_problem_line_is_one_that_the_task_shows() -> None:
    pattern = TASK["problemMatcher"]["pattern"]
    line = launch.problem("no init()\nin it: at all", file="src/a b.py", line=3)
    found = re.search(pattern["regexp"], line)
    assert found is not None
    assert found[pattern["file"]] == "src/a b.py"
    assert found[pattern["line"]] == "3"
    assert found[pattern["severity"]] == "error"
    assert found[pattern["message"]] == "no init() in it: at all"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{\n  "configurations": [\n}', ":3:1"),
        ("[]", ":1:1"),
        ('{\n  "configurations": {}\n}', ":2:21"),
        ("<<<<<<< HEAD\n{}", ":1:1"),
    ],
)
def test_a_file_that_cannot_be_edited_is_named_by_line_and_left_alone(
    tmp_path: Path, text: str, place: str
) -> None:
    path = _file(tmp_path, LAUNCH.name, text)
    with pytest.raises(LaunchFileBroken, match=re.escape(f"{path}{place}")):
        launch.write(tmp_path, ENTRY, TASK)
    with pytest.raises(LaunchFileBroken, match=re.escape(f"{path}{place}")):
        launch.remove(tmp_path)
    assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_neither_file_is_written_when_one_is_broken(tmp_path: Path) -> None:
    good = _file(tmp_path, LAUNCH.name, "{}")
    _file(tmp_path, TASKS.name, "{")
    with pytest.raises(LaunchFileBroken):
        launch.write(tmp_path, ENTRY, TASK)
    assert good.read_text() == "{}"


def test_a_file_in_another_encoding_is_left_alone(tmp_path: Path) -> None:
    path = _file(tmp_path, LAUNCH.name, "")
    path.write_bytes("{}".encode("utf-16"))
    with pytest.raises(LaunchFileBroken, match="UTF-8"):
        launch.write(tmp_path, ENTRY, TASK)
    assert path.read_bytes() == "{}".encode("utf-16")


def test_files_and_folder_come_and_go(tmp_path: Path) -> None:
    assert not launch.check(tmp_path, ENTRY, TASK)
    first = launch.write(tmp_path, ENTRY, TASK)
    assert [(w.path.name, w.changed) for w in first] == [
        ("launch.json", True),
        ("tasks.json", True),
    ]
    assert launch.check(tmp_path, ENTRY, TASK)
    assert not any(w.changed for w in launch.write(tmp_path, ENTRY, TASK))
    assert all(w.changed for w in launch.remove(tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert not any(w.changed for w in launch.remove(tmp_path))


def test_a_folder_with_other_files_stays(tmp_path: Path) -> None:
    settings = _file(tmp_path, "settings.json", "{}")
    launch.write(tmp_path, ENTRY, TASK)
    launch.remove(tmp_path)
    assert list(settings.parent.iterdir()) == [settings]


def test_what_would_be_written_is_shown_and_nothing_is_touched(tmp_path: Path) -> None:
    shown = launch.render(tmp_path, ENTRY, TASK)
    assert list(tmp_path.iterdir()) == []
    launch.write(tmp_path, ENTRY, TASK)
    assert {path: path.read_text() for path in shown} == shown


def test_bytes_mode_and_link_of_a_file_stay(tmp_path: Path) -> None:
    text = FILES["with tabs and CRLF"]
    shared = tmp_path / "shared.json"
    shared.write_bytes(text.encode())
    shared.chmod(0o640)
    link = tmp_path / ".vscode" / LAUNCH.name
    link.parent.mkdir()
    link.symlink_to("../shared.json")
    launch.write(tmp_path, ENTRY, TASK)
    assert link.is_symlink()
    assert shared.read_bytes() == merged(text, ENTRY).encode()
    assert stat.S_IMODE(shared.stat().st_mode) == 0o640
    launch.remove(tmp_path)
    assert shared.read_bytes() == text.encode()


def test_a_file_changed_in_between_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _file(tmp_path, LAUNCH.name, "{}")

    def slow(*arguments: Any) -> str:
        path.write_text('{"theirs": 1}')
        return merged(*arguments)

    monkeypatch.setattr(launch, "merged", slow)
    with pytest.raises(LaunchFileBroken, match="changed while"):
        launch.write(tmp_path, ENTRY, TASK)
    assert path.read_text() == '{"theirs": 1}'


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / ".vscode").write_text("a file where the folder should be")
    with pytest.raises(LaunchFileBroken, match=r"\.vscode"):
        launch.write(tmp_path, ENTRY, TASK)


def test_devkit_of_the_workspaces_own_environment_is_named_relative_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "ws" / ".venv" / "bin" / "devkit"
    script.parent.mkdir(parents=True)
    script.touch(0o755)
    monkeypatch.setattr("sys.prefix", str(tmp_path / "ws" / ".venv"))
    monkeypatch.setenv("PATH", str(script.parent))
    assert launch.devkit_command(tmp_path / "ws") == "${workspaceFolder}/.venv/bin/devkit"
    assert launch.devkit_command(tmp_path / "other") == str(script)
    (tmp_path / "devkit").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert launch.devkit_command(tmp_path / "ws") == "devkit"


def _file(root: Path, name: str, text: str) -> Path:
    path = root / ".vscode" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_a_file_that_is_too_large_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / ".vscode" / "launch.json"
    path.parent.mkdir()
    path.write_text("{}" + " " * 1_000_000)
    with pytest.raises(LaunchFileBroken, match="larger than 1 MB"):
        launch.write(tmp_path, ENTRY, TASK)
    assert path.stat().st_size == 1_000_002


@pytest.mark.parametrize("text", ["[" * 400_000, "[" * 400_000 + "]" * 400_000])
def test_a_file_that_is_nested_too_deeply_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / ".vscode" / "launch.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(LaunchFileBroken, match="nested too deeply"):
        launch.write(tmp_path, ENTRY, TASK)
    with pytest.raises(LaunchFileBroken, match="nested too deeply"):
        launch.remove(tmp_path)
    assert path.read_text() == text


def test_the_hint_for_a_folder_without_rights_names_commands_that_are_there(
    tmp_path: Path,
) -> None:
    (tmp_path / ".vscode").symlink_to("/proc/nowhere")
    with pytest.raises(LaunchFileBroken) as refused:
        launch.write(tmp_path, ENTRY, TASK)
    assert "[Errno" not in refused.value.message
    assert "`devkit launch --print`" in (refused.value.hint or "")
    assert "`devkit debug --no-launch`" in (refused.value.hint or "")


def test_the_task_says_that_it_is_the_task() -> None:
    assert TASK["options"]["env"] == {TASK_VARIABLE: "1"}
