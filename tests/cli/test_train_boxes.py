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
    assert "(Cardiomegaly 6, Edema 8) teach the class maps (mass, weight 0.05)" in said
    assert "left out 3 regions of images that are not trained on" in said
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


def test_stride_16_gives_maps_of_twice_the_cells(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained, as an ensemble, and explained; it is the setting, not the file, that says so."""
    dense = ("--set", "model.output_stride=16", "--set", "model.members=2")
    assert train(data, "--boxes", *dense, "--set", "select.checkpoint=last") == 0
    where = ("--artifacts-dir", str(data.parent / "artifacts"), "--data-dir", str(data))
    asked = ("--run", "run", "--boxes", "--bootstrap", "100", "--label", "Consolidation", "--json")

    def cells() -> list[int]:
        capsys.readouterr()
        assert main(["explain", *asked, *where]) == 0
        variants = json.loads(capsys.readouterr().out)["localization"]["variants"]
        return list(variants[0]["cells"])

    assert cells() == [4, 4]
    record = run_of(data).read_record()
    plain = record.config.model.model_copy(update={"output_stride": 32})
    run_of(data).write_record(record.config.model_copy(update={"model": plain}), record.provenance)
    assert cells() == [2, 2]


def test_boxes_that_teach_nothing_are_said_with_what_would_use_them(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels that the data have can be auxiliary ones; others cannot; and images held out."""
    with (data / "train.csv").open() as file:
        path = next(csv.DictReader(file))["Path"]
    lines = [f"{path},{label},0.1,0.1,0.4,0.4" for label in ("Mass", "Atelectasis")]
    (data / "boxes.csv").write_text((data / "boxes.csv").read_text() + "\n".join(lines) + "\n")
    two = ("--boxes", "--labels", "Edema,Cardiomegaly")
    assert train(data, *two, "--dry-run") == 0
    said = " ".join("".join(capsys.readouterr()).split())
    assert "left out 5 regions of Atelectasis, Consolidation, Mass: not among the labels" in said
    assert "data.auxiliary_labels adds any that the data have" in said
    assert train(data, *two, "--set", 'data.auxiliary_labels=["Atelectasis"]') == 0
    said = " ".join("".join(capsys.readouterr()).split())
    assert "left out 4 regions of Consolidation, Mass: not among the labels trained on" in said
    facts = run_of(data).read_record().provenance.boxes
    assert facts is not None
    assert facts.boxes["Atelectasis"] == 1


def test_boxes_of_images_held_out_alone_name_the_way_to_move_them(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As NIH's are, all in its test list."""
    lines = (data / "boxes.csv").read_text().splitlines()
    held = [line for line in lines if "/train/" not in line]
    (data / "boxes.csv").write_text("\n".join(held) + "\n")
    asked = ("--boxes", "--labels", "Consolidation", "--dry-run")
    assert train(data, *asked) == 3
    said = " ".join(capsys.readouterr().err.split())
    assert f"the {len(held) - 1} that there are lie on others; move their patients with" in said
    rows = ["patient,split"]
    for split, other in (("train", "valid"), ("valid", "train")):
        with (data / f"{split}.csv").open() as file:
            names = {row["Path"].split("/")[2] for row in csv.DictReader(file)}
        rows += [f"{name},{other}" for name in sorted(names)]
    (tmp_path / "splits.csv").write_text("\n".join(rows) + "\n")
    assert train(data, *asked, "--splits", str(tmp_path / "splits.csv")) == 0


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
        (("--boxes", "--labels", "Atelectasis"), 3, "there are boxes of Cardiomegaly, Consol"),
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
    assert (
        "no boxes of images of dataset tiny; name a boxes.csv, or CheX" in capsys.readouterr().err
    )


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

    facts = run_of(data).read_record().provenance.boxes
    assert facts is not None
    words = f"the maps of its first weights were taught by {facts.text()}: they show where readers"
    assert f"child: {words}" in said, "explain says it"
    assert main([*asked[:2], "run,child", *asked[3:]]) == 3
    both = " ".join(capsys.readouterr().err.split())
    assert f"run: its maps were taught by {facts.text()}: they" in both
    assert f"child: {words}" in both
    where = ("--weights", str(run_of(data, "child").path), "--boxes", "--name", "grandchild")
    assert train(data, *where) == 0
    taught = run_of(data, "grandchild").read_record().provenance.taught()
    by = f"its maps were taught by {facts.text()}, before that by {facts.text()}: "
    assert taught.startswith(by)
    assert main(["report", "--artifacts-dir", str(data.parent / "artifacts")]) == 0
    for name in ("report.md", "MODEL_CARD.md"):
        text = " ".join((data.parent / "artifacts" / name).read_text().split())
        assert f"child: {words}" in text
    capsys.readouterr()
