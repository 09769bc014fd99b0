"""Elements of a DICOM file as people's archives hold them: missing, empty, as text, or wrong."""

from __future__ import annotations

import contextlib
import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulmonet.data.images.decoding import Remark
from pulmonet.errors import DataError

#: Elements that say how pixels are stored.
_ELEMENTS = (
    *("SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation"),
    "PlanarConfiguration",
)

#: What one and three values a pixel can mean; the first where a file says nothing else.
_GREYS = ("MONOCHROME2", "MONOCHROME1", "PALETTE COLOR")
_COLOURS = (
    *("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420"),
    *("YBR_ICT", "YBR_RCT"),
)

#: How a compressed picture starts, and what a JPEG's frame header makes it.
_ITEM = b"\xfe\xff\x00\xe0"
_JPEG_FRAME = re.compile(rb"\xff([\xc0\xc1\xc3\xf7])..[\x02-\x10]", re.DOTALL)
_JPEGS = {
    b"\xc0": "JPEGBaseline8Bit",
    b"\xc1": "JPEGExtended12Bit",
    b"\xc3": "JPEGLosslessSV1",
    b"\xf7": "JPEGLSLossless",
}


def numbers(dataset: Any, name: str) -> list[float]:
    """All values of an element that are finite numbers; none where it is missing or empty."""
    found: list[float] = []
    with contextlib.suppress(Exception):  # pydicom converts, and complains, when it is asked
        value = dataset.get(name)
        values = value if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
        for one in values:
            with contextlib.suppress(TypeError, ValueError, OverflowError):
                found += [float(one)] if math.isfinite(float(one)) else []
    return found


def first_number(dataset: Any, name: str) -> float | None:
    """The first of them."""
    return next(iter(numbers(dataset, name)), None)


def complete_elements(dataset: Any, n_pixels: int, where: str) -> Remark:
    """Fill in what a file does not say of its pixels, as the number of its bytes shows it.

    MONOCHROME2 and unsigned where nothing else is known. Whether anything had to be assumed.

    Raises:
        DataError: colours that are not read.
    """
    said = {name: first_number(dataset, name) for name in _ELEMENTS}
    n_frames = max(1, int(first_number(dataset, "NumberOfFrames") or 1))
    stored = dataset.get("PixelData") or b""
    is_packed = stored[:4] == _ITEM
    n_bytes = 0 if is_packed else len(stored) // (n_pixels * n_frames)
    dataset.NumberOfFrames = n_frames if is_packed else 1  # the first one is read
    kind = " ".join(str(dataset.get("PhotometricInterpretation") or "").upper().split())
    if not kind and "RedPaletteColorLookupTableDescriptor" in dataset:
        kind = "PALETTE COLOR"
    if kind and kind not in _GREYS + _COLOURS:
        raise DataError(f"{where}: its colours are {kind[:40]}, which is not read; convert it")
    samples = int(said["SamplesPerPixel"] or 0)
    if samples not in (1, 3):
        samples = 3 if kind in _COLOURS or n_bytes in (3, 6) else 1
    bits = int(said["BitsAllocated"] or 8 * n_bytes // samples or said["BitsStored"] or 8)
    filled = {
        "SamplesPerPixel": samples,
        "BitsAllocated": bits if bits == 1 else -(-bits // 8) * 8,
        "BitsStored": min(bits, int(said["BitsStored"] or bits)),
        "PixelRepresentation": int(said["PixelRepresentation"] == 1),
        "PlanarConfiguration": int(said["PlanarConfiguration"] == 1),
    }
    missing = {name for name in _ELEMENTS[:-1] if said[name] != filled[name]}
    for name, value in filled.items():
        if said[name] != value:
            setattr(dataset, name, value)
    kinds = _COLOURS if samples == 3 else _GREYS
    if kind == "YBR_FULL_422" and n_bytes == 3:  # all three values are there for every pixel
        kind = "YBR_FULL"
    if kind not in kinds:
        kind = kinds[0]
        missing.add("PhotometricInterpretation")
    dataset.PhotometricInterpretation = kind
    return Remark.ASSUMED if missing and "PixelData" in dataset else Remark.NONE


def transfer_syntax(dataset: Any) -> Any:
    """How the pixels are stored; as it was read, and as they start, where the file says nothing."""
    from pydicom import uid
    from pydicom.dataset import FileMetaDataset
    from pydicom.encaps import get_frame

    if getattr(dataset, "file_meta", None) is None:
        dataset.file_meta = FileMetaDataset()
    meta, stored = dataset.file_meta, dataset.get("PixelData") or b""
    if meta.get("TransferSyntaxUID"):
        return meta.TransferSyntaxUID
    if stored[:4] == _ITEM:
        frame = get_frame(stored, 0, number_of_frames=dataset.NumberOfFrames)
        sof = _JPEG_FRAME.search(frame[:65536]) if frame[:2] == b"\xff\xd8" else None
        is_jpeg_2000 = frame[:4] == b"\xff\x4f\xff\x51"
        name = _JPEGS[sof[1]] if sof else "JPEG2000" if is_jpeg_2000 else "RLELossless"
    else:
        is_implicit, is_little = dataset.original_encoding
        name = "ImplicitVRLittleEndian" if is_implicit else "ExplicitVRLittleEndian"
        name = "ExplicitVRBigEndian" if is_little is False else name
    meta.TransferSyntaxUID = getattr(uid, name)
    return meta.TransferSyntaxUID


def look_up(values: NDArray[Any], item: Any) -> NDArray[Any]:
    """Values through a modality or VOI lookup table (PS3.3, C.11.1.1 and C.11.2.1.1).

    A table of 12 bits is stored in 16, one of 8 bits in 8 or in 16; a table that is shorter than
    it says is taken as long as it is.

    Raises:
        ValueError, AttributeError: no table.
    """
    n_entries, first, bits = (int(value) for value in item.LUTDescriptor)
    n_entries = n_entries % 65536 or 65536
    data = item.LUTData
    if isinstance(data, bytes):
        order = ">" if item.original_encoding[1] is False else "<"
        is_narrow = bits <= 8 and len(data) <= n_entries + 1
        whole = data if is_narrow else data[: len(data) // 2 * 2]
        table = np.frombuffer(whole, "u1" if is_narrow else f"{order}u2")
    else:
        table = np.asarray(data, np.int64).astype(np.uint16)
    table = table[:n_entries]
    if table.size < 2:
        raise ValueError("an empty lookup table")
    return np.asarray(table[np.clip(values.astype(np.int64) - first, 0, len(table) - 1)])
