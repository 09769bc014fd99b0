"""One image from its file to an 8-bit grey array and to a square. Imports no torch.

Images are uint8 (H, W), 0-255. 16-bit and DICOM pixels are scaled over the range that they use,
so that their contrast is kept.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pulmonet.data.images.file import FileState, read_inside
from pulmonet.data.images.grey import decode_grey, to_grey
from pulmonet.data.images.header import read_header
from pulmonet.data.images.npz import read_npz_row
from pulmonet.data.manifest import Manifest
from pulmonet.errors import DataError


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
        from pulmonet.data.images.dicom import dicom_size

        return dicom_size(content, str(path))
    if header.height < 1 or header.width < 1:
        raise DataError(f"{path}: no image size in its header; copy it again")
    return header.height, header.width


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
