"""splits.csv and the shareable form, read and written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pulmonet.config.fields import DataConfig
from pulmonet.data.sources import inspect_manifest, read_manifest
from pulmonet.data.splits.files import parse_split, read_splits, write_shareable_split
from pulmonet.errors import DataError


def write_train(root: Path, n_patients: int = 12) -> None:
    root.mkdir(exist_ok=True)
    lines = [f"train/patient{n}/study1/a.jpg,{n % 2}" for n in range(n_patients)]
    (root / "train.csv").write_text("\n".join(["Path,Edema", *lines]) + "\n")


@pytest.mark.parametrize(
    "content, message",
    [
        ("patient,split\np1,train\np1,valid\n", "1 patient with more than one split"),
        ("patient,split\np1,training\np2,maybe\n", "line 3: 'maybe'"),
        ("patient\np1\n", "no column 'split'"),
        ("", "empty"),
    ],
)
def test_damaged_splits_files(tmp_path: Path, content: str, message: str) -> None:
    write_train(tmp_path / "set")
    (tmp_path / "mine.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        read_manifest(tmp_path / "set", DataConfig(splits=str(tmp_path / "mine.csv")))


def test_a_shareable_split_names_nobody_and_fits_one_dataset(tmp_path: Path) -> None:
    write_train(tmp_path / "set")
    manifest = read_manifest(tmp_path / "set")
    shared = tmp_path / "split.json"
    write_shareable_split(manifest, shared, salt="pepper")
    assert "patient1" not in shared.read_text()
    again = read_manifest(tmp_path / "set", DataConfig(splits=str(shared)))
    columns = ["path", "patient", "split"]
    pd.testing.assert_frame_equal(again.table[columns], manifest.table[columns])
    write_shareable_split(manifest, tmp_path / "other.json")
    assert shared.read_text() != (tmp_path / "other.json").read_text()  # another salt
    write_train(tmp_path / "set", 11)
    with pytest.raises(DataError, match="1 of the file's are not in the dataset"):
        read_manifest(tmp_path / "set", DataConfig(splits=str(shared)))
    shared.write_text("{}")
    with pytest.raises(DataError, match="not a shareable split"):
        read_splits(shared, np.array(["a"], dtype=object))


def test_spellings_of_splits() -> None:
    assert [parse_split(name) for name in ("Val", "validate", "TRAIN", "test ", "x")] == [
        "valid",
        "valid",
        "train",
        "test",
        "",
    ]


def test_patients_of_a_list_that_the_dataset_has_not_are_counted(tmp_path: Path) -> None:
    for name in ("train", "valid"):
        lines = [f"{name}{n}.jpg,0{n},{n % 2}" for n in (1, 20 + len(name))]
        text = "\n".join(["Path,patient,Edema", *lines]).replace(",01,", f",0{name[0]},")
        (tmp_path / f"{name}.csv").write_text(text + "\n")
    (tmp_path / "splits.csv").write_text("patient,split\n0t,test\n25,test\n0v,valid\n")
    *_, notes = inspect_manifest(tmp_path)
    split = f"split: from {tmp_path / 'splits.csv'}"
    assert notes == [f"{split} (1 of its 3 patients not in the dataset, e.g. '25')"]
