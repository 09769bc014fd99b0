"""Every source reader, on real files where they exist and on its documented dialect."""

from __future__ import annotations

import gzip
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from chexpert_factory import write_dataset
from pulmonet.config.schema import DataConfig
from pulmonet.data.boxes import read_boxes
from pulmonet.data.images.read import read_source_image
from pulmonet.data.manifest import Manifest
from pulmonet.data.sources import locate_dataset, read_manifest, remember_dataset
from pulmonet.data.sources.padchest import KINDS
from pulmonet.data.sources.rows import ROW_COLUMNS
from pulmonet.data.splits.choose import resolve_labels
from pulmonet.errors import ConfigError, DataError
from pulmonet.labels import CHEXPERT_LABELS

ROOT = Path(__file__).parents[3]


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (20, 24), dtype=np.uint8)
    cv2.imwrite(str(path), noise)


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def row_of(manifest: Manifest, path: str) -> pd.Series:
    return manifest.table[manifest.table["path"] == path].iloc[0]


# --- CheXpert -----------------------------------------------------------------------------


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
    text(
        tmp_path / "train.csv",
        "Path,Sex,Age,Frontal/Lateral,AP/PA,Edema,Effusion,site\n"
        "train/patient1/study1/view1_frontal.jpg,Male,50,Frontal,AP,1.0,-1.0,A\n"
        "train/patient1/study1/view2_lateral.jpg,Female,61,Lateral,,0.0,,A\n"
        "train/patient2/study1/view1_frontal.jpg,Unknown,0,Frontal,LL,,1,B\n",
    )
    text(
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
    text(
        tmp_path / "train.csv",
        "Path,patient_id,Edema\nimages/a.png,007,1\nimages/b.png,7,0\n",
    )
    text(tmp_path / "valid.csv", "Path,patient_id,Edema\nimages/c.png,8,0\n")
    patients = read_manifest(tmp_path).table["patient"]
    assert patients.tolist() == ["007", "7", "8"]  # ids are text: 007 is not 7


def test_chexpert_test_set_is_labelled_per_study(tmp_path: Path) -> None:
    for name in ("view1_frontal.jpg", "view2_lateral.jpg"):
        picture(tmp_path / "test" / "patient64741" / "study1" / name)
    picture(tmp_path / "test" / "patient64742" / "study1" / "view1_frontal.jpg")
    text(
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


# --- NIH ----------------------------------------------------------------------------------


def test_nih_in_its_own_layout(shared_data: Path) -> None:
    root = shared_data / "nih-native"
    manifest = read_manifest(root, check_files=True)
    raw = pd.read_csv(root / "Data_Entry_2017_v2020.csv")
    assert (manifest.source, len(manifest), len(manifest.labels)) == ("nih", 28, 15)
    tested = set((root / "test_list.txt").read_text().split())
    for row, line in enumerate(raw.itertuples(index=False)):
        got = manifest.table.iloc[row]
        findings = set(line[1].split("|"))
        assert got["path"].startswith("images/") and Path(got["path"]).stem == Path(line[0]).stem
        assert got["patient"] == str(line[3])
        assert (got["split"] == "test") == (line[0] in tested)
        assert got["Pleural Effusion"] == float("Effusion" in findings)
        assert got["Mass"] == float("Mass" in findings)
        assert got["No Finding"] == float("No Finding" in findings)
        assert (got["age_years"], got["view"]) == (line[4], line[6])
    assert set(manifest.table["split"]) == {"train", "valid", "test"}


def test_nih_2017_headers_ages_and_image_folders(tmp_path: Path) -> None:
    text(
        tmp_path / "Data_Entry_2017.csv",
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
        "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
        "00000001_000.png,Cardiomegaly|Effusion,0,1,058Y,M,PA,2682,2749,0.143,0.143,\n"
        "00000002_000.png,No Finding,0,2,011M,F,AP,2500,2048,0.168,0.168,\n"
        "00000003_000.png,Pleural_Thickening,0,3,414,F,PA,2500,2048,0.168,0.168,\n",
    )
    picture(tmp_path / "images_001" / "images" / "00000001_000.png")
    picture(tmp_path / "images_012" / "images" / "00000002_000.png")
    picture(tmp_path / "images_012" / "images" / "00000003_000.png")
    manifest = read_manifest(tmp_path, check_files=True)
    assert manifest.table["path"].tolist() == [
        "images_001/images/00000001_000.png",
        "images_012/images/00000002_000.png",
        "images_012/images/00000003_000.png",
    ]
    ages = manifest.table["age_years"].to_numpy()
    np.testing.assert_allclose(ages, [58, 11 / 12, np.nan])
    assert manifest.table["Pleural Effusion"].tolist() == [1, 0, 0]
    assert manifest.table["Pleural Thickening"].tolist() == [0, 0, 1]
    assert manifest.table["Hernia"].tolist() == [0, 0, 0]


# --- MIMIC, PadChest, VinDr, MedMNIST -----------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
def test_mimic(tmp_path: Path, zipped: bool) -> None:
    def write(name: str, content: str) -> None:
        if zipped:
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content.encode()))
        else:
            (tmp_path / name).write_text(content)

    write(
        "mimic-cxr-2.0.0-chexpert.csv",
        "subject_id,study_id,Atelectasis,Pleural Effusion\n"
        "10000032,50414267,1.0,-1.0\n10000032,53189527,,0.0\n",
    )
    write(
        "mimic-cxr-2.0.0-split.csv",
        "dicom_id,study_id,subject_id,split\n"
        "aa-1,50414267,10000032,train\nbb-2,53189527,10000032,train\n"
        "cc-3,59999999,19999999,validate\ndd-4,58888888,18888888,test\n",
    )
    write(
        "mimic-cxr-2.0.0-metadata.csv",
        "dicom_id,subject_id,study_id,ViewPosition,Rows,Columns\n"
        "aa-1,10000032,50414267,PA,3056,2544\nbb-2,10000032,53189527,LL,3056,2544\n"
        "cc-3,19999999,59999999,,1,1\n",
    )
    write("patients.csv", "subject_id,gender,anchor_age\n10000032,F,52\n")
    manifest = read_manifest(tmp_path)
    assert manifest.source == "mimic"
    table = manifest.table
    assert table["path"].iloc[0] == "files/p10/p10000032/s50414267/aa-1.jpg"
    assert table["split"].tolist() == ["train", "train", "valid", "test"]
    assert table["view"].tolist() == ["PA", "LATERAL", "", ""]
    assert table["sex"].tolist() == ["Female", "Female", "", ""]
    raw = manifest.raw_labels(("Atelectasis", "Pleural Effusion"))
    expected = [[1, -1], [np.nan, 0], [np.nan, np.nan], [np.nan, np.nan]]
    np.testing.assert_array_equal(raw, np.array(expected, np.float32))


