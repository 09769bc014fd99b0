"""Whole runs with every policy and loss: what is recorded, and that a kill changes no bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from chexpert_factory import write_dataset
from pulmonet.cli.main import main
from pulmonet.labels import DEFAULT_LABELS, UNCERTAIN_POLICIES
from pulmonet.run.folder import RunDir
from pulmonet.run.predictions import Predictions
from pulmonet.training import loop, validation

pytestmark = pytest.mark.slow

pytest.importorskip("timm", reason="its test networks are the smallest at hand")

SMALL = (
    *("--model", "timm:test_resnet", "--weights", "none", "--epochs", "2", "--image-size", "32"),
    *("--batch-size", "8", "--lr", "1e-3", "--no-amp", "--num-workers", "0"),
    *("--set", "runtime.threads=1", "--set", "runtime.checkpoint_minutes=1e-9"),
)

OUTCOMES = {
    "ones": "1",
    "zeros": "0",
    "ignore": "masked",
    "ones-lsr": "soft",
    "zeros-lsr": "soft",
    "multiclass": "third class",
    "self-trained": "soft",
}


class Killed(BaseException):
    """Stands in for SIGKILL: nothing catches it, nothing is saved after it."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("policies") / "tiny", uncertain=0.3)


def train(data: Path, out_dir: Path, *extra: str) -> RunDir:
    arguments = ["train", "--data-dir", str(data), "--out-dir", str(out_dir), "--name", "run"]
    assert main([*arguments, *SMALL, *extra]) == 0
    return RunDir(out_dir / "run")


def kill_at_step(monkeypatch: pytest.MonkeyPatch, n_steps: int) -> None:
    """Let `n_steps` optimiser steps of this process pass, then kill it."""
    plain, taken = loop.train_step, [0]

    def counted(*arguments: Any, **settings: Any) -> Any:
        if taken[0] == n_steps:
            raise Killed
        taken[0] += 1
        return plain(*arguments, **settings)

    monkeypatch.setattr(loop, "train_step", counted)


@pytest.mark.parametrize(
    "settings",
    [
        (
            *("--uncertain-policy", "ones-lsr,Edema=multiclass,Atelectasis=self-trained"),
            *("--set", "optim.ema_decay=0.9"),
        ),
        ("--set", "loss.name=aucm", "--set", "optim.name=pesg", "--lr", "0.05"),
    ],
)
def test_killed_runs_go_on_to_the_same_bits(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: tuple[str, ...]
) -> None:
    whole = train(data, tmp_path / "whole", *settings)
    n_kills = 0
    for n_steps in (4, 5):  # of 6, or with self-trained of 6 + 6
        with monkeypatch.context() as patch:
            kill_at_step(patch, n_steps)
            try:
                train(data, tmp_path / "killed", "--resume", *settings)
            except Killed:
                n_kills += 1
    killed = train(data, tmp_path / "killed", "--resume", *settings)

    assert n_kills >= 1
    assert killed.best_model_path.read_bytes() == whole.best_model_path.read_bytes()
    for run_dir in (whole, killed):
        assert run_dir.read_record().provenance.status == "finished"


def test_policies_are_recorded_and_leave_the_selection_targets_alone(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[np.ndarray] = []
    plain = validation.score_epoch

    def noting(targets: Any, *given: Any) -> Any:
        seen.append(targets)
        return plain(targets, *given)

    monkeypatch.setattr(validation, "score_epoch", noting)
    extra = ("--epochs", "1", "--set", "select.on=dev", "--set", "select.dev_fraction=0.4")
    totals = []
    for policy in UNCERTAIN_POLICIES:
        run_dir = train(data, tmp_path / policy, "--uncertain-policy", policy, *extra)
        facts = run_dir.read_record().provenance.dataset
        assert facts is not None
        printed = capsys.readouterr().out
        for label, counts in facts.policy_changes.items():
            assert set(counts) == {f"uncertain->{OUTCOMES[policy]}"}
            assert f"{label}: {counts[f'uncertain->{OUTCOMES[policy]}']} uncertain->" in printed
        totals.append([sum(facts.policy_changes[label].values()) for label in DEFAULT_LABELS])
    assert totals == [totals[0]] * len(UNCERTAIN_POLICIES)

    assert len(seen) == len(UNCERTAIN_POLICIES) + 1  # self-trained has two stages
    assert np.isnan(seen[0]).any()
    assert set(np.unique(seen[0][~np.isnan(seen[0])])) == {0.0, 1.0}
    for targets in seen[1:]:
        np.testing.assert_array_equal(targets, seen[0])


def test_a_three_way_head_is_exported_as_an_ordinary_one(data: Path, tmp_path: Path) -> None:
    run_dir = train(data, tmp_path, "--uncertain-policy", "multiclass")
    state = torch.load(run_dir.best_model_path, weights_only=True)
    assert state["fc.weight"].shape[0] == state["fc.bias"].shape[0] == len(DEFAULT_LABELS)


def test_auxiliary_labels_are_learned_from_and_left_out(data: Path, tmp_path: Path) -> None:
    two = ("--labels", "Edema,Cardiomegaly")
    further = ("--set", 'data.auxiliary_labels=["all"]')
    both = ("--uncertain-policy", "ones,Edema=multiclass,Atelectasis=multiclass")
    run = train(data, tmp_path, *two, *further, *both)
    record = run.read_record().provenance
    others = [label for label in DEFAULT_LABELS if label not in {"Edema", "Cardiomegaly"}]
    assert record.labels == ["Edema", "Cardiomegaly"]
    assert set(others) <= set(record.auxiliary_labels)
    assert not set(record.labels) & set(record.auxiliary_labels)

    exported = torch.load(run.best_model_path, weights_only=True)
    assert exported["fc.weight"].shape[0] == exported["fc.bias"].shape[0] == 2
    kept = torch.load(run.last_checkpoint_path, weights_only=True)["network"]
    # two three-way labels; the exported one is w1 - w0 of the first three outputs
    assert kept["fc.weight"].shape[0] == 2 + len(record.auxiliary_labels) + 4
    assert torch.equal(exported["fc.bias"][0], kept["fc.bias"][1] - kept["fc.bias"][0])
    assert torch.equal(exported["fc.bias"][1], kept["fc.bias"][3])

    arguments = ["--artifacts-dir", str(tmp_path), "--bootstrap", "100", "--no-figures"]
    assert main(["evaluate", "run", *arguments]) == 0
    scored = Predictions.read(run.predictions_path(data.name, "valid"))
    assert scored.labels == ("Edema", "Cardiomegaly")
    log = run.read_log()
    assert "val_auc_Edema" in log.columns
    assert "val_auc_Atelectasis" not in log.columns

    alone = train(data, tmp_path / "alone", *two, "--uncertain-policy", "ones,Edema=multiclass")
    other = torch.load(alone.best_model_path, weights_only=True)
    assert not torch.equal(other["fc.weight"], exported["fc.weight"])


def test_auxiliary_labels_of_another_name(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "--data-dir", str(data), "--out-dir", str(tmp_path), *SMALL]
    for value, message in (
        ('["Edema"]', "auxiliary_labels: Edema is among labels already"),
        ('["Pneumnia"]', "did you mean 'Pneumonia'"),
    ):
        assert main([*arguments, "--set", f"data.auxiliary_labels={value}"]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
