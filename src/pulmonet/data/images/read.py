"""An image as (H, W) uint8 grey, 0-255: from a manifest row, a file, or a file's bytes.

16-bit and DICOM pixels are scaled over the range that they use, so that their contrast is kept.
Imports no torch.
"""

import contextlib
import io
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pulmonet.arrays import Pixels
from pulmonet.data.images.decoding import PHANTOM_COMMENT, Remark, decoding
from pulmonet.data.images.dicom import decode_dicom, dicom_size
from pulmonet.data.images.file import FileState, read_at_rest, read_inside, reading
from pulmonet.data.images.grey import colour_of, to_grey, upright
from pulmonet.data.images.header import ImageHeader, check_size, read_header
from pulmonet.data.images.npz import read_npz_row
from pulmonet.data.manifest import Manifest
from pulmonet.errors import DataError
from pulmonet.files.system import READ_PLAIN

# what the libraries remark on TIFF carries no file's name
cv2.utils.logging.setLogLevel(0)
logging.getLogger("PIL").addHandler(logging.NullHandler())

#: Files that people take for images, by their first bytes; what to do about them.
_OTHERS = {
    b"version https://git-lfs": "a pointer of Git LFS; fetch the image with git lfs pull",
    b"<": "text (HTML or XML), as of a failed download; download it again",
    b"GIF8": "a GIF; convert it to PNG",
    b"II+\0": "a BigTIFF; convert it to PNG",
    b"MM\0+": "a BigTIFF; convert it to PNG",
    b"BM": "a BMP; convert it to PNG",
    b"RIFF": "a WebP; convert it to PNG",
    b"PK\3\4": "a ZIP; unpack it",
    b"\x1f\x8b": "packed with gzip; unpack it",
}

_CONVERT = "convert it to a grey PNG"

#: What is warned of, image by image, where it is not a dataset's.
_ODD = {
    Remark.COLOUR: "in colour, and X-rays are grey; is it one?",
    Remark.RAW: "as the detector read it (FOR PROCESSING), not as it is looked at",
}


def read_source_image(manifest: Manifest, row: int) -> Pixels:
    """The image of a manifest row as (H, W) uint8 grey, from a file or from inside an ``.npz``.

    Raises:
        DataError: as `read_file`; the path leaves the dataset root; the file changes while it is
            read; or all pixels are equal.
    """
    return read_row(manifest, row)[0]


def read_row(manifest: Manifest, row: int) -> tuple[Pixels, Remark]:
    """`read_source_image`, and what there is to remark."""
    manifest, row = manifest.own_row(row)
    path = str(manifest.table["path"].iloc[row])
    image, remark, _ = read_image(manifest.root, path, follow_links=manifest.follow_links)
    return _warned(image, remark | Remark.PHANTOM * manifest.synthetic, path)


def read_image(root: Path, path: str, *, follow_links: bool) -> tuple[Pixels, Remark, FileState]:
    """`read_source_image` by its path, what there is to remark, and the state of its file."""
    if ".npz#" in path:
        stored, state = read_npz_row(root, path, follow_links=follow_links)
        if stored.ndim == 3 and stored.shape[2] >= 3:
            stored = stored[..., 2::-1]  # RGB
        image, remark = to_grey(stored), colour_of(stored)
        _check_blank(image, f"{root}/{path}")
    else:
        content, state = read_inside(root, path, follow_links=follow_links)
        image, remark = decode(content, f"{root}/{path}")
    return image, remark, state


