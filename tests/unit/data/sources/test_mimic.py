"""MIMIC-CXR-JPG's layout."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from pulmonet.data.sources import read_manifest
from pulmonet.errors import DataError
from small_dataset import write_text


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
    write_text(tmp_path / "mimic-cxr-2.0.0-split.csv", "dicom_id,study_id,subject_id,split\n")
    with pytest.raises(DataError, match=r"needs its chexpert \(or negbio\) CSV"):
        read_manifest(tmp_path)
