"""A container takes the place of another, which comes back if the new one fails."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from devkit import contract
from devkit.engine import Container, PortBinding, RunSpec, Tag
from devkit.errors import InitFailed
from devkit.swap import recover, swapped
from tests.fake_engine import FakeEngine

LABELS = {contract.LABEL_SERVICE: "svc"}
OLD = RunSpec(Tag("svc", "1"), "svc", LABELS, {}, (PortBinding(5001, 8000),), network="devkit-svc")
NEW = RunSpec(Tag("svc", "2"), "svc", LABELS, {}, (PortBinding(5001, 8000),), network="devkit-svc")


@pytest.fixture
def engine() -> FakeEngine:
    made = FakeEngine("svc:1", "svc:2")
    made.ensure_network("devkit-svc", LABELS)
    return made


def fails(_: object) -> None:
    raise InitFailed("init() raised ValueError")


def swap(
    engine: FakeEngine,
    *,
    ready: Callable[[Container], object] = lambda _: None,
    before_removal: Callable[[Container], object] = lambda _: None,
) -> Container:
    return swapped(engine, NEW, ready=ready, before_removal=before_removal)


def only(engine: FakeEngine) -> Container:
    (found,) = engine.containers({})
    return found


def test_the_old_one_is_kept_until_the_new_one_is_ready(engine: FakeEngine) -> None:
    old, seen = engine.run(OLD), list[str]()

    def ready(new: Container) -> None:
        kept = engine.container(old.id)
        assert kept is not None
        seen.extend((kept.name, kept.state, new.name))

    new = swap(engine, ready=ready)
    assert seen == ["svc-before", "exited", "svc"]
    assert only(engine) == new
    assert new.image == "svc:2"


def test_without_an_old_one_it_is_a_start(engine: FakeEngine) -> None:
    assert swap(engine) == only(engine)


def test_a_new_one_that_fails_goes_and_the_old_one_runs_again(engine: FakeEngine) -> None:
    old = engine.run(OLD)
    with pytest.raises(InitFailed):
        swap(engine, ready=fails)
    back = only(engine)
    assert (back.id, back.name, back.is_running) == (old.id, "svc", True)
    assert "devkit-svc" in engine.networks


def test_a_new_one_that_does_not_start_leaves_the_old_one(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = engine.run(OLD)
    del engine.stored["svc:2"]
    with pytest.raises(Exception, match="no image svc:2"):
        swap(engine)
    assert (only(engine).id, only(engine).is_running) == (old.id, True)


def test_what_cannot_be_kept_of_the_old_one_keeps_it(engine: FakeEngine) -> None:
    old = engine.run(OLD)
    with pytest.raises(InitFailed):
        swap(engine, before_removal=fails)
    assert (only(engine).id, only(engine).is_running) == (old.id, True)
    assert "rename svc svc-before" not in engine.calls


@pytest.mark.parametrize("ends", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_meanwhile_brings_the_old_one_back(
    engine: FakeEngine, ends: type[BaseException]
) -> None:
    old = engine.run(OLD)

    def interrupted(_: object) -> None:
        raise ends

    with pytest.raises(ends):
        swap(engine, ready=interrupted)
    assert (only(engine).id, only(engine).is_running) == (old.id, True)


class Killed(BaseException):
    """The process is gone: nothing of it is run any more."""


@pytest.mark.parametrize("step", ["stop", "rename", "run", "remove"])
def test_killed_at_any_step_the_next_one_loses_nothing(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    old, does, is_dead = engine.run(OLD), getattr(engine, step), list[bool]()

    def dies(*args: object, **kwargs: object) -> None:
        if is_dead:
            raise Killed
        does(*args, **kwargs)
        is_dead.append(True)
        raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(engine, step, dies)
        for later in {"stop", "rename", "run", "remove", "start", "container"} - {step}:
            dying.setattr(engine, later, _unless(is_dead, getattr(engine, later)))
        with pytest.raises(Killed):
            swap(engine)
    kept = engine.container(old.id) is not None
    assert kept is (step != "remove")
    swapped_now = swap(engine)
    assert only(engine).id == swapped_now.id


def _unless(is_dead: list[bool], does: Callable[..., object]) -> Callable[..., object]:
    def call(*args: object, **kwargs: object) -> object:
        if is_dead:
            raise Killed
        return does(*args, **kwargs)

    return call


def test_one_that_was_set_aside_gets_its_name_back(engine: FakeEngine) -> None:
    old, said = engine.run(OLD), list[str]()
    engine.stop("svc")
    engine.rename("svc", "svc-before")
    recover(engine, "svc", progress=said.append)
    assert (only(engine).id, only(engine).name) == (old.id, "svc")
    assert len(said) == 1
    recover(engine, "svc", progress=said.append)
    assert len(said) == 1


def test_somebody_else_s_container_of_that_name_is_left_alone(engine: FakeEngine) -> None:
    theirs = RunSpec(Tag("svc", "1"), "svc-before", {contract.LABEL_SERVICE: "x"}, {}, ())
    engine.run(theirs)
    recover(engine, "svc", progress=lambda _: None)
    assert only(engine).name == "svc-before"
