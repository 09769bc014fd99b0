"""Boxes that people drew around findings, as fractions of the image."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pulmonet.arrays import Array, Strings
from pulmonet.data.images.file import inside_root
from pulmonet.data.images.read import image_size
from pulmonet.data.manifest import Manifest
from pulmonet.data.sources.index import as_listed
from pulmonet.data.sources.layouts import LAYOUTS
from pulmonet.data.sources.rows import strip_root
from pulmonet.data.sources.vindr import is_kaggle
from pulmonet.data.tables import has_columns, map_column, parse_number, read_csv, text_column
from pulmonet.errors import DataError
from pulmonet.files.paths import folder_name
from pulmonet.files.spreadsheet import unescaped
from pulmonet.labels import align, match_label
from pulmonet.words import count, list_first

COLUMNS = ("path", "label", "xmin", "ymin", "xmax", "ymax")

#: Pixels a side of the originals of NIH (Wang et al. 2017), RSNA's and SIIM's challenges, whose
#: boxes and masks are in these pixels whatever the size of the pictures that lie there.
_SIDE = 1024

#: So much of the image may stick out of it, which is cut off: readers draw beyond the edge.
_MARGIN = 0.02

_EDGES = ("x_min", "y_min", "x_max", "y_max")
_SIDES = ("x", "y", "width", "height")
_OF_LAYOUTS = {"rsna": ("patientId", *_SIDES), "siim": ("ImageId", "EncodedPixels")}

#: Columns by which the collections' tables are known: VinDr's, RSNA's and SIIM's, NIH's.
_KINDS: tuple[tuple[str, ...], ...] = (
    ("image_id", "class_name", *_EDGES),
    *_OF_LAYOUTS.values(),
    ("Image Index", "Finding Label"),
)

#: Names of width and height of an original, in its collection's table or a ``…_meta.csv``.
_SIZES = (("dim1", "dim0"), ("width", "height"))


@dataclass
class _Drawn:
    """Boxes as a table has them: (N,) image names and labels, (N, 4) corners in pixels."""

    names: Strings
    labels: Any
    corners: Array
    sizes: Array  # (N, 2) width and height that the pixels are of; NaN: the picture's own


def read_boxes(
    manifest: Manifest,
    path: Path | None = None,
    warnings: list[str] | None = None,
    among: Sequence[Manifest] = (),
) -> pd.DataFrame:
    """All boxes of the dataset: path, label, xmin, ymin, xmax, ymax (fractions from the top left).

    From `path` (a ``boxes.csv``, or a table of NIH, RSNA, SIIM or VinDr), else the root's
    ``boxes.csv``, else the collection's own; of several collections those of each. Wrong boxes are
    left out and said in `warnings`, where given. `among` are the collections that share `path`:
    lines that name another one have no path then.

    Raises:
        DataError: unreadable; a line that is of two collections' images; or coordinates that are
            no box, where `warnings` is None.
    """
    if manifest.parts:
        return _of_collections(manifest, path, warnings)
    root = manifest.root
    if path is None and (root / "boxes.csv").is_file():
        path = root / "boxes.csv"
    kinds = () if path is None else (kind for kind in _KINDS if has_columns(path, kind))
    kind = next(iter(kinds), ())
    if path is not None and not kind:
        raw = read_csv(path, ("Path", "label", *COLUMNS[2:]))
        names = _own_names(map_column(raw["Path"], unescaped), manifest, among)
        paths = strip_root(names, root)
        paths = as_listed(paths, manifest.table["path"].tolist())
        corners, lines = _numbers(raw, COLUMNS[2:]), np.arange(len(raw))
        labels = map_column(
            raw["label"], lambda one: match_label(one, manifest.labels) or align(one)
        )
        return _checked(paths, labels, corners, lines, path, warnings)
    parts = [pd.DataFrame({name: np.zeros(0, object) for name in COLUMNS})]
    for where, needed in _tables(manifest) if path is None else [(path, kind)]:
        raw = read_csv(where, needed)
        drawn = _vindr(raw, where, root) if "class_name" in raw else _of_originals(raw, where)
        drawn.names = _own_names(drawn.names, manifest, among)
        parts.append(_in_fractions(manifest, where, drawn, warnings))
    return pd.concat(parts[1:] or parts, ignore_index=path is None)


def _of_collections(
    manifest: Manifest, path: Path | None, warnings: list[str] | None
) -> pd.DataFrame:
    """The boxes of each collection; those of a table at `path` that fit none have no path."""
    among = manifest.parts if path else ()
    every = [(part, read_boxes(part, path, warnings, among)) for part in manifest.parts]
    named = [
        boxes.assign(path=f"{part.name}/" + boxes["path"])[
            boxes["path"].isin(part.table["path"]) | (path is None)
        ]
        for part, boxes in every
    ]
    found = pd.concat([one for one in named if len(one)] or named[:1], ignore_index=path is None)
    if path is None:
        return found
    if len(twice := found[found.index.duplicated(keep=False)].sort_index()):
        may_be = list_first(twice["path"].loc[twice.index[:1]])
        text = f"{path}: line {twice.index[0] + 2} may mean {may_be}"
        raise DataError(f"{text}; write the collection's name before the paths")
    lost = every[-1][1].drop(index=found.index, errors="ignore").assign(path="")
    return pd.concat([one for one in (found.sort_index(), lost) if len(one)] or [found])


def _own_names(names: Strings, manifest: Manifest, among: Sequence[Manifest]) -> Strings:
    """(N,) names without this collection's before them, and "" for those that name another."""
    if not among:
        return names
    here, *there = (
        {folder_name(one.root), str(one.root.absolute()), os.path.realpath(one.root)}
        for one in (manifest, *among)
    )
    others = {one.name for one in among} | set.union(*there) - here
    starts = tuple(f"{other}/".replace("\\", "/") for other in others - {manifest.name})
    own: list[str] = []
    for name in names.tolist():
        plain = str(name).strip().replace("\\", "/").removeprefix("./")
        own.append("" if plain.startswith(starts) else plain.removeprefix(f"{manifest.name}/"))
    return np.asarray(own, dtype=object)


