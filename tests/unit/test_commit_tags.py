"""Which tag comes after one."""

from __future__ import annotations

import pytest

from devkit.commit.tags import next_tag
from devkit.engine import Tag


@pytest.mark.parametrize(
    ("tag", "following"),
    [
        ("debug:1", "debug:2"),
        ("debug:9", "debug:10"),
        ("debug:v3", "debug:v4"),
        ("debug:v1.9", "debug:v1.10"),
        ("debug:007", "debug:008"),
        ("debug:099", "debug:100"),
        ("debug:rc-2", "debug:rc-3"),
        ("debug:dev", "debug:dev-1"),
        ("debug:dev-1", "debug:dev-2"),
        ("debug", "debug:latest-1"),
        ("debug:3.13-slim", "debug:3.13-slim-1"),
        # A registry's port is no version.
        ("localhost:5000/debug", "localhost:5000/debug:latest-1"),
        ("localhost:5000/debug:4", "localhost:5000/debug:5"),
        ("registry.example.com/team/debug:v9", "registry.example.com/team/debug:v10"),
        # Dates and times.
        ("debug:2024-05-31", "debug:2024-05-31-1"),
        ("debug:2024.05.31", "debug:2024.05.31-1"),
        ("debug:2024_05_31", "debug:2024_05_31-1"),
        ("debug:20240531", "debug:20240531-1"),
        ("debug:20240531-142530", "debug:20240531-142530-1"),
        ("debug:nightly-2024-05-31", "debug:nightly-2024-05-31-1"),
        ("debug:2024-05-31-1", "debug:2024-05-31-2"),
        # Hashes.
        ("debug:860c190", "debug:860c190-1"),
        ("debug:1234567", "debug:1234567-1"),
        ("debug:sha-860c190", "debug:sha-860c190-1"),
        ("debug:1.2-5-g860c192", "debug:1.2-5-g860c192-1"),
        ("debug:860c190-1", "debug:860c190-2"),
        (f"debug:{'0a' * 20}", f"debug:{'0a' * 20}-1"),
        # Letters of a hash, but too few, or a word.
        ("debug:abc12", "debug:abc13"),
        ("debug:release5", "debug:release6"),
    ],
)
def test_the_tag_that_follows(tag: str, following: str) -> None:
    assert str(next_tag(Tag.parse(tag))) == following
    assert Tag.parse(following) == next_tag(Tag.parse(tag))


def test_taken_tags_are_left_out() -> None:
    taken = {"debug:2", "debug:3", "debug:5", "debug:dev-1"}
    assert str(next_tag(Tag("debug", "1"), taken)) == "debug:4"
    assert str(next_tag(Tag("debug", "dev"), taken)) == "debug:dev-2"
    assert str(next_tag(Tag("other", "1"), taken)) == "other:2"


def test_a_tag_is_never_longer_than_an_engine_takes() -> None:
    tag = next_tag(Tag("debug", "w" * 128))
    assert Tag.parse(str(tag)) == tag
    assert str(next_tag(Tag("debug", "w" * 128), {str(tag)})) != str(tag)
