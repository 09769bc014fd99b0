"""One image from its file to an 8-bit grey array and to a square. Imports no torch.

Images are uint8 (H, W), 0-255. 16-bit and DICOM pixels are scaled over the range that they use,
so that their contrast is kept.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pulmonet.data.manifest import Manifest
from pulmonet.errors import ConfigError, DataError

#: A header that claims more is refused before anything is decoded.
MAX_PIXELS = 200_000_000

FITS = ("stretch", "pad", "crop")


@dataclass(frozen=True)
class Placement:
    """The part of an image that its square covers, in pixels of the original.

    Attributes:
        x0: left edge; negative where `pad` adds a border.
        y0: top edge.
        x1: right edge; beyond the width where `pad` adds a border.
        y1: bottom edge.
    """

    x0: float
    y0: float
    x1: float
    y1: float


def placement(height: int, width: int, fit: str) -> Placement:
    """Which part of a (height, width) image its square covers under `fit`.

    Raises:
        ConfigError: an unknown fit.
    """
    if fit == "stretch":
        return Placement(0.0, 0.0, float(width), float(height))
    if fit not in FITS:
        raise ConfigError(f"fit '{fit}': unknown; choose from {', '.join(FITS)}")
    side = max(height, width) if fit == "pad" else min(height, width)
    x0, y0 = (width - side) // 2, (height - side) // 2
    return Placement(float(x0), float(y0), float(x0 + side), float(y0 + side))


def fit_square(image: NDArray[np.uint8], side: int, fit: str) -> NDArray[np.uint8]:
    """The (side, side) square of an (H, W) image, resized with the area filter.

    ``stretch`` squeezes the whole image, ``pad`` keeps its aspect on black, ``crop`` takes the
    central square. An image smaller than `side` is enlarged bilinearly.
    """
    height, width = image.shape
    box = placement(height, width, fit)
    left, top = int(box.x0), int(box.y0)
    if fit == "crop":
        image = image[top : int(box.y1), left : int(box.x1)]
    elif fit == "pad" and height != width:
        square = np.zeros((int(box.y1 - box.y0), int(box.x1 - box.x0)), dtype=np.uint8)
        square[-top : -top + height, -left : -left + width] = image
        image = square
    if image.shape == (side, side):
        return np.ascontiguousarray(image)
    smaller = side <= image.shape[0] and side <= image.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (side, side), interpolation=method), dtype=np.uint8)


def read_grey(path: Path) -> NDArray[np.uint8]:
    """An image file as (H, W) uint8 grey.

    Raises:
        DataError: missing, unreadable, truncated, empty, or too large.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the file") from None
    except ValueError:
        raise DataError(f"{str(path)!r}: not a file name; check the CSV") from None
    return decode_grey(content, str(path))


def decode_grey(content: bytes, where: str) -> NDArray[np.uint8]:
    """The bytes of an image file as (H, W) uint8 grey; `where` opens the messages.

    Raises:
        DataError: as `read_grey`.
    """
    if not content:
        raise DataError(f"{where}: empty file; copy it again")
    if content[:2] == b"\xff\xd8" and b"\xff\xd9" not in content[-4096:]:
        raise DataError(f"{where}: truncated JPEG (no end marker); copy it again")
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None:
        raise DataError(f"{where}: not a readable image; copy it again or remove its row")
    return _to_grey8(np.asarray(image))


def _to_grey8(image: NDArray[Any]) -> NDArray[np.uint8]:
    if image.ndim == 3:
        image = np.asarray(cv2.cvtColor(image[..., :3], cv2.COLOR_BGR2GRAY))
    return np.asarray(image, dtype=np.uint8)


def read_source_image(manifest: Manifest, row: int) -> NDArray[np.uint8]:
    """The image of a manifest row as (H, W) uint8 grey.

    Raises:
        DataError: as `read_grey`; or the path leaves the dataset root.
    """
    path = str(manifest.table["path"].iloc[row])
    return read_grey(inside_root(manifest.root, path))


def inside_root(root: Path, path: str) -> Path:
    """The file at `path` below `root`, links followed.

    Raises:
        DataError: it lies elsewhere.
    """
    real_root = os.path.realpath(root)
    real = os.path.realpath(root / path)
    if not real.startswith(real_root.rstrip(os.sep) + os.sep):
        raise DataError(f"{path}: leaves the dataset root {root}; paths must stay below it")
    return root / path
