"""`pulmonet evaluate --tta`: the mean over views of each image, apart from the plain results."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

import pulmonet
from chexpert_factory import write_dataset
from evaluation_factory import digests, evaluate, write_predictions
from pulmonet.cli.main import main
from pulmonet.data.batches.augment import tta_views
from pulmonet.errors import ConfigError
from pulmonet.metrics.results import Evaluation, RunResult
from pulmonet.models.trained import load_run
from pulmonet.run.folder import RunDir
from pulmonet.run.predictions import Predictions
from report_reader import whole_report
from run_factory import make_run

LABELS = ("Cardiomegaly", "Edema")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset `tiny` with images larger than the pack, and two runs."""
    folder = tmp_path_factory.mktemp("trained")
    data = write_dataset(folder / "tiny", n_train=12, n_valid=30, side=300)
    for seed, name in enumerate(("first", "second")):
        run_dir = make_run(
            folder / "artifacts",
            model="timm:test_resnet",
            labels=LABELS,
            image_size=32,
            data_dir=data,
            seed=seed,
            name=name,
        )
        spread_scores(run_dir)
    return folder


def spread_scores(run_dir: RunDir) -> None:
    """A random network gives nearly the same score to all images: 30 times the last weights."""
    state = torch.load(run_dir.best_model_path, weights_only=True)
    state["fc.weight"] *= 30
    torch.save(state, run_dir.best_model_path)
    document = json.loads(run_dir.config_path.read_text())
    document["provenance"]["checkpoint_sha256"] = None
    run_dir.config_path.write_text(json.dumps(document))


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained / "artifacts", tmp_path / "artifacts")
    return tmp_path / "artifacts"


def result_of(artifacts: Path, name: str, ending: str = "tiny_valid") -> RunResult:
    text = (artifacts / name / f"evaluation_{ending}.json").read_text()
    return Evaluation.model_validate_json(text).runs[0]


def scores_of(artifacts: Path, name: str) -> np.ndarray:
    return Predictions.read(artifacts / name / "predictions_tiny_valid.csv").scores


def by_hand(run_dir: RunDir, root: Path, paths: tuple[str, ...], kind: str) -> np.ndarray:
    """Each image to the pack's 256 px, each view warped by OpenCV, the sigmoids' mean."""
    run = load_run(run_dir, "cpu")
    found = []
    for path in paths:
        image = cv2.imread(str(root / path), cv2.IMREAD_GRAYSCALE)
        packed = cv2.resize(image, (256, 256), interpolation=cv2.INTER_AREA)
        plain = cv2.resize(packed, (32, 32), interpolation=cv2.INTER_AREA)
        views = [plain]
        if kind == "flip":
            views.append(plain[:, ::-1].copy())
        else:  # shrunk to 32 * 256 / 224 with the area filter, then warped about its centre
            side = 37
            shrunk = cv2.resize(packed, (side, side), interpolation=cv2.INTER_AREA)
            for zoom, degrees in ((0.95, 0), (1.05, 0), (1, -4), (1, 4)):
                turn = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), degrees, zoom)
                turn = np.vstack([turn, [0, 0, 1]])
                scale = 32 / side  # pixel centres
                shift = scale / 2 - 0.5
                to_size = np.array([[scale, 0, shift], [0, scale, shift], [0, 0, 1]])
                matrix = (to_size @ turn)[:2]
                views.append(cv2.warpAffine(shrunk, matrix, (32, 32), flags=cv2.INTER_LINEAR))
        with torch.inference_mode():
            pixels = torch.from_numpy(np.stack(views)[:, None])
            found.append(torch.sigmoid(run.network(pixels)).double().mean(dim=0).numpy())
    return np.stack(found)


