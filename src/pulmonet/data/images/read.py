"""An image as (H, W) uint8 grey, 0-255: from a manifest row, a file, or a file's bytes.

16-bit and DICOM pixels are scaled over the range that they use, so that their contrast is kept.
Imports no torch.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pulmonet.arrays import Pixels
from pulmonet.data.images.dicom import decode_dicom, dicom_size
from pulmonet.data.images.file import FileState, read_inside
from pulmonet.data.images.grey import to_grey
from pulmonet.data.images.header import check_size, read_header
from pulmonet.data.images.npz import read_npz_row
from pulmonet.data.manifest import Manifest
from pulmonet.errors import DataError
from pulmonet.files.read import check_plain


def read_source_image(manifest: Manifest, row: int) -> Pixels:
    """The image of a manifest row as (H, W) uint8 grey, from a file or from inside an ``.npz``.

    Raises:
        DataError: as `read_grey`; the path leaves the dataset root; the file changes while it is
            read; or all pixels are equal.
    """
    path = str(manifest.table["path"].iloc[row])
    return read_image(manifest.root, path, follow_links=manifest.follow_links)[0]


def read_image(root: Path, path: str, *, follow_links: bool = False) -> tuple[Pixels, FileState]:
    """`read_source_image` by its path, and the (size, mtime_ns) of the file that it belongs to."""
    if ".npz#" in path:
        stored, state = read_npz_row(root, path, follow_links=follow_links)
        image = to_grey(stored)
    else:
        content, state = read_inside(root, path, follow_links=follow_links)
        image = decode_grey(content, f"{root}/{path}")
    middle = image[image.shape[0] // 2, image.shape[1] // 2]
    # the first comparison settles nearly every image without looking at all its pixels
    if image[0, 0] == middle and image.min() == image.max():
        raise DataError(f"{root}/{path}: blank image (all pixels equal); remove its row")
    return image, state


def read_grey(path: Path) -> Pixels:
    """An image file as (H, W) uint8 grey: JPEG, PNG, TIFF, or DICOM with the extra `dicom`.

    Raises:
        DataError: missing, unreadable, truncated, empty, of another format, or too large.
    """
    return decode_grey(_content(path), str(path))


def decode_grey(content: bytes, where: str) -> Pixels:
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
    content = _content(path)
    header = read_header(content)
    if header.kind == "DICOM":
        return dicom_size(content, str(path))
    if header.height < 1 or header.width < 1:
        raise DataError(f"{path}: no image size in its header; copy it again")
    return header.height, header.width


def _content(path: Path) -> bytes:
    try:
        check_plain(path)
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the file") from None
    except ValueError:
        raise DataError(f"{str(path)!r}: not a file name; check the CSV") from None
