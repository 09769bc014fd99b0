"""DICOM pixels as they are meant to be seen, through the extra `dicom` (pydicom)."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pulmonet.arrays import Flags, Floats32, Pixels
from pulmonet.data.images.decoding import COPY_AGAIN, Remark, decoding
from pulmonet.data.images.dicom_elements import (
    complete_elements,
    first_number,
    look_up,
    numbers,
    transfer_syntax,
)
from pulmonet.data.images.grey import to_8_bits, to_grey
from pulmonet.data.images.header import check_size, read_header, stream_size
from pulmonet.errors import DataError

#: Modalities (PS3.3, C.7.3.1.1.1) of other images than radiographs and of no images at all, as
#: they lie beside radiographs in an archive's folders. What is not listed is taken.
NO_RADIOGRAPHS = frozenset(
    {
        *("CT", "MR", "PT", "NM", "US", "IVUS", "MG", "ES", "XC", "OP", "OPT", "SM"),
        *("ECG", "EPS", "HD", "AU", "SR", "KO", "PR", "SEG", "DOC", "PLAN", "REG", "FID"),
        *("RTDOSE", "RTPLAN", "RTRECORD", "RTSTRUCT"),
    }
)

#: What a deflated file may unfold to.
MAX_INFLATED_BYTES = 2**30

#: A window leaves a picture where fewer pixels are black or white, and 98 % of them cover this
#: many greys or more.
_MAX_CLIPPED, _MIN_GREYS = 0.75, 32

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_DEFLATED = "1.2.840.10008.1.2.1.99"


class NotARadiographError(DataError):
    """A DICOM file of another `modality`."""

    def __init__(self, where: str, modality: str) -> None:
        super().__init__(f"{where}: no chest radiograph (its Modality is {modality}); leave it out")
        self.modality = modality


def decode_dicom(content: bytes, where: str) -> tuple[Pixels, Remark]:
    """The first frame of a DICOM file as (H, W) uint8 grey, air dark.

    In the order of the standard (PS3.4, N.2): rescale or modality LUT, VOI LUT or window, and
    MONOCHROME1 inverted. Without a window, or where none shows the image, the range that it uses
    is scaled to 0-255, padding left aside. Colours become luma, palettes too.

    Raises:
        DataError: no pydicom, no radiograph, damaged, compressed in a way that no plugin reads,
            too large.
    """
    dataset, height, width = _open(content, where, stop_before_pixels=False)
    check_size(height, width, where)
    with decoding(where, "DICOM") as said:
        remark = complete_elements(dataset, height * width, where)
        pixels, kind = _first_frame(dataset, where)
        if pixels.ndim == 3 or kind == "PALETTE COLOR":
            return _grey_of_colours(dataset, pixels, kind), remark
        grey, seen = _grey(dataset, pixels)
        remark |= seen
    return grey, remark | (Remark.WARNED if said else Remark.NONE)


def dicom_size(content: bytes, where: str) -> tuple[int, int]:
    """(height, width) of a DICOM file; a DataError as in `decode_dicom`."""
    return _open(content, where, stop_before_pixels=True)[1:]


def _open(content: bytes, where: str, *, stop_before_pixels: bool) -> tuple[Any, int, int]:
    """The dataset, its height and width."""
    try:
        import pydicom
    except ImportError:
        raise DataError(
            f"{where}: a DICOM file; reading these takes the extra: pip install 'pulmonet[dicom]'"
        ) from None
    warnings.filterwarnings("ignore", module="pydicom")  # they carry no file's name
    with decoding(where, "DICOM"):
        _check_inflated(content, where)
        # old archives write no preamble; what is no DICOM at all has no rows then
        file = io.BytesIO(content)
        dataset = pydicom.dcmread(file, force=True, stop_before_pixels=stop_before_pixels)
        modality = str(dataset.get("Modality") or "")
        if modality in NO_RADIOGRAPHS:
            raise NotARadiographError(where, modality)
        height, width = first_number(dataset, "Rows"), first_number(dataset, "Columns")
        if (not height or not width) and stop_before_pixels:
            raise DataError(
                f"{where}: DICOM without an image in it, or damaged; leave it out, or copy it again"
            )
        if not height or not width:  # a cut file with compressed pixels gives nothing at all
            _open(content, where, stop_before_pixels=True)
        if not stop_before_pixels and not any(name in dataset for name in _PIXELS):
            raise DataError(f"{where}: truncated DICOM (no pixels in it); {COPY_AGAIN}")
    return dataset, int(height or 0), int(width or 0)


def _check_inflated(content: bytes, where: str) -> None:
    """Refuse a deflated file that unfolds without end, before it is unfolded."""
    if _DEFLATED.encode() not in content[:4096]:
        return
    from pydicom.filereader import read_dataset, read_preamble

    file = io.BytesIO(content)
    read_preamble(file, force=True)
    meta = read_dataset(file, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
    if str(meta.get("TransferSyntaxUID")) != _DEFLATED:
        return
    inflater, packed, n_bytes = zlib.decompressobj(-zlib.MAX_WBITS), file.read(), 0
    while packed and n_bytes <= MAX_INFLATED_BYTES:
        n_bytes += len(inflater.decompress(packed, 2**20))
        packed = inflater.unconsumed_tail
    if n_bytes > MAX_INFLATED_BYTES:
        raise DataError(f"{where}: unfolds to more than a gigabyte; remove its row")


def _first_frame(dataset: Any, where: str) -> tuple[NDArray[Any], str]:
    """Pixels as they are stored, (H, W) or (H, W, 3), and what they mean once decoded."""
    from pydicom.pixels.decoders.base import get_decoder

    syntax = transfer_syntax(dataset)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise DataError(
            f"{where}: stored as {syntax.name}, which is not read; convert it, or remove its row"
        ) from None
    if not decoder.is_available:
        raise DataError(
            f"{where}: stored as {syntax.name}; reading it takes all decoders: "
            "pip install 'pulmonet[dicom]'"
        )
    if decoder.is_encapsulated:
        _check_frame(dataset, syntax.name, where)
    pixels, facts = decoder.as_array(dataset, index=0)
    return pixels, str(facts["photometric_interpretation"])


def _check_frame(dataset: Any, name: str, where: str) -> None:
    """Refuse what would unfold to more than the header says, before it is unfolded."""
    from pydicom.encaps import get_frame

    frame = get_frame(dataset.PixelData, 0, number_of_frames=dataset.NumberOfFrames)
    height, width = dataset.Rows, dataset.Columns
    if name.startswith("RLE"):
        n_segments, *starts = struct.unpack("<16I", frame[:64])
        n_expected = dataset.SamplesPerPixel * -(-dataset.BitsAllocated // 8)
        ends = [*starts[1:n_segments], len(frame)]
        segments = [frame[start:end] for start, end in zip(starts, ends, strict=False)]
        most = height * width + 64  # some writers pad
        if n_segments != n_expected or any(_rle_size(one, most) > most for one in segments):
            raise DataError(f"{where}: damaged DICOM (wrong RLE segments); {COPY_AGAIN}")
        return
    if "JPEG" in name:
        expected = height, width, dataset.SamplesPerPixel
        said, found = (f"{w:,} x {h:,} x {n}" for h, w, n in (expected, stream_size(frame)))
        if said != found:
            raise DataError(
                f"{where}: holds a picture of {found} values, its header says {said}; {COPY_AGAIN}"
            )
    header = read_header(frame)
    if not header.complete:
        raise DataError(f"{where}: truncated DICOM (its JPEG has no end marker); {COPY_AGAIN}")
    if header.kind == "JPEG" and not header.is_rare:
        # pylibjpeg fills what is missing and says nothing; libjpeg prints it
        cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8)


def _rle_size(segment: bytes, most: int) -> int:
    """Bytes that an RLE segment unfolds to (PS3.5, G.3.2), until there are too many; 0 if few."""
    start, n_packed = segment[: 2**16], len(segment)
    # counting takes as long as decoding: only where the first part promises too much
    if len(start) < n_packed < 2**24 and _rle_size(start, most) * n_packed < 1.5 * most * 2**16:
        return 0
    place = n_bytes = 0
    while place < len(segment) and n_bytes <= most:
        code = segment[place]
        n_bytes += code + 1 if code < 128 else 257 - code if code > 128 else 0
        place += code + 2 if code < 128 else 2
    return n_bytes


def _grey_of_colours(dataset: Any, pixels: NDArray[Any], kind: str) -> Pixels:
    """Luma of RGB, of a palette's colours, or Y as it is, without stretching the contrast."""
    from pydicom.pixels.processing import apply_color_lut

    bits = int(dataset.BitsStored)
    if kind == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)[..., :3]
        bits = 16 if pixels.max(initial=0) > 255 else 8
    colours = (pixels >> max(bits - 8, 0)).astype(np.uint8)
    if kind.startswith("YBR"):  # Y is the grey already, in 16 to 235 where it is partial
        grey = colours[..., 0]
        is_partial = kind.startswith("YBR_PARTIAL")
        levels = np.clip((np.arange(256) - 16) * 255 / 219 + 0.5, 0, 255).astype(np.uint8)
        return np.ascontiguousarray(levels[grey] if is_partial else grey)
    return to_grey(np.ascontiguousarray(colours[..., ::-1]))