def _tables(manifest: Manifest) -> list[tuple[Path, tuple[str, ...]]]:
    """The tables of the dataset that hold boxes, and the columns that they need."""
    root, source = manifest.root, manifest.source
    found = sorted(root.glob("BBox_List_2017*.csv"))
    if found or source in _OF_LAYOUTS:
        where = found[0] if found else LAYOUTS[source].table_in(root)
        return [(where, () if found else _OF_LAYOUTS[source])] if where else []
    if source != "vindr":
        return []
    folders = (root, root / "annotations")
    files = [path for folder in folders for path in sorted(folder.glob("annotations_*.csv"))]
    files += [root / "train.csv"] if not files and is_kaggle(root / "train.csv") else []
    return [(path, _KINDS[0]) for path in files]


def _numbers(raw: pd.DataFrame, names: Any) -> Array:
    """(N, …) columns as numbers, NaN where they are none."""
    return np.stack([map_column(raw[name], parse_number, float) for name in names], axis=1)


def _of_originals(raw: pd.DataFrame, where: Path) -> _Drawn:
    """Boxes or masks of SIIM, RSNA or NIH, whose originals have 1024 pixels a side."""
    label: Any
    if "EncodedPixels" in raw:
        names, label, codes = raw["ImageId"], "Pneumothorax", text_column(raw["EncodedPixels"])
        sides = np.asarray([_around_runs(code) for code in codes.tolist()]).reshape(-1, 4)
    elif "patientId" in raw:
        names, label, sides = raw["patientId"], "Pneumonia", _numbers(raw, _SIDES)
    elif raw.shape[1] >= 6:  # the header splits ``Bbox [x,y,w,h]`` into four columns
        names, label = raw.iloc[:, 0], map_column(raw.iloc[:, 1], align)
        sides = _numbers(raw, raw.columns[2:6])
    else:
        raise DataError(f"{where}: fewer than 6 columns; take NIH's own BBox_List_2017.csv")
    corners = np.concatenate([sides[:, :2], sides[:, :2] + sides[:, 2:]], axis=1)
    sizes = np.full((len(raw), 2), float(_SIDE))
    return _Drawn(text_column(names), np.full(len(raw), label, object), corners, sizes)


def _around_runs(code: str) -> list[float]:
    """x, y, width and height around a mask: gaps and lengths of its runs, column by column."""
    try:
        gaps, lengths = np.asarray(code.split(), np.int64).reshape(-1, 2).T
    except ValueError:
        return [np.nan] * 4
    stops = np.cumsum(gaps + lengths)
    (left, top), (right, bottom) = np.divmod(stops - lengths, _SIDE), np.divmod(stops - 1, _SIDE)
    if not len(stops) or (lengths < 1).any():
        return [np.nan] * 4
    whole = (left != right).any()  # a run into the next column
    y, y_last = (0, _SIDE - 1) if whole else (int(top.min()), int(bottom.max()))
    x, x_last = int(left.min()), int(right.max())
    return [float(x), float(y), float(x_last - x + 1), float(y_last - y + 1)]


