"""Boxes that people drew around findings, as fractions of the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pulmonet.arrays import Array
from pulmonet.data.images.file import inside_root
from pulmonet.data.images.read import image_size
from pulmonet.data.manifest import Manifest
from pulmonet.data.sources.rows import strip_root
from pulmonet.data.sources.vindr import is_kaggle
from pulmonet.data.tables import map_column, parse_number, read_csv, text_column
from pulmonet.errors import DataError
from pulmonet.labels import align
from pulmonet.words import count, list_first

COLUMNS = ("path", "label", "xmin", "ymin", "xmax", "ymax")

_VINDR_EDGES = ("x_min", "y_min", "x_max", "y_max")

#: NIH's boxes are in pixels of its 1024 x 1024 PNGs (Wang et al. 2017), whatever lies on disk.
_NIH_SIDE = 1024.0


def read_boxes(manifest: Manifest, path: Path | None = None) -> pd.DataFrame:
    """All boxes of the dataset; no rows where it has none.

    From `path`, else the root's ``boxes.csv``, NIH's ``BBox_List_2017.csv``, VinDr's
    ``annotations_*.csv`` or its Kaggle edition's ``train.csv``.

    Returns:
        Columns path (as in the manifest), label (the vocabulary's), xmin, ymin, xmax, ymax
        (fractions of the image from its top left).

    Raises:
        DataError: unreadable, or coordinates that are no box.
    """
    root = manifest.root
    if path is not None or (root / "boxes.csv").is_file():
        path = path or root / "boxes.csv"
        raw = read_csv(path, ("Path", "label", *COLUMNS[2:]))
        corners = [map_column(raw[name], parse_number, float) for name in COLUMNS[2:]]
        paths = strip_root(raw["Path"].to_numpy(object), root)
        return _checked(paths, map_column(raw["label"], align), np.stack(corners, axis=1), path)
    found = sorted(root.glob("BBox_List_2017*.csv"))
    if found:
        return _read_nih(found[0], manifest)
    if manifest.source == "vindr":
        folders = (root, root / "annotations")
        files = [path for folder in folders for path in sorted(folder.glob("annotations_*.csv"))]
        files += [root / "train.csv"] if not files and is_kaggle(root / "train.csv") else []
        if files:
            return pd.concat([_read_vindr(path, manifest) for path in files], ignore_index=True)
    return _checked([], [], np.zeros((0, 4)), root)


def _read_nih(path: Path, manifest: Manifest) -> pd.DataFrame:
    """NIH's list: its header splits ``Bbox [x,y,w,h]`` into four columns, three more are empty."""
    raw = read_csv(path)
    if raw.shape[1] < 6:
        raise DataError(f"{path}: fewer than 6 columns; take NIH's own BBox_List_2017.csv")
    names = text_column(raw.iloc[:, 0])
    x, y, width, height = (
        map_column(raw.iloc[:, column], parse_number, float) / _NIH_SIDE for column in range(2, 6)
    )
    by_name = {path.rpartition("/")[2]: path for path in manifest.table["path"]}
    by_stem = {name.rpartition(".")[0]: path for name, path in by_name.items()}
    paths = np.asarray(
        [by_name.get(name) or by_stem.get(name.rpartition(".")[0], "") for name in names], object
    )
    there = paths != ""
    labels = map_column(raw.iloc[:, 1], align)
    corners = np.stack([x, y, x + width, y + height], axis=1).clip(max=1.0)
    return _checked(paths[there], labels[there], corners[there], path)


def _read_vindr(path: Path, manifest: Manifest) -> pd.DataFrame:
    """In pixels of the original image, whose header says its size; ``No finding`` has no box."""
    raw = read_csv(path, ("image_id", "class_name", *_VINDR_EDGES))
    by_id = {Path(name).stem: name for name in manifest.table["path"]}
    paths = map_column(raw["image_id"], lambda cell: by_id.get(cell, ""))
    edges = np.stack([map_column(raw[name], parse_number, float) for name in _VINDR_EDGES], axis=1)
    there = np.flatnonzero((paths != "") & ~np.isnan(edges).any(axis=1))
    sizes = {
        name: image_size(inside_root(manifest.root, name)) for name in dict.fromkeys(paths[there])
    }
    height, width = np.asarray([sizes[name] for name in paths[there]], float).reshape(-1, 2).T
    corners = (edges[there] / np.stack([width, height, width, height], axis=1)).clip(0, 1)
    labels = map_column(raw["class_name"].iloc[there], align)
    return _checked(paths[there], labels, corners, path)


def _checked(paths: Any, labels: Any, corners: Array, path: Path) -> pd.DataFrame:
    """Boxes as a table, cut at the image's edge: rounding may put them a thousandth outside."""
    inside = ((corners >= -1e-3) & (corners <= 1.001)).all(axis=1)
    wrong = np.flatnonzero(~(inside & (corners[:, :2] < corners[:, 2:]).all(axis=1)))
    if len(wrong):
        raise DataError(
            f"{path}: {count(len(wrong), 'wrong box', 'wrong boxes')} "
            f"(line{'s' * (len(wrong) > 1)} {list_first(row + 2 for row in wrong.tolist())}); "
            "xmin < xmax and ymin < ymax are fractions of the image, 0 to 1"
        )
    columns = (paths, labels, *corners.clip(0, 1).T)
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))
