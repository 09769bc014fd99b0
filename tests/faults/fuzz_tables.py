"""Label tables as strangers might send them, and what every Manifest promises."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from pulmonet.choices import SPLITS
from pulmonet.config.fields import DataConfig
from pulmonet.data.manifest import Manifest
from pulmonet.data.sources import read_manifest
from pulmonet.data.sources.layouts import LAYOUTS
from pulmonet.data.sources.rows import ROW_COLUMNS
from pulmonet.data.sources.vindr import KAGGLE_COLUMNS
from pulmonet.errors import ConfigError, DataError

#: A file of each source, by which its reader is chosen.
LAYOUT_FILES = {
    "master_spreadsheet_update.csv": "brax",
    "stage_2_train_labels.csv": "rsna",
    "train-rle.csv": "siim",
    "indiana_projections.csv": "openi",
    "metadata.csv": "covid-chestxray",
}
PLUS = "df_chexpert_plus_240401.csv"
FILES = (
    "train.csv",
    "val_labels.csv",
    "train.parquet",
    "groundtruth.csv",
    "Data_Entry_2017.csv",
    "mimic-cxr-2.0.0-chexpert.csv",
    "PADCHEST_chest_x_ray_images_labels.csv",
    "image_labels_train.csv",
    *LAYOUT_FILES,
    PLUS,
    "sample_labels.csv",
    "chestmnist.npz",
    "mimic-cxr-2.0.0-chexpert.csv.gz",
)

CELLS = st.one_of(
    st.sampled_from(
        ["", "1", "0", "-1", "1.0", "nan", "7", "AP", "F", "a|b", "['x']", "../x", "/e"]
    ),
    st.sampled_from(["train/patient1/study1/a.jpg", "patient2/b.png", "p/study3", "1e400", "-0"]),
    st.text(max_size=8),
)
NAMES = (
    *("Path", "Study", "Sex", "Age", "Frontal/Lateral", "AP/PA", "patient", "Edema", "Effusion"),
    *("Image Index", "Finding Labels", "Patient ID", "Follow-up #", "Patient Age"),
    *("ImageID", "ImageDir", "PatientID", "Labels", "StudyID", "Projection"),
    *("image_id", "rad_id", "subject_id", "study_id", "dicom_id", "split", "path", "view"),
)
HEADERS = st.one_of(st.sampled_from(NAMES), st.text(max_size=5))


@st.composite
def csv_texts(draw: st.DrawFn) -> bytes:
    """CSV text with plausible and implausible headers and cells, lines not always of one length."""
    header = draw(st.lists(HEADERS, min_size=1, max_size=7))
    if draw(st.booleans()):
        padchest, kaggle = ("ImageID", "PatientID", "Labels"), KAGGLE_COLUMNS
        plus = ("path_to_image", "deid_patient_id")
        layouts = [one.columns for one in LAYOUTS.values()]
        needed = draw(st.sampled_from([("Path",), NAMES[9:12], padchest, kaggle, plus, *layouts]))
        header = [*needed, *header]
    n_cells = len(header)
    rows = draw(st.lists(st.lists(CELLS, min_size=n_cells, max_size=n_cells), max_size=5))
    if draw(st.integers(0, 9)) == 0 and rows:
        rows[0] = rows[0] + ["extra"]
    buffer = io.StringIO()
    ends, separator = draw(st.sampled_from(["\n", "\r\n", "\r"])), draw(st.sampled_from(",,,;\t|"))
    csv.writer(buffer, delimiter=separator, lineterminator=ends).writerows([header, *rows])
    encoding = draw(st.sampled_from(["utf-8"] * 5 + ["utf-8-sig", "utf-16", "utf-16-be", "cp1252"]))
    content = buffer.getvalue().encode(encoding, "replace")
    cut = draw(st.integers(0, len(content))) if draw(st.integers(0, 9)) == 0 else None
    return draw(st.sampled_from([bytes, bytes, bytes, gzip.compress, bz2.compress]))(content[:cut])


def check_manifest(manifest: Manifest) -> None:
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


def read_table(
    folder: Path, name: str, content: bytes, data: DataConfig | None = None
) -> Manifest | None:
    """A right Manifest of a label table in an empty folder; None where it is refused."""
    (folder / name).write_bytes(content)
    if name == PLUS:
        (folder / "report_fixed.json").write_text('{"path_to_image": "a|b", "Edema": 1.0}\n')
    try:
        manifest = read_manifest(folder, data)
    except (ConfigError, DataError) as error:
        assert str(error)
        return None
    check_manifest(manifest)
    return manifest
