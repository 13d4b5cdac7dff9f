"""Words typed -> text, JSON and an exit code; and nothing slow on the way to help."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from devkit import session as session_module
from devkit.cli import run as run_module
from devkit.cli.commands import cli
from devkit.errors import PortInUse
from devkit.session import Session
from tests.serving_engine import ServingEngine

SCORE = "def init():\n    pass\n\n\ndef run(data):\n    return data\n"
DEVKIT = (sys.executable, "-c", "from devkit.cli import main; main()")


@dataclass(frozen=True)
class Typed:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout."""
        assert self.out.count("\n") == 1, self.out
        made: dict[str, Any] = json.loads(self.out)
        return made


Type = Callable[..., Typed]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("DEVKIT_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "iris"
    folder.mkdir()
    (folder / "score.py").write_text(SCORE)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def devkit(root: Path, engine: ServingEngine, monkeypatch: pytest.MonkeyPatch) -> Type:
    # The fake engine runs no agent; tests/integration has the sync.
    monkeypatch.setenv("DEVKIT_DEBUG_NO_SYNC", "1")

    def run(*words: str, stdin: str = "", env: dict[str, str] | None = None) -> Typed:
        result = CliRunner().invoke(cli, list(words), input=stdin, env=env)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Typed(result.exit_code, result.stdout, result.stderr)

    return run


def commands(group: click.Group, path: str = "devkit") -> Iterator[tuple[str, click.Command]]:
    # click keeps a command's help option from the first context that it gets.
    context = click.Context(group, **cli.context_settings)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        yield f"{path} {name}", command


COMMANDS = dict(commands(cli))


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_help_with_an_example_that_starts_with_it(
    devkit: Type, path: str
) -> None:
    shown = devkit(*path.split()[1:], "--help")
    assert shown.code == 0
    assert COMMANDS[path].help
    examples = shown.out.split("Example")[1]
    assert path in examples
    assert devkit(*path.split()[1:], "-h").out == shown.out


@pytest.mark.parametrize("path", COMMANDS)
def test_every_option_of_every_command_is_explained(path: str) -> None:
    for param in COMMANDS[path].params:
        if isinstance(param, click.Option):
            assert param.help, f"{path} {param.name}"


def test_help_imports_nothing_heavy() -> None:
    listed = "import sys; sys.argv[1:] = ['--help']\nfrom devkit.cli import main\n"
    listed += "try: main()\nexcept SystemExit: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", listed], capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert loaded.isdisjoint(
        {"docker", "pydantic", "rich", "psutil", "requests", "watchdog", "yaml"}
    )
    assert "devkit.session" not in done.stderr.split()
    # About 140; each more is time before the first line. bench/ prints the time itself.
    assert len(done.stderr.split()) < 220


def test_a_command_that_a_message_names_is_there() -> None:
    package = Path(session_module.__file__).parent
    texts = [path.read_text("utf-8") for path in package.rglob("*.py")]
    named = {words for text in texts for words in re.findall(r"`devkit ([a-z]+(?: [a-z]+)?)", text)}
    assert "logs" in named
    known = {path.removeprefix("devkit ") for path in COMMANDS}
    assert [words for words in named if not {words, words.split()[0]} & known] == []


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("package --platform linux", "'linux' is not a platform like \"linux/arm64\""),
        ("run --platform linux/", "'linux/' is not a platform"),
        ("package --platform linux/nonsense", "'linux/nonsense' is no platform that an image can"),
        ("debug --platform windows/amd64", "'windows/amd64' is no platform that an image can be"),
        ("invoke -d 1 --timeout 0", "0.0 is not in the range x>0"),
        ("invoke -d 1 --timeout -1", "-1.0 is not in the range x>0"),
        ("run --port 70000", "neither a port"),
    ],
)
def test_a_value_that_does_not_fit_its_option_is_said(
    devkit: Type, engine: ServingEngine, words: str, text: str
) -> None:
    typed = devkit(*words.split())
    assert typed.code == 2
    assert text in typed.err
    assert engine.calls == []


@pytest.mark.parametrize(
    ("words", "platform"),
    [
        ("linux/s390x", "linux/s390x"),
        ("linux/arm64/v8", "linux/arm64/v8"),
        ("linux/x86_64", "linux/amd64"),
    ],
)
def test_a_platform_reaches_the_build_in_dockers_words(
    devkit: Type, engine: ServingEngine, words: str, platform: str
) -> None:
    assert devkit("package", "--platform", words).code == 0
    assert engine.built[-1].platform == platform


