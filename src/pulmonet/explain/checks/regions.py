"""Where radiologists (or the phantom's painter) say that a finding lies: boxes, segmentations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pulmonet.data.boxes import read_boxes
from pulmonet.data.images.square import fit_square, placement
from pulmonet.data.manifest import Manifest
from pulmonet.explain.checks.masks import Mask

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


def read_box_regions(path: Path, manifest: Manifest) -> tuple[dict[Key, Region], int]:
    """The boxes of a ``boxes.csv`` by the image and label that they belong to.

    Args:
        path: the CSV, as `pulmonet.data.boxes.read_boxes` takes it.
        manifest: its images.

    Returns:
        Regions by (row, label); and the number of boxes whose image is not in the manifest.

    Raises:
        DataError: as `read_boxes`.
    """
    boxes = read_boxes(manifest, path)
    numbers = {path: row for row, path in enumerate(manifest.table["path"])}
    corners = boxes[["xmin", "ymin", "xmax", "ymax"]].to_numpy(float)
    found: dict[Key, list[NDArray[np.float64]]] = {}
    n_unmatched = 0
    for image, label, box in zip(boxes["path"], boxes["label"], corners, strict=True):
        row = numbers.get(image, numbers.get(image.removeprefix(f"{manifest.name}/")))
        if row is None:
            n_unmatched += 1
        else:
            found.setdefault((row, label), []).append(box)
    return {key: Region(np.stack(boxes)) for key, boxes in found.items()}, n_unmatched


def labels_of(regions: Mapping[Key, Region]) -> list[str]:
    """Labels that have a region, sorted."""
    return sorted({label for _, label in regions})
