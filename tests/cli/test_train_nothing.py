"""Training on nothing: no known value, no readable image, a label of one class."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from chexpert_factory import write_dataset
from pulmonet.cli.main import main
from pulmonet.labels import DEFAULT_LABELS
from pulmonet.run.folder import RunDir

NAME = "timm-test_resnet"
SMALL = (
    *("--model", "timm:test_resnet", "--weights", "none", "--epochs", "1", "--image-size", "32"),
    *("--batch-size", "8", "--no-amp"),
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "tiny", n_train=10, n_valid=6)


def edit(path: Path, change: Callable[[pd.DataFrame], object]) -> None:
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    change(table)
    table.to_csv(path, index=False)


def fill(path: Path, labels: tuple[str, ...], value: str) -> None:
    edit(path, lambda table: table.__setitem__(list(labels), value))


def train(data: Path, *extra: str) -> int:
    out = data.parent / "artifacts"
    return main(["train", "--data-dir", str(data), "--out-dir", str(out), *SMALL, *extra])


@pytest.mark.parametrize("policy", ["ignore", "self-trained", "multiclass"])
def test_no_known_value_at_all_is_an_error_before_a_folder_is_made(
    data: Path, capsys: pytest.CaptureFixture[str], policy: str
) -> None:
    fill(data / "train.csv", DEFAULT_LABELS, "-1.0")
    assert train(data, "--uncertain-policy", policy) == 3
    said = capsys.readouterr().err
    assert "no known value of Atelectasis" in said and f"uncertain: {policy}" in said
    assert not (data.parent / "artifacts" / NAME).exists()
    assert train(data, "--uncertain-policy", "ones", "--name", "ones") == 0


@pytest.mark.parametrize("split", ["train", "valid"])
def test_no_readable_image_in_a_split_is_an_error_before_a_folder_is_made(
    data: Path, capsys: pytest.CaptureFixture[str], split: str
) -> None:
    shutil.rmtree(data / split)
    assert train(data, "--skip-bad") == 3
    said = capsys.readouterr().err
    assert f"split '{split}': none of" in said and "images can be read; the first: " in said
    assert not (data.parent / "artifacts" / NAME).exists()
    assert main(["prepare", str(data), "--skip-bad", "--out-dir", str(data.parent / "out")]) == 3
    captured = capsys.readouterr()
    assert (
        "Ready" not in captured.out
        and f"no image of {split} can be used; the first: " in captured.err
    )


def test_what_is_left_of_each_split_is_said(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for image in sorted((data / "train").rglob("*.jpg"))[2:5]:
        image.write_bytes(image.read_bytes()[:300])
    sorted((data / "valid").rglob("*.jpg"))[3].unlink()
    out = ["--out-dir", str(tmp_path / "prepared")]
    assert main(["prepare", str(data), "--skip-bad", *out]) == 0
    assert "left: train 7 of 10, valid 5 of 6" in capsys.readouterr().err
    assert train(data, "--skip-bad") == 0
    captured = capsys.readouterr()
    assert "left out 3 unreadable images of train (7 of 10 left): " in captured.err
    assert "Left:    train 7 images of 7 patients · valid 5 images of 5" in captured.out
    runs = ["--artifacts-dir", str(tmp_path / "artifacts")]
    assert main(["evaluate", NAME, *runs, "--bootstrap", "100"]) == 0
    assert "left out 1 unreadable image of valid (5 of 6 left): " in capsys.readouterr().err
    paths = pd.read_csv(data / "valid.csv")["Path"]
    lines = ["Path,label,xmin,ymin,xmax,ymax", *(f"{path},Edema,0,0,0.5,0.5" for path in paths)]
    (data / "boxes.csv").write_text("\n".join(lines) + "\n")
    boxes = ["--boxes", str(data / "boxes.csv"), "--bootstrap", "100"]
    assert main(["explain", "--run", NAME, *runs, *boxes]) == 0
    assert "left out 1 unreadable image of valid (5 of 6 left): " in capsys.readouterr().err


def test_a_label_of_one_class_is_said_wherever_the_macro_is(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fill(data / "train.csv", ("Edema",), "0.0")
    fill(data / "valid.csv", ("Edema", "Consolidation"), "1.0")
    assert train(data) == 0
    captured = capsys.readouterr()
    missing = "no positive among 10 known values"
    assert f"Edema: {missing} of train; nothing can be learned of it" in captured.err
    assert "Consolidation, Edema: no negative among 6 known values of valid" in captured.err
    assert captured.out.count("macro AUROC of 3 of 5 labels") == 2  # the epoch's line, the last
    facts = RunDir(tmp_path / "artifacts" / NAME).read_record().provenance
    assert facts.one_class("train") == {"Edema": missing}

    runs = ["--artifacts-dir", str(tmp_path / "artifacts")]
    assert main(["evaluate", NAME, *runs, "--bootstrap", "100"]) == 0
    captured = capsys.readouterr()
    assert "Macro (3 of 5 labels)" in captured.out
    learned = f"othing could be learned in training of Edema: {missing}"
    assert f"N{learned}." in captured.err
    table = pd.read_csv(tmp_path / "artifacts" / "final_evaluation_results.csv")
    assert "macro AUROC of 3 of 5 labels" in table["Label_Notes"][0]
    final = (tmp_path / "artifacts" / "final_evaluation_results.md").read_text()
    assert f"n{learned}" in final and "macro AUROC of 3 of 5 labels (Consolidation" in final

    assert main(["report", *runs, "--html"]) == 0
    for name in ("report.md", "report.html", "MODEL_CARD.md"):
        text = (tmp_path / "artifacts" / name).read_text()
        assert "acro AUROC of 3 of 5 labels" in text and f"n{learned}" in text


def test_a_label_without_a_value_in_training_is_one_too(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(data / "train.csv", ("Edema",), "")
    assert train(data) == 0
    assert "Edema: no known value of train; nothing can be learned" in capsys.readouterr().err
