"""The runtime's variables: what image and host set is what it reads."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from devkit import contract
from devkit.runtime import settings
from devkit.runtime.settings import BadSetting, from_environment

RUNTIME = Path(settings.__file__).parent


def test_without_variables_the_contract_holds() -> None:
    plain = from_environment({})
    assert plain.root == str(contract.APP_ROOT)
    assert plain.score_address == ("0.0.0.0", contract.SCORE_PORT)
    assert plain.debug_address == ("0.0.0.0", contract.DEBUG_PORT)
    assert (plain.debug, plain.reload, plain.profile, plain.workers) == (True, "process", "aks", 1)
    assert plain.any_client is False


def test_every_variable_of_the_contract_is_read() -> None:
    text = (RUNTIME / "settings.py").read_text()
    names = [value for name, value in vars(contract).items() if name.startswith("ENV_")]
    assert names
    assert [name for name in names if f'"{name}"' not in text] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEVKIT_DEBUG", "maybe"),
        ("DEVKIT_RELOAD", "sometimes"),
        ("DEVKIT_WORKERS", "0"),
        ("DEVKIT_WORKERS", "many"),
        ("SCORING_TIMEOUT_MS", "-1"),
        ("DEVKIT_SCORE_ADDRESS", "5001"),
        ("DEVKIT_DEBUG_ADDRESS", "host:99999"),
        ("DEVKIT_DEBUG_CLIENTS", "all"),
    ],
)
def test_a_value_that_does_not_fit_is_named(name: str, value: str) -> None:
    with pytest.raises(BadSetting, match=name):
        from_environment({name: value})


def test_the_runtime_imports_the_standard_library_and_itself_only() -> None:
    allowed = {"debugpy", "pydevd", "_pydevd_bundle", "azureml", "azureml_inference_server_http"}
    import sys

    for path in RUNTIME.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            for name in names:
                top = name.split(".")[0]
                assert top in sys.stdlib_module_names | allowed, f"{path.name} imports {name}"
