"""What the documents tell people to type is there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from devkit.cli.commands import cli
from devkit.cli.options import App
from devkit.config import Config
from devkit.errors import DevkitError
from devkit.output import Output

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    path
    for path in (ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "examples/README.md")
    if path.exists()
]
# Announced, not there yet.
COMING = set[str]()


def typed(text: str) -> Iterator[str]:
    """The `devkit ...` and `make ...` lines of console blocks and the ones in backticks."""
    yield from re.findall(r"^\s*\$ ((?:devkit|make) [^#\n]*)", text, flags=re.MULTILINE)
    yield from re.findall(r"`((?:devkit|make) [^`.]*)`", text)


LINES = sorted({line.strip() for path in DOCUMENTS for line in typed(path.read_text("utf-8"))})
DEVKIT_LINES = [line for line in LINES if line.startswith("devkit ") and line not in COMING]


def commands(group: click.Group, prefix: str = "devkit") -> Iterator[tuple[str, click.Command]]:
    """Every command of the real tree, with the words that reach it."""
    ctx = click.Context(group, **cli.context_settings)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


def parsed(line: str) -> click.Context:
    """The context of the command that a line names; raises click.UsageError as typing it would."""
    words = shlex.split(line)[1:]
    if words == ["--version"]:
        words = ["version"]
    command: click.Command = cli
    context = click.Context(cli, obj=App(out=Output(as_json=True)), **cli.context_settings)
    name: str | None = "devkit"
    while True:
        context = command.make_context(name, words, parent=context)
        if not isinstance(command, click.Group):
            return context
        rest = [*context._protected_args, *context.args]
        if not rest and command.invoke_without_command:
            return context
        name, found, words = command.resolve_command(context, rest)
        assert found is not None, line
        command = found


@pytest.mark.parametrize("line", DEVKIT_LINES)
def test_a_line_in_the_documents_is_a_command(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cases").mkdir()
    (tmp_path / "cloud.log").touch()
    monkeypatch.chdir(tmp_path)
    parsed(line)


def test_a_line_that_is_no_command_would_be_found() -> None:
    with pytest.raises((click.UsageError, DevkitError)):
        parsed("devkit debug --no-such-option")


@pytest.mark.parametrize("path", [path for path, _ in commands(cli)])
def test_every_command_is_in_the_readme(path: str) -> None:
    family = " ".join(path.split()[:2])
    assert any(line.startswith(family) for line in DEVKIT_LINES), path


@pytest.mark.parametrize(
    ("path", "command"), [pytest.param(*found, id=found[0]) for found in commands(cli)]
)
def test_every_command_has_a_help_text_with_an_example(path: str, command: click.Command) -> None:
    text = command.get_help(click.Context(command, info_name=path, **cli.context_settings))
    assert "Example" in text
    assert path in text.partition("Example")[2]


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("make ")])
def test_a_make_target_in_the_documents_is_there(line: str) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert re.search(rf"^{line.split()[1]}:", makefile, flags=re.MULTILINE)


def test_the_readme_shows_every_key_of_devkit_yaml() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    block = text.partition("```yaml")[2].partition("```")[0]
    for key, field in Config.model_fields.items():
        assert re.search(rf"^{key}:", block, flags=re.MULTILINE), key
        for inner in getattr(field.annotation, "model_fields", {}):
            assert re.search(rf"\b{inner}: ", block), f"{key}.{inner}"


def test_the_example_installs_the_scikit_learn_that_made_its_model() -> None:
    example = ROOT / "examples/iris"
    made_by = re.search(
        rb"_sklearn_version.{0,6}?(\d+\.\d+)", (example / "models/iris.pkl").read_bytes(), re.DOTALL
    )
    assert made_by is not None
    assert f"scikit-learn={made_by[1].decode()} " in (example / "environment.yml").read_text(
        "utf-8"
    )


def test_every_exit_code_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    for code in {kind.exit_code for kind in _family(DevkitError)}:
        assert f"| {code} |" in text


def _family(kind: type[DevkitError]) -> Iterator[type[DevkitError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _family(below)
