"""NIH ChestX-ray14's layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pulmonet.data.sources import read_manifest
from pulmonet.errors import DataError
from small_dataset import write_picture, write_text


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
    write_text(
        tmp_path / "Data_Entry_2017.csv",
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
        "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
        "00000001_000.png,Cardiomegaly|Effusion,0,1,058Y,M,PA,2682,2749,0.143,0.143,\n"
        "00000002_000.png,No Finding,0,2,011M,F,AP,2500,2048,0.168,0.168,\n"
        "00000003_000.png,Pleural_Thickening,0,3,414,F,PA,2500,2048,0.168,0.168,\n",
    )
    write_picture(tmp_path / "images_001" / "images" / "00000001_000.png")
    write_picture(tmp_path / "images_012" / "images" / "00000002_000.png")
    write_picture(tmp_path / "images_012" / "images" / "00000003_000.png")
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


def test_lists_of_nih_that_share_images(tmp_path: Path) -> None:
    header = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,x\n"
    names = [f"0000000{n}_000.png" for n in range(4)]
    rows = [f"{name},Edema,0,{n},58,M,PA\n" for n, name in enumerate(names)]
    write_text(tmp_path / "Data_Entry_2017.csv", header + "".join(rows))
    for name in names:
        write_picture(tmp_path / "images" / name)
    write_text(tmp_path / "train_val_list.txt", "\n".join(names[:3]))
    write_text(tmp_path / "a_val_list.txt", names[0])  # read before the one that holds it
    write_text(tmp_path / "test_list.txt", names[3])
    table = read_manifest(tmp_path).table
    assert table["split"].tolist() == ["valid", "train", "train", "test"]
    write_text(tmp_path / "test_list.txt", "\n".join(names[2:]))
    message = r"train_val_list.txt: 1 image in a list of test and another one \(e.g. 00000002_000"
    with pytest.raises(DataError, match=message):
        read_manifest(tmp_path)