def test_mimic_without_labels_says_what_is_needed(tmp_path: Path) -> None:
    text(tmp_path / "mimic-cxr-2.0.0-split.csv", "dicom_id,study_id,subject_id,split\n")
    with pytest.raises(DataError, match=r"needs its chexpert \(or negbio\) CSV"):
        read_manifest(tmp_path)


def test_padchest(tmp_path: Path) -> None:
    text(
        tmp_path / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv",
        ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,"
        "Projection,Labels,Report\n"
        "0,a.png,0,20140915,s1,p1,1944.0,F,PA,"
        "\"['pleural effusion', ' cardiomegaly', 'kyphosis']\",\"texto, con coma\"\n"
        "1,b.png,0,20140915,s1,p1,1944.0,F,L,['normal'],x\n"
        "2,c.png,0,20150915,s2,p2,,M,AP_horizontal,,x\n"
        "3,d.png,0,20150915,s3,p3,1990,M,COSTAL,\"['pulmonary edema', 'pneumonia', '']\",x\n"
        "4,e.png,0,20150915,s3,p3,1990,M,PA,\"['laminar atelectasis', 'hydropneumothorax']\",x\n"
        "5,f.png,0,20150915,s3,p3,1990,M,PA,[''],x\n",
    )
    for name in "abcdef":
        picture(tmp_path / "0" / f"{name}.png")
    manifest = read_manifest(tmp_path, check_files=True)
    assert manifest.labels == (
        "Atelectasis",
        "Cardiomegaly",
        "Edema",
        "No Finding",
        "Pleural Effusion",
        "Pneumonia",
        "Pneumothorax",
        "hydropneumothorax",
        "kyphosis",
        "laminar atelectasis",
    )
    table = manifest.table.set_index("path")
    assert table["view"].tolist() == ["PA", "LATERAL", "AP", "", "PA", "PA"]
    assert table.loc["0/a.png", ["Cardiomegaly", "kyphosis", "Edema"]].tolist() == [1, 1, 0]
    assert table.loc["0/a.png", "age_years"] == 70
    assert table.loc["0/b.png", "No Finding"] == 1
    assert table.loc["0/c.png", list(manifest.labels)].isna().all()
    assert table.loc["0/f.png", list(manifest.labels)].isna().all()
    kinds = ["Atelectasis", "laminar atelectasis", "Pleural Effusion", "Pneumothorax", "Edema"]
    assert table.loc["0/e.png", kinds].tolist() == [1, 1, 1, 1, 0]
    assert set(table["split"]) == {"train", "valid"}  # drawn, by patient