def _grey(dataset: Any, pixels: NDArray[Any]) -> tuple[Pixels, Remark]:
    """The first of lookup table, windows and range that leaves a picture of the values."""
    values = _rescaled(dataset, pixels)
    used: Flags | None = None
    if (padding := first_number(dataset, "PixelPaddingValue")) is not None:
        limit = first_number(dataset, "PixelPaddingRangeLimit")
        low, high = sorted((padding, padding if limit is None else limit))
        used = np.asarray((pixels < low) | (pixels > high))
    remark = Remark.NONE
    views = _views(dataset, values, used)
    shown = next(views)
    if not _is_seen(shown, used):
        better = next((view for view in views if _is_seen(view, used)), None)
        shown, remark = (shown, remark) if better is None else (better, Remark.WINDOW)
    is_inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
    return np.asarray(255 - shown if is_inverted else shown, np.uint8), remark


def _rescaled(dataset: Any, pixels: NDArray[Any]) -> NDArray[Any]:
    """Pixels through the modality LUT, or slope and intercept (PS3.3, C.11.1)."""
    with contextlib.suppress(AttributeError, ValueError, TypeError, IndexError, KeyError):
        return look_up(pixels, dataset.ModalityLUTSequence[0])
    slope = first_number(dataset, "RescaleSlope") or 1.0
    intercept = first_number(dataset, "RescaleIntercept") or 0.0
    if (slope, intercept) == (1.0, 0.0):
        return pixels
    return np.asarray(pixels.astype(np.float64) * slope + intercept)


