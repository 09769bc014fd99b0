"""Large collections as they are unpacked: where splits, patients, labels and images come from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pulmonet.cli.main import main
from pulmonet.config.fields import DataConfig
from pulmonet.data.manifest import Manifest
from pulmonet.data.sources import locate_dataset, read_manifest
from pulmonet.errors import DataError
from pulmonet.labels import CHEXPERT_LABELS
from small_dataset import write_dicom, write_picture, write_text

HEADER = "Path,Sex,Age,Frontal/Lateral,AP/PA," + ",".join(CHEXPERT_LABELS)


def chexpert_lines(root_name: str, split: str, patients: range) -> str:
    """A table in which every other patient has all findings."""
    cells = {0: ",".join(["0.0"] * 14), 1: ",".join(["1.0"] * 14)}
    lines = [
        f"{root_name}/{split}/patient{p:05d}/study1/view1_frontal.jpg,Male,50,Frontal,AP,"
        + cells[p % 2]
        for p in patients
    ]
    return "\n".join([HEADER, *lines]) + "\n"


def by_patient(manifest: Manifest, column: str) -> dict[str, object]:
    return dict(zip(manifest.table["patient"], manifest.table[column], strict=True))


def test_chexpert_in_full_size(tmp_path: Path) -> None:
    root = tmp_path / "chexpertchestxrays-u20210408"
    first = root / "CheXpert-v1.0 batch 1 (validate & csv)"
    write_text(first / "train.csv", chexpert_lines("CheXpert-v1.0", "train", range(1, 7)))
    write_text(first / "valid.csv", chexpert_lines("CheXpert-v1.0", "valid", range(7, 11)))
    write_text(root / "train_cheXbert.csv", chexpert_lines("CheXpert-v1.0", "train", range(1, 7)))
    for p in range(1, 7):
        batch = root / f"CheXpert-v1.0 batch {p % 3 + 2} (train {p % 3 + 1})"
        write_picture(batch / f"patient{p:05d}" / "study1" / "view1_frontal.jpg", p)
    for p in range(7, 11):
        write_picture(first / f"valid/patient{p:05d}/study1/view1_frontal.jpg", p)
    assert locate_dataset(str(tmp_path)) == root
    manifest = read_manifest(root, check_files=True)
    assert manifest.source == "chexpert" and manifest.unread == ("train_cheXbert.csv",)
    paths = by_patient(manifest, "path")
    assert paths["patient00004"] == (
        "CheXpert-v1.0 batch 3 (train 2)/patient00004/study1/view1_frontal.jpg"
    )
    assert str(paths["patient00009"]).endswith("csv)/valid/patient00009/study1/view1_frontal.jpg")
    assert manifest.table["split"].tolist() == ["train"] * 6 + ["valid"] * 4
    np.testing.assert_array_equal(manifest.table["Edema"], [1, 0] * 5)
    with pytest.raises(DataError, match="name the folder that holds all of them"):
        read_manifest(first)


def test_chexpert_in_full_size_without_its_first_batch(tmp_path: Path) -> None:
    write_text(tmp_path / "train_cheXbert.csv", chexpert_lines("CheXpert-v1.0", "train", range(4)))
    batch = tmp_path / "CheXpert-v1.0 batch 2 (train 1)"
    batch.mkdir()
    with pytest.raises(DataError, match="no dataset there"):
        locate_dataset(str(batch))
    for p in range(4):
        write_picture(batch / f"patient{p:05d}" / "study1" / "view1_frontal.jpg", p)
    manifest = read_manifest(tmp_path, check_files=True)
    assert len(manifest) == 4 and {*manifest.table["split"]} == {"train", "valid"}
    (tmp_path / "train_cheXbert.csv").unlink()
    with pytest.raises(DataError, match="unpack batch 1"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("folder", ["PNG", "DICOM"])
def test_chexpert_plus(tmp_path: Path, folder: str) -> None:
    lines = [
        "path_to_image,path_to_dcm,frontal_lateral,ap_pa,deid_patient_id,report,age,sex,race,split"
    ]
    labels = []
    for p in range(6):
        path = f"train/patient{p:05d}/study{p}/view1_frontal"
        lines.append(
            f'{path}.jpg,{path}.dcm,Frontal,PA,patient{p:05d},"two\nlines",5{p}.0,Female,White,'
            f"{'train' if p < 4 else 'valid'}"
        )
        said = {"Edema": 1.0, "Pneumonia": -1.0 if p else 0.0, "Fracture": None}
        labels.append(json.dumps({"path_to_image": f"{path}.jpg", **said}))
        if folder == "PNG":
            write_picture(tmp_path / "PNG" / f"{path}.png", p)
        else:
            (tmp_path / "DICOM" / path).parent.mkdir(parents=True)
            picture = np.arange(64, dtype=np.uint16).reshape(8, 8) * (p + 1)
            write_dicom(tmp_path / "DICOM" / f"{path}.dcm", picture)
    write_text(tmp_path / "df_chexpert_plus_240401.csv", "\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"unpack chexbert_labels\.zip"):
        read_manifest(tmp_path)
    write_text(tmp_path / "chexbert_labels" / "impression_fixed.json", "{}\n")
    with pytest.raises(DataError, match="not a JSON object with path_to_image"):
        read_manifest(tmp_path)
    write_text(tmp_path / "chexbert_labels" / "report_fixed.json", "\n".join(labels[:5]) + "\n\n")
    manifest = read_manifest(tmp_path, check_files=True)
    table = manifest.table
    assert (manifest.source, manifest.joined) == ("chexpert-plus", ("race",))
    assert manifest.labels == CHEXPERT_LABELS
    assert table["split"].tolist() == ["train"] * 4 + ["valid"] * 2
    assert table["patient"].tolist() == [f"patient{p:05d}" for p in range(6)]
    assert table["study"].iloc[3] == "patient00003/study3"
    assert table["path"].str.startswith(f"{folder}/train/patient").all()
    assert (table["view"] == "PA").all() and table["age_years"].tolist() == list(range(50, 56))
    np.testing.assert_array_equal(table["Pneumonia"], [0, -1, -1, -1, -1, np.nan])
    assert table["Fracture"].isna().all()


def test_chexlocalize(tmp_path: Path) -> None:
    root = tmp_path / "CheXpert"
    write_text(root / "val_labels.csv", chexpert_lines("CheXpert-v1.0", "valid", range(4)))
    write_text(root / "test_labels.csv", chexpert_lines("CheXpert", "test", range(10, 14)))
    for p in range(4):
        write_picture(root / f"val/patient{p:05d}/study1/view1_frontal.jpg", p)
        write_picture(root / f"test/patient{p + 10:05d}/study1/view1_frontal.jpg", p + 10)
    manifest = read_manifest(locate_dataset(str(tmp_path)), check_files=True)
    assert manifest.table["split"].tolist() == ["valid"] * 4 + ["test"] * 4
    assert manifest.table["path"].iloc[0] == "val/patient00000/study1/view1_frontal.jpg"
    assert manifest.table["path"].iloc[4] == "test/patient00010/study1/view1_frontal.jpg"


def test_nih_sample_and_its_copy(tmp_path: Path) -> None:
    lines = ["Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender"]
    for p in range(5):
        lines.append(f"0000000{p}_000.png,{'Mass' if p else 'No Finding'},0,{p},060Y,M")
        for folder in ("sample/images", "sample/sample/images"):  # Kaggle has them twice
            write_picture(tmp_path / folder / f"0000000{p}_000.png", p)
    write_text(tmp_path / "sample_labels.csv", "\n".join(lines) + "\n")
    manifest = read_manifest(tmp_path, check_files=True)
    assert manifest.source == "nih" and len(manifest.labels) == 15
    assert manifest.table["path"].iloc[0] == "sample/images/00000000_000.png"
    assert manifest.table["Mass"].tolist() == [0, 1, 1, 1, 1]


def write_mimic(root: Path, patients: range) -> list[str]:
    """MIMIC's tables of one image a patient; its paths without an ending."""
    names = [f"{p:08d}-aaaa-bbbb" for p in patients]
    rows = list(zip(names, patients, strict=True))
    splits = [("train", "train", "validate")[number % 3] for number in range(len(rows))]
    image = "".join(
        f"{name},5{p:07d},1{p:07d},{split}\n" for (name, p), split in zip(rows, splits, strict=True)
    )
    study = "".join(f"1{p:07d},5{p:07d},{p % 2}.0\n" for p in patients)
    write_text(root / "mimic-cxr-2.0.0-split.csv", f"dicom_id,study_id,subject_id,split\n{image}")
    write_text(root / "mimic-cxr-2.0.0-chexpert.csv", f"subject_id,study_id,Edema\n{study}")
    return [f"files/p1{p // 10**6}/p1{p:07d}/s5{p:07d}/{name}" for name, p in rows]


