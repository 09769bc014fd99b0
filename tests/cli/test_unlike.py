"""What is no chest X-ray is said so, by `explain`, `evaluate` and the API; colour too."""

from __future__ import annotations

import csv
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure
from tests.images import read_grey

import pulmonet
from chexpert_factory import write_dataset
from evaluation_factory import QUICK
from pulmonet.arrays import Pixels
from pulmonet.cli.main import main
from pulmonet.files.write import write_json
from pulmonet.labels import DEFAULT_LABELS
from pulmonet.metrics.results import read_evaluation

pytestmark = pytest.mark.usefixtures("drawn_figures")  # charts, as files to explain

TINY = ("--model", "timm:test_resnet", "--weights", "none", "--no-amp", "--image-size", "32")
UNLIKE = "unlike the images that this model was trained on (distance "


def train(data: Path, artifacts: Path, name: str, *flags: str) -> Path:
    place = ("--data-dir", str(data), "--out-dir", str(artifacts), "--name", name)
    assert main(["train", *place, *TINY, "--epochs", "1", *flags]) == 0
    return artifacts / name


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset `hospital` and artifacts with a run `base` that may give verdicts."""
    folder = tmp_path_factory.mktemp("unlike")
    write_dataset(folder / "hospital", n_train=110, n_valid=30)
    run_dir = train(folder / "hospital", folder / "artifacts", "base")
    entry = {
        "calibrator": {"kind": "platt", "intercept": 0.0, "slope": 1.0}, "prevalence": 0.4,
        "n": 100, "positives": 40, "thresholds": {"youden": 1e-6}, "positive_patients": 40,
        "negative_patients": 60, "auroc": {"value": 0.81, "low": 0.72, "high": 0.89},
    }  # fmt: skip
    facts = {"schema": 1, "fitted_on": "hospital valid", "dataset": "hospital", "split": "valid"}
    labels = dict.fromkeys(DEFAULT_LABELS, entry)
    numbers = {"n_rows": 100, "n_patients": 100, "labels": labels}
    write_json(run_dir / "calibration.json", facts | numbers)
    return folder


@pytest.fixture
def place(trained: Path, tmp_path: Path) -> Path:
    """A copy of the runs, so that one test's results are not another's."""
    shutil.copytree(trained / "artifacts", tmp_path / "artifacts")
    return tmp_path


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawn") / "phantoms"
    assert main(["prepare", "--demo", str(root), "--patients", "12", "--check-only"]) == 0
    return root


def draw_chart(path: Path) -> Path:
    figure = Figure(figsize=(4, 3), dpi=80)
    figure.add_subplot().plot([1, 3, 2, 5], color="black")
    figure.savefig(path)
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(path), image)
    return path


def explain(place: Path, *arguments: object) -> list[dict[str, Any]]:
    folder = place / "explained"
    words = ("--artifacts-dir", place / "artifacts", "--run", "base", "--out-dir", folder)
    assert main(["explain", *map(str, (*words, *arguments))]) == 0
    images: list[dict[str, Any]] = json.loads((folder / "explanations.json").read_text())["images"]
    return images


def test_a_chart_gets_no_verdict_and_an_image_of_the_data_does(
    trained: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chart = draw_chart(place / "chart.png")
    mine = trained / "hospital" / "valid" / "patient00115" / "study1" / "view1_frontal.jpg"
    strange, own = explain(place, chart, mine)
    said = capsys.readouterr()
    assert f"chart.png: {UNLIKE}" in " ".join(said.err.split())
    assert said.err.count(UNLIKE[:20]) == 1, "once, not for each label"
    assert strange["unlike"] is True and own["unlike"] is False
    assert strange["distance"] > 2 * own["distance"]
    for label in strange["labels"].values():
        assert label["present"] is None and label["probability"] is None
        assert label["reason"].startswith(UNLIKE) and "99 % of them lie below" in label["reason"]
    for label in own["labels"].values():
        assert label["present"] is True and label["reason"] is None
    assert "no verdict" in said.out and "above" in said.out


def test_rows_of_the_dataset_are_compared_too(trained: Path, place: Path) -> None:
    images = explain(place, "--data-dir", trained / "hospital", "--split", "valid", "--rows", "3")
    assert [image["unlike"] for image in images] == [False] * 3


def test_phantoms_of_a_dataset_get_no_verdict_of_a_model_of_x_rays(
    place: Path, phantoms: Path
) -> None:
    """They look like X-rays, but what they are is known, whatever the distance."""
    (place / "artifacts" / "base" / "likeness.npz").unlink()
    (image,) = explain(place, "--data-dir", phantoms, "--split", "valid", "--rows", "1")
    for label in image["labels"].values():
        assert label["present"] is None and label["probability"] is None
        assert label["reason"] == "a phantom, and this model was trained on X-rays"


def test_a_phantom_is_known_by_its_file_alone(
    place: Path, phantoms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Copied away from its dataset; the same pixels without its comment are not."""
    (place / "artifacts" / "base" / "likeness.npz").unlink()
    shutil.copy(next(phantoms.glob("valid/*/*/*.jpg")), place / "received.jpg")
    pixels = cv2.imread(str(place / "received.jpg"), cv2.IMREAD_UNCHANGED)
    assert pixels.ndim == 2 and pixels.shape[0] >= 300, "other programs read it as before"
    cv2.imwrite(str(place / "again.png"), pixels)
    files = (place / "received.jpg", place / "again.png")
    capsys.readouterr()
    marked, plain = explain(place, *files)
    why = "a phantom, and this model was trained on X-rays"
    assert f"received.jpg: {why}" in " ".join(capsys.readouterr().err.split())
    assert (marked["phantom"], marked["unlike"]) == (True, True)
    assert (plain["phantom"], plain["unlike"]) == (False, None)
    assert {label["reason"] for label in marked["labels"].values()} == {why}
    assert all(label["present"] for label in plain["labels"].values())
    for _ in range(2):  # scored, then read from the table
        words = ("explain", *files, "--no-maps", "--json", "--run", "base")
        places = ("--artifacts-dir", place / "artifacts", "--out-dir", place / "table")
        assert main([*map(str, (*words, *places))]) == 0
        images = json.loads(capsys.readouterr().out)["images"]
        assert [image["phantom"] for image in images] == [True, False]
        assert images[0]["labels"]["Edema"]["reason"] == why
    with (place / "table" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    told = [(row["phantom"], row["Edema_verdict"]) for row in rows]
    assert told == [("yes", ""), ("no", "above")]
    found = pulmonet.load(place / "artifacts" / "base").explain(place / "received.jpg")
    assert found.unlike == why and found.verdicts["Edema"].present is None


def test_a_model_of_phantoms_judges_phantoms(place: Path, phantoms: Path) -> None:
    train(phantoms, place / "artifacts", "drawn")
    (image,) = explain(place, "--run", "drawn", next(phantoms.glob("valid/*/*/*.jpg")))
    assert image["phantom"] is True and not image["unlike"]
    assert "a phantom" not in str(image["labels"]["Edema"]["reason"])


def test_colour_is_warned_of_and_flagged(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    disc = np.full((90, 120, 3), 255, np.uint8)
    cv2.circle(disc, (60, 45), 30, (200, 60, 20), -1)
    cv2.imwrite(str(place / "disc.png"), disc)
    grey = np.repeat(np.arange(120, dtype=np.uint8)[None, :, None], 90, axis=0).repeat(3, axis=2)
    cv2.imwrite(str(place / "grey.png"), grey)
    images = explain(place, place / "disc.png", place / "grey.png")
    said = " ".join(capsys.readouterr().err.split())
    assert "disc.png: in colour, and X-rays are grey" in said
    assert "grey.png: in colour" not in said
    assert [image["in_colour"] for image in images] == [True, False]
    with (place / "explained" / "scores.csv").open() as file:
        assert [row["in_colour"] for row in csv.DictReader(file)] == ["yes", "no"]


def test_evaluate_counts_and_flags_rows_unlike_those_trained_on(
    trained: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = place / "hospital"
    shutil.copytree(trained / "hospital", data)
    for number in (111, 112, 113):
        image = data / "valid" / f"patient00{number}" / "study1" / "view1_frontal.jpg"
        cv2.imwrite(str(image), 255 - cv2.imread(str(image)))
    artifacts = ("--artifacts-dir", str(place / "artifacts"))
    assert main(["evaluate", "base", *artifacts, "--data-dir", str(data), *QUICK]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "3 of 30 images (10.0%) are unlike the images that base was trained on" in said
    (found,) = (place / "artifacts" / "base").glob("predictions_*.csv")
    with found.open() as file:
        rows = list(csv.DictReader(file))
    flagged = [row["patient"] for row in rows if row["unlike_training"] == "1"]
    assert flagged == ["patient00111", "patient00112", "patient00113"]
    distances = [float(row["training_distance"]) for row in rows]
    assert min(distances[:3]) > max(distances[3:])
    (path,) = (place / "artifacts" / "base").glob("evaluation_*.json")
    assert read_evaluation(path).runs[0].n_unlike == 3


def test_api_names_what_is_unlike(
    trained: Path, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("pulmonet").propagate = True
    model = pulmonet.load(place / "artifacts" / "base")
    chart = draw_chart(place / "chart.png")
    mine = trained / "hospital" / "valid" / "patient00115" / "study1" / "view1_frontal.jpg"
    strange, own = model.explain(chart), model.explain(mine)
    assert strange.unlike.startswith(UNLIKE) and own.unlike == ""
    assert strange.distance is not None and own.distance is not None
    assert strange.distance > own.distance
    caplog.clear()
    model.predict([mine, read_grey(chart), chart])
    said = [record.getMessage().split(": unlike")[0] for record in caplog.records]
    assert said == ["image 1", "image 2"]


def test_file_is_the_same_again_and_stays_when_the_run_goes_on(trained: Path, place: Path) -> None:
    before = (place / "artifacts" / "base" / "likeness.npz").read_bytes()
    again = train(trained / "hospital", place / "artifacts", "again", "--epochs", "2")
    assert (again / "likeness.npz").read_bytes() == before
    run_dir = train(trained / "hospital", place / "artifacts", "base", "--epochs", "2", "--resume")
    assert (run_dir / "likeness.npz").read_bytes() == before
    train(trained / "hospital", place / "artifacts", "base", "--overwrite", "--seed", "1")
    assert (run_dir / "likeness.npz").read_bytes() == before, "of the data, whatever the weights"


def test_a_run_that_goes_on_from_weights_looks_at_its_own_data(place: Path, tmp_path: Path) -> None:
    other = write_dataset(tmp_path / "other", n_train=110, n_valid=10, seed=3)
    weights = place / "artifacts" / "base" / "best_model.pth"
    plain = train(other, place / "artifacts", "plain")
    tuned = train(other, place / "artifacts", "tuned", "--weights", str(weights))
    assert (tuned / "likeness.npz").read_bytes() == (plain / "likeness.npz").read_bytes()
    assert (tuned / "likeness.npz").read_bytes() != (weights.parent / "likeness.npz").read_bytes()


def test_a_run_of_an_earlier_version_or_of_few_patients_says_nothing(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = train(write_dataset(tmp_path / "few", n_train=30, n_valid=8), tmp_path / "runs", "base")
    assert not (few / "likeness.npz").exists()
    (place / "artifacts" / "base" / "likeness.npz").unlink()
    chart = draw_chart(place / "chart.png")
    capsys.readouterr()
    (image,) = explain(place, chart)
    assert image["unlike"] is None and image["distance"] is None
    assert "unlike" not in capsys.readouterr().err
    assert all(label["present"] for label in image["labels"].values())


def test_the_file_of_another_run_is_refused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_dataset(tmp_path / "other", n_train=110, n_valid=10, seed=3)
    theirs = train(other, tmp_path / "runs", "theirs")
    mine = place / "artifacts" / "base" / "likeness.npz"
    shutil.copy(theirs / "likeness.npz", mine)
    chart = draw_chart(place / "chart.png")
    words = ("--artifacts-dir", place / "artifacts", "--run", "base", chart)
    assert main(["explain", *map(str, words)]) == 4
    said = " ".join(capsys.readouterr().err.split())
    assert "of other training data than run_config.json" in said


def altered(images: Sequence[Pixels]) -> dict[str, list[Pixels]]:
    return {
        "inverted": [255 - image for image in images],
        "turned": [np.ascontiguousarray(np.rot90(image)) for image in images],
        "corner": [np.ascontiguousarray(image[: len(image) // 2, : image.shape[1] // 2])
                   for image in images],
    }  # fmt: skip


def test_on_real_x_rays(shared_data: Path, tmp_path: Path) -> None:
    """False alarms on validation patients, and what is caught; docs/explanations.md has more."""
    run_dir = train(shared_data / "nih-cxr", tmp_path / "artifacts", "nih")
    model = pulmonet.load(run_dir)
    paths = sorted((shared_data / "nih-cxr" / "valid").rglob("*.jpg"))
    images = [read_grey(path) for path in paths]
    beyond = {path.parts[-3] for path, image in zip(paths, images, strict=True)
              if model.run.measure(image, "")[1]}  # fmt: skip
    n_patients = len({path.parts[-3] for path in paths})
    assert len(beyond) <= n_patients / 100
    native = [read_grey(path) for path in sorted((shared_data / "samples-1024").glob("*.jpg"))]
    assert not any(model.run.measure(image, "")[1] for image in native)
    for kind, others in altered(images[::6]).items():
        caught = np.mean([bool(model.run.measure(image, "")[1]) for image in others])
        assert caught >= 0.95, kind
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (300, 300), dtype=np.uint8)
    chart = read_grey(draw_chart(tmp_path / "chart.png"))
    assert all(model.run.measure(image, "")[1] for image in (noise, chart))
