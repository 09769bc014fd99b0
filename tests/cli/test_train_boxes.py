"""`train --boxes`: what is taught, said, recorded and refused; resumed to the bit."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import pulmonet.training.loop
from chexpert_factory import write_dataset
from pulmonet.cli.main import main
from pulmonet.labels import DEFAULT_LABELS
from pulmonet.run.folder import RunDir

SMALL = (
    *("--model", "timm:test_resnet", "--weights", "none", "--epochs", "1", "--image-size", "64"),
    *("--batch-size", "8", "--no-amp", "--name", "run"),
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Boxes of two labels on some of the images, of a third on validation images alone."""
    root = write_dataset(tmp_path / "tiny", n_train=16, n_valid=6)
    lines = ["Path,label,xmin,ymin,xmax,ymax"]
    for split in ("train", "valid"):
        with (root / f"{split}.csv").open() as file:
            for number, row in enumerate(csv.DictReader(file)):
                names = ("Edema", "Cardiomegaly") if split == "train" else ("Consolidation",)
                for place, label in enumerate(names):
                    if number % (2 + place) == 0:
                        lines.append(
                            f"{row['Path']},{label},{place / 4},0.25,{place / 4 + 0.3},0.5"
                        )
    (root / "boxes.csv").write_text("\n".join(lines) + "\n")
    return root


def train(data: Path, *extra: str) -> int:
    out_dir = data.parent / "artifacts"
    return main(["train", "--data-dir", str(data), "--out-dir", str(out_dir), *SMALL, *extra])


def run_of(data: Path, name: str = "run") -> RunDir:
    return RunDir(data.parent / "artifacts" / name)


def test_the_datasets_own_boxes_are_taught_said_and_recorded(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, "--boxes", "--seed", "3") == 0
    record = run_of(data).read_record()
    assert record.config.pointing.boxes == "own"
    facts = record.provenance.boxes
    assert facts is not None
    assert facts.boxes == facts.images == {"Cardiomegaly": 6, "Edema": 8}
    assert facts.n_images == 11, "every second or third of 16"
    with (data / "train.csv").open() as file:
        rows = [row["Path"].split("/")[2] for row in csv.DictReader(file)]
    taught = {patient for n, patient in enumerate(rows) if n % 2 == 0 or n % 3 == 0}
    assert facts.n_patients == len(taught)
    assert facts.patients["Edema"] == len(set(rows[::2]))
    said = " ".join("".join(capsys.readouterr()).split())
    assert f"Boxes: 14 boxes on 11 images of {len(taught)} patients" in said
    assert "(Cardiomegaly 6, Edema 8) teach the class maps (mass, weight 0.5)" in said
    assert "3 other regions: of other labels, or of images held out" in said
    seen = np.load(run_of(data).seen_path)
    assert len(seen["images_boxes"]) == 11
    assert set(seen["patients_boxes"]) <= set(seen["patients_train"])


def test_boxes_change_the_weights(data: Path) -> None:
    assert train(data, "--set", "pointing.weight=0.9", "--name", "plain") == 0
    plain = run_of(data, "plain").best_model_path.read_bytes()
    assert train(data, "--boxes", "own", "--name", "taught") == 0
    assert run_of(data, "taught").best_model_path.read_bytes() != plain


@pytest.mark.parametrize(
    "extra",
    [
        ("--uncertain-policy", "Edema=multiclass,Cardiomegaly=self-trained,default=ones"),
        ("--set", "model.members=2", "--set", "select.checkpoint=last", "--set", "data.fit=pad"),
        ("--set", "optim.growth=[[32, 1]]", "--set", "optim.micro_batch_size=3"),
    ],
)
def test_a_resumed_run_is_the_run_to_the_bit(
    data: Path, monkeypatch: pytest.MonkeyPatch, extra: tuple[str, ...]
) -> None:
    boxes = ("--boxes", "boxes.csv", "--epochs", "2", *extra)
    assert train(data, *boxes, "--name", "whole") == 0
    real, steps = pulmonet.training.loop.stop_requested, []

    def stop(*arguments: object) -> bool:
        steps.append(arguments)
        return len(steps) == 3 or real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pulmonet.training.loop, "stop_requested", stop)
    assert train(data, *boxes) == 143
    assert train(data, *boxes, "--resume") == 0
    whole, resumed = run_of(data, "whole"), run_of(data)
    assert resumed.best_model_path.read_bytes() == whole.best_model_path.read_bytes()
    assert resumed.read_record().provenance.n_resumed == 1


