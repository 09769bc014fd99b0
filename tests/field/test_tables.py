"""Datasets whose tables are as people's disks have them: through `pulmonet prepare`."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from chexpert_factory import write_dataset
from pulmonet.cli.main import main
from pulmonet.config.fields import DataConfig
from pulmonet.data.sources import inspect_manifest, read_manifest
from pulmonet.errors import DataError
from pulmonet.labels import CHEXPERT_LABELS
from small_dataset import write_picture, write_text


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_dataset(tmp_path / "set", n_train=8, n_valid=4, side=32)


def prepare(root: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, str]:
    code = main(["prepare", str(root), "--check-only", *flags])
    shown = capsys.readouterr()
    return code, " ".join((shown.out + shown.err).split())


NAMES = ["val.csv", "validation.csv", "dev.csv", "val_labels.csv", "Valid.CSV", "labels_val.csv"]


@pytest.mark.parametrize("name", NAMES)
def test_a_validation_table_by_any_name(
    root: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (root / "valid.csv").rename(root / name)
    (root / "train.csv").rename(root / "train_labels.csv")
    code, said = prepare(root, capsys)
    assert code == 0 and "train: 8 images" in said and "valid: 4 images" in said
    assert "drawn" not in said and "not read" not in said


def test_a_table_that_nobody_reads_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "valid.csv").rename(root / "my_holdout.csv")
    (root / "._train.csv").write_bytes(b"\0\5\x16\7")
    (root / "val_list.txt").write_text("a.png\n")
    (root / "README.txt").write_text("pictures\n")
    code, said = prepare(root, capsys)
    assert code == 0 and "not read: my_holdout.csv, val_list.txt; if it belongs" in said
    assert "the source has no validation split" not in said
    assert "no table that was read has a validation split" in said
    assert "usable; see the warnings" in said
    (root / "my_holdout.csv").unlink()
    (root / "val_list.txt").unlink()
    code, said = prepare(root, capsys)
    assert "not read" not in said  # the split that was kept


def test_tables_that_the_user_names_are_not_called_unread(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "sites.csv").write_text("patient,site\npatient00001,north\n")
    (root / "mine.csv").write_text("patient,split\npatient00001,train\n")
    flags = ["--join", str(root / "sites.csv"), "--splits", str(root / "mine.csv")]
    assert "not read" not in prepare(root, capsys, *flags)[1]
    assert "not read: mine.csv, sites.csv" in prepare(root, capsys)[1]
    flags = ["--map", "path=Path", "--map", "csv=train.csv"]
    assert "not read" not in prepare(root, capsys, *flags)[1]


def test_images_that_pandas_made_numbers_of(tmp_path: Path) -> None:
    write_text(tmp_path / "x.csv", "image,who,Edema\n17.0,1.0,1\n18.0,2.0,0\n")
    for name in ("17", "18"):
        write_picture(tmp_path / f"{name}.png")
    data = DataConfig(map={"path": "image", "patient": "who"})
    table = read_manifest(tmp_path, data, check_files=True).table
    assert table["path"].tolist() == ["17.png", "18.png"]
    assert table["patient"].tolist() == ["1", "2"]


def test_a_patient_column_wins_over_folders(tmp_path: Path) -> None:
    write_text(
        tmp_path / "train.csv",
        "Path,Patient ID,Edema\n"
        "patients/a.jpg,7,1\npatient12/study1/b.jpg,7,0\npatient12/study1/c.jpg,,0\n"
        "patient12/study1/d.jpg,patient12,1\npatient0/patient13/study2/e.jpg,,1\n",
    )
    table = read_manifest(tmp_path).table
    assert table["patient"].tolist() == ["7", "7", "patient12", "patient12", "patient13"]
    assert table["study"].tolist() == [
        "7/patients/a.jpg",
        "7/patient12/study1",
        "patient12/study1",
        "patient12/study1",
        "patient13/study2",
    ]


def test_a_folder_without_digits_names_no_patient(tmp_path: Path) -> None:
    write_text(tmp_path / "train.csv", "Path,Edema\npatients/a.jpg,1\npatients/b.jpg,0\n")
    with pytest.raises(DataError, match="2 rows without a patient id"):
        read_manifest(tmp_path)


def test_rows_with_too_few_cells(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (root / "train.csv").read_text().splitlines()
    lines[3] = ",".join(lines[3].split(",")[:7])
    (root / "train.csv").write_text("\n".join(lines) + "\n")
    code, said = prepare(root, capsys)
    assert code == 3 and "train.csv" in said and "line 4 has 7 of 19" in said


def test_beside_chexperts_labels_others_are_labels_where_asked_for(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        lines = [",".join(["Path", "Tuberculosis", "fold", "checked", "Mass", *CHEXPERT_LABELS])]
        for row in range(3):
            path, tuberculosis = f"{split}/patient{split}{row}/a.jpg", "01"[row % 2]
            lines.append(",".join([path, tuberculosis, "0", "1", "", "1", *[""] * 13]))
        write_text(tmp_path / f"{split}.csv", "\n".join(lines) + "\n")
    manifest = read_manifest(tmp_path)
    assert manifest.labels == ("Mass", *CHEXPERT_LABELS)  # Mass is a finding by its name
    assert manifest.joined == ("Tuberculosis", "fold", "checked")
    manifest = read_manifest(tmp_path, DataConfig(labels=("Edema", "tuberculosis")))
    assert manifest.labels == ("Mass", *CHEXPERT_LABELS, "Tuberculosis")
    assert manifest.joined == ("fold", "checked")
    assert manifest.table["Tuberculosis"].tolist() == [0, 1, 0] * 2


def test_columns_that_never_vary_or_describe_rows_are_no_labels(tmp_path: Path) -> None:
    header = "Path,Edema,TB,is_frontal,Sex Male,fold,checked,empty"
    write_text(
        tmp_path / "train.csv",
        f"{header}\npatient1/a.jpg,1,1,1,1,0,1,\npatient2/b.jpg,1,0,0,0,1,1,\n",
    )
    # the only value here, and another one in train.csv: a label of both files
    write_text(tmp_path / "valid.csv", f"{header}\npatient3/a.jpg,1,0,1,1,0,1,\n")
    manifest = read_manifest(tmp_path)
    assert manifest.labels == ("Edema", "TB", "Sex Male")
    assert manifest.table["TB"].tolist() == [1, 0, 0]


def test_ids_that_pandas_made_numbers_of(tmp_path: Path) -> None:
    write_text(
        tmp_path / "train.csv",
        "Path,patient_id,Edema\na.png,10000001.0,1\nb.png,,0\nc.png,10000002.0,0\n",
    )
    _, problems, _ = inspect_manifest(tmp_path)
    assert len(problems) == 1 and "1 row without a patient id (b.png)" in problems[0]
    other = tmp_path / "other"
    write_text(other / "train.csv", "Path,patient_id,Edema\na.png,10000001,1\nb.png,007,0\n")
    write_text(tmp_path / "more.csv", "subject_id,race\n10000001.0,X\n7.0,Y\n")
    manifest = read_manifest(other, DataConfig(join=str(tmp_path / "more.csv")))
    assert manifest.table["patient"].tolist() == ["10000001", "007"]
    assert manifest.table["race"].tolist() == ["X", ""]


def test_a_split_file_of_other_patients(tmp_path: Path) -> None:
    write_text(tmp_path / "train.csv", "Path,patient,Edema\na.png,11,1\nb.png,12,0\n")
    write_text(tmp_path / "splits.csv", "patient,split\n11.0,train\n12.0,val\n")
    assert read_manifest(tmp_path).table["split"].tolist() == ["train", "valid"]
    write_text(tmp_path / "splits.csv", "patient,split\npatient11,train\npatient12,val\n")
    with pytest.raises(DataError, match=r"none of the dataset's patients \(there 'patient11', in"):
        read_manifest(tmp_path)


def test_ids_that_a_spreadsheet_shortened(tmp_path: Path) -> None:
    write_text(tmp_path / "train.csv", "Path,patient_id,Edema\na.png,8.3986E+35,1\nb.png,1,0\n")
    with pytest.raises(DataError, match=r"train.csv: 8.3986E\+35 in column 'patient_id' is no id"):
        read_manifest(tmp_path)


def test_decimal_commas(tmp_path: Path) -> None:
    write_text(
        tmp_path / "train.csv",
        "Path;Age;Edema\npatient1/a.jpg;54,5;1,0\npatient2/b.jpg;0,25;-1,0\npatient3/c;1,234;\n",
    )
    table = read_manifest(tmp_path).table
    assert table["age_years"].fillna(-9).tolist() == [54.5, 0.25, -9]  # 1,234: who knows
    assert table["Edema"].fillna(9).tolist() == [1, -1, 9]


@pytest.mark.parametrize("typed", [".", "..", "../set/", "./"])
def test_a_dataset_named_by_dots_has_its_folders_name(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    monkeypatch.chdir(root / "train" if typed == ".." else root)
    code = main(["prepare", typed, "--image-size", "32", "--out-dir", str(root.parent / "out")])
    assert (code, "Dataset: set (" in capsys.readouterr().out) == (0, True)
    report = json.loads((root.parent / "out" / "prepare_report.json").read_text())
    assert report["dataset"]["name"] == "set"
    assert report["dataset"]["root"].endswith("/set")
    monkeypatch.chdir(root.parent)
    (root.parent / "data").mkdir()
    assert main(["prepare", "--check-only"]) == 0  # remembered, wherever one stands
    assert "Dataset: set (" in capsys.readouterr().out


def test_where_dots_write(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "train")
    assert main(["prepare", "..", "--check-only"]) == 0
    assert Path("artifacts", "prepare", "set", "prepare_report.json").is_file()
    assert not Path("artifacts", "prepare_report.json").exists()


def test_lists_under_other_names(tmp_path: Path) -> None:
    names = [f"0000000{number}_000" for number in range(6)]
    table = "\n".join(f"{name}.jpg,No Finding,{name[:8]}" for name in names)
    header = "Image Index,Finding Labels,Patient ID"
    write_text(tmp_path / "Data_Entry_2017.csv", f"{header}\n{table}\n")
    for name in names:
        write_picture(tmp_path / "images" / f"{name}.jpg")
    write_text(tmp_path / "train_list.txt", "".join(f"{name}.png 0 1\n" for name in names[:3]))
    (tmp_path / "my_val_list_v2.txt").write_bytes(f"images/{names[3]}.png\r\n".encode("utf-16"))
    write_text(tmp_path / "test_list_NIH.txt", "\n".join(f"{name}.png" for name in names[4:]))
    manifest = read_manifest(tmp_path, check_files=True)
    assert manifest.table["split"].tolist() == ["train"] * 3 + ["valid"] + ["test"] * 2
    assert manifest.unread == ()
    write_text(tmp_path / "test_list_NIH.txt", "a.png\n")
    with pytest.raises(DataError, match=r"test_list_NIH.txt: names none of the 6 images"):
        read_manifest(tmp_path)


def test_padchest_rows_without_a_finding_are_blank(tmp_path: Path) -> None:
    cells = ["['normal']", "['exclude']", "['unchanged']", "['']", "nan", "[]"]
    cells += ["\"['exclude', 'cardiomegaly']\"", "\"['unchanged', 'cardiomegaly']\""]
    lines = [f"{row}.png,0,p{row},{cell}" for row, cell in enumerate(cells)]
    write_text(
        tmp_path / "PADCHEST_chest_x_ray_images_labels_160K.csv",
        "ImageID,ImageDir,PatientID,Labels\n" + "\n".join(lines) + "\n",
    )
    manifest = read_manifest(tmp_path)
    assert manifest.labels == ("Cardiomegaly", "No Finding")
    assert manifest.table["Cardiomegaly"].fillna(9).tolist() == [0, 9, 9, 9, 9, 9, 9, 1]


def test_mimic_tables_of_different_studies_are_named(tmp_path: Path) -> None:
    labels = "subject_id,study_id,Edema\n1,5,1\n1,6,0\n"
    write_text(tmp_path / "mimic-cxr-2.0.0-chexpert.csv", labels)
    write_text(
        tmp_path / "mimic-cxr-2.0.0-split.csv", "dicom_id,study_id,subject_id,split\na,7,1,train\n"
    )
    with pytest.raises(DataError, match=r"none of the studies of .*split.csv \(there 5, here 7\)"):
        read_manifest(tmp_path)


def test_two_policies_for_one_label(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--uncertain-policy", "Effusion=ones,pleural_effusion=zeros"]
    assert main(["train", "--data-dir", str(root), "--epochs", "1", *flags]) == 2
    assert "'pleural_effusion' is 'Pleural Effusion', which has ones" in capsys.readouterr().err


def test_parquet_tables_of_a_dataset(root: Path) -> None:
    pytest.importorskip("pyarrow")
    expected = read_manifest(root).table
    for split in ("train", "valid"):
        pd.read_csv(root / f"{split}.csv").to_parquet(root / f"{split}.parquet")
        (root / f"{split}.csv").unlink()
    assert read_manifest(root).table.equals(expected)