def test_vindr_takes_the_majority_of_its_readers(tmp_path: Path) -> None:
    text(
        tmp_path / "annotations" / "image_labels_train.csv",
        "image_id,rad_id,Cardiomegaly,Pleural thickening,Nodule/Mass,No finding\n"
        "aaa,R1,1,0,0,0\naaa,R2,1,0,0,0\naaa,R3,0,1,0,0\n"
        "bbb,R1,0,0,0,1\nbbb,R2,0,0,0,1\nbbb,R3,0,0,0,1\n",
    )
    text(
        tmp_path / "annotations" / "image_labels_test.csv",
        "image_id,Cardiomegaly,Pleural thickening,Nodule/Mass,No finding\nccc,0,1,0,0\n",
    )
    picture(tmp_path / "train" / "aaa.png")
    picture(tmp_path / "train" / "bbb.png")
    picture(tmp_path / "test" / "ccc.png")
    manifest = read_manifest(tmp_path, check_files=True)
    assert not manifest.patients_known
    assert manifest.labels == ("Cardiomegaly", "Pleural Thickening", "Nodule/Mass", "No Finding")
    assert row_of(manifest, "train/aaa.png")["Cardiomegaly"] == 1
    assert row_of(manifest, "train/aaa.png")["Pleural Thickening"] == 0
    assert row_of(manifest, "train/bbb.png")["No Finding"] == 1
    assert row_of(manifest, "test/ccc.png")["split"] == "test"


def test_vindr_without_labels_is_refused(tmp_path: Path) -> None:
    text(tmp_path / "image_labels_train.csv", "image_id,rad_id\naaa,R1\n")
    with pytest.raises(DataError, match=r"image_labels_train\.csv: has no label columns"):
        read_manifest(tmp_path)


def test_vindr_of_kaggle_counts_the_readers_who_drew_a_box(tmp_path: Path) -> None:
    text(
        tmp_path / "train.csv",
        "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n"
        "bbb,No finding,14,R1,,,,\nbbb,No finding,14,R2,,,,\nbbb,Cardiomegaly,3,R3,2,2,12,10\n"
        "aaa,Pleural effusion,10,R1,0,5,12,20\naaa,Pleural effusion,10,R1,12,5,24,20\n"
        "aaa,Pleural effusion,10,R2,0,5,12,20\naaa,Cardiomegaly,3,R3,2,2,12,10\n",
    )
    for name in ("aaa", "bbb"):
        picture(tmp_path / "train" / f"{name}.png")
    manifest = read_manifest(tmp_path, check_files=True)
    assert manifest.source == "vindr"
    assert manifest.table["path"].tolist() == ["train/bbb.png", "train/aaa.png"]
    assert manifest.labels == ("Cardiomegaly", "No Finding", "Pleural Effusion")
    assert manifest.raw_labels(manifest.labels).tolist() == [[0, 1, 0], [0, 0, 1]]
    boxes = read_boxes(manifest)
    assert len(boxes) == 5
    assert boxes.iloc[1].tolist() == ["train/aaa.png", "Pleural Effusion", 0, 0.25, 0.5, 1]


