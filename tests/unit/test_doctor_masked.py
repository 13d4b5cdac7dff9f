"""Doctor: what a bug report never shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from devkit.doctor.masked import Masker, handed_in

MASKER = Masker({"hunter2-x"}, home=Path("/home/ann"))


@pytest.mark.parametrize(
    "text",
    [
        "API_KEY=S3CR3T",
        'DB_PASSWORD="S3CR3T with spaces"',
        '{"apiKey": "S3CR3T"}',
        '"{\\"clientSecret\\": \\"S3CR3T\\"}"',
        "token: S3CR3T",
        "Authorization: Bearer S3CR3T",
        "authorization: Basic S3CR3T,",
        "Cookie: a=S3CR3T; b=S3CR3T",
        "X-Api-Key: S3CR3T",
        "https://ann:S3CR3T@host/simple",
        "https://S3CR3T@host/simple",
        "https://host/blob?sv=1&sig=S3CR3T",
        "tool --password S3CR3T",
        "AccountName=a;AccountKey=S3CR3T;x",
        "-----BEGIN RSA PRIVATE KEY-----\nS3CR3T\n-----END RSA PRIVATE KEY-----",
        "Bearer S3CR3TS3CR3T",
    ],
)
def test_a_secret_in_a_text_is_masked(text: str) -> None:
    masked = MASKER.text(f"before {text}\nafter")
    assert "S3CR3T" not in masked
    assert masked.startswith("before")
    assert masked.endswith("after")


def test_a_value_that_was_handed_in_is_masked_wherever_a_log_repeats_it() -> None:
    assert MASKER.text("loaded with hunter2-x.") == "loaded with ***."


def test_the_home_folder_is_masked_and_no_other() -> None:
    assert MASKER.text("/home/ann/svc and /home/anna/svc") == "~/svc and /home/anna/svc"


@pytest.mark.parametrize(
    "text", ["TOKENIZERS_PARALLELISM=false", "GPG_KEY=ABC", "monkey: banana", "score.py:12"]
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert MASKER.text(text) == text


def test_a_plain_value_masks_nothing_else() -> None:
    text = "debug: true on port 8000 in ${workspaceFolder}"
    assert Masker({"true", "8000", "${workspaceFolder}"}, home=Path("/home/ann")).text(text) == text


def test_what_somebody_handed_in_is_found_wherever_it_stands() -> None:
    args = ["debug", "--detach", "--api-key", "two"]
    read = {"tasks": [{"options": {"env": {"A": "one", "B": None}}, "args": args}]}
    assert set(handed_in(read)) == {"one", "two"}


def test_a_files_name_is_no_variable() -> None:
    config = {"environment": "environment.yml", "run": {"env": {"A": "hunter"}}}
    masked = MASKER.value(config)
    assert masked == {"environment": "environment.yml", "run": {"env": {"A": "***"}}}


def test_all_values_of_variables_are_masked_and_their_names_stay() -> None:
    described = {"Config": {"Env": ["PATH=/usr/bin", "X=y"], "Cmd": ["python"]}, "Size": 3}
    masked = MASKER.value(described)
    assert masked == {"Config": {"Env": ["PATH=***", "X=***"], "Cmd": ["python"]}, "Size": 3}
    assert MASKER.value({"run": {"env": {"LOG": "a", "N": 1}}}) == {
        "run": {"env": {"LOG": "***", "N": "***"}}
    }


def test_a_key_that_is_named_as_secrets_are_hides_all_below_it() -> None:
    assert MASKER.value({"secrets": ["id=a,src=b"], "password": None}) == {
        "secrets": "***",
        "password": None,
    }
