"""The short form of the random sequences, and all of them that once failed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_lab import Lab
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from sequence_rules import in_words, machine_of
from sequences import Step, World, play

pytestmark = pytest.mark.slow

KEPT = json.loads(Path(__file__).with_name("kept_sequences.json").read_text())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    lab = Lab(tmp_path_factory.mktemp("sequences"), blank=True)
    try:
        yield World(lab)
    finally:
        lab.close()


@pytest.mark.parametrize("kept", KEPT, ids=[kept["what"] for kept in KEPT])
def test_a_sequence_that_once_failed(world: World, kept: dict[str, Any]) -> None:
    assert play(world, kept["steps"], trained=kept["trained"]) == []


def test_random_sequences_break_no_promise(world: World) -> None:
    def fail(steps: list[Step], trained: bool, problems: list[str]) -> None:
        raise AssertionError(in_words(steps, trained, problems))

    how = settings(
        max_examples=5,
        stateful_step_count=5,
        phases=[Phase.generate],  # no shrinking: steps are real processes
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine_of(world, fail), settings=how)


def test_the_model_sees_what_it_is_there_for(world: World) -> None:
    """What is done behind a command's back is named."""

    def found(step: Step, meddle: Callable[[], object]) -> str:
        before, runs, command = world.snapshot(), world.runs(), world.command(step)
        command.codes = {0, 4}
        codes = world.finish([command])
        meddle()
        return " | ".join(world.judge([command], codes, before, runs))

    def forge() -> None:
        document = json.loads(path.read_text())
        document["runs"][0]["checkpoint_sha256"] = "0" * 64
        path.write_text(json.dumps(document))

    root = world.root
    best = root / "artifacts" / "a" / "best_model.pth"
    path = root / "artifacts" / "a" / "evaluation_tiny_valid.json"
    report: Step = {"do": "report", "out": None, "html": False}
    again: Step = {"do": "train", "run": "a", "mode": "new", "epochs": 1, "seed": 0, "keep": True}
    world.begin(trained=True)
    image = next((root / "tiny").rglob("*.jpg"))
    assert "jpg was removed" in found(report, image.unlink)
    assert "altered: artifacts/a/best_model.pth" in found(report, best.unlink)
    world.begin(trained=True)
    assert "artifacts/a: changed with exit code 4" in found(again, lambda: best.write_bytes(b"0"))
    world.begin(trained=True)
    assert "stale, but named: False" in found(report, forge)