def test_other_boxes_are_another_run(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(data, "--boxes") == 0
    text = (data / "boxes.csv").read_text()
    (data / "boxes.csv").write_text(text.replace("0.25", "0.26"))
    assert train(data, "--boxes", "--resume", "--epochs", "2") == 4
    assert "the checkpoint of another run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "code", "message"),
    [
        (("--boxes", "--set", "augment.mixup_alpha=0.2"), 2, "a mixture of two images has no"),
        (("--boxes", "--set", "data.shuffle_labels=true"), 2, "boxes would tell what shuffled"),
        (("--boxes", "--model", "timm:test_vit", "--image-size", "160"), 2, "its head is not pool"),
        (("--boxes", "none.csv"), 3, "--boxes none.csv: no such file, here or in"),
        (("--boxes", "--labels", "Atelectasis"), 3, "no box of Atelectasis on a training image"),
        (("--boxes", "--labels", "Consolidation"), 3, "there are boxes of Cardiomegaly, Consol"),
        (("--boxes", "train.csv"), 3, "train.csv: "),
        (("--boxes", "--set", "pointing.form=cam"), 2, "pointing.form = 'cam'"),
    ],
)
def test_what_cannot_be_taught_is_refused_before_a_folder_is_made(
    data: Path, capsys: pytest.CaptureFixture[str], extra: tuple[str, ...], code: int, message: str
) -> None:
    assert train(data, *extra) == code
    assert message in " ".join(capsys.readouterr().err.split())
    assert not run_of(data).path.exists()


def test_a_dataset_without_boxes_says_so(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "boxes.csv").unlink()
    assert train(data, "--boxes") == 3
    assert "no boxes of its images are there" in capsys.readouterr().err


def test_nih_own_list_and_contours_are_read(data: Path) -> None:
    """A table of NIH's by its columns, and CheXlocalize's contours, named as files."""
    with (data / "train.csv").open() as file:
        path = next(csv.DictReader(file))["Path"].split("/", 1)[1]
    lines = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
    (data / "nih.csv").write_text(lines + f"{path},Effusion,256,0,512,512,,,\n")
    assert train(data, "--boxes", "nih.csv") == 0
    facts = run_of(data).read_record().provenance.boxes
    assert facts is not None
    assert facts.boxes == {"Pleural Effusion": 1}
    image = "_".join(path.rsplit(".", 1)[0].split("/")[-3:])
    drawn = {image: {"img_size": [60, 90], "Edema": [[[1, 1], [50, 2], [40, 40]]]}}
    (data / "drawn.json").write_text(json.dumps(drawn))
    assert train(data, "--boxes", str(data / "drawn.json"), "--name", "drawn") == 0
    facts = run_of(data, "drawn").read_record().provenance.boxes
    assert facts is not None
    assert facts.boxes == {"Edema": 1}
    assert set(facts.images) <= set(DEFAULT_LABELS)


def test_a_dry_run_says_what_it_would_teach(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(data, "--boxes", "--dry-run") == 0
    assert "teach the class maps" in " ".join("".join(capsys.readouterr()).split())
    assert not run_of(data).path.exists()


def test_boxes_that_taught_the_first_weights_count_as_seen(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, "--boxes") == 0
    assert train(data, "--weights", str(run_of(data).path), "--name", "child") == 0
    asked = ["explain", "--run", "child", "--artifacts-dir", str(data.parent / "artifacts")]
    asked += ["--boxes", str(data / "boxes.csv"), "--split", "train"]
    capsys.readouterr()
    assert main(asked) == 3
    said = " ".join(capsys.readouterr().err.split())
    assert "all 14 regions of split 'train' are of patients whose boxes child learned from" in said
