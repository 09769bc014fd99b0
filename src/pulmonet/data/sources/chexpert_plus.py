"""CheXpert Plus (Chambon et al. 2024, arXiv:2405.19538): one table, labels in JSON lines."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from pulmonet.data.sources import chexpert, rows
from pulmonet.data.splits.files import parse_split
from pulmonet.data.tables import find_tables, map_column, read_csv, text_column
from pulmonet.errors import DataError
from pulmonet.files.read import MAX_JSON_BYTES, read_text
from pulmonet.labels import CHEXPERT_LABELS

_TABLE = "df_chexpert_plus*"

#: Labels of the whole report come first, then of its parts.
_LABEL_FILES = ("report_fixed.json", "impression_fixed.json", "findings_fixed.json")

#: Its columns -> CheXpert's.
_COLUMNS = {
    **{"path_to_image": "Path", "frontal_lateral": "Frontal/Lateral", "ap_pa": "AP/PA"},
    **{"deid_patient_id": "patient", "sex": "Sex", "age": "Age"},
}


def recognises(root: Path, _names: Collection[str]) -> bool:
    """By the beginning of its table's name."""
    return bool(find_tables(root, _TABLE))


def read(root: Path) -> rows.SourceRows:
    """``df_chexpert_plus*.csv`` (it names JPEGs; there are PNGs in ``PNG/``, or DICOMs)."""
    where = find_tables(root, _TABLE)[-1]
    raw = read_csv(where, ("path_to_image", "deid_patient_id")).rename(columns=_COLUMNS)
    folders = (root / "chexbert_labels", root)
    found = (folder / name for name in _LABEL_FILES for folder in folders)
    label_path = next((path for path in found if path.is_file()), None)
    if label_path is None:
        raise DataError(
            f"{root}: no chexbert_labels/report_fixed.json, which has the labels of CheXpert Plus; "
            "unpack chexbert_labels.zip there"
        )
    kept = [name for name in (*_COLUMNS.values(), "race", "ethnicity") if name in raw]
    labels = _read_labels(label_path).reindex(text_column(raw["Path"]), fill_value="")
    split = map_column(raw["split"], parse_split) if "split" in raw else ""
    if (root / "PNG").is_dir():
        png = raw["Path"].str.replace(r"\.\w+$", "", regex=True)
        raw["Path"] = "PNG/" + png + ".png"
    raw = pd.concat([raw[kept], labels.reset_index(drop=True)], axis=1)
    return chexpert.rows_of(raw, root, split, where, list(CHEXPERT_LABELS))


def _read_labels(path: Path) -> pd.DataFrame:
    """Cells of the 14 labels as text, one JSON object a line, indexed by ``path_to_image``."""
    try:
        lines = filter(str.strip, read_text(path, MAX_JSON_BYTES).splitlines())
        table = {one["path_to_image"]: one for one in map(json.loads, lines)}
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
