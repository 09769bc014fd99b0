"""An image file's bytes as 8-bit grey."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pulmonet.data.images.header import check_size, read_header
from pulmonet.errors import DataError


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
        from pulmonet.data.images.dicom import decode_dicom

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
