"""devkit.yaml, detection, environment and options: which value wins, and what a mistake is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from devkit.config import Config, Override, Workspace, init_file, load, schema
from devkit.config.detect import service_name
from devkit.errors import BadValue, ConfigError, UnknownKey

SCORE = "def init():\n    pass\n\n\ndef run(data):\n    return data\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "iris"
    folder.mkdir()
    return folder


def loaded(root: Path, text: str | None = None, **given: Any) -> Workspace:
    if text is not None:
        (root / "devkit.yaml").write_text(text, "utf-8")
    return load(root, **{"environ": {}, **given})


def wrong(root: Path, text: str, **given: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        loaded(root, text, **given)
    return caught.value


def test_a_folder_with_a_score_script_needs_no_configuration(root: Path) -> None:
    (root / "score.py").write_text(SCORE)
    (root / "environment.yml").write_text("dependencies: []\n")
    (root / "models").mkdir()
    (root / "models" / "iris.pkl").write_bytes(b"x")
    workspace = loaded(root)
    config = workspace.config
    assert (config.service, config.entry_script) == ("iris", "score.py")
    assert config.environment == "environment.yml"
    assert [(m.name, m.path, m.version) for m in config.models] == [("iris", "models/iris.pkl", 1)]
    assert workspace.origins["environment"] == "detected"
    assert workspace.origins["ports.score"] == "default"
    assert workspace.source == root


def test_the_script_with_init_and_run_is_found_under_any_name(root: Path) -> None:
    (root / "serve_it.py").write_text(SCORE)
    (root / "train.py").write_text("def run():\n    pass\n")
    assert loaded(root).config.entry_script == "serve_it.py"


def test_a_script_below_src_makes_src_the_source_directory(root: Path) -> None:
    (root / "src").mkdir()
    (root / "src" / "score.py").write_text(SCORE)
    (root / "src" / "requirements.txt").write_text("numpy\n")
    config = loaded(root).config
    assert (config.source_directory, config.entry_script) == ("src", "score.py")
    assert config.environment == "src/requirements.txt"


def test_two_candidates_without_the_usual_name_are_not_guessed_between(root: Path) -> None:
    (root / "a.py").write_text(SCORE)
    (root / "b.py").write_text(SCORE)
    assert loaded(root).origins["entry_script"] == "default"


def test_a_pyproject_that_only_configures_tools_is_no_environment(root: Path) -> None:
    (root / "pyproject.toml").write_text("[tool.ruff]\nline-length = 100\n")
    assert loaded(root).config.environment is None
    (root / "pyproject.toml").write_text('[project]\nname = "x"\ndependencies = ["numpy"]\n')
    assert loaded(root).config.environment == "pyproject.toml"


def test_a_models_folder_with_versions_gives_the_newest(root: Path) -> None:
    for version in ("2", "10"):
        (root / "models" / "iris" / version).mkdir(parents=True)
        (root / "models" / "iris" / version / "iris.pkl").write_bytes(b"x")
    (model,) = loaded(root).config.models
    assert (model.name, model.version, model.path) == ("iris", 10, "models/iris/10/iris.pkl")


def test_a_models_package_of_python_code_is_not_a_model(root: Path) -> None:
    (root / "models").mkdir()
    (root / "models" / "__init__.py").write_text("")
    (root / "models" / "weights.bin").write_bytes(b"x")
    assert loaded(root).config.models == ()


def test_models_of_one_stem_keep_their_suffix_as_a_name(root: Path) -> None:
    for name in ("iris.pkl", "iris.onnx"):
        (root / name).write_bytes(b"x")
    assert [model.name for model in loaded(root).config.models] == ["iris.onnx", "iris.pkl"]


@pytest.mark.parametrize(
    ("folder", "service"),
    [
        ("iris", "iris"),
        ("My Modèl_2", "my-model-2"),
        ("2024 run", "service-2024-run"),
        ("日本", "service"),
        ("ü", "service-u"),
        ("x", "service-x"),
        ("x" * 60, "x" * 32),
    ],
)
def test_any_folder_name_becomes_a_valid_service_name(folder: str, service: str) -> None:
    assert service_name(folder) == service
    assert Config(service=service).service == service


def test_an_option_beats_the_environment_which_beats_the_file(root: Path) -> None:
    text = "ports:\n  score: 8001\nimage:\n  tag: a:1\nservice: filed\n"
    workspace = loaded(
        root,
        text,
        environ={"DEVKIT_PORTS_SCORE": "8002", "DEVKIT_IMAGE_TAG": "a:2"},
        overrides={"ports.score": Override(8003, "--port")},
    )
    assert workspace.config.ports.score == 8003
    assert workspace.config.image.tag == "a:2"
    assert workspace.origins["ports.score"] == "--port"
    assert workspace.origins["image.tag"] == "DEVKIT_IMAGE_TAG"
    assert workspace.origins["service"] == "devkit.yaml:5"


def test_a_plain_override_is_taken_too(root: Path) -> None:
    workspace = loaded(root, overrides={"image.base": "python:3.11-slim"})
    assert workspace.config.image.base == "python:3.11-slim"
    assert workspace.origins["image.base"] == "option"


def test_variables_from_several_places_come_together(root: Path) -> None:
    config = loaded(
        root,
        "run:\n  env: {A: 1, B: file}\n",
        environ={"DEVKIT_RUN_ENV": "B=environment C='two words'"},
        overrides={"run.env": {"D": "option"}},
    ).config
    assert config.run.env == {"A": "1", "B": "environment", "C": "two words", "D": "option"}


def test_lists_can_stand_in_a_variable(root: Path) -> None:
    environ = {"DEVKIT_IMAGE_APT": "libgomp1, curl", "DEVKIT_BUILD_SECRETS": '["id=x"]'}
    config = loaded(root, environ=environ).config
    assert config.image.apt == ("libgomp1", "curl")
    assert config.build.secrets == ("id=x",)


def test_off_is_a_word_and_not_a_boolean(root: Path) -> None:
    assert loaded(root, "runtime: {reload: off}\n").config.runtime.reload == "off"


def test_keys_with_nothing_after_them_say_nothing(root: Path) -> None:
    workspace = loaded(root, "image:\n#  base: x\nmodels:\nenvironment:\n")
    assert workspace.config.image.base is None
    assert workspace.config.models == ()


def test_null_switches_a_detected_environment_off(root: Path) -> None:
    (root / "requirements.txt").write_text("numpy\n")
    assert loaded(root, "environment: null\n").config.environment is None


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("imge: x", 'devkit.yaml:1: the key "imge" is not known.', 'Did you mean "image"?'),
        (
            "source: x",
            'devkit.yaml:1: the key "source" is not known.',
            'Did you mean "source_directory"?',
        ),
        (
            "image:\n  bse: x",
            'devkit.yaml:2: the key "bse" in image is not known.',
            'Did you mean "base"?',
        ),
        (
            "models:\n  - {name: a, path: b}\n  - {name: c, pth: d, path: e}",
            'devkit.yaml:3: the key "pth" in models[1] is not known.',
            'Did you mean "path"?',
        ),
        (
            "build:\n  zzz: 1",
            'devkit.yaml:2: the key "zzz" in build is not known.',
            "Known in build: args, ca_certificates, secrets.",
        ),
    ],
)
def test_an_unknown_key_is_named_with_its_line_and_the_nearest_name(
    root: Path, text: str, message: str, hint: str
) -> None:
    error = wrong(root, text)
    assert isinstance(error, UnknownKey)
    assert (error.message, error.hint) == (message, hint)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "ports:\n  score: 99999",
            'devkit.yaml:2: ports.score is "99999".',
            'Allowed: "auto" or a number up to 65535.',
        ),
        (
            "\nruntime: {reload: fast}",
            'devkit.yaml:2: runtime.reload is "fast".',
            'Allowed: "process", "hot" or "off".',
        ),
        ("models: 3", 'devkit.yaml:1: models is "3".', 'Allowed: a list, as in "[a, b]".'),
        ("image: 3", 'devkit.yaml:1: image is "3".', 'Allowed: lines of "key: value".'),
        ("run: {env: {A: true}}", "devkit.yaml:1: run.env.A is true.", "Allowed: text."),
        ("models: [{name: a}]", 'devkit.yaml:1: models[0] has no "path".', 'Add "path: ...".'),
        (
            "run:\n  memory: lots",
            'devkit.yaml:2: run.memory is "lots".',
            'Allowed: a number with b, k, m or g, as in "2g".',
        ),
    ],
)
def test_a_wrong_value_is_named_with_its_line_and_what_is_allowed(
    root: Path, text: str, message: str, hint: str
) -> None:
    error = wrong(root, text)
    assert isinstance(error, BadValue)
    assert (error.message, error.hint) == (message, hint)


def test_a_wrong_value_from_a_variable_or_option_names_that(root: Path) -> None:
    error = wrong(root, "ports:\n  score: 1\n", environ={"DEVKIT_PORTS_SCORE": "many"})
    assert error.message == 'DEVKIT_PORTS_SCORE: ports.score is "many".'
    error = wrong(root, "", overrides={"service": Override("A_B", "--service")})
    assert error.message == '--service: service is "A_B".'


def _bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("service: a\nports: {}\nservice: b", ':3: "service" is there twice (first on line 1)'),
        ("- a\n- b", 'has to be a list of "key: value" lines'),
        ("just words", 'has to be a list of "key: value" lines'),
        ("a: [1,", ":1: "),
        ("a: b: c", ":1: "),
        ("x: !!python/object/apply:os.system ['true']", "is not allowed"),
        ("x: !!python/name:os.system", "could not determine a constructor"),
        ("? [a, b]\n: 1", "a key has to be a word"),
        ("a: &a [*a]", "nested too deeply"),
        ("[" * 5000, "nested too deeply"),
        (_bomb(), "too many values"),
        ("service: \x00", "devkit.yaml:1: "),
        ("service: a\n---\nservice: b", "devkit.yaml:2: "),
    ],
)
def test_hostile_or_broken_yaml_is_refused_in_one_sentence(
    root: Path, text: str, part: str
) -> None:
    error = wrong(root, text)
    assert isinstance(error, BadValue)
    assert part in error.message
    assert "\n" not in error.message


def test_a_huge_file_is_not_read_as_yaml(root: Path) -> None:
    assert "larger than" in wrong(root, "# " + "x" * 300_000).message


def test_a_file_that_is_not_text_is_refused(root: Path) -> None:
    (root / "devkit.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadValue, match="cannot be read"):
        loaded(root)


def test_a_named_configuration_file_has_to_exist(root: Path) -> None:
    with pytest.raises(BadValue, match="is not there"):
        loaded(root, file=root / "other.yaml")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="is not a folder"):
        loaded(tmp_path / "nowhere")


def test_what_init_writes_loads_to_the_same_configuration(root: Path) -> None:
    folder = root / "a folder: ünï, {x}"
    (folder / "models").mkdir(parents=True)
    (folder / "score.py").write_text(SCORE)
    (folder / "models" / "a, b.pkl").write_bytes(b"x")
    before = loaded(folder)
    init_file.write(before, force=False, dry_run=False)
    after = loaded(folder)
    assert after.config == before.config
    assert after.origins["models"].startswith("devkit.yaml:")
    assert json.loads((folder / ".devkit" / "schema.json").read_text()) == schema()


def test_init_does_not_write_the_schema_through_a_link(root: Path) -> None:
    (root / "score.py").write_text(SCORE)
    (root / ".devkit").mkdir()
    (root / ".devkit/schema.json").symlink_to(root / "victim")
    with pytest.raises(BadValue, match="cannot be written"):
        init_file.write(loaded(root), force=False, dry_run=False)
    assert not (root / "victim").exists()


def test_init_writes_only_what_was_detected_and_never_over_a_file(root: Path) -> None:
    (root / "score.py").write_text(SCORE)
    text = init_file.rendered(loaded(root))
    assert text.startswith("# yaml-language-server: $schema=.devkit/schema.json\n")
    assert yaml.safe_load(text) == {"service": "iris", "entry_script": "score.py"}
    (root / "devkit.yaml").write_text("service: mine\n")
    with pytest.raises(BadValue, match="is there already"):
        init_file.write(loaded(root), force=False, dry_run=False)
    assert (root / "devkit.yaml").read_text() == "service: mine\n"


def test_the_comments_of_init_hold_keys_that_exist(root: Path) -> None:
    (root / "score.py").write_text(SCORE)
    text = init_file.rendered(loaded(root))
    commented = [line[2:] for line in text.splitlines() if line.startswith("# ") and "{" in line]
    assert len(commented) >= 5
    for line in commented:
        loaded(root, line)


def test_the_schema_requires_nothing_and_knows_every_key() -> None:
    made = schema()
    assert "required" not in made
    assert set(made["properties"]) == set(Config.model_fields)


def test_a_service_name_of_one_letter_is_refused(root: Path) -> None:
    with pytest.raises(BadValue, match='service is "x"') as refused:
        loaded(root, overrides={"service": Override("x", "--service")})
    assert "2 to 32" in (refused.value.hint or "")