@pytest.mark.parametrize("kind", ["jitter", "flip"])
def test_scores_are_the_mean_over_the_views(
    runs: Path, trained: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(runs, "first", "--tta", kind) == 0
    shown = capsys.readouterr()
    n_views = {"jitter": 5, "flip": 2}[kind]
    assert f"first+{kind} on tiny, split valid" in shown.out
    assert f"Each score is the mean over {n_views} views (--tta {kind})." in shown.err
    read = Predictions.read(runs / f"first+{kind}" / "predictions_tiny_valid.csv")
    root = trained / "tiny"
    expected = by_hand(RunDir(runs / "first"), root, read.paths, kind)
    np.testing.assert_allclose(read.scores, expected, atol=1e-5)
    result = result_of(runs, f"first+{kind}")
    assert (result.tta, result.combines) == (kind, None)
    model = pulmonet.load(runs / "first", device="cpu")
    images = [str(root / path) for path in read.paths]
    np.testing.assert_allclose(model.predict(images, tta=kind), read.scores, atol=1e-6)
    plain = model.predict(images)
    assert np.abs(plain - read.scores).max() > 1e-2
    with pytest.raises(ConfigError, match=r"--tta flop: unknown \(did you mean 'flip'"):
        model.predict(images, tta="flop")


def test_plain_results_stay_as_they_were(runs: Path) -> None:
    assert evaluate(runs, "first") == 0
    before = digests(runs / "first")
    assert "calibration.json" in before
    assert evaluate(runs, "first", "--tta", "jitter") == 0
    assert digests(runs / "first") == before
    assert set(digests(runs / "first+jitter")) == {
        "evaluation_tiny_valid.json",
        "predictions_tiny_valid.csv",
    }, "no calibration: explain gives plain scores"
    with (runs / "final_evaluation_results.csv").open() as file:
        rows = {row["Model"]: row["Combines"] for row in csv.DictReader(file)}
    assert rows["first"] == ""
    assert rows["first+jitter"] == "5 views of each image"
    again = digests(runs)
    assert evaluate(runs, "first", "--tta", "jitter") == 0
    assert digests(runs) == again
    assert evaluate(runs, "first", "--tta", "none") == 0
    assert digests(runs / "first") == before


def test_thresholds_of_plain_scores_serve_no_others(runs: Path) -> None:
    assert evaluate(runs, "first") == 0
    assert evaluate(runs, "first", "--split", "train", "--tta", "flip") == 0
    point = result_of(runs, "first+flip", "tiny_train").labels["Edema"].operating_points[0]
    assert point.estimates == "procedure"


def test_an_ensemble_of_views(runs: Path) -> None:
    assert evaluate(runs, "--ensemble", "--tta", "flip") == 0
    assert evaluate(runs, "--ensemble") == 0
    members = ["first+flip", "second+flip"]
    result = result_of(runs, "ensemble+flip")
    assert (result.combines, result.members, result.tta) == ("ensemble", members, "flip")
    expected = np.mean([scores_of(runs, name) for name in members], axis=0)
    np.testing.assert_allclose(scores_of(runs, "ensemble+flip"), expected, rtol=1.2e-7)
    assert not RunDir(runs / "ensemble+flip").calibration_path.exists()
    assert RunDir(runs / "ensemble").calibration_path.exists()
    assert result_of(runs, "ensemble").members == ["first", "second"]
    assert main(["report", "--artifacts-dir", str(runs)]) == 0
    text = whole_report(runs)
    assert "first+flip and second+flip: 2 views of each image." in text.replace("\\", "")
    assert "mean of the scores of first+flip, second+flip; 2 views of each" in text


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["first", "--tta", "jiter"], 2, "--tta jiter: unknown (did you mean 'jitter'"),
        (["second", "--tta", "jitter"], 4, "second+jitter: holds a run, which stays"),
    ],
)
def test_wrong_flags(
    runs: Path, capsys: pytest.CaptureFixture[str], flags: list[str], code: int, message: str
) -> None:
    shutil.copytree(runs / "first", runs / "second+jitter")
    before = digests(runs)
    assert evaluate(runs, *flags) == code
    assert message in capsys.readouterr().err
    assert digests(runs) == before


def test_files_have_no_views(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_predictions(tmp_path / "mine.csv", n=30)
    assert evaluate(tmp_path / "a", "--predictions", str(path), "--tta", "flip") == 2
    assert "--tta flip: saved scores have no images" in capsys.readouterr().err


def test_views_are_compared_with_plain_scores_by_their_files(runs: Path, tmp_path: Path) -> None:
    assert evaluate(runs, "first") == 0
    assert evaluate(runs, "first", "--tta", "jitter") == 0
    flags = [
        word
        for name in ("first", "first+jitter")
        for word in ("--predictions", f"{name}={runs}/{name}/predictions_tiny_valid.csv")
    ]
    assert evaluate(tmp_path / "views", *flags) == 0
    table = pd.read_csv(tmp_path / "views" / "final_evaluation_results.csv")
    assert {"first", "first+jitter"} <= set(table["Model"])
    assert table.set_index("Model").loc["first+jitter", "Group"]
    assert len(tta_views("jitter")) == 5
