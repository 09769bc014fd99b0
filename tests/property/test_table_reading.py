"""Arbitrary bytes and tables: a DataError or a right Manifest, never anything else."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from fuzz_tables import FILES, PLUS, csv_texts, read_table
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pulmonet.config.fields import DataConfig
from pulmonet.data.boxes import read_boxes
from pulmonet.data.manifest import Manifest
from pulmonet.data.sources import read_manifest
from pulmonet.data.tables import join_columns
from pulmonet.errors import DataError


def read(name: str, content: bytes, data: DataConfig | None = None) -> Manifest | None:
    with tempfile.TemporaryDirectory() as folder:
        return read_table(Path(folder), name, content, data)


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(FILES), content=st.binary(max_size=200))
@example(name="train.csv", content=b"")
@example(name="image_labels_train.csv", content=b"image_id,split\n1,\n")
@example(name="image_labels_train.csv", content=b'image_id\r\n""\r\n')
@example(
    name="Data_Entry_2017.csv", content=b"Image Index,Finding Labels,Patient ID\n1.png,path,1\n"
)
@example(name="train.csv", content=b"\xef\xbb\xbf")
@example(name="train.csv", content=b"Path\n\n\n")
@example(name="train.csv", content=b'Path\n"unclosed')
@example(name="train.csv", content=b"Path,Path\na,b\n")
@example(name=PLUS, content=b"path_to_image,deid_patient_id,Path,Path,Study\n,,,,\n,,,,1\n")
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
@example(name="train.csv", content=b"Unnamed: 0\n0\n")
@given(name=st.sampled_from(FILES), content=csv_texts())
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


BOX_CELLS = st.sampled_from(["a", "1", "0", "-1", "1e9", "nan", "5 7 1 2", "5 7 1"])


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(
        [
            ("stage_2_train_labels.csv", "patientId,Target,x,y,width,height"),
            ("train-rle.csv", "ImageId,EncodedPixels"),
            ("train.csv", "image_id,class_name,rad_id,x_min,y_min,x_max,y_max,width,height"),
        ]
    ),
    cells=st.lists(st.lists(BOX_CELLS, min_size=9), min_size=1, max_size=5),
)
def test_boxes_of_collections(kind: tuple[str, str], cells: list[list[str]]) -> None:
    """Boxes within their images, and what is wrong said; never anything else."""
    name, header = kind
    n_columns = header.count(",") + 1
    lines = [header, *(",".join(row[:n_columns]) for row in cells)]
    with tempfile.TemporaryDirectory() as folder:
        manifest = read_table(Path(folder), name, "\n".join([*lines, ""]).encode())
        if manifest is None:
            return
        boxes = read_boxes(manifest, warnings=[])
        edges = boxes[["xmin", "ymin", "xmax", "ymax"]].to_numpy(float)
        assert ((edges >= 0) & (edges <= 1)).all()
        assert (edges[:, :2] < edges[:, 2:]).all()


def test_a_right_table_is_read_right() -> None:
    """The check above does not pass because everything is refused."""
    manifest = read("train.csv", b"Path,Sex,Edema\npatient1/a.jpg,Male,-1\npatient2/b.jpg,F,\n")
    assert manifest is not None
    assert manifest.table["patient"].tolist() == ["patient1", "patient2"]
    assert manifest.table["Edema"].tolist() == [-1.0, pytest.approx(np.nan, nan_ok=True)]
