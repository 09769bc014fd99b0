"""CheXpert's layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chexpert_factory import write_dataset
from pulmonet.data.sources import inspect_manifest, read_manifest
from pulmonet.data.sources.rows import ROW_COLUMNS
from pulmonet.labels import CHEXPERT_LABELS
from small_dataset import write_picture, write_text


def test_chexpert_rows_equal_a_plain_loop(shared_data: Path) -> None:
    root = shared_data / "nih-cxr"
    manifest = read_manifest(root, check_files=True)
    assert (manifest.name, manifest.source, len(manifest)) == ("nih-cxr", "chexpert", 1302)
    assert list(manifest.table.columns) == [*ROW_COLUMNS, *CHEXPERT_LABELS]
    number = 0
    for split in ("train", "valid"):
        raw = pd.read_csv(root / f"{split}.csv")
        for line in raw.itertuples(index=False):
            values = line._asdict() if hasattr(line, "_asdict") else {}
            row = manifest.table.iloc[number]
            assert row["path"] == line.Path.removeprefix("nih-cxr/")
            assert row["split"] == split
            assert row["patient"] == line.Path.split("/")[2]
            assert row["study"] == "/".join(line.Path.split("/")[2:4])
            assert (row["sex"], row["age_years"]) == (line.Sex, line.Age)
            assert row["Edema"] == values["Edema"]
            number += 1
    assert set(manifest.table["view"]) == {"AP", "PA"}
    np.testing.assert_array_equal(
        manifest.raw_labels(("Edema", "Fracture"))[:1116],
        pd.read_csv(root / "train.csv")[["Edema", "Fracture"]].to_numpy(np.float32),
    )


@pytest.mark.parametrize("prefix", ["CheXpert-v1.0-small/", "CheXpert-v1.0/", "", "./"])
def test_a_leading_root_name_may_stand_or_not(tmp_path: Path, prefix: str) -> None:
    root = write_dataset(tmp_path / "CheXpert-v1.0-small", n_train=3, n_valid=2, side=32)
    for name in ("train.csv", "valid.csv"):
        content = (root / name).read_text().replace("CheXpert-v1.0-small/", prefix)
        (root / name).write_text(content)
    manifest = read_manifest(root, check_files=True)
    assert manifest.table["path"].iloc[0] == "train/patient00001/study1/view1_frontal.jpg"


def test_chexpert_labels_views_and_unknowns(tmp_path: Path) -> None:
    write_text(
        tmp_path / "train.csv",
        "Path,Sex,Age,Frontal/Lateral,AP/PA,Edema,Effusion,site\n"
        "train/patient1/study1/view1_frontal.jpg,Male,50,Frontal,AP,1.0,-1.0,A\n"
        "train/patient1/study1/view2_lateral.jpg,Female,61,Lateral,,0.0,,A\n"
        "train/patient2/study1/view1_frontal.jpg,Unknown,0,Frontal,LL,,1,B\n",
    )
    write_text(
        tmp_path / "valid.csv",
        "Path,Edema,Pleural Effusion\nvalid/patient3/study1/view1_frontal.jpg,1,\n",
    )
    manifest = read_manifest(tmp_path)
    assert manifest.labels == ("Edema", "Pleural Effusion")
    assert manifest.joined == ("site",)
    assert manifest.table["view"].tolist() == ["AP", "LATERAL", "FRONTAL", ""]
    assert manifest.table["sex"].tolist() == ["Male", "Female", "", ""]
    raw = manifest.raw_labels(manifest.labels)
    np.testing.assert_array_equal(raw[:3], np.array([[1, -1], [0, np.nan], [np.nan, 1]]))
    assert np.isnan(raw[3, 1])


def test_patient_column_serves_where_paths_have_none(tmp_path: Path) -> None:
    write_text(
        tmp_path / "train.csv", "Path,patient_id,Edema\nimages/a.png,007,1\nimages/b.png,7,0\n"
    )
    write_text(tmp_path / "valid.csv", "Path,patient_id,Edema\nimages/c.png,8,0\n")
    patients = read_manifest(tmp_path).table["patient"]
    assert patients.tolist() == ["007", "7", "8"]  # ids are text: 007 is not 7


def test_chexpert_test_set_is_labelled_per_study(tmp_path: Path) -> None:
    for name in ("view1_frontal.jpg", "view2_lateral.jpg"):
        write_picture(tmp_path / "test" / "patient64741" / "study1" / name)
    write_picture(tmp_path / "test" / "patient64742" / "study1" / "view1_frontal.jpg")
    write_text(
        tmp_path / "groundtruth.csv",
        "Study,No Finding,Edema\n"
        "CheXpert-v1.0/test/patient64741/study1,0.0,1.0\n"
        "CheXpert-v1.0/test/patient64742/study1,1.0,0.0\n",
    )
    manifest = read_manifest(tmp_path, check_files=True)
    assert manifest.table["split"].tolist() == ["test"] * 3
    assert manifest.table["view"].tolist() == ["FRONTAL", "LATERAL", "FRONTAL"]
    assert manifest.table["Edema"].tolist() == [1, 1, 0]
    assert manifest.table["patient"].tolist() == ["patient64741", "patient64741", "patient64742"]


def test_sex_age_and_view_under_names_of_others(tmp_path: Path) -> None:
    write_text(
        tmp_path / "train.csv",
        "Path,Gender,PatientAge,view_position,Subject ID,Edema\n"
        "a.png,f,060Y,pa,1,1\nb.png,Male,011M,L,2,0\n",
    )
    for name in "ab":
        write_picture(tmp_path / f"{name}.png")
    manifest = read_manifest(tmp_path)
    table = manifest.table
    assert manifest.labels == ("Edema",) and manifest.joined == ()
    assert table["sex"].tolist() == ["Female", "Male"]
    assert table["age_years"].round(2).tolist() == [60, 0.92]
    assert table["view"].tolist() == ["PA", "LATERAL"]


def test_a_column_of_splits_in_train_csv_is_named(tmp_path: Path) -> None:
    lines = "Path,patient,split,Edema\na.png,1,train,1\nb.png,2,test,0\n"
    write_text(tmp_path / "train.csv", lines)
    for name in "ab":
        write_picture(tmp_path / f"{name}.png")
    *_, notes = inspect_manifest(tmp_path, keep_split=False)
    assert notes[0].startswith("train.csv: column 'split' looks like a split and was not asked")
    write_text(tmp_path / "train.csv", lines.replace("test", "training"))
    *_, notes = inspect_manifest(tmp_path, keep_split=False)
    assert len(notes) == 1 and notes[0].startswith("split: ")


def test_a_test_set_without_patients_leaves_those_of_training_known(tmp_path: Path) -> None:
    write_text(tmp_path / "train.csv", "Path,patient,Edema\na.png,1,1\nb.png,,0\n")
    write_text(tmp_path / "test.csv", "Path\nc.png\n")
    for name in "abc":
        write_picture(tmp_path / f"{name}.png")
    manifest, problems, _ = inspect_manifest(tmp_path, keep_split=False)
    assert manifest.patients_known
    assert len(problems) == 1 and "1 row without a patient id (b.png)" in problems[0]


def test_a_folder_of_patients_is_none_of_them(tmp_path: Path) -> None:
    write_text(tmp_path / "train.csv", "Path,Edema\npatients_2019/7/a.png,1\n")
    write_picture(tmp_path / "patients_2019" / "7" / "a.png")
    _, problems, _ = inspect_manifest(tmp_path, keep_split=False)
    assert len(problems) == 1 and "1 row without a patient id" in problems[0]


def test_labels_in_another_case_in_another_table_are_the_same(tmp_path: Path) -> None:
    write_text(tmp_path / "train.csv", "Path,patient,TB\na.png,1,1\nb.png,2,0\n")
    write_text(tmp_path / "valid.csv", "Path,patient,tb\nc.png,3,0\nd.png,4,1\n")
    manifest = read_manifest(tmp_path)
    assert manifest.labels == ("TB",) and manifest.table["TB"].tolist() == [1, 0, 0, 1]
