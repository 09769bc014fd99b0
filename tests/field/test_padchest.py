"""PadChest's layout."""

from __future__ import annotations

from pathlib import Path

from pulmonet.data.sources import read_manifest
from pulmonet.data.sources.layouts import LAYOUTS
from small_dataset import write_picture, write_text

ROOT = Path(__file__).parents[2]


def test_padchest(tmp_path: Path) -> None:
    write_text(
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
        write_picture(tmp_path / "0" / f"{name}.png")
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


def test_kinds_of_findings_stand_in_the_docs() -> None:
    docs = (ROOT / "docs" / "labels.md").read_text()
    for label, kinds in LAYOUTS["padchest"].kinds.items():
        assert f"| {label} | {', '.join(kinds)} |" in docs