@pytest.mark.parametrize("ending", ["jpg", "png", "dcm", "dcm.png"])
def test_mimic_in_any_format(tmp_path: Path, ending: str) -> None:
    paths = write_mimic(tmp_path, range(5))
    for path in paths:
        write_picture(tmp_path / f"{path}.png")
        (tmp_path / f"{path}.png").rename(tmp_path / f"{path}.{ending}")
    manifest = read_manifest(tmp_path, check_files=True)
    assert manifest.table["path"].tolist() == [f"{path}.{ending}" for path in paths]


def test_mimic_partly_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "mimic"
    paths = write_mimic(root, range(0, 9_000_000, 150_000))
    for number, path in enumerate(paths[:7]):
        write_picture(root / f"{path}.jpg", number)
    assert main(["prepare", str(root), "--check-only", "--labels", "Edema"]) == 3
    said = capsys.readouterr().err
    assert "53 of 60 images are missing (folders that are not there: files/p11, files/p12" in said
    assert "--skip-bad" in said and len(said.splitlines()) < 12
    assert main(["prepare", str(root), "--skip-bad", "--labels", "Edema"]) == 0
    assert len(capsys.readouterr().err.splitlines()) < 12


def test_padchest_resized_in_two_sizes(tmp_path: Path) -> None:
    lines = ["ImageID,ImageDir,PatientID,Labels"]
    for p in range(5):
        lines.append(f"21684000{p}_0{p}-000-111.png,{p},p{p},\"['cardiomegaly']\"")
        for folder in ("images-224", "images-512"):
            write_picture(tmp_path / folder / f"21684000{p}_0{p}-000-111.png", p)
    write_text(tmp_path / "PADCHEST_chest_x_ray_images_labels_160K.csv", "\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"5 paths fit several files .*--map folder=images-224"):
        read_manifest(tmp_path, check_files=True)
    data = DataConfig(map={"folder": "images-224"})
    manifest = read_manifest(tmp_path, data, check_files=True)
    assert manifest.source == "padchest" and manifest.table["Cardiomegaly"].eq(1).all()
    assert manifest.table["path"].str.startswith("images-224/2168").all()