def test_kinds_of_findings_stand_in_the_docs() -> None:
    docs = (ROOT / "docs" / "labels.md").read_text()
    for label, kinds in KINDS.items():
        assert f"| {label} | {', '.join(kinds)} |" in docs


def test_pneumoniamnist(shared_data: Path) -> None:
    root = shared_data / "pneumoniamnist"
    manifest = read_manifest(root, check_files=True)
    with np.load(root / "pneumoniamnist.npz", allow_pickle=False) as arrays:
        labels, images = arrays["val_labels"], arrays["val_images"]
    assert manifest.table["split"].value_counts().to_dict() == {
        "train": 4708,
        "test": 624,
        "valid": 524,
    }
    assert not manifest.patients_known
    assert resolve_labels(manifest, ("all",)) == ("Pneumonia",)
    valid = np.flatnonzero(manifest.table["split"] == "valid")
    np.testing.assert_array_equal(manifest.table["Pneumonia"].to_numpy()[valid], labels[:, 0])
    np.testing.assert_array_equal(read_source_image(manifest, int(valid[17])), images[17])
    with pytest.raises(DataError, match=r"no column for 'Edema'.*choose with --labels"):
        resolve_labels(manifest, ("Edema",))


def test_chestmnist_has_its_14_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for split, n in (("train", 6), ("val", 3), ("test", 2)):
        arrays[f"{split}_images"] = rng.integers(0, 255, (n, 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = rng.integers(0, 2, (n, 14), dtype=np.uint8)
    np.savez(tmp_path / "chestmnist_64.npz", **arrays)
    manifest = read_manifest(tmp_path / "chestmnist_64.npz")
    assert manifest.name == "chestmnist_64"
    assert manifest.labels[0] == "Atelectasis"
    assert manifest.labels[2] == "Pleural Effusion"
    assert manifest.labels[12:] == ("Pleural Thickening", "Hernia")
    np.testing.assert_array_equal(manifest.raw_labels(manifest.labels)[:6], arrays["train_labels"])
    np.testing.assert_array_equal(read_source_image(manifest, 8), arrays["val_images"][2])


def test_other_npz_files_are_refused(tmp_path: Path) -> None:
    arrays = {"train_images": np.zeros((2, 8, 8), np.uint8), "train_labels": np.eye(2)}
    np.savez(tmp_path / "retinamnist.npz", **arrays)
    with pytest.raises(DataError, match="2 label columns under this name"):
        read_manifest(tmp_path)
    (tmp_path / "retinamnist.npz").write_bytes(b"PK\x03\x04 nonsense")
    with pytest.raises(DataError, match="not a readable npz"):
        read_manifest(tmp_path)
    pickled = np.array([{"a": 1}], dtype=object)
    np.savez(tmp_path / "retinamnist.npz", train_images=pickled, train_labels=pickled)
    with pytest.raises(DataError, match="not a readable npz"):
        read_manifest(tmp_path)


# --- any CSV ------------------------------------------------------------------------------

FOREIGN = (
    "FileName,PatientID,Gender,Years,Set,Pos,Edema,TB,Hospital\n"
    "a.png,p1,M,40,training,AP,1,0,X\n"
    "b.png,p2,F,50,validation,lateral,-1,1,Y\n"
    "c.png,p3,F,,testing,,,1,Y\n"
)
MAPPING = {
    "path": "FileName",
    "patient": "PatientID",
    "sex": "Gender",
    "age": "Years",
    "split": "Set",
    "view": "Pos",
    "folder": "pictures",
}


def test_any_csv_with_a_mapping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text(tmp_path / "labels.csv", FOREIGN)
    for name in "abc":
        picture(tmp_path / "pictures" / f"{name}.png")
    manifest = read_manifest(tmp_path, DataConfig(map=MAPPING), check_files=True)
    table = manifest.table
    assert manifest.labels == ("Edema", "TB")
    assert manifest.joined == ("Hospital",)
    assert table["path"].tolist() == [f"pictures/{name}.png" for name in "abc"]
    assert table["split"].tolist() == ["train", "valid", "test"]
    assert table["view"].tolist() == ["AP", "LATERAL", ""]
    assert table["sex"].tolist() == ["Male", "Female", "Female"]
    remember_dataset(tmp_path, MAPPING)  # later runs need no --map
    assert locate_dataset(str(tmp_path)) == tmp_path
    assert read_manifest(tmp_path).table.equals(table)
    monkeypatch.chdir(tmp_path / "pictures")
    assert locate_dataset(None) == tmp_path


def test_a_mapping_of_findings_in_words(tmp_path: Path) -> None:
    text(tmp_path / "x.csv", "f,p,what\na.png,1,Effusion; Mass\nb.png,2,\nc.png,3,normal\n")
    data = DataConfig(
        map={"path": "f", "patient": "p", "findings": "what", "separator": ";"},
    )
    manifest = read_manifest(tmp_path, data)
    assert manifest.labels == ("Mass", "No Finding", "Pleural Effusion")
    expected = [[1, 0, 1], [np.nan] * 3, [0, 1, 0]]
    np.testing.assert_array_equal(manifest.raw_labels(manifest.labels), np.array(expected))


def test_labels_in_words_where_the_column_is_a_label(tmp_path: Path) -> None:
    text(
        tmp_path / "x.csv",
        "f,p,Fracture,smoker,TB\na.png,1,YES,yes,True\nb.png,2,no,no,false\nc.png,3,,no,\n",
    )
    columns = {"path": "f", "patient": "p"}
    manifest = read_manifest(tmp_path, DataConfig(map=columns))
    assert (manifest.labels, manifest.joined) == (("Fracture",), ("smoker", "TB"))
    manifest = read_manifest(tmp_path, DataConfig(map={**columns, "labels": "Fracture|TB"}))
    assert manifest.labels == ("Fracture", "TB")
    expected = [[1, 1], [0, 0], [np.nan, np.nan]]
    np.testing.assert_array_equal(manifest.raw_labels(manifest.labels), np.array(expected))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"paht": "FileName"}, r"--map paht: unknown \(did you mean 'path'"),
        ({"patient": "PatientId"}, "did you mean 'PatientID'"),
        ({"labels": "Edema|Fever"}, "no column 'Fever'"),
        ({"csv": "../labels.csv"}, "no such file"),
    ],
)
def test_a_wrong_mapping_is_a_config_error(
    tmp_path: Path, change: dict[str, str], message: str
) -> None:
    text(tmp_path / "labels.csv", FOREIGN)
    with pytest.raises(ConfigError, match=message):
        read_manifest(tmp_path, DataConfig(map={**MAPPING, **change}))


