"""CheXpert Plus (Chambon et al. 2024, arXiv:2405.19538): one table, labels in JSON lines."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pulmonet.data.sources import rows
from pulmonet.data.splits.files import parse_split
from pulmonet.data.tables import find_tables, id_column, map_column, read_csv, text_column
from pulmonet.errors import DataError
from pulmonet.files.read import MAX_JSON_BYTES, read_text
from pulmonet.labels import CHEXPERT_LABELS

_TABLE = "df_chexpert_plus"

#: Labels of the whole report come first, then of its parts.
_LABEL_FILES = ("report_fixed.json", "impression_fixed.json", "findings_fixed.json")


def recognises(root: Path, _names: Collection[str]) -> bool:
    """By the beginning of its table's name."""
    return bool(find_tables(root, f"{_TABLE}*"))


def read(root: Path) -> rows.SourceRows:
    """``df_chexpert_plus*.csv`` with CheXbert's labels of the reports.

    These are in ``chexbert_labels/`` or the root; of several files the one of the whole report is
    taken. The table names JPEGs; PNGs lie in ``PNG/``, DICOMs in ``DICOM/``.
    """
    where = find_tables(root, f"{_TABLE}*")[-1]
    raw = read_csv(where, ("path_to_image", "deid_patient_id"))
    folders = (root / "chexbert_labels", root)
    found = (folder / name for name in _LABEL_FILES for folder in folders)
    label_path = next((path for path in found if path.is_file()), None)
    if label_path is None:
        raise DataError(
            f"{root}: CheXpert Plus has its labels in chexbert_labels/report_fixed.json; unpack "
            "chexbert_labels.zip there"
        )
    images = text_column(raw["path_to_image"])
    labels = _read_labels(label_path).reindex(images)
    problems: list[str] = []
    columns = rows.label_columns(labels, labels.columns, label_path, problems)
    png = (
        images
        if not (root / "PNG").is_dir()
        else [f"PNG/{path.rpartition('.')[0] or path}.png" for path in images.tolist()]
    )
    _, study = rows.patients_of(images)
    side = rows.column_or(raw, ["frontal_lateral"], rows.parse_view)
    projection = rows.column_or(raw, ["ap_pa"], rows.parse_view)
    is_known = np.isin(projection.astype(str), ("AP", "PA")) & (side != "LATERAL")
    return rows.source_rows(
        np.asarray(png, dtype=object),
        columns,
        problems,
        split=map_column(raw["split"], parse_split) if "split" in raw else "",
        patient=id_column(raw["deid_patient_id"], where),
        study=study,
        view=np.where(is_known, projection, side),
        sex=rows.column_or(raw, ["sex"], rows.parse_sex),
        age_years=rows.column_or(raw, ["age"], rows.parse_age, np.nan),
        further={name: text_column(raw[name]) for name in ("race", "ethnicity") if name in raw},
    )


def _read_labels(path: Path) -> pd.DataFrame:
    """Cells of the 14 labels as text, one JSON object a line, indexed by ``path_to_image``."""
    table: dict[str, dict[str, Any]] = {}
    try:
        for line in read_text(path, MAX_JSON_BYTES).splitlines():
            if line.strip():
                one = json.loads(line)
                table[one["path_to_image"]] = one
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}); check the file") from None
    except (ValueError, TypeError, KeyError, RecursionError):
        raise DataError(
            f"{path}: not a JSON object with path_to_image in each line; copy the file again"
        ) from None
    cells = {
        label: ["" if one.get(label) is None else str(one[label]) for one in table.values()]
        for label in CHEXPERT_LABELS
    }
    return pd.DataFrame(cells, index=pd.Index(list(table), dtype=object), dtype=object)
