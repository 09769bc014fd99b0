"""Any CSV under a mapping."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pulmonet.config.fields import DataConfig
from pulmonet.data.sources import locate_dataset, read_manifest, remember_dataset
from pulmonet.data.sources.read import inspect_manifest
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


def test_a_split_column_that_the_mapping_leaves_out_is_named(tmp_path: Path) -> None:
    write_text(
        tmp_path / "labels.csv",
        "f,p,Group,Part,Empty,Edema,Fracture\na.png,1,dev,train,,positive,Y\nb.png,2,test,,,negative,n\n"
        "c.png,3,test,one,,uncertain,absent\n",
    )
    for name in "abc":
        write_picture(tmp_path / f"{name}.png")
    mapping = {"path": "f", "patient": "p"}
    manifest, _, notes = inspect_manifest(tmp_path, DataConfig(map=mapping))
    said = [note for note in notes if "looks like a split" in note]
    assert len(said) == 1 and "--map split=Group takes it" in said[0]
    assert manifest.labels == ("Edema", "Fracture")
    assert manifest.table["Edema"].tolist() == [1, 0, -1]
    assert manifest.table["Fracture"].tolist() == [1, 0, 0]
    asked, _, notes = inspect_manifest(tmp_path, DataConfig(map={**mapping, "split": "Group"}))
    assert asked.table["split"].tolist() == ["valid", "test", "test"]
    assert not any("looks like a split" in note for note in notes)


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
    with pytest.raises(DataError, match="--map path=FileName --map patient=PatientID"):
        read_manifest(tmp_path)


def test_labels_through_a_join_by_a_named_key(tmp_path: Path) -> None:
    write_text(
        tmp_path / "projections.csv",
        "uid,filename,view\n1,a.png,AP\n1,b.png,L\n2,c.png,AP\n3,d.png,AP\n4,e.png,AP\n",
    )
    reports = tmp_path / "reports.csv"
    write_text(reports, "id,found,view,site\n1.0,Edema;Mass,,x\n2.0,normal,,y\n3.0,Mass,,y\n")
    mapping = {"csv": "projections.csv", "path": "filename", "patient": "uid", "findings": "found"}
    mapping |= {"separator": ";", "join": "uid:id"}
    with pytest.raises(ConfigError, match="join=uid:id: of which table"):
        read_manifest(tmp_path, DataConfig(map=mapping))
    with pytest.raises(DataError, match="column 'view' is in both tables and differs"):
        read_manifest(tmp_path, DataConfig(map=mapping, join=str(reports)))
    write_text(reports, reports.read_text().replace(",view", "").replace(",,", ","))
    manifest = read_manifest(tmp_path, DataConfig(map=mapping, join=str(reports)))
    assert manifest.labels == ("Edema", "Mass", "No Finding")
    expected = [[1, 1, 0], [1, 1, 0], [0, 0, 1], [0, 1, 0], [np.nan] * 3]
    np.testing.assert_array_equal(manifest.raw_labels(manifest.labels), np.array(expected))
    assert manifest.table["site"].tolist() == ["x", "x", "y", "y", ""]
    with pytest.raises(DataError, match=r"no column 'uidd' .did you mean 'uid'"):
        read_manifest(tmp_path, DataConfig(map=mapping | {"join": "uidd:id"}, join=str(reports)))
    write_text(reports, "id,found\n9,Mass\n")
    with pytest.raises(DataError, match="no row matches by 'uid:id'; there it is '9'"):
        read_manifest(tmp_path, DataConfig(map=mapping, join=str(reports)))


def test_a_mapping_moves_the_images_of_a_known_collection(tmp_path: Path) -> None:
    lines = "".join(f"/home/me/train/patient{n}/v1.png,{n % 2}\n" for n in range(4))
    write_text(tmp_path / "train.csv", f"Path,Edema\n{lines}")
    for size in ("small", "large"):
        for n in range(4):
            write_picture(tmp_path / size / f"train/patient{n}/v1.jpg", n)
    with pytest.raises(DataError, match=r"4 paths fit several files each .*--map folder=large$"):
        read_manifest(tmp_path, check_files=True)
    mapping = {"folder": "large", "strip": "/home/me", "extension": "jpg"}
    manifest = read_manifest(tmp_path, DataConfig(map=mapping), check_files=True)
    assert manifest.source == "chexpert" and manifest.table["split"].eq("train").any()
    assert manifest.table["path"].tolist() == [f"large/train/patient{n}/v1.jpg" for n in range(4)]


def inspected(
    root: Path, text: str, **mapping: str
) -> tuple[dict[str, list[float]], list[str], list[str]]:
    """The labels by name, the problems and the notes of a table with columns f, p and others."""
    write_text(root / "x.csv", text)
    for name in "abcd":
        write_picture(root / f"{name}.png")
    data = DataConfig(map={"path": "f", "patient": "p", **mapping})
    manifest, problems, notes = inspect_manifest(root, data, keep_split=False)
    return {name: manifest.table[name].tolist() for name in manifest.labels}, problems, notes


@pytest.mark.parametrize("cell", ["['Edema', 'Mass']", '["Edema","Mass"]', "[Edema, Mass]"])
@pytest.mark.parametrize("separator", ["", ",", "|"])
def test_lists_as_python_and_json_write_them(tmp_path: Path, cell: str, separator: str) -> None:
    quoted = '"' + cell.replace('"', '""') + '"'
    text = f"f,p,what\na.png,1,{quoted}\nb.png,2,['Mass']\nc.png,3,[]\nd.png,4,Mass\n"
    more = {"separator": separator} if separator else {}
    labels, problems, _ = inspected(tmp_path, text, findings="what", **more)
    assert not problems and list(labels) == ["Edema", "Mass"]
    np.testing.assert_array_equal(labels["Edema"], [1, 0, np.nan, 0])
    np.testing.assert_array_equal(labels["Mass"], [1, 1, np.nan, 1])


@pytest.mark.parametrize("sign", [";", ",", "/"])
def test_a_list_whose_separator_was_not_said_is_a_problem(tmp_path: Path, sign: str) -> None:
    text = f'f,p,what\na.png,1,"Scar{sign} Mass"\nb.png,2,Scar\nc.png,3,Nodule/Mass\n'
    _, problems, _ = inspected(tmp_path, text, findings="what")
    assert problems == [
        f"{tmp_path / 'x.csv'}: column 'what': 'Scar{sign} Mass' looks like a list; part it with "
        f"--map separator='{sign}', or keep such names with --map separator='|'"
    ]
    labels, problems, _ = inspected(tmp_path, text, findings="what", separator="|")
    assert not problems and f"Scar{sign} Mass" in labels


def test_cells_that_are_not_understood_are_counted(tmp_path: Path) -> None:
    text = (
        "f,p,s,years,v,Edema\na.png,1,1,60-70,Postero-Anterior,1\nb.png,2,0,>89,front,0\n"
        "c.png,3,other,060Y,oblique,0\nd.png,4,F,,?,1\n"
    )
    *_, notes = inspected(tmp_path, text, sex="s", age="years", view="v")
    assert notes[:3] == [
        "x.csv: 1 cell of column 'v' not understood as view, so unknown ('oblique'); write AP, PA "
        "or lateral",
        "x.csv: 2 cells of column 's' not understood as sex, so unknown ('1', '0'); write M or F",
        "x.csv: 1 cell of column 'years' not understood as age, so unknown ('60-70'); "
        "write years up to 120",
    ]


def test_ids_that_may_be_one_patients_are_named(tmp_path: Path) -> None:
    text = "f,p,Edema\na.png,007,1\nb.png,7,0\nc.png,1-12,0\nd.png,11-2,1\n"
    *_, notes = inspected(tmp_path, text)
    assert notes[0] == (
        "1 patient may be listed under several ids (007 = 7) and so lie in two splits; write "
        "these ids alike"
    )
    *_, notes = inspected(tmp_path, text.replace("007", "PT 1").replace(",7,", ",patientpt_01,"))
    assert "(PT 1 = patientpt_01)" in notes[0]
    *_, notes = inspected(tmp_path, text.replace("007", "1.20").replace(",7,", ",1.2,"))
    assert "may be listed" not in notes[0]


def test_rows_that_contradict_themselves_or_say_nothing_are_counted(tmp_path: Path) -> None:
    text = (
        "f,p,part,what\na.png,1,train,No Finding|Mass\nb.png,2,valid,Mass\nc.png,3,,todo\n"
        "d.png,4,test,\n"
    )
    *_, notes = inspected(tmp_path, text, findings="what", split="part")
    assert notes == [
        "1 row without a split: train, where no list says otherwise",
        "1 row without any label (c.png): negative in training unless targets.blank=ignore",
        "1 image with No Finding and a finding (a.png)",
    ]


def test_a_blank_study_is_none_that_rows_share(tmp_path: Path) -> None:
    write_text(tmp_path / "x.csv", "f,p,s,Edema\na.png,1,,1\nb.png,1,,0\nc.png,1,S,0\n")
    data = DataConfig(map={"path": "f", "patient": "p", "study": "s"})
    assert read_manifest(tmp_path, data).table["study"].tolist() == ["1/a.png", "1/b.png", "1/S"]


def test_a_remembered_mapping_that_does_not_fit_is_said_to_be_one(tmp_path: Path) -> None:
    write_text(tmp_path / "x.csv", "file,p,Edema\na.png,1,1\n")
    remember_dataset(tmp_path, {"path": "f", "patient": "p"})
    with pytest.raises(ConfigError, match=r"no such column in .*; prepare remembered this"):
        read_manifest(tmp_path)
    with pytest.raises(ConfigError, match=r"columns there: file, p, Edema$"):
        read_manifest(tmp_path, DataConfig(map={"path": "f"}))


def test_findings_in_any_case_are_one_label(tmp_path: Path) -> None:
    text = "f,p,what\na.png,1,Scar\nb.png,2,scar|TB\nc.png,3,T-B\nd.png,4,SCAR | tb\n"
    labels, _, _ = inspected(tmp_path, text, findings="what")
    assert labels == {"Scar": [1, 1, 0, 1], "TB": [0, 1, 1, 1]}


def test_a_column_that_a_typing_error_keeps_from_being_a_label_is_named(tmp_path: Path) -> None:
    lines = [f"{n}.png,{n},{n % 2 if n != 60 else 'l'},{n % 2 or '?'},{n % 3},1" for n in range(99)]
    text = "\n".join(["f,p,TB,sex,priors,Edema", *lines]) + "\n"
    labels, _, notes = inspected(tmp_path, text)
    assert list(labels) == ["Edema"]
    assert notes[0] == "x.csv: column 'TB' is no label: 1 cell beside 1, 0, -1 and blank ('l')"
    assert not any("sex" in note or "priors" in note for note in notes)
