"""Where radiologists (or the phantom's painter) say that a finding lies: boxes, segmentations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pulmonet.data.images.square import fit_square, placement
from pulmonet.data.manifest import Manifest
from pulmonet.data.sources.rows import strip_root
from pulmonet.errors import DataError
from pulmonet.explain.checks.masks import Mask
from pulmonet.files.read import check_table
from pulmonet.labels import align
from pulmonet.words import list_first

BOX_COLUMNS = ("Path", "label", "xmin", "ymin", "xmax", "ymax")

#: (row of the manifest, label)
Key = tuple[int, str]


@dataclass(frozen=True)
class Region:
    """One finding's place on one image.

    Attributes:
        boxes: (K, 4) xmin, ymin, xmax, ymax as fractions of the image from its top left.
        mask: instead, where the annotation is a segmentation: over the whole image, in its
            own pixels.
    """

    boxes: NDArray[np.float64]
    mask: Mask | None = None

    def on_square(self, side: int, height: int, width: int, fit: str) -> NDArray[np.bool_]:
        """(S, S) mask on the square that the network sees.

        A pixel belongs to a box when its centre lies inside, to a mask when more than half of it
        does; what is too thin for that keeps the pixels that it touches.

        Args:
            side: S.
            height: of the image, pixels; matters for ``pad`` and ``crop`` only.
            width: of the image, pixels.
            fit: how the image became the square.
        """
        if self.mask is not None:
            grey = self.mask.pixels().astype(np.uint8) * 255
            covered = fit_square(grey, side, fit)
            return np.asarray(covered > min(127, int(covered.max()) - 1))
        where = placement(height, width, fit)
        square = np.zeros((side, side), dtype=bool)
        for xmin, ymin, xmax, ymax in self.boxes:
            left, right = _pixels(xmin * width, xmax * width, where.x0, where.x1, side)
            top, bottom = _pixels(ymin * height, ymax * height, where.y0, where.y1, side)
            square[top:bottom, left:right] = True
        return square


def _pixels(low: float, high: float, start: float, stop: float, side: int) -> tuple[int, int]:
    """First and last-plus-one pixel of the square between two positions on the image."""
    a = (low - start) / (stop - start) * side
    b = (high - start) / (stop - start) * side
    first, last = int(np.ceil(a - 0.5)), int(np.ceil(b - 0.5))
    if last <= first:
        first, last = int(np.floor(a)), int(np.floor(a)) + 1
    return max(first, 0), max(min(last, side), 0)


def read_boxes(path: Path, manifest: Manifest) -> tuple[dict[Key, Region], int]:
    """Read ``boxes.csv``: ``Path,label,xmin,ymin,xmax,ymax``, fractions of the image.

    Args:
        path: the CSV.
        manifest: its images; paths may start with the root's name, as in the CSV files there.

    Returns:
        Regions by (row, label), label names in PulmoNet's vocabulary; and the number of boxes
        whose image is not in the manifest.

    Raises:
        DataError: unreadable, columns missing, or values that are no box.
    """
    try:
        check_table(path)
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as CSV ({error}); check the file") from None
    missing = [name for name in BOX_COLUMNS if name not in table.columns]
    if missing:
        raise DataError(
            f"{path}: column {', '.join(missing)} missing; boxes need {','.join(BOX_COLUMNS)}"
        )
    corners = table[list(BOX_COLUMNS[2:])].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    wrong = np.isnan(corners).any(axis=1) | (corners < -1e-3).any(axis=1)
    wrong |= (corners > 1.001).any(axis=1) | (corners[:, :2] >= corners[:, 2:]).any(axis=1)
    if wrong.any():
        lines = list_first(np.flatnonzero(wrong) + 2)
        raise DataError(
            f"{path}: {int(wrong.sum()):,} lines are no boxes (line {lines}); expected fractions "
            "of the image, 0 <= xmin < xmax <= 1 and 0 <= ymin < ymax <= 1"
        )
    rows = match_paths(table["Path"].astype("str").to_numpy(object), manifest)
    found: dict[Key, list[NDArray[np.float64]]] = {}
    for row, label, box in zip(rows, table["label"].astype("str"), corners, strict=True):
        if row >= 0:
            found.setdefault((int(row), align(label)), []).append(np.clip(box, 0, 1))
    regions = {key: Region(np.stack(boxes)) for key, boxes in found.items()}
    return regions, int((rows < 0).sum())


def match_paths(paths: NDArray[np.object_], manifest: Manifest) -> NDArray[np.int64]:
    """(N,) row of each path in the manifest, -1 where there is none."""
    numbers = {path: row for row, path in enumerate(manifest.table["path"])}
    stripped = strip_root(paths, manifest.root)
    prefix = f"{manifest.name}/"
    rows = [numbers.get(p, numbers.get(str(p).removeprefix(prefix), -1)) for p in stripped]
    return np.asarray(rows, dtype=np.int64)


def labels_of(regions: Mapping[Key, Region]) -> list[str]:
    """Labels that have a region, sorted."""
    return sorted({label for _, label in regions})
