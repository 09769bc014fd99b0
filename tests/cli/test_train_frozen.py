"""`pulmonet train --set model.freeze=…`: what stays as it was, and features computed once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit
from sklearn.metrics import roc_auc_score
from torch import Tensor

from chexpert_factory import write_dataset
from pulmonet.cli.main import main
from pulmonet.data.pack.open import cache_dir
from pulmonet.files.read import sha256_of
from pulmonet.flows.train import features as features_module
from pulmonet.labels import DEFAULT_LABELS
from pulmonet.models.networks import build_network
from pulmonet.run.folder import RunDir
from pulmonet.run.predictions import Predictions

MODEL = "timm:test_resnet"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_dataset(tmp_path / "tiny")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """First weights, batch norm's statistics as of some training."""
    torch.manual_seed(3)
    network = build_network(MODEL, 5)
    with torch.no_grad():
        for _ in range(20):
            network(torch.randint(0, 256, (16, 1, 32, 32)).float())
    path = tmp_path_factory.mktemp("start") / "start.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows went through an encoder, call by call."""
    counts: list[int] = []

    def predict(*args: Any, **options: Any) -> Any:
        found = real(*args, **options)
        counts.append(len(found))
        return found

    real = features_module.predict
    monkeypatch.setattr(features_module, "predict", predict)
    return counts


def train(data: Path, start: Path | str, name: str, *settings: str) -> RunDir:
    words = ["train", "--data-dir", str(data), "--model", MODEL, "--weights", str(start)]
    words += ["--image-size", "32", "--batch-size", "8", "--epochs", "2", "--no-amp"]
    for each in ("optim.lr=0.01", *settings):
        words += [each] if each.startswith("--") else ["--set", each]
    assert main([*words, "--name", name]) == 0
    return RunDir(Path("artifacts") / name)


def weights(run_dir: RunDir) -> dict[str, Tensor]:
    found: dict[str, Tensor] = torch.load(run_dir.best_model_path, weights_only=True)
    return found