def _check_blank(image: Pixels, where: str) -> None:
    middle = image[image.shape[0] // 2, image.shape[1] // 2]
    # the first comparison settles nearly every image without looking at all its pixels
    if image[0, 0] == middle and image.min() == image.max():
        raise DataError(f"{where}: blank image (all pixels equal); leave it out")


def read_file(path: Path) -> tuple[Pixels, Remark]:
    """An image file as (H, W) uint8 grey, and what there is to remark.

    JPEG, PNG, TIFF, or DICOM with the extra `dicom`.

    Raises:
        DataError: missing, unreadable, truncated, empty, of another format, or too large.
    """
    return _warned(*decode(_content(path), str(path)), path)


def _warned(image: Pixels, remark: Remark, path: object) -> tuple[Pixels, Remark]:
    for kind, odd in _ODD.items():
        if remark & kind:
            logging.getLogger(__name__).warning("%s: %s", path, odd)
    return image, remark


def decode(content: bytes, where: str) -> tuple[Pixels, Remark]:
    """The bytes of an image file as (H, W) uint8 grey, and what there is to remark.

    Colours become luma, transparency is ignored, EXIF orientation followed as viewers do. 16 bits
    are scaled to 8 over the range that the image uses (`to_8_bits`). `where` opens the messages.

    Raises:
        DataError: as `read_file`.
    """
    if not content:
        raise DataError(f"{where}: empty file; copy it again")
    header = read_header(content)
    is_called_dicom = where.lower().endswith((".dcm", ".dicom"))
    kind = header.kind or ("DICOM" if is_called_dicom else "")
    if not kind:
        start = content[:64].lstrip(b"\xef\xbb\xbf\r\n\t ")
        other = next((text for mark, text in _OTHERS.items() if start.startswith(mark)), None)
        way = f", but {other}" if other else "; convert it or copy it again"
        raise DataError(f"{where}: not a JPEG, PNG, TIFF or DICOM file{way}")
    with decoding(where, kind) as said:
        if kind == "DICOM":
            grey, remark = decode_dicom(content, where)
        else:
            grey, remark = _decode_picture(content, header, where)
    _check_blank(grey, where)
    return grey, remark | (Remark.WARNED if said else Remark.NONE)


def _decode_picture(content: bytes, header: ImageHeader, where: str) -> tuple[Pixels, Remark]:
    if header.height < 1 or header.width < 1:
        raise ValueError("no size in its header")
    check_size(header.height, header.width, where)
    if header.odd:
        raise DataError(f"{where}: {header.odd}; {_CONVERT}")
    if not header.complete:
        raise DataError(f"{where}: truncated {header.kind} (no end marker); copy it again")
    remark = Remark.TURNED if header.orientation > 1 else Remark.NONE
    remark |= Remark.PHANTOM if PHANTOM_COMMENT in content[:100] else Remark.NONE
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image: Any = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:
        image = None
    if header.kind == "TIFF":  # both decoders turn it upright themselves
        if image is None or (header.has_alpha and image.dtype == np.uint8):
            image = _decode_tiff(content, where)
        elif image.dtype == np.uint8:
            _check_tiff(content, image.shape)
        elif header.has_planes:  # OpenCV takes one after the other for colours side by side
            raise DataError(f"{where}: a TIFF of separate colour planes; {_CONVERT}")
        grey = to_grey(image)
        # OpenCV turns 8 bits over where white is zero, and no others
        is_inverted = header.is_inverted and image.dtype != np.uint8
        return 255 - grey if is_inverted else grey, remark | colour_of(image)
    if image is None and header.is_rare:
        raise DataError(f"{where}: a lossless JPEG, or of 12 bits; convert it to PNG")
    if image is None:
        raise ValueError("cannot be decoded")
    return upright(to_grey(image), header.orientation), remark | colour_of(image)


def _decode_tiff(content: bytes, where: str) -> NDArray[Any]:
    """What OpenCV does not: Zstandard and LZMA, and colours that are not multiplied by alpha."""
    from PIL import Image, UnidentifiedImageError

    try:
        opened = Image.open(io.BytesIO(content), formats=("TIFF",))
    except UnidentifiedImageError:
        raise DataError(f"{where}: a TIFF of a rare kind, or damaged; {_CONVERT}") from None
    with opened as picture:
        if picture.mode in ("I", "F", "I;16", "I;16B"):
            return np.asarray(picture)
        colours = np.asarray(picture.convert("RGBA"))
    return np.ascontiguousarray(colours[..., 2::-1])


def _check_tiff(content: bytes, shape: tuple[int, ...]) -> None:
    """Whether 8 bits are whole: where they are not, OpenCV fills with black and says nothing."""
    from PIL import Image, UnidentifiedImageError

    if shape[0] * shape[1] > (Image.MAX_IMAGE_PIXELS or 0):
        return
    with contextlib.suppress(UnidentifiedImageError):  # which OpenCV reads all the same
        Image.open(io.BytesIO(content), formats=("TIFF",)).load()


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) that the header of an image file claims, upright; nothing is decoded.

    Raises:
        DataError: missing, or not a readable header.
    """
    content = _content(path)
    header = read_header(content)
    if header.kind == "DICOM":
        with decoding(str(path), "DICOM"):
            return dicom_size(content, str(path))
    if header.height < 1 or header.width < 1:
        raise DataError(f"{path}: no image size in its header; copy it again")
    is_turned = header.orientation >= 5
    return (header.width, header.height) if is_turned else (header.height, header.width)


def _content(path: Path) -> bytes:
    with reading(str(path), str(path)):
        return read_at_rest(str(path), str(path), READ_PLAIN)[0]
