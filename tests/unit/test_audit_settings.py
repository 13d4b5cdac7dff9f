"""Variables, ports, users and commands: what is a finding, and what only looks like one."""

from __future__ import annotations

import shlex

import pytest

from devkit.audit import settings


def ids(name: str, value: str) -> list[str]:
    return [found.id for found in settings.of_variables({name: value}, "ENV")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEVKIT_DEBUG", "1"),
        ("DEVKIT_WAIT_FOR_CLIENT", "true"),
        ("DEVKIT_SHOW_ERRORS", "1"),
        ("DEVKIT_RELOAD", "process"),
        ("DEVKIT_DEBUG_ADDRESS", "0.0.0.0:5678"),
        ("AZUREML_DEBUG_PORT", "5678"),
        ("PYDEVD_DISABLE_FILE_VALIDATION", "1"),
        ("FLASK_ENV", "development"),
        ("PYTHONBREAKPOINT", "remote_pdb.set_trace"),
    ],
)
def test_a_variable_of_debugging_is_found(name: str, value: str) -> None:
    assert ids(name, value) == ["debug-variable"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEVKIT_DEBUG", "0"),
        ("DEVKIT_WAIT_FOR_CLIENT", "0"),
        ("DEVKIT_RELOAD", "off"),
        ("PYTHONBREAKPOINT", "0"),
        ("FLASK_ENV", "production"),
        ("AZUREML_MODEL_DIR", "/var/azureml-app/azureml-models"),
    ],
)
def test_what_is_off_is_none(name: str, value: str) -> None:
    assert ids(name, value) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DB_PASSWORD", "hush"),
        ("storage-account-key", "hush"),
        ("API_TOKEN", "hush"),
        ("AWS_SECRET_ACCESS_KEY", "hush"),
        ("SECRET", "hush"),
        ("DATABASE", "postgres://user:hush@db/iris"),
        ("STORAGE", "DefaultEndpointsProtocol=https;AccountKey=hush"),
        ("X", "-----BEGIN RSA PRIVATE KEY-----"),
        ("Y", "AKIAABCDEFGHIJKLMNOP"),
    ],
)
def test_a_secret_is_found_by_name_or_value_and_never_shown(name: str, value: str) -> None:
    (found,) = settings.of_variables({name: value}, "ENV")
    assert (found.id, found.where) == ("secret", f"ENV {name}")
    assert value not in str(found)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GPG_KEY", "A035C8C19219BA821ECEA86B64E628F8D684696D"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("PASSWORD_FILE", "/run/secrets/password"),
        ("PWD", "/var/azureml-app"),
        ("API_TOKEN", ""),
        ("API_TOKEN", "$(TOKEN_OF_A_SECRET)"),
        ("API_TOKEN", "${API_TOKEN:-}"),
        ("TOKEN_AUTH_ENABLED", "true"),
        ("USE_TOKEN", "true"),
        ("PUBLIC_KEY", "ssh-ed25519 AAAA"),
        ("URL", "http://[broken"),
    ],
)
def test_what_is_no_secret_is_none(name: str, value: str) -> None:
    assert ids(name, value) == []


def test_ports_of_debuggers_are_told_apart_from_those_that_may_be_others() -> None:
    told = {port: [f.severity for f in settings.of_port(port, "")] for port in (5678, 3000, 5001)}
    assert told == {5678: ["high"], 3000: ["medium"], 5001: []}


@pytest.mark.parametrize(
    ("line", "is_found"),
    [
        ("python -m debugpy --listen 0.0.0.0:5678 score.py", True),
        ("python -m ptvsd --host 0.0.0.0 score.py", True),
        ("python -m pdb score.py", True),
        ("python score.py --wait-for-client", True),
        ("python /opt/devkit/devkit_runtime", True),
        ("sh -c 'exec debugpy --listen 5678'", True),
        ("azmlinfsrv --entry_script iris/score.py", False),
        ("python -m mydebugpython", False),
    ],
)
def test_a_command_that_debugs_is_found(line: str, is_found: bool) -> None:
    assert bool(list(settings.of_command(shlex.split(line), "CMD"))) is is_found


@pytest.mark.parametrize(
    ("user", "is_root"),
    [
        ("", True),
        ("0", True),
        ("0:1000", True),
        ("00", True),
        ("root", True),
        ("root:app", True),
        ("1000", False),
        ("1000:0", False),
        ("app", False),
    ],
)
def test_root_is_root_however_it_is_written(user: str, is_root: bool) -> None:
    assert settings.is_root(user) is is_root