def test_a_frozen_encoder_stays_and_its_head_is_an_ordinary_run(
    data: Path, start: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = train(data, start, "a", "model.freeze=encoder", "select.checkpoint=last")
    said = capsys.readouterr().out
    assert "Frozen:  encoder: features of the plain images, computed once" in said
    first, state = torch.load(start, weights_only=True), weights(run_dir)
    assert state.keys() == first.keys()
    for key in first:
        assert torch.equal(state[key], first[key]) != key.startswith("fc."), key
    # what training has seen in features, evaluate sees in images
    assert main(["evaluate", "a", "--data-dir", str(data), "--no-figures"]) == 0
    found, log = Predictions.read(run_dir.predictions_path("tiny", "valid")), run_dir.read_log()
    for label, targets, scores in zip(found.labels, found.targets.T, found.scores.T, strict=True):
        known = roc_auc_score(targets, scores)
        assert log[f"val_auc_{label}"].iloc[-1] == pytest.approx(known), label
    assert main(["explain", "--run", "a", "--data-dir", str(data)]) == 0


def test_a_step_of_the_head_is_that_of_a_logistic_regression(data: Path, start: Path) -> None:
    """By hand, from the pooled features of the images as they are packed: nothing is augmented."""
    once = ("--batch-size=24", "--epochs=1", "optim.name=sgd", "optim.momentum=0")
    state = weights(train(data, start, "a", "model.freeze=encoder", *once, "augment.flip=1"))
    packed = np.load(next((cache_dir() / "packs").glob("*/images.npy")))[:24]
    images = np.stack([cv2.resize(one, (32, 32), interpolation=cv2.INTER_AREA) for one in packed])
    torch.manual_seed(42)
    network = build_network(MODEL, 5).eval()
    weight, bias = (one.detach().numpy().copy() for one in network.fc.parameters())
    network.load_state_dict(torch.load(start, weights_only=True))
    network.fc = torch.nn.Identity()
    with torch.no_grad():
        pooled = network(torch.from_numpy(images)[:, None]).numpy()
    targets = pd.read_csv(data / "train.csv")[list(DEFAULT_LABELS)].to_numpy(float)
    errors = (expit(pooled @ weight.T + bias) - targets) / targets.size
    np.testing.assert_allclose(state["fc.weight"], weight - 0.01 * errors.T @ pooled, atol=1e-6)
    np.testing.assert_allclose(state["fc.bias"], bias - 0.01 * errors.sum(axis=0), atol=1e-6)


def test_features_are_computed_once_and_stale_ones_never_used(
    data: Path, start: Path, encoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = ("model.freeze=encoder",)
    folds = ("--folds=3", "--fold=0"), ("--folds=3", "--fold=1")
    first = train(data, start, "first", *frozen, *folds[0])
    assert encoded == [64]  # 34 images in passes of 32
    again = train(data, start, "again", *frozen, *folds[0])
    second = train(data, start, "second", *frozen, *folds[1])
    assert encoded == [64]
    assert sha256_of(again.best_model_path) == sha256_of(first.best_model_path)
    train(data, start, "bigger", *frozen, "--image-size=40")
    assert encoded == [64, 64]
    # a damaged file, other weights, another picture
    files = cache_dir().rglob("features-*.npy")
    values = max(files, key=lambda path: path.stat().st_mtime_ns)
    content = bytearray(values.read_bytes())
    content[-5] ^= 1
    values.write_bytes(content)
    image = next((data / "train").rglob("*.jpg"))
    cv2.imwrite(str(image), 255 - cv2.imread(str(image), cv2.IMREAD_GRAYSCALE))
    changed = train(data, start, "changed", *frozen, *folds[1], "--image-size=40")
    assert encoded[2:] == [32]
    assert sha256_of(changed.best_model_path) != sha256_of(second.best_model_path)
    monkeypatch.setenv("PULMONET_CACHE_DIR", str(data.parent / "empty"))
    fresh = train(data, start, "fresh", *frozen, *folds[1], "--image-size=40")
    assert encoded[3:] == [64]
    assert sha256_of(fresh.best_model_path) == sha256_of(changed.best_model_path)
    train(data, "none", "other", *frozen, *folds[1], "--image-size=40")
    assert encoded[4:] == [64]


def test_it_goes_on_to_the_same_bits(data: Path, start: Path, encoded: list[int]) -> None:
    settings = ("model.freeze=encoder", "optim.ema_decay=0.9")
    whole = train(data, start, "whole", *settings, "--epochs=3")
    train(data, start, "parts", *settings, "--epochs=1")
    parts = train(data, start, "parts", *settings, "--epochs=3", "--resume")
    assert encoded == [64]
    assert sha256_of(parts.best_model_path) == sha256_of(whole.best_model_path)


def test_the_features_of_several_collections_are_those_of_their_images(
    data: Path, start: Path, encoded: list[int]
) -> None:
    other = write_dataset(data.parent / "other", n_train=16, n_valid=6, seed=8)
    frozen = "model.freeze=encoder"
    alone = train(data, start, "alone", frozen)
    n_alone, places = sum(encoded), f"{data},{other}"
    both = train(Path(places), start, "both", frozen)
    assert sum(encoded) > n_alone
    assert both.read_record().provenance.dataset.n_rows == {"train": 40, "valid": 16}
    encoder = {key for key in weights(alone) if not key.startswith("fc.")}
    assert all(torch.equal(weights(both)[key], weights(alone)[key]) for key in encoder)
    assert not torch.equal(weights(both)["fc.weight"], weights(alone)["fc.weight"])
    assert main(["evaluate", "both", "--bootstrap", "100", "--no-figures"]) == 0


def test_members_share_the_features(data: Path, start: Path, encoded: list[int]) -> None:
    settings = ("model.members=2", "select.checkpoint=last", "optim.ema_decay=0.9")
    run_dir = train(data, start, "a", "model.freeze=encoder", *settings)
    assert encoded == [64]
    first, state = torch.load(start, weights_only=True), weights(run_dir)
    for key in first:
        of_members = [state[f"members.{number}.{key}"] for number in range(2)]
        assert torch.equal(*of_members) != key.startswith("fc."), key
        assert torch.equal(of_members[1], first[key]) != key.startswith("fc."), key
    assert main(["evaluate", "a", "--data-dir", str(data), "--no-figures"]) == 0


def test_stages_that_are_frozen_rest(data: Path, start: Path, encoded: list[int]) -> None:
    run_dir = train(data, start, "a", "model.freeze=layer2", "select.checkpoint=last")
    assert not encoded
    first, state = torch.load(start, weights_only=True), weights(run_dir)
    kept = {key for key in first if torch.equal(state[key], first[key])}
    assert kept == {key for key in first if not key.startswith(("layer3", "layer4", "fc."))}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["encoder", "augment.mixup_alpha=0.2"],
            "encoder has features of plain images of one size",
        ),
        (["encoder", "optim.growth=[[32, 1]]"], "set augment.mixup_alpha=0 and optim.growth=[]"),
        (
            ["layer5"],
            "no stage of timm:test_resnet (did you mean 'layer4'?); choose from encoder, conv1",
        ),
    ],
)
def test_what_does_not_go_together(
    data: Path, capsys: pytest.CaptureFixture[str], settings: list[str], message: str
) -> None:
    words = ["train", "--data-dir", str(data), "--model", MODEL, "--weights", "none"]
    for each in (f"model.freeze={settings[0]}", *settings[1:]):
        words += ["--set", each]
    assert main(words) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_the_rehearsal_counts_the_features_once(
    data: Path, start: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--data-dir", str(data), "--model", MODEL, "--weights", str(start)]
    words += ["--image-size", "32", "--set", "model.freeze=encoder", "--dry-run"]
    assert main(words) == 0
    assert re.search(r"packing 34 images .*, features .*, then 5 epochs", capsys.readouterr().out)


def test_features_of_stride_16_are_not_those_of_32(
    data: Path, start: Path, encoded: list[int]
) -> None:
    """The same weights and images give other features, which no run takes for its own."""
    frozen = ("model.freeze=encoder", "data.image_size=64")
    train(data, start, "coarse", *frozen)
    n_first = sum(encoded)
    train(data, start, "fine", *frozen, "model.output_stride=16")
    assert sum(encoded) == 2 * n_first > 0
    train(data, start, "again", *frozen, "model.output_stride=16")
    assert sum(encoded) == 2 * n_first, "these are there"