def _views(dataset: Any, values: NDArray[Any], used: Flags | None) -> Iterator[Pixels]:
    """Every way to show the values, as they stand in the file; their own range at the end."""
    with contextlib.suppress(AttributeError, ValueError, TypeError, IndexError, KeyError):
        yield to_8_bits(look_up(values, dataset.VOILUTSequence[0]))
    function = str(dataset.get("VOILUTFunction") or "LINEAR").upper()
    centers, widths = numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth")
    for center, width in zip(centers, widths, strict=False):
        if width > 0:
            shown = window(values, center, width, function)
            yield (shown * 255 + 0.5).astype(np.uint8)
    yield to_8_bits(values, used)


def _is_seen(grey: Pixels, used: Flags | None) -> bool:
    """Whether a view leaves a picture, padding left aside."""
    step = max(1, min(grey.shape) // 512)
    sample = grey[::step, ::step]
    if used is not None:
        sample = sample[used[::step, ::step]]
    counts = np.bincount(sample.ravel(), minlength=256)
    n_pixels = int(counts.sum())
    low, high = np.searchsorted(np.cumsum(counts), (0.01 * n_pixels, 0.99 * n_pixels))
    return int(counts[0] + counts[-1]) <= _MAX_CLIPPED * n_pixels and high - low >= _MIN_GREYS


def window(values: NDArray[Any], center: float, width: float, function: str = "LINEAR") -> Floats32:
    """Brightness in [0, 1] of pixel values under a window (DICOM PS3.3, C.11.2.1.2 and .3)."""
    x = np.asarray(values, np.float32)
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(-4 * (x - center) / width)), np.float32)
    if function == "LINEAR_EXACT" or width <= 1:
        shown = (x - center) / width + 0.5
    else:
        shown = (x - (center - 0.5)) / (width - 1) + 0.5
    return np.asarray(np.clip(shown, 0, 1), np.float32)