def _vindr(raw: pd.DataFrame, where: Path, root: Path) -> _Drawn:
    """In pixels of the original image; ``No finding`` has no box."""
    names, sizes = text_column(raw["image_id"]), np.full((len(raw), 2), np.nan)
    edges = _numbers(raw, _EDGES)
    beside = [path for folder in (where.parent, root) for path in sorted(folder.glob("*_meta.csv"))]
    for path in [where, *dict.fromkeys(beside)]:
        pair = next((pair for pair in _SIZES if has_columns(path, ("image_id", *pair))), None)
        if pair is not None:
            table = (raw if path == where else read_csv(path)).drop_duplicates("image_id")
            ids = pd.Index(text_column(table["image_id"]))
            own = pd.DataFrame(_numbers(table, pair), index=ids)
            sizes = np.where(np.isnan(sizes), own.reindex(names).to_numpy(), sizes)
    return _Drawn(names, map_column(raw["class_name"], align), edges, sizes)


def _in_fractions(
    manifest: Manifest, where: Path, drawn: _Drawn, warnings: list[str] | None
) -> pd.DataFrame:
    """Boxes of the manifest's images; those of pictures that cannot be read are left out."""
    listed = manifest.table["path"].tolist()
    paths = as_listed(drawn.names, listed)
    sizes = np.where(drawn.sizes > 0, drawn.sizes, np.nan)
    there = np.isin(paths, np.asarray(listed, object)) & ~np.isnan(drawn.corners).any(axis=1)
    unknown = there & np.isnan(sizes).any(axis=1)
    own = {path: picture_size(manifest, path) for path in dict.fromkeys(paths[unknown])}
    sizes[unknown] = np.asarray([own[path] for path in paths[unknown]]).reshape(-1, 2)
    corners = drawn.corners / np.tile(sizes, 2)
    there &= ~np.isnan(corners).any(axis=1)
    small = unknown & there & [not path.lower().endswith((".dcm", ".dicom")) for path in paths]
    beyond = small & (corners > 1 + _MARGIN).any(axis=1)
    if beyond.any():  # of pictures made smaller, those that fit are as wrong
        there &= ~small
        text = (
            f"{where}: {count(int(small.sum()), 'box', 'boxes')} left out: {int(beyond.sum()):,} "
            "reach beyond their picture, which is not the original; put a train_meta.csv beside "
            "(image_id, dim0, dim1: height and width of the originals)"
        )
        _say(text, warnings)
    lines = np.flatnonzero(there)
    return _checked(paths[lines], drawn.labels[lines], corners[lines], lines, where, warnings)


def picture_size(manifest: Manifest, path: str) -> tuple[float, float]:
    """Width and height of a picture; NaN where it cannot be read, which others say."""
    try:
        file = inside_root(manifest.root, path, follow_links=manifest.follow_links)
        height, width = image_size(file)
    except DataError:
        return np.nan, np.nan
    return width, height


def _checked(
    paths: Any, labels: Any, corners: Array, lines: Any, where: Path, warnings: list[str] | None
) -> pd.DataFrame:
    """Boxes as a table, cut at the image's edge."""
    cut = corners.clip(0, 1)
    right = (np.abs(corners - cut) <= _MARGIN).all(axis=1)
    right &= (cut[:, :2] < cut[:, 2:]).all(axis=1)
    wrong = lines[~right]
    if len(wrong):
        text = (
            f"{where}: {count(len(wrong), 'wrong box', 'wrong boxes')} "
            f"(line{'s' * (len(wrong) > 1)} {list_first(row + 2 for row in wrong.tolist())})"
            f"{' left out' * (warnings is not None)}; "
            "xmin < xmax and ymin < ymax, in the image (boxes.csv: fractions of the image, 0 to 1)"
        )
        _say(text, warnings)
    columns = (paths[right], labels[right], *cut[right].T)
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)), index=lines[right])


def _say(text: str, warnings: list[str] | None) -> None:
    if warnings is None:
        raise DataError(text)
    if text not in warnings:  # of a table that several collections share
        warnings.append(text)
