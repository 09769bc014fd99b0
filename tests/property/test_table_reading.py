"""Arbitrary bytes and tables: a DataError or a right Manifest, never anything else."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pulmonet.config import DataConfig
from pulmonet.data.boxes import read_boxes
from pulmonet.data.joining import join_columns
from pulmonet.data.manifest import Manifest
from pulmonet.data.sources import read_manifest
from pulmonet.data.sources.vindr import KAGGLE_HEADER
from pulmonet.data.tables import ROW_COLUMNS, SPLITS
from pulmonet.errors import DataError

FILES = [
    "train.csv",
    "groundtruth.csv",
    "Data_Entry_2017.csv",
    "mimic-cxr-2.0.0-chexpert.csv",
    "PADCHEST_chest_x_ray_images_labels.csv",
    "image_labels_train.csv",
    "chestmnist.npz",
    "mimic-cxr-2.0.0-chexpert.csv.gz",
]

CELL = st.one_of(
    st.sampled_from(
        ["", "1", "0", "-1", "1.0", "nan", "7", "AP", "F", "a|b", "['x']", "../x", "/e"]
    ),
    st.sampled_from(["train/patient1/study1/a.jpg", "patient2/b.png", "p/study3", "1e400", "-0"]),
    st.text(max_size=8),
)
NAMES = [
    *("Path", "Study", "Sex", "Age", "Frontal/Lateral", "AP/PA", "patient", "Edema", "Effusion"),
    *("Image Index", "Finding Labels", "Patient ID", "Follow-up #", "Patient Age"),
    *("ImageID", "ImageDir", "PatientID", "Labels", "StudyID", "Projection"),
    *("image_id", "rad_id", "subject_id", "study_id", "dicom_id", "split", "path", "view"),
]
HEADER = st.one_of(st.sampled_from(NAMES), st.text(max_size=5))


@st.composite
def csv_texts(draw: st.DrawFn) -> bytes:
    """CSV text with plausible and implausible headers and cells, lines not always of one length."""
    header = draw(st.lists(HEADER, min_size=1, max_size=7))
    if draw(st.booleans()):
        padchest, kaggle = ("ImageID", "PatientID", "Labels"), KAGGLE_HEADER.split(",")
        needed = draw(st.sampled_from([("Path",), NAMES[9:12], padchest, kaggle]))
        header = [*needed, *header]
    n_cells = len(header)
    rows = draw(st.lists(st.lists(CELL, min_size=n_cells, max_size=n_cells), max_size=5))
    if draw(st.integers(0, 9)) == 0 and rows:
        rows[0] = rows[0] + ["extra"]
    buffer = io.StringIO()
    csv.writer(buffer).writerows([header, *rows])
    return buffer.getvalue().encode("utf-8", "replace")


def check(manifest: Manifest) -> None:
    """What every Manifest promises."""
    table = manifest.table
    assert list(table.columns) == [*ROW_COLUMNS, *manifest.labels, *manifest.joined]
    assert not table.columns.duplicated().any()
    assert len(table) and table.index.tolist() == list(range(len(table)))
    assert set(table["split"]) <= set(SPLITS)
    assert set(table["view"]) <= {"AP", "PA", "FRONTAL", "LATERAL", ""}
    assert set(table["sex"]) <= {"Male", "Female", ""}
    for name in ROW_COLUMNS[:6]:
        assert all(isinstance(value, str) for value in table[name])
    assert (table["patient"] != "").all() and (table["path"] != "").all()
    assert not table["path"].duplicated().any()
    assert (table.groupby("patient")["split"].nunique() == 1).all()
    assert not any(".." in path.split("/") or path.startswith("/") for path in table["path"])
    raw = manifest.raw_labels(manifest.labels)
    assert raw.dtype == np.float32
    assert (np.isnan(raw) | np.isin(raw, (1, 0, -1))).all()


def read(name: str, content: bytes, data: DataConfig | None = None) -> Manifest | None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(content)
        try:
            manifest = read_manifest(Path(folder), data)
        except DataError as error:
            assert str(error)
            return None
        check(manifest)
        return manifest


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(FILES), content=st.binary(max_size=200))
@example(name="train.csv", content=b"")
@example(name="image_labels_train.csv", content=b"image_id,split\n1,\n")
@example(
    name="Data_Entry_2017.csv", content=b"Image Index,Finding Labels,Patient ID\n1.png,path,1\n"
)
@example(name="train.csv", content=b"\xef\xbb\xbf")
@example(name="train.csv", content=b"Path\n\n\n")
@example(name="train.csv", content=b'Path\n"unclosed')
@example(name="train.csv", content=b"Path,Path\na,b\n")
@example(name="train.csv", content=b"Path,path\npatient1/a,b\n")
@example(name="train.csv", content=b"Path,Edema,Pulmonary Edema\npatient1/a,1,0\n")
@example(name="train.csv", content=b"Path\npatient1/" + b"a" * 5000 + b"\n")
@example(name="train.csv", content=b"Path\n" + b"b" * 5000 + b"/patient1/a\n")
@example(name="groundtruth.csv", content=b"Study,Edema\n" + b"a" * 5000 + b",1\n")
@example(name="groundtruth.csv", content=b"Study,Edema\na\0b,1\n")
@example(name="train.csv", content=b"Path\npatient1/a\0b\n")
def test_bytes(name: str, content: bytes) -> None:
    read(name, content)


@settings(max_examples=100, deadline=None)
@given(name=st.sampled_from(FILES[:6]), content=csv_texts())
def test_csv_tables(name: str, content: bytes) -> None:
    read(name, content)


@settings(max_examples=60, deadline=None)
@given(
    content=csv_texts(),
    mapping=st.dictionaries(
        st.sampled_from(["patient", "study", "split", "view", "sex", "age", "findings"]),
        st.sampled_from(["Path", "patient"]),
        max_size=4,
    ),
)
def test_mapped_tables(content: bytes, mapping: dict[str, str]) -> None:
    content = b"Path,patient\n" + content.partition(b"\n")[2]
    read("labels.csv", content, DataConfig(map={"path": "Path", **mapping}))


@settings(max_examples=60, deadline=None)
@given(content=csv_texts())
def test_joins_and_boxes(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "train.csv").write_text("Path,Edema\npatient1/a.jpg,1\npatient2/b.jpg,0\n")
        manifest = read_manifest(root)
        (root / "boxes.csv").write_bytes(content)
        for use in (
            lambda: join_columns(manifest.table, root / "boxes.csv"),
            lambda: read_boxes(manifest),
        ):
            try:
                use()
            except DataError as error:
                assert str(error)


def test_a_right_table_is_read_right() -> None:
    """The check above does not pass because everything is refused."""
    manifest = read("train.csv", b"Path,Sex,Edema\npatient1/a.jpg,Male,-1\npatient2/b.jpg,F,\n")
    assert manifest is not None
    assert manifest.table["patient"].tolist() == ["patient1", "patient2"]
    assert manifest.table["Edema"].tolist() == [-1.0, pytest.approx(np.nan, nan_ok=True)]
