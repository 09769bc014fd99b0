"""VinDr-CXR's layouts."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from pulmonet.data.boxes import read_boxes
from pulmonet.data.manifest import Manifest
from pulmonet.data.sources import read_manifest
from pulmonet.errors import DataError
from small_dataset import write_picture, write_text


def row_of(manifest: Manifest, path: str) -> pd.Series:
    return manifest.table[manifest.table["path"] == path].iloc[0]


def test_vindr_takes_the_majority_of_its_readers(tmp_path: Path) -> None:
    write_text(
        tmp_path / "annotations" / "image_labels_train.csv",
        "image_id,rad_id,Cardiomegaly,Pleural thickening,Nodule/Mass,No finding\n"
        "aaa,R1,1,0,0,0\naaa,R2,1,0,0,0\naaa,R3,0,1,0,0\n"
        "bbb,R1,0,0,0,1\nbbb,R2,0,0,0,1\nbbb,R3,0,0,0,1\n",
    )
    write_text(
        tmp_path / "annotations" / "image_labels_test.csv",
        "image_id,Cardiomegaly,Pleural thickening,Nodule/Mass,No finding\nccc,0,1,0,0\n",
    )
    write_picture(tmp_path / "train" / "aaa.png")
    write_picture(tmp_path / "train" / "bbb.png")
    write_picture(tmp_path / "test" / "ccc.png")
    manifest = read_manifest(tmp_path, check_files=True)
    assert not manifest.patients_known
    assert manifest.labels == ("Cardiomegaly", "Pleural Thickening", "Nodule/Mass", "No Finding")
    assert row_of(manifest, "train/aaa.png")["Cardiomegaly"] == 1
    assert row_of(manifest, "train/aaa.png")["Pleural Thickening"] == 0
    assert row_of(manifest, "train/bbb.png")["No Finding"] == 1
    assert row_of(manifest, "test/ccc.png")["split"] == "test"


def test_vindr_without_labels_is_refused(tmp_path: Path) -> None:
    write_text(tmp_path / "image_labels_train.csv", "image_id,rad_id\naaa,R1\n")
    with pytest.raises(DataError, match=r"image_labels_train\.csv: has no label columns"):
        read_manifest(tmp_path)


def test_vindr_of_kaggle_counts_the_readers_who_drew_a_box(tmp_path: Path) -> None:
    write_text(
        tmp_path / "train.csv",
        "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n"
        "bbb,No finding,14,R1,,,,\nbbb,No finding,14,R2,,,,\nbbb,Cardiomegaly,3,R3,2,2,12,10\n"
        "aaa,Pleural effusion,10,R1,0,5,12,20\naaa,Pleural effusion,10,R1,12,5,24,20\n"
        "aaa,Pleural effusion,10,R2,0,5,12,20\naaa,Cardiomegaly,3,R3,2,2,12,10\n",
    )
    for name in ("aaa", "bbb"):
        write_picture(tmp_path / "train" / f"{name}.png")
    manifest = read_manifest(tmp_path, check_files=True)
    assert manifest.source == "vindr"
    assert manifest.table["path"].tolist() == ["train/bbb.png", "train/aaa.png"]
    assert manifest.labels == ("Cardiomegaly", "No Finding", "Pleural Effusion")
    assert manifest.raw_labels(manifest.labels).tolist() == [[0, 1, 0], [0, 0, 1]]
    boxes = read_boxes(manifest)
    assert len(boxes) == 5
    assert boxes.iloc[1].tolist() == ["train/aaa.png", "Pleural Effusion", 0, 0.25, 0.5, 1]


def test_a_reader_has_one_vote_though_a_row_is_there_twice(tmp_path: Path) -> None:
    lines = ["image_id,rad_id,Edema", "a,R1,0", "a,R2,0", *["a,R3,1"] * 2]
    write_text(tmp_path / "image_labels_train.csv", "\n".join(lines) + "\n")
    assert read_manifest(tmp_path).table["Edema"].tolist() == [0]
