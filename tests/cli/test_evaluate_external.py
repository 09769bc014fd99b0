"""What is external testing: the data decide, whatever folder, file or patient is called."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from chexpert_factory import write_dataset
from evaluation_factory import QUICK
from pulmonet.cli.main import main
from pulmonet.files.read import read_array
from pulmonet.metrics.results import RunResult, read_evaluation
from pulmonet.run.folder import RunDir
from report_reader import whole_report

NOTHING_USED = "These rows decided nothing before."


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the dataset `hospital` and artifacts with the run `base`, trained on it."""
    folder = tmp_path_factory.mktemp("external")
    write_dataset(folder / "hospital", n_train=40, n_valid=30)
    flags = ("--model", "timm:test_resnet", "--weights", "none", "--epochs", "1", "--no-amp")
    place = ("--data-dir", str(folder / "hospital"), "--out-dir", str(folder / "artifacts"))
    assert main(["train", *place, *flags, "--image-size", "32", "--name", "base"]) == 0
    return folder


@pytest.fixture
def place(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, so that results of one test are not those of another."""
    shutil.copytree(trained / "artifacts", tmp_path / "artifacts")
    shutil.copytree(trained / "hospital", tmp_path / "copy")
    return tmp_path


def evaluate(place: Path, data_dir: Path, *flags: str, run: str = "base") -> RunResult:
    """The result on `data_dir`, read from the newest evaluation."""
    artifacts = ("--artifacts-dir", str(place / "artifacts"))
    before = {path: path.stat().st_mtime_ns for path in place.glob(f"artifacts/{run}/evaluation_*")}
    assert main(["evaluate", run, *artifacts, "--data-dir", str(data_dir), *QUICK, *flags]) == 0
    written = [
        path
        for path in place.glob(f"artifacts/{run}/evaluation_*")
        if path.stat().st_mtime_ns != before.get(path)
    ]
    (result,) = (result for path in written for result in read_evaluation(path).runs)
    return result


def rename_all(root: Path) -> None:
    """Other patients, paths and a table of another split: the pixels alone stay."""
    lines = (root / "train.csv").read_text().splitlines()
    written = [lines[0]]
    for number, line in enumerate(lines[1:]):
        old, rest = line.split(",", 1)
        new = f"test/patient{9000 + 7 * number:05d}/study1/film.jpg"
        (root / new).parent.mkdir(parents=True)
        (root / old.split("/", 1)[1]).rename(root / new)
        written.append(f"{root.name}/{new},{rest}")
    for name in ("train", "valid"):
        shutil.rmtree(root / name)
        (root / f"{name}.csv").unlink()
    (root / "test.csv").write_text("\n".join(written) + "\n")


def test_a_copy_under_another_name_is_the_dataset_trained_on(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = evaluate(place, place / "copy")
    assert (result.dataset, result.external) == ("hospital", False)
    assert result.same_data_as_training is True
    assert result.rows_used_for == ["checkpoint selection"]
    said = capsys.readouterr().err
    assert "is the one trained on: called hospital in the results" in " ".join(said.split())
    assert "external testing" not in said
    assert evaluate(place, place / "copy", "--split", "train").rows_used_for == ["training"]


def test_training_rows_renumbered_under_other_names_are_counted(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rename_all(place / "copy")
    result = evaluate(place, place / "copy")
    counted = "40 of these 40 images, of 40 patients"
    assert result.external is False
    assert result.rows_used_for == [f"training ({counted})"]
    said = " ".join(capsys.readouterr().err.split())
    assert NOTHING_USED not in said
    assert f"{counted}, were trained on" in said
    assert main(["report", "--artifacts-dir", str(place / "artifacts")]) == 0
    report = whole_report(place / "artifacts")
    assert f"| 32 | Internal testing | On copy, test (rows used for training ({counted}))" in report
    assert "| 33 | External testing | None in the artifacts" in report
    assert f"{counted}, were trained on" in report
    assert counted in (place / "artifacts" / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize(
    ("split", "used", "note"),
    [
        ("train", "training (12 of these 37 images, of 12 patients)", "were trained on"),
        ("valid", "checkpoint selection (12 of these images)", "images chose the checkpoint"),
    ],
)
def test_a_part_among_another_hospitals_images_is_counted(
    split: str, used: str, note: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """12 images that the run had among 25 that it had not."""
    other = write_dataset(place / "mixed", n_train=4, n_valid=25, seed=5)
    table = other / "valid.csv"
    lines = (place / "copy" / f"{split}.csv").read_text().splitlines()[1:13]
    for line in lines:
        path = line.split(",", 1)[0].replace("copy/", "", 1).removeprefix("hospital/")
        new = path.replace(f"{split}/patient", "valid/patient7")
        (other / new).parent.mkdir(parents=True)
        shutil.copy(place / "copy" / path, other / new)
        table.write_text(f"{table.read_text()}mixed/{new},{line.split(',', 1)[1]}\n")
    result = evaluate(place, other)
    assert result.external is False
    assert result.seen is not None
    n_known = 12 if split == "train" else 0
    seen = (result.seen.trained_on, result.seen.n_images, result.seen.patients)
    assert seen == (n_known, 37, n_known)
    assert result.rows_used_for == [used]
    assert f"{note}." in " ".join(capsys.readouterr().err.split())


def test_further_images_of_patients_trained_on_are_counted(place: Path) -> None:
    """Half of the images are others, of the same patients under the same ids."""
    root, rng = place / "copy", np.random.default_rng(0)
    for path in sorted(root.glob("train/patient0000[1-9]/study1/*.jpg")):
        cv2.imwrite(str(path), rng.integers(0, 200, (48, 48)).astype(np.uint8))
    (root / "valid.csv").unlink()
    (root / "train.csv").rename(root / "test.csv")
    result = evaluate(place, root)
    assert result.seen is not None
    assert (result.seen.trained_on, result.seen.of_their_patients) == (31, 9)
    assert "31 of these 40 images, of 31 patients, and 9 more of patients" in str(result)


def test_another_hospital_in_a_folder_of_the_same_name_is_external(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = evaluate(place, place / "copy")
    calibration = (place / "artifacts" / "base" / "calibration.json").read_bytes()
    other = write_dataset(place / "elsewhere" / "hospital", n_train=4, n_valid=25, seed=5)
    result = evaluate(place, other)
    assert (result.external, result.rows_used_for) == (True, [])
    assert result.same_data_as_training is False
    assert result.dataset.startswith("hospital-")
    run_dir = RunDir(place / "artifacts" / "base")
    assert read_evaluation(run_dir.evaluation_path("hospital", "valid")).runs == [own]
    assert run_dir.calibration_path.read_bytes() == calibration
    said = " ".join(capsys.readouterr().err.split())
    assert "external testing" in said
    assert "25 of these images have a patient whose id was trained on; no image tells" in said


def test_a_run_without_digests_falls_back_and_says_so(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "artifacts" / "base" / "seen.npz").unlink()
    assert evaluate(place, place / "copy").external is False  # by its fingerprint
    said = " ".join(capsys.readouterr().err.split())
    assert "seen.npz: missing; no image tells what was trained on" in said
    rename_all(place / "copy")
    result = evaluate(place, place / "copy")
    assert (result.external, result.seen) == (True, None)
    assert "told by fingerprint and name alone" in " ".join(capsys.readouterr().err.split())


def test_digests_are_salted_and_damage_is_named(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = place / "artifacts" / "base" / "seen.npz"
    assert len(read_array(seen, "images_train")) == len(read_array(seen, "patients_train")) == 40
    assert b"patient0" not in seen.read_bytes()
    flags = ("--model", "timm:test_resnet", "--weights", "none", "--epochs", "1", "--no-amp")
    where = ("--data-dir", str(place / "copy"), "--out-dir", str(place / "artifacts"))
    assert main(["train", *where, *flags, "--image-size", "32", "--name", "again"]) == 0
    again = place / "artifacts" / "again" / "seen.npz"
    shared = set(read_array(seen, "images_train")) & set(read_array(again, "images_train"))
    assert not shared, "the digests of two runs cannot be joined"
    first, second = (json.loads((p.parent / "run_config.json").read_text()) for p in (seen, again))
    digests = [one["provenance"]["checkpoint_sha256"] for one in (first, second)]
    assert digests[0] == digests[1]
    seen.write_bytes(seen.read_bytes()[:100])
    arguments = ["--artifacts-dir", str(place / "artifacts"), "--data-dir", str(place / "copy")]
    assert main(["evaluate", "base", *arguments, *QUICK]) == 4
    assert "seen.npz: damaged" in capsys.readouterr().err


def test_what_the_first_weights_were_trained_on_is_no_external_test(place: Path) -> None:
    """A run that starts from another's weights has seen what that one had seen."""
    write_dataset(place / "clinic", n_train=20, n_valid=10, seed=5)
    flags = ("--weights", "base", "--model", "timm:test_resnet", "--epochs", "1", "--no-amp")
    out = ("--out-dir", str(place / "artifacts"), "--image-size", "32", "--name", "child")
    assert main(["train", "--data-dir", str(place / "clinic"), *flags, *out]) == 0
    rename_all(place / "copy")
    result = evaluate(place, place / "copy", run="child")
    assert result.external is False
    assert result.rows_used_for == ["training (40 of these 40 images, of 40 patients)"]
    own = evaluate(place, place / "clinic", run="child")  # ids of another dataset are nobody's
    assert own.rows_used_for == ["checkpoint selection"]
    parent = read_array(place / "artifacts" / "base" / "seen.npz", "images_train")
    child = read_array(place / "artifacts" / "child" / "seen.npz", "images_train")
    assert len(child) == 20 + len(parent)