def test_a_foreign_csv_without_mapping_asks_for_one(tmp_path: Path) -> None:
    text(tmp_path / "labels.csv", FOREIGN)
    assert locate_dataset(str(tmp_path)) == tmp_path
    with pytest.raises(DataError, match=r"labels.csv: a file; name its folder"):
        locate_dataset(str(tmp_path / "labels.csv"))
    with pytest.raises(DataError, match="--map path=COLUMN --map patient=COLUMN"):
        read_manifest(tmp_path)


# --- where it is --------------------------------------------------------------------------


def test_data_is_found_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = {
        name: write_dataset(tmp_path / name / "set", n_train=2, n_valid=2, side=32)
        for name in ("flag", "environment", "data", "remembered")
    }
    monkeypatch.chdir(tmp_path)
    remember_dataset(roots["remembered"])
    monkeypatch.setenv("PULMONET_DATA_DIR", str(tmp_path / "environment"))
    assert locate_dataset(str(tmp_path / "flag")) == roots["flag"]
    assert locate_dataset(None) == roots["environment"]
    monkeypatch.delenv("PULMONET_DATA_DIR")
    assert locate_dataset(None).resolve() == roots["data"]
    (tmp_path / "data").rename(tmp_path / "moved")
    assert locate_dataset(None) == roots["remembered"]
    (tmp_path / "remembered").rename(tmp_path / "moved too")
    with pytest.raises(DataError, match=r"looked in .*/data .*and .*remembered/set"):
        locate_dataset(None)