def test_an_unknown_command_is_answered_with_the_nearest(devkit: Type) -> None:
    typed = devkit("debgu")
    assert typed.code == 2
    assert typed.out == ""
    assert "There is no command 'debgu'. Did you mean `devkit debug`?" in typed.err


def test_an_unknown_option_is_answered_with_the_nearest(devkit: Type) -> None:
    typed = devkit("run", "--memry", "1g")
    assert typed.code == 2
    assert "--memory" in typed.err
    assert "`devkit run --help`" in typed.err


@pytest.mark.parametrize("words", [("nonsense",), ("run", "--nonsense"), ("run", "--port", "x")])
def test_a_usage_error_is_json_when_json_was_asked_for(devkit: Type, words: list[str]) -> None:
    for typed in (devkit("--json", *words), devkit(*words, env={"DEVKIT_JSON": "1"})):
        assert typed.code == 2
        assert typed.json["ok"] is False
        assert set(typed.json["error"]) == {"code", "message", "hint"}
        assert typed.json["error"]["code"] == "UsageError"


def test_global_options_work_before_and_after_the_command(devkit: Type, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    before = devkit("-C", str(other), "--json", "config", "show").json
    after = devkit("config", "show", "-C", str(other), "--json").json
    assert before == after
    assert before["config"]["service"] == "other"


def test_what_is_typed_wins_over_the_variable_wherever_it_stands(devkit: Type) -> None:
    env = {"DEVKIT_SERVICE": "variable"}
    assert devkit("--json", "config", "validate", env=env).json["service"] == "variable"
    typed = devkit("--json", "-s", "typed", "config", "validate", env=env)
    assert typed.json["service"] == "typed"
    typed = devkit("config", "validate", "--json", "-s", "typed", env=env)
    assert typed.json["service"] == "typed"


def test_an_option_of_the_configuration_has_the_variable_of_its_key(devkit: Type) -> None:
    env = {"DEVKIT_PORTS_DEBUG": "5700", "DEVKIT_RUN_MEMORY": "1g"}
    typed = devkit("config", "show", "--json", env=env).json
    assert typed["config"]["ports"]["debug"] == 5700
    assert typed["origins"]["run.memory"] == "DEVKIT_RUN_MEMORY"


def test_config_show_says_where_each_value_comes_from(devkit: Type, root: Path) -> None:
    (root / "devkit.yaml").write_text("ports:\n  score: 8123\n")
    lines = devkit("config", "show", "--origin").out.splitlines()
    assert any(
        line.startswith("ports.score: 8123 ") and line.endswith("# devkit.yaml:2") for line in lines
    )
    assert any(line.startswith("entry_script: ") and line.endswith("# detected") for line in lines)
    assert "#" not in devkit("config", "show").out


def test_a_wrong_configuration_has_exit_code_2_and_names_the_line(devkit: Type, root: Path) -> None:
    (root / "devkit.yaml").write_text("service: iris\nprots: {}\n")
    typed = devkit("config", "validate")
    assert typed.code == 2
    assert "devkit.yaml:2" in typed.err
    assert 'Did you mean "ports"?' in typed.err
    assert devkit("debug", "--json").json["error"]["code"] == "UnknownKey"


def test_the_schema_is_printed_as_json(devkit: Type) -> None:
    assert "entry_script" in json.loads(devkit("config", "schema").out)["properties"]


def test_init_writes_a_file_that_loads_and_a_dry_run_writes_none(devkit: Type, root: Path) -> None:
    shown = devkit("init", "--dry-run").out
    assert not (root / "devkit.yaml").exists()
    assert devkit("init").code == 0
    assert (root / "devkit.yaml").read_text() == shown
    assert devkit("config", "validate").code == 0
    assert devkit("init").code == 2


def test_debug_prints_one_object_and_everything_else_on_stderr(devkit: Type) -> None:
    typed = devkit("debug", "--detach", "--json", "--port", "auto", "--debug-port", "auto")
    assert typed.code == 0
    assert set(typed.json) == {
        "ok",
        "container",
        "image",
        "engine",
        "score_uri",
        "debug",
        "mappings",
        "launch_json",
        "timings",
    }
    assert typed.json["ok"] is True
    assert typed.json["mappings"][0]["verified"] is True
    assert typed.err.splitlines()[0] == "devkit: starting iris"
    assert typed.err.splitlines()[-1] == "devkit: ready iris"


def test_debug_says_what_to_press(devkit: Type) -> None:
    typed = devkit("debug", "--detach")
    assert "Press F5 in VS Code" in typed.out
    assert "/score" in typed.out


def test_a_failed_init_is_exit_code_6_with_the_line_for_the_editor(
    devkit: Type, engine: ServingEngine, root: Path
) -> None:
    engine.fail("/var/azureml-app/iris/score.py", 2, "no model")
    typed = devkit("debug", "--detach", "--json")
    assert typed.code == 6
    assert typed.json["error"]["code"] == "InitFailed"
    assert f"{root}/score.py:2" in typed.json["error"]["message"]
    assert "devkit: score.py:2: error: " in typed.err
    assert typed.err.splitlines()[-1] == "devkit: failed"
    assert engine.boxes["iris"].container.is_running


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C as soon as the log is followed."""

    def follow(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Session, "follow", follow)


@pytest.mark.parametrize("name", ["click", "devkit.cli.run"])
def test_ctrl_c_while_modules_are_imported_is_no_traceback(name: str) -> None:
    script = (
        "import sys\n"
        "class Pressed:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {name!r}: raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Pressed())\n"
        "sys.argv[1:] = ['run']\n"
        "from devkit.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (130, b"Interrupted.")


@pytest.mark.usefixtures("interrupted")
def test_ctrl_c_where_nobody_can_be_asked_leaves_the_service_running(
    devkit: Type, engine: ServingEngine
) -> None:
    typed = devkit("debug", "--no-color")
    assert typed.code == 130
    assert typed.err.splitlines()[-1] == "iris goes on running; `devkit stop` ends it."
    assert engine.boxes["iris"].container.is_running


@pytest.mark.usefixtures("interrupted")
def test_ctrl_c_with_yes_stops_the_service(devkit: Type, engine: ServingEngine) -> None:
    typed = devkit("debug", "--yes")
    assert typed.code == 130
    assert not engine.boxes["iris"].container.is_running


@pytest.mark.usefixtures("interrupted")
def test_debug_in_the_foreground_prints_its_object_before_it_follows(devkit: Type) -> None:
    typed = devkit("debug", "--json")
    assert typed.code == 130
    assert typed.json["ok"] is True
    assert "goes on running" in typed.err


def test_an_engines_error_is_one_sentence_a_hint_and_its_exit_code(
    devkit: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(*_: Any, **__: Any) -> None:
        raise PortInUse("Port 8000 is taken by \x1b[2Jnginx.", hint="Use --port auto.")

    monkeypatch.setattr(Session, "run", taken)
    typed = devkit("run")
    assert typed.code == 3
    assert typed.err.endswith(
        "Error: Port 8000 is taken by \\x1b[2Jnginx.\nHint:  Use --port auto.\n"
    )


def test_run_options_reach_the_container(devkit: Type, engine: ServingEngine, root: Path) -> None:
    (root / "vars.env").write_text("C=3\n")
    words = "--memory 1g --cpus 1.5 --user 1234 --read-only -e A=1 --env B=2 --env-file vars.env"
    assert devkit("run", *words.split(), "--port", "auto").code == 0
    spec = engine.boxes["iris"].spec
    assert (spec.memory, spec.cpus, spec.user, spec.read_only) == ("1g", 1.5, "1234", True)
    assert {key: spec.env[key] for key in "ABC"} == {"A": "1", "B": "2", "C": "3"}


def test_a_variable_without_value_is_taken_from_this_shell(
    devkit: Type, engine: ServingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "here")
    assert devkit("run", "-e", "TOKEN").code == 0
    assert engine.boxes["iris"].spec.env["TOKEN"] == "here"
    assert devkit("run", "-e", "NOT_THERE_AT_ALL").code == 2


def test_an_open_debugger_needs_an_explicit_yes(devkit: Type, engine: ServingEngine) -> None:
    typed = devkit("run", "--bind", "0.0.0.0", "--json")
    assert (typed.code, typed.json["error"]["code"]) == (2, "RemoteDebugRefused")
    assert engine.calls == []
    assert devkit("run", "--bind", "0.0.0.0", "--allow-remote-debug").code == 0


def test_a_dry_run_touches_nothing(devkit: Type, engine: ServingEngine, root: Path) -> None:
    assert "Would build debug:1" in devkit("run", "--dry-run").out
    assert "Would start" in devkit("--dry-run", "debug").out
    assert "app/iris/score.py" in devkit("package", "--dry-run").out
    assert "the network devkit-iris" in devkit("delete", "--dry-run").out
    assert engine.calls == []
    assert not (root / ".vscode").exists()


def test_the_dockerfile_can_be_printed(devkit: Type, engine: ServingEngine) -> None:
    printed = devkit("package", "--print-dockerfile", "--base", "own:1").out
    assert printed.startswith("FROM own:1")
    assert engine.calls == []


def test_package_says_when_nothing_changed(devkit: Type) -> None:
    assert devkit("package", "--json").json["reused"] is False
    assert devkit("package", "--json").json["reused"] is True
    assert "nothing changed" in devkit("package").out


def test_status_is_text_and_json(devkit: Type, engine: ServingEngine) -> None:
    devkit("debug", "--detach")
    engine.status["attached"] = {"client": "Visual Studio Code", "since": 1.0}
    assert "Visual Studio Code is attached" in devkit("status").out
    found = devkit("status", "--json").json
    assert found["runtime"]["state"] == "ready"
    assert found["debug"]["host"] == "127.0.0.1"


def test_a_command_without_its_service_has_exit_code_6(devkit: Type) -> None:
    for words in (["status"], ["logs"], ["exec"], ["stop"], ["reload"], ["invoke", "-d", "1"]):
        typed = devkit("--json", *words, *(["true"] if words == ["exec"] else []))
        assert (typed.code, typed.json["error"]["code"]) == (6, "NoService"), words
    assert devkit("shell").code == 6


def test_logs_are_filtered_and_made_harmless(devkit: Type, engine: ServingEngine) -> None:
    devkit("debug", "--detach")
    engine.write_log("iris", b"one\ntwo \x1b]0;owned\x07\nthree\n")
    assert devkit("logs").out == "one\ntwo \\x1b]0;owned\\x07\nthree\n"
    assert devkit("logs", "--grep", "^t").out.splitlines()[1] == "three"
    assert devkit("logs", "--tail", "1").out == "three\n"
    assert devkit("logs", "--json").json["lines"][0] == "one\n"


@pytest.mark.parametrize(
    ("codec", "filler"), [("utf-16", ""), ("utf-16", "x" * (5 << 20)), ("utf-8-sig", "")]
)
def test_a_log_is_diagnosed_as_powershell_writes_it(
    devkit: Type, root: Path, codec: str, filler: str
) -> None:
    text = (
        f'{filler}\nTraceback (most recent call last):\n  File "/var/azureml-app/iris/score.py", '
        "line 1, in <module>\nModuleNotFoundError: No module named 'nosuchmodule'\n"
    )
    (root / "cloud.log").write_bytes(text.encode(codec))
    found = devkit("diagnose", "--logs", "cloud.log", "--json").json["findings"]
    assert [item["id"] for item in found] == ["module-missing"]


def test_logs_follow_with_f_until_the_container_ends(devkit: Type, engine: ServingEngine) -> None:
    devkit("debug", "--detach")
    engine.end("iris", 0, log=b"last words\n")
    assert devkit("logs", "-f", "--since", "10m").out == "last words\n"


@pytest.mark.parametrize("words", [("--grep", "("), ("--since", "yesterday"), ("--tail", "-1")])
def test_bad_log_options_are_usage_errors(devkit: Type, words: tuple[str, ...]) -> None:
    assert devkit("logs", *words).code == 2


def test_invoke_takes_its_body_from_words_files_and_stdin(devkit: Type, root: Path) -> None:
    devkit("debug", "--detach")
    (root / "x.json").write_text('{"from": "file"}')
    assert devkit("invoke", "-d", '{"a": 1}').out == '{"a": 1}\n'
    assert devkit("invoke", "-d", "@x.json").out == '{"from": "file"}\n'
    for word in ("-", "@-"):
        assert devkit("invoke", "-d", word, stdin='"stdin"').out == '"stdin"\n'
    answer = devkit("invoke", "-d", "1", "--json").json
    assert (answer["status"], answer["body"]) == (200, "1")
    assert devkit("invoke", "-d", "@missing.json").code == 2


def test_invoke_has_exit_code_6_when_the_answer_is_an_error(devkit: Type) -> None:
    devkit("debug", "--detach")
    typed = devkit("invoke", "--path", "/fail", "-d", "x")
    assert typed.code == 6
    assert typed.err.startswith("502 in ")
    typed = devkit("invoke", "--path", "/fail", "-d", "x", "--json")
    assert typed.code == 6
    assert (typed.json["ok"], typed.json["status"], typed.json["body"]) == (False, 502, "x")


def test_invoke_tells_a_failure_with_local_paths(devkit: Type, root: Path) -> None:
    devkit("debug", "--detach")
    traceback = 'File "/var/azureml-app/iris/score.py", line 6\nValueError: \x1b]0;no\x07'
    body = json.dumps({"message": "run() raised", "error": {"traceback": traceback}})
    typed = devkit("invoke", "--path", "/fail", "-d", body)
    assert typed.out.splitlines() == [
        "run() raised",
        f'File "{root}/score.py", line 6',
        "ValueError: \\x1b]0;no\\x07",
    ]


def test_exec_gives_the_childs_output_and_exit_code(
    devkit: Type, capfd: pytest.CaptureFixture[str]
) -> None:
    devkit("debug", "--detach")
    with pytest.raises(SystemExit) as ended:
        cli.main(["exec", "--", "sh", "-c", "echo out; exit 7"], prog_name="devkit")
    assert (ended.value.code, capfd.readouterr().out) == (7, "out\n")


def test_words_after_exec_are_the_childs_even_when_they_look_like_ours(
    devkit: Type, engine: ServingEngine, capfd: pytest.CaptureFixture[str]
) -> None:
    devkit("debug", "--detach")
    with pytest.raises(SystemExit):
        cli.main(["exec", "echo", "--json", "-v", "-s"], prog_name="devkit")
    assert capfd.readouterr().out == "--json -v -s\n"


def test_delete_asks_nobody_who_is_not_there(devkit: Type, engine: ServingEngine) -> None:
    devkit("debug", "--detach")
    typed = devkit("delete")
    assert typed.code == 2
    assert "--yes" in typed.err
    assert "iris" in engine.boxes
    assert devkit("delete", "--yes").code == 0
    assert engine.boxes == {}


def test_launch_check_has_exit_code_1_until_it_is_written(devkit: Type, root: Path) -> None:
    assert devkit("launch", "--check").code == 1
    assert devkit("launch", "--dry-run").code == 0
    assert not (root / ".vscode").exists()
    assert devkit("launch").code == 0
    assert devkit("launch", "--check").code == 0
    assert devkit("launch", "--remove").code == 0
    assert not (root / ".vscode").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_each_shell_has_a_completion_script(devkit: Type, shell: str) -> None:
    assert "_DEVKIT_COMPLETE" in devkit("completion", shell).out


def test_completion_knows_commands_and_options() -> None:
    env = {
        **os.environ,
        "_DEVKIT_COMPLETE": "bash_complete",
        "COMP_WORDS": "devkit de",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(DEVKIT, env=env, capture_output=True, text=True, check=False)
    assert {"plain,debug", "plain,delete"} == set(done.stdout.split())


def test_the_version_is_printed_both_ways(devkit: Type) -> None:
    assert devkit("version").out == devkit("--version").out
    assert devkit("version").out.startswith("devkit ")


def test_a_reader_that_has_seen_enough_is_no_error(root: Path) -> None:
    command = f"{sys.executable} -c 'from devkit.cli import main; main()' config schema | head -c 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, cwd=root, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"{", b"")


def test_who_runs_a_service_is_told_what_keeps_it_in_step(devkit: Type) -> None:
    assert "`devkit sync` keeps workspace and container in step" in devkit("run").out
    assert "Nothing keeps workspace and container in step" in devkit("status").out


@pytest.mark.parametrize("command", ["status", "invoke"])
def test_what_the_service_raised_is_made_harmless(
    devkit: Type, engine: ServingEngine, command: str
) -> None:
    devkit("debug", "--detach")
    engine.fail("/var/azureml-app/iris/score.py", 2, "no \x1b]0;owned\x07\u202emodel")
    words = ("-d", "a\x1b]0;owned\x07\u202eb") if command == "invoke" else ()
    for typed in (devkit(command, *words), devkit(command, *words, "--json")):
        assert "owned" in typed.out
        assert not {"\x1b", "\x07", "\u202e"} & set(typed.out)


def test_exec_as_json_is_one_object(devkit: Type, capfd: pytest.CaptureFixture[str]) -> None:
    devkit("debug", "--detach")
    with pytest.raises(SystemExit) as ended:
        cli.main(["exec", "--json", "--", "sh", "-c", "echo out; echo err >&2; exit 7"])
    assert ended.value.code == 7
    assert json.loads(capfd.readouterr().out) == {
        "ok": False,
        "exit_code": 7,
        "stdout": "out\n",
        "stderr": "err\n",
    }


def test_a_shell_refuses_json(devkit: Type) -> None:
    typed = devkit("shell", "--json")
    assert (typed.code, typed.json["error"]["code"]) == (2, "UsageError")
    assert "`devkit exec --json" in typed.json["error"]["message"]


@pytest.mark.parametrize("words", [("reload",), ("exec", "true"), ("shell",), ("invoke",)])
def test_a_stopped_service_is_started_by_what_the_hint_says(
    devkit: Type, words: tuple[str, ...]
) -> None:
    devkit("debug", "--detach")
    devkit("stop")
    typed = devkit(*words)
    assert typed.code == 6
    assert "does not run" in typed.err
    assert "`devkit run`" in typed.err


@pytest.mark.parametrize("words", [(), ("config",)])
def test_a_group_alone_shows_its_help_which_is_no_error(devkit: Type, words: list[str]) -> None:
    typed = devkit(*words)
    assert typed.code == 2
    assert typed.err.startswith("Usage: ")
    assert "Error" not in typed.err


@pytest.mark.parametrize(
    ("is_terminal", "env", "times"),
    [(True, {}, 1), (True, {"DEVKIT_TASK": "1"}, 2), (False, {}, 2)],
)
def test_a_failed_init_is_said_once_to_a_person(
    devkit: Type,
    engine: ServingEngine,
    monkeypatch: pytest.MonkeyPatch,
    is_terminal: bool,
    env: dict[str, str],
    times: int,
) -> None:
    engine.fail("/var/azureml-app/iris/score.py", 2, "no model")
    monkeypatch.setattr(run_module, "_is_terminal", lambda: is_terminal)
    typed = devkit("debug", "--detach", env=env)
    assert typed.code == 6
    assert typed.err.count("no model") == times
    assert ("devkit: failed" in typed.err) == (times == 2)


def test_init_where_nothing_may_be_written_is_a_sentence_and_a_hint(
    devkit: Type, root: Path
) -> None:
    (root / ".devkit").write_text("a file where the folder should be")
    error = devkit("init", "--json")
    assert error.code == 2
    assert f"{root / 'devkit.yaml'} cannot be written: Not a directory." in error.out
    assert "`devkit init --dry-run`" in error.out
    assert not (root / "devkit.yaml").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("reload",),
        ("shell",),
        ("exec", "--", "true"),
        ("invoke", "-d", "{}"),
        ("base", "bootstrap"),
        *(("sync", word) for word in ("pause", "resume", "reset", "flush", "stop")),
    ],
)
def test_what_has_no_dry_run_is_refused_and_not_done(
    devkit: Type, engine: ServingEngine, words: tuple[str, ...]
) -> None:
    devkit("debug", "--detach")
    before = len(engine.calls)
    typed = devkit("--dry-run", *words)
    assert (typed.code, len(engine.calls)) == (2, before)
    assert "has no dry run" in typed.err


def test_a_dry_run_of_stop_and_of_launch_changes_nothing(
    devkit: Type, engine: ServingEngine, root: Path
) -> None:
    devkit("debug", "--detach")
    assert devkit("--dry-run", "stop").out == "Would stop iris.\n"
    assert devkit("--dry-run", "launch", "--remove").out.startswith("Would take devkit's out of")
    assert (root / ".vscode/launch.json").is_file()
    assert devkit("status", "--json").json["container_state"] == "running"


def test_what_the_system_refuses_is_a_sentence_too(
    devkit: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "/w/x")

    monkeypatch.setattr("devkit.config.init_file.write", refused)
    typed = devkit("init")
    assert typed.code == 1
    assert "Error: The system refuses: [Errno 28] No space left on device: '/w/x'." in typed.err
    assert "Hint:" in typed.err
