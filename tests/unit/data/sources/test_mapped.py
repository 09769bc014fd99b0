"""Any CSV under a mapping."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pulmonet.config.fields import DataConfig
from pulmonet.data.sources import locate_dataset, read_manifest, remember_dataset
from pulmonet.errors import ConfigError, DataError
from small_dataset import write_picture, write_text

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
    write_text(tmp_path / "labels.csv", FOREIGN)
    for name in "abc":
        write_picture(tmp_path / "pictures" / f"{name}.png")
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
    write_text(tmp_path / "x.csv", "f,p,what\na.png,1,Effusion; Mass\nb.png,2,\nc.png,3,normal\n")
    data = DataConfig(map={"path": "f", "patient": "p", "findings": "what", "separator": ";"})
    manifest = read_manifest(tmp_path, data)
    assert manifest.labels == ("Mass", "No Finding", "Pleural Effusion")
    expected = [[1, 0, 1], [np.nan] * 3, [0, 1, 0]]
    np.testing.assert_array_equal(manifest.raw_labels(manifest.labels), np.array(expected))


def test_labels_in_words_where_the_column_is_a_label(tmp_path: Path) -> None:
    write_text(
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
    write_text(tmp_path / "labels.csv", FOREIGN)
    with pytest.raises(ConfigError, match=message):
        read_manifest(tmp_path, DataConfig(map={**MAPPING, **change}))


def test_a_foreign_csv_without_mapping_asks_for_one(tmp_path: Path) -> None:
    write_text(tmp_path / "labels.csv", FOREIGN)
    assert locate_dataset(str(tmp_path)) == tmp_path
    with pytest.raises(DataError, match=r"labels.csv: a file; name its folder"):
        locate_dataset(str(tmp_path / "labels.csv"))
    with pytest.raises(DataError, match="--map path=COLUMN --map patient=COLUMN"):
        read_manifest(tmp_path)
