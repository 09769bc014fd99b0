"""One image from its file to an 8-bit grey array and to a square. Imports no torch.

Images are uint8 (H, W), 0-255. 16-bit and DICOM pixels are scaled over the range that they use,
so that their contrast is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pulmonet.data.image_files import FileState, read_inside
from pulmonet.data.image_headers import check_size, read_header
from pulmonet.data.manifest import Manifest
from pulmonet.data.npz_images import read_npz_row
from pulmonet.errors import ConfigError, DataError

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


def fit_square(
    image: NDArray[np.uint8], side: int, fit: str, out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """The (side, side) square of an (H, W) image, resized with the area filter.

    ``stretch`` squeezes the whole image, ``pad`` keeps its aspect on black, ``crop`` takes the
    central square. An image smaller than `side` is enlarged bilinearly.

    Args:
        image: (H, W).
        side: pixels.
        fit: stretch, pad or crop.
        out: (side, side) memory that may be used for the result.
    """
    if fit != "stretch":
        image = _cut_or_padded(image, fit)
    if image.shape == (side, side):
        return np.ascontiguousarray(image)
    smaller = side <= image.shape[0] and side <= image.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (side, side), out, interpolation=method), dtype=np.uint8)


def _cut_or_padded(image: NDArray[np.uint8], fit: str) -> NDArray[np.uint8]:
    height, width = image.shape
    box = placement(height, width, fit)
    left, top = int(box.x0), int(box.y0)
    if fit == "crop":
        return image[top : int(box.y1), left : int(box.x1)]
    square = np.zeros((int(box.y1 - box.y0), int(box.x1 - box.x0)), dtype=np.uint8)
    square[-top : -top + height, -left : -left + width] = image
    return square


def read_grey(path: Path) -> NDArray[np.uint8]:
    """An image file as (H, W) uint8 grey: JPEG, PNG, TIFF, or DICOM with the extra `dicom`.

    Raises:
        DataError: missing, unreadable, truncated, empty, of another format, or too large.
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

    Colours become luma, transparency is ignored, EXIF orientation too (boxes refer to the stored
    pixels). 16 bits are scaled to 8 over the range that the image uses (`to_8_bits`).

    Raises:
        DataError: as `read_grey`.
    """
    if not content:
        raise DataError(f"{where}: empty file; copy it again")
    header = read_header(content)
    if header.kind == "DICOM" or where.lower().endswith((".dcm", ".dicom")):
        from pulmonet.data.dicom import decode_dicom

        return decode_dicom(content, where)
    if not header.kind:
        raise DataError(
            f"{where}: not a JPEG, PNG, TIFF or DICOM file; convert it or copy it again"
        )
    if header.height < 1 or header.width < 1:
        raise DataError(f"{where}: damaged {header.kind} (no size in its header); copy it again")
    check_size(header.height, header.width, where)
    if not header.complete:
        raise DataError(f"{where}: truncated {header.kind} (no end marker); copy it again")
    try:
        flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise DataError(f"{where}: damaged {header.kind}; copy it again or remove its row")
    return to_grey(np.asarray(image))


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) that the header of an image file claims; nothing is decoded.

    Raises:
        DataError: missing, or not a readable header.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the file") from None
    header = read_header(content)
    if header.kind == "DICOM":
        from pulmonet.data.dicom import dicom_size

        return dicom_size(content, str(path))
    if header.height < 1 or header.width < 1:
        raise DataError(f"{path}: no image size in its header; copy it again")
    return header.height, header.width


def to_grey(image: NDArray[Any]) -> NDArray[np.uint8]:
    """(H, W), (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA of any depth as (H, W) uint8."""
    if image.ndim == 3:
        colours = image[..., :3] if image.shape[2] >= 3 else image[..., 0]
        if colours.ndim == 3 and colours.dtype not in (np.uint8, np.uint16, np.float32):
            colours = colours.astype(np.float32)
        image = cv2.cvtColor(colours, cv2.COLOR_BGR2GRAY) if colours.ndim == 3 else colours
    return image if image.dtype == np.uint8 else to_8_bits(image)


def to_8_bits(values: NDArray[Any], used: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
    """Scale (H, W) values of any depth to 0-255 over the range that the image uses.

    From its smallest to its largest value; where a few extreme pixels (markers, borders) hold
    more than half of that range, from the 0.1th to the 99.9th percentile.

    Args:
        values: (H, W) numbers.
        used: (H, W) pixels that count, e.g. no padding; all where None.
    """
    counted = values if used is None or not used.any() else values[used]
    counted = counted[np.isfinite(counted)] if counted.dtype.kind == "f" else counted
    if not counted.size:
        return np.zeros(values.shape, np.uint8)
    low, high = float(counted.min()), float(counted.max())
    inner_low, inner_high = np.percentile(counted, (0.1, 99.9))
    if 0 < inner_high - inner_low < (high - low) / 2:
        low, high = float(inner_low), float(inner_high)
    scaled = (np.asarray(values, np.float32) - low) * (255.0 / max(high - low, 1e-12))
    return np.asarray(np.clip(np.nan_to_num(scaled), 0, 255) + 0.5, np.float32).astype(np.uint8)


def read_source_image(manifest: Manifest, row: int) -> NDArray[np.uint8]:
    """The image of a manifest row as (H, W) uint8 grey, from a file or from inside an ``.npz``.

    Raises:
        DataError: as `read_grey`; the path leaves the dataset root; the file changes while it is
            read; or all pixels are equal.
    """
    image, _ = read_image(manifest.root, str(manifest.table["path"].iloc[row]))
    return image


def read_image(root: Path, path: str) -> tuple[NDArray[np.uint8], FileState]:
    """`read_source_image` by the path that a manifest row holds; no look-up in its table.

    Returns:
        (H, W) uint8, and the (size, mtime_ns) of the file that it belongs to.

    Raises:
        DataError: as `read_source_image`.
    """
    if ".npz#" in path:
        stored, state = read_npz_row(root, path)
        image = to_grey(stored)
    else:
        content, state = read_inside(root, path)
        image = decode_grey(content, f"{root}/{path}")
    middle = image[image.shape[0] // 2, image.shape[1] // 2]
    # the first comparison settles nearly every image without looking at all its pixels
    if image[0, 0] == middle and image.min() == image.max():
        raise DataError(f"{root}/{path}: blank image (all pixels equal); remove its row")
    return image, state
