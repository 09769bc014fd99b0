"""Collections that are one table each: which file tells one, and what its columns mean.

A row of `LAYOUTS` is all that such a collection needs: `mapped` reads it as a table of one's own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pulmonet.data.sources import mapped, rows
from pulmonet.data.tables import find_tables, has_columns, read_csv, text_column
from pulmonet.labels import CHEXPERT_LABELS
from pulmonet.words import count

#: A table in the form of its mapping, and what was done to it on the way (a sentence, or "").
Tidied = tuple[pd.DataFrame, str]


@dataclass(frozen=True)
class Layout:
    """One collection."""

    tables: tuple[str, ...]  # its table's name without the ending, or patterns, the best one first
    columns: tuple[str, ...]  # what the table's header has, and others of that name have not
    mapping: Mapping[str, str]  # as `--map`; of columns separated by | the first that is there
    tidy: Callable[[pd.DataFrame, Path], Tidied] = lambda raw, _root: (raw, "")

    def recognises(self, root: Path, _names: Collection[str]) -> bool:
        """By its table's name and header."""
        return self.table_in(root) is not None

    def table_in(self, root: Path) -> Path | None:
        """Its table in `root`."""
        named = (path for stem in self.tables for path in find_tables(root, stem))
        return next((path for path in named if has_columns(path, self.columns)), None)

    def read(self, root: Path) -> rows.SourceRows:
        """One row an image.

        Raises:
            DataError: the table, or one that belongs to it, cannot be read.
        """
        where = self.table_in(root) or root / self.tables[0]  # gone since: the reader says so
        raw, note = self.tidy(read_csv(where, self.columns), root)
        mapping = {}
        for key, names in self.mapping.items():
            there = [name for name in names.split("|") if name in raw]
            if key in ("folder", "separator", "extension"):
                mapping[key] = names
            elif there:
                mapping[key] = "|".join(there) if key == "labels" else there[0]
        known = "patient" in self.mapping
        found = mapped.read_table(raw, root, where, mapping, patients_known=known)
        found.notes += [f"{where.name}: {note}"] if note else []
        return found


def _rsna(raw: pd.DataFrame, root: Path) -> Tidied:
    """A row a box -> a row an image. What is opaque and what normal stands in a file beside."""
    table = raw[["patientId"]].assign(Pneumonia=raw.groupby("patientId")["Target"].transform("max"))
    classes = root / "stage_2_detailed_class_info.csv"
    if classes.is_file():
        said = read_csv(classes, ("patientId", "class")).drop_duplicates("patientId")
        of_image = table["patientId"].map(said.set_index("patientId")["class"])
        for label, name in (("Lung Opacity", "Lung Opacity"), ("No Finding", "Normal")):
            table[label] = np.where(of_image.isna(), "", (of_image == name).astype(int).astype(str))
    return table.drop_duplicates("patientId", ignore_index=True), ""


def _siim(raw: pd.DataFrame, _root: Path) -> Tidied:
    """A row a mask -> a row an image; ``-1`` is no mask."""
    drawn = pd.Series(text_column(raw["EncodedPixels"]), index=raw.index) != "-1"
    found = drawn.groupby(raw["ImageId"]).transform("max").astype(int).astype(str)
    table = raw[["ImageId"]].assign(Pneumothorax=found)
    return table.drop_duplicates("ImageId", ignore_index=True), ""


def _openi(raw: pd.DataFrame, root: Path) -> Tidied:
    """The findings of a study stand in a file beside."""
    reports = read_csv(root / "indiana_reports.csv", ("uid", "Problems")).drop_duplicates("uid")
    return raw.assign(Problems=raw["uid"].map(reports.set_index("uid")["Problems"]).fillna("")), ""


def _covid(raw: pd.DataFrame, _root: Path) -> Tidied:
    """X-rays alone: CT volumes stand in the same table."""
    if "modality" not in raw:
        return raw, ""
    other = raw["modality"].str.strip().str.lower().isin(("ct", "mri"))
    note = f"{count(int(other.sum()), 'row')} of CT left out" if other.any() else ""
    return raw[~other].reset_index(drop=True), note


#: Name of the collection -> how it is read. Boxes, where it has some, are in `data/boxes.py`.
LAYOUTS: dict[str, Layout] = {
    "brax": Layout(
        ("master_spreadsheet*",),
        ("PatientID", "AccessionNumber", "PngPath"),
        {
            **{"path": "PngPath", "patient": "PatientID", "study": "AccessionNumber"},
            **{"view": "ViewPosition", "sex": "PatientSex", "age": "PatientAge"},
            "labels": "|".join(CHEXPERT_LABELS),
        },
    ),
    "rsna": Layout(
        ("stage_?_train_labels",),
        ("patientId", "Target"),
        {
            **{"path": "patientId", "patient": "patientId", "folder": "stage_2_train_images"},
            **{"extension": "dcm", "labels": "Pneumonia|Lung Opacity|No Finding"},
        },
        _rsna,
    ),
    "siim": Layout(
        ("stage_2_train*", "train-rle*"),
        ("ImageId", "EncodedPixels"),
        {"path": "ImageId", "folder": "dicom-images-train", "labels": "Pneumothorax"},
        _siim,
    ),
    "ranzcr": Layout(
        ("train",),
        ("StudyInstanceUID", "PatientID"),
        {"path": "StudyInstanceUID", "patient": "PatientID", "folder": "train", "extension": "jpg"},
    ),
    "openi": Layout(
        ("indiana_projections",),
        ("uid", "filename"),
        {
            **{"path": "filename", "patient": "uid", "study": "uid", "view": "projection"},
            **{"findings": "Problems", "separator": ";", "folder": "images/images_normalized"},
        },
        _openi,
    ),
    "covid-chestxray": Layout(
        ("metadata",),
        ("patientid", "finding"),
        {
            **{"path": "filename|imagename|patientid", "patient": "patientid", "folder": "images"},
            **{"findings": "finding", "separator": "/", "view": "view", "sex": "sex", "age": "age"},
        },
        _covid,
    ),
}
