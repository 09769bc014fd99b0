"""DICOM pixels as they are meant to be seen, through the extra `dicom` (pydicom)."""

import contextlib
import io
import math
import re
import struct
import tomllib
import warnings
import zlib
from collections.abc import Iterator
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pulmonet.arrays import Flags, Floats32, Pixels
from pulmonet.data.images.decoding import COPY_AGAIN, Remark
from pulmonet.data.images.grey import colour_of, to_8_bits, to_grey
from pulmonet.data.images.header import check_size, read_header
from pulmonet.errors import DataError

_WORDS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
NO_RADIOGRAPHS = frozenset(_WORDS["no_radiographs"])

#: What a deflated file may unfold to.
MAX_INFLATED_BYTES = 2**30

#: A window leaves a picture where fewer pixels are black or white, and 98 % of them cover this
#: many greys or more.
_MAX_CLIPPED, _MIN_GREYS = 0.75, 32

#: Windows that are tried; a file can hold 16,000, each a second's work.
_MAX_WINDOWS = 16

_DEFLATED = "1.2.840.10008.1.2.1.99"

_KINDS: dict[int, list[str]] = {int(n): names for n, names in _WORDS["kinds"].items()}

#: How a compressed picture starts, and what a JPEG's frame header makes it.
_ITEM, _JPEG_2000 = b"\xfe\xff\x00\xe0", b"\xff\x4f\xff\x51"
_JPEG_FRAME = re.compile(rb"\xff([\xc0\xc1\xc3\xf7])..[\x02-\x10]", re.DOTALL)
_JPEGS = {
    b"\xc0": "JPEGBaseline8Bit",
    b"\xc1": "JPEGExtended12Bit",
    b"\xc3": "JPEGLosslessSV1",
    b"\xf7": "JPEGLSLossless",
}

#: What is wrong with a lookup table that is passed over.
_NO_TABLE = (AttributeError, ValueError, TypeError, IndexError, KeyError)


class NotARadiographError(DataError):
    """A DICOM file of another `modality`."""

    def __init__(self, where: str, modality: str) -> None:
        super().__init__(f"{where}: no chest radiograph (its Modality is {modality}); leave it out")
        self.modality = modality


def decode_dicom(content: bytes, where: str) -> tuple[Pixels, Remark]:
    """The first frame of a DICOM file as (H, W) uint8 grey, air dark; to be guarded by `decoding`.

    In the order of the standard (PS3.4, N.2): rescale or modality LUT, VOI LUT or window, and
    MONOCHROME1 inverted. Without a window, or where none shows the image, the range that it uses
    is scaled to 0-255, padding left aside. Colours become luma, palettes too.

    Raises:
        DataError: no pydicom, no radiograph, compressed in a way that no plugin reads, too large.
        Exception: damaged; whatever pydicom and its plugins make of it.
    """
    height, width = dicom_size(content, where)
    check_size(height, width, where)
    from pydicom import dcmread

    dataset = dcmread(io.BytesIO(content), force=True)
    if not any(f"{kind}PixelData" in dataset for kind in ("", "Float", "DoubleFloat")):
        raise DataError(f"{where}: truncated DICOM (no pixels in it); {COPY_AGAIN}")
    remark = _complete(dataset, height * width, where)
    if str(dataset.get("PresentationIntentType") or "").upper() == "FOR PROCESSING":
        remark |= Remark.RAW
    pixels, kind = _first_frame(dataset, where)
    pixels, fixed = _used_bits(dataset, pixels)
    if pixels.ndim == 3 or kind == "PALETTE COLOR":
        grey, seen = _grey_of_colours(dataset, pixels, kind)
    else:
        grey, seen = _grey(dataset, pixels)
    return grey, remark | fixed | seen


def dicom_size(content: bytes, where: str) -> tuple[int, int]:
    """(height, width) of a DICOM file; errors as in `decode_dicom`."""
    try:
        import pydicom
    except ImportError:
        raise DataError(
            f"{where}: a DICOM file; reading these takes the extra: pip install 'pulmonet[dicom]'"
        ) from None
    warnings.filterwarnings("ignore", module="pydicom")  # they carry no file's name
    _check_inflated(content, where)
    # old archives write no preamble; what is no DICOM at all has no rows then
    dataset = pydicom.dcmread(io.BytesIO(content), force=True, stop_before_pixels=True)
    if (modality := str(dataset.get("Modality") or "")) in NO_RADIOGRAPHS:
        raise NotARadiographError(where, modality)
    height, width = (int(_number(dataset, name) or 0) for name in ("Rows", "Columns"))
    if not height or not width:
        text = f"{where}: DICOM without an image in it, or damaged; leave it out, or copy it again"
        raise DataError(text)
    return height, width


def _check_inflated(content: bytes, where: str) -> None:
    """Refuse a deflated file that unfolds without end, before it is unfolded."""
    from pydicom.filereader import read_dataset, read_preamble

    file = io.BytesIO(content)
    read_preamble(file, force=True)
    meta = read_dataset(file, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
    if meta.get("TransferSyntaxUID") != _DEFLATED:
        return
    inflater, packed, n_bytes = zlib.decompressobj(-zlib.MAX_WBITS), file.read(), 0
    while packed and n_bytes <= MAX_INFLATED_BYTES:
        n_bytes += len(inflater.decompress(packed, 2**20))
        packed = inflater.unconsumed_tail
    if n_bytes > MAX_INFLATED_BYTES:
        raise DataError(f"{where}: unfolds to more than a gigabyte; remove its row")


def _numbers(dataset: Any, name: str) -> list[float]:
    """All values of an element, NaN for what is no finite number; none where it is missing."""
    found: list[float] = []
    with contextlib.suppress(Exception):  # pydicom converts, and complains, when it is asked
        for value in np.atleast_1d(dataset.get(name)):
            found.append(math.nan)  # keeps the place of what follows
            with contextlib.suppress(TypeError, ValueError, OverflowError):
                found[-1] = float(value) if math.isfinite(float(value)) else math.nan
    return found


def _number(dataset: Any, name: str) -> float | None:
    return next((value for value in _numbers(dataset, name) if not math.isnan(value)), None)


def _complete(dataset: Any, n_pixels: int, where: str) -> Remark:
    """Fill in what a file does not say of its pixels, as the number of its bytes shows it.

    MONOCHROME2 and unsigned where nothing else is known. Whether anything had to be assumed.
    """
    names = "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation"
    said: dict[str, Any] = {name: _number(dataset, name) for name in names}
    n_frames = max(1, int(_number(dataset, "NumberOfFrames") or 1))
    stored = dataset.get("PixelData") or b""
    is_packed = stored[:4] == _ITEM
    n_bytes = 0 if is_packed else len(stored) // (n_pixels * n_frames)
    kind = " ".join(str(dataset.get("PhotometricInterpretation") or "").upper().split())
    if not kind and "RedPaletteColorLookupTableDescriptor" in dataset:
        kind = "PALETTE COLOR"
    if kind and kind not in _KINDS[1] + _KINDS[3]:
        raise DataError(f"{where}: its colours are {kind[:40]}, which is not read; convert it")
    if kind == "YBR_FULL_422" and n_bytes == 3:  # all three values are there for every pixel
        kind = "YBR_FULL"
    said["PhotometricInterpretation"] = kind
    samples = int(said["SamplesPerPixel"] or 0)
    if samples not in _KINDS and 0 < samples <= n_bytes:
        raise DataError(f"{where}: {samples} values a pixel, which is not read; convert it")
    if samples not in _KINDS:
        samples = 3 if kind in _KINDS[3] or n_bytes in (3, 6) else 1
    bits = int(said["BitsAllocated"] or 8 * n_bytes // samples or said["BitsStored"] or 8)
    filled = {
        "SamplesPerPixel": samples,
        "BitsAllocated": bits if bits == 1 else -(-bits // 8) * 8,
        "BitsStored": min(bits, int(said["BitsStored"] or bits)),
        "PixelRepresentation": int(said["PixelRepresentation"] == 1),
        "PhotometricInterpretation": kind if kind in _KINDS[samples] else _KINDS[samples][0],
    }
    dataset.PlanarConfiguration = int(_number(dataset, "PlanarConfiguration") == 1)
    dataset.NumberOfFrames = n_frames if is_packed else 1  # the first one is read
    for name, value in filled.items():
        setattr(dataset, name, value)
    return Remark.ASSUMED if said != filled and "PixelData" in dataset else Remark.NONE


def _transfer_syntax(dataset: Any) -> Any:
    """How the pixels are stored; as it was read, and as they start, where the file says nothing."""
    from pydicom import uid
    from pydicom.encaps import get_frame

    meta, stored = dataset.file_meta, dataset.get("PixelData") or b""
    if not meta.get("TransferSyntaxUID"):
        is_implicit, is_little = dataset.original_encoding
        name = "ImplicitVRLittleEndian" if is_implicit else "ExplicitVRLittleEndian"
        name = "ExplicitVRBigEndian" if is_little is False else name
        if stored[:4] == _ITEM:
            frame = get_frame(stored, 0, number_of_frames=dataset.NumberOfFrames)
            sof = _JPEG_FRAME.search(frame[:65536]) if frame[:2] == b"\xff\xd8" else None
            is_jpeg_2000 = frame[:4] == _JPEG_2000
            name = _JPEGS[sof[1]] if sof else "JPEG2000" if is_jpeg_2000 else "RLELossless"
        meta.TransferSyntaxUID = getattr(uid, name)
    return meta.TransferSyntaxUID


def _first_frame(dataset: Any, where: str) -> tuple[NDArray[Any], str]:
    """Pixels as they are stored, (H, W) or (H, W, 3), and what they mean once decoded."""
    from pydicom.pixels.decoders.base import get_decoder

    syntax = _transfer_syntax(dataset)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        text = f"{where}: stored as {syntax.name}, which is not read; convert it, or remove its row"
        raise DataError(text) from None
    if decoder.is_encapsulated and "pylibjpeg" not in decoder.available_plugins:
        what = f"{where}: stored as {syntax.name}"
        raise DataError(f"{what}; reading it takes all decoders: pip install 'pulmonet[dicom]'")
    if decoder.is_encapsulated:
        _check_frame(dataset, is_rle=syntax.name.startswith("RLE"))
    options: Any = {"correct_unused_bits": False}
    pixels, facts = decoder.as_array(dataset, index=0, **options)
    return pixels, str(facts["photometric_interpretation"])


def _used_bits(dataset: Any, pixels: NDArray[Any]) -> tuple[NDArray[Any], Remark]:
    """Pixels without the bits below and above those that are stored (PS3.5, 8.1.1).

    An overlay may lie above; or else more bits are stored than the file says, and without them the
    brightest pixels were the darkest. What leaves the smoother picture is taken.
    """
    stored = dataset.BitsStored
    unused = 8 * pixels.itemsize - stored
    if pixels.dtype.kind not in "iu" or unused <= 0:
        return pixels, Remark.NONE
    top = 1 << stored - dataset.PixelRepresentation
    is_within = -top <= pixels.min() and pixels.max() < top
    is_high = not is_within or (_number(dataset, "HighBit") or 0) >= stored
    if is_high and not (pixels & (1 << unused) - 1).any():
        return pixels >> unused, Remark.NONE
    if is_within:
        return pixels, Remark.NONE
    kept = (pixels << unused) >> unused
    steps = [np.abs(np.diff(each.astype(np.int64), axis=1)).sum() for each in (kept, pixels)]
    is_kept = steps[0] <= steps[1] or pixels.ndim == 3
    return (kept, Remark.NONE) if is_kept else (pixels, Remark.ASSUMED)


def _check_frame(dataset: Any, *, is_rle: bool) -> None:
    """A ValueError for what would unfold to more than the header says, before it is unfolded."""
    from pydicom.encaps import get_frame

    frame = get_frame(dataset.PixelData, 0, number_of_frames=dataset.NumberOfFrames)
    height, width, n_samples = dataset.Rows, dataset.Columns, dataset.SamplesPerPixel
    if is_rle:
        from rle.utils import decode_pixel_data

        n_segments, *starts = struct.unpack("<16I", frame[:64])
        if n_segments != n_samples * -(-dataset.BitsAllocated // 8):
            raise ValueError("wrong RLE segments")
        too_long = height * width + 65  # some writers pad
        for start, end in pairwise([*starts[:n_segments], len(frame)]):
            one = struct.pack("<16I", 1, 64, *[0] * 14) + frame[start:end]
            try:
                decode_pixel_data(one, version=2, rows=1, columns=too_long, bits_allocated=8)
            except ValueError:  # it is shorter, as it should be
                continue
            raise ValueError("wrong RLE segments")
        return
    header = read_header(frame)
    found = header.height, header.width, header.n_samples
    if header.kind != "JPEG":
        place = frame.index(_JPEG_2000)  # its size marker (T.800, A.5.1)
        right, bottom, left, top = struct.unpack_from(">IIII", frame, place + 8)
        found = bottom - top, right - left, *struct.unpack_from(">H", frame, place + 40)
    if found != (height, width, n_samples):
        what = f"holds a picture of {found[1]:,} x {found[0]:,} x {found[2]} values,"
        raise ValueError(f"{what} its header says {width:,} x {height:,} x {n_samples}")
    if header.odd or not header.complete:
        raise ValueError(header.odd or "its JPEG has no end marker")
    if header.kind == "JPEG" and not header.is_rare:
        # pylibjpeg fills what is missing and says nothing; libjpeg prints it
        cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8)


def _grey_of_colours(dataset: Any, pixels: NDArray[Any], kind: str) -> tuple[Pixels, Remark]:
    """Luma of RGB, of a palette's colours, or Y as it is, without stretching the contrast."""
    from pydicom.pixels.processing import apply_color_lut

    bits = dataset.BitsStored
    if kind == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)[..., :3]
        bits = 16 if pixels.max(initial=0) > 255 else 8
    colours = (pixels >> max(bits - 8, 0)).astype(np.uint8)
    if not kind.startswith("YBR"):
        return to_grey(np.ascontiguousarray(colours[..., ::-1])), colour_of(colours)
    levels = np.arange(256)  # Y is the grey already, in 16 to 235 where it is partial
    if kind.startswith("YBR_PARTIAL"):
        levels = np.clip((levels - 16) * 255 / 219 + 0.5, 0, 255)
    grey = np.asarray(levels.astype(np.uint8)[colours[..., 0]])
    colours[..., 0] = 128  # Cb and Cr of grey
    return grey, colour_of(colours)


def _grey(dataset: Any, pixels: NDArray[Any]) -> tuple[Pixels, Remark]:
    """The first of lookup table, windows and range that leaves a picture of the values."""
    used: Flags | None = None
    if (padding := _number(dataset, "PixelPaddingValue")) is not None:
        limit = _number(dataset, "PixelPaddingRangeLimit")
        ends = np.array([padding, padding if limit is None else limit], np.int64)
        if pixels.dtype.itemsize == 2:  # said without a sign where pixels have one, or with one
            ends = ends.astype(pixels.dtype)
        low, high = sorted(ends.tolist())
        used = np.asarray((pixels < low) | (pixels > high))
    views = _views(dataset, _rescaled(dataset, pixels), used)
    first = next(views)
    shown = next((view for view in chain([first], views) if _is_seen(view, used)), first)
    remark = Remark.NONE if shown is first else Remark.WINDOW
    is_inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
    return np.asarray(255 - shown if is_inverted else shown, np.uint8), remark


def _rescaled(dataset: Any, pixels: NDArray[Any]) -> NDArray[Any]:
    """Pixels through the modality LUT, or slope and intercept (PS3.3, C.11.1)."""
    with contextlib.suppress(*_NO_TABLE):
        return _look_up(pixels, dataset.ModalityLUTSequence[0])
    slope = _number(dataset, "RescaleSlope") or 1.0
    intercept = _number(dataset, "RescaleIntercept") or 0.0
    if (slope, intercept) == (1.0, 0.0):
        return pixels
    return np.asarray(pixels.astype(np.float64) * slope + intercept)


def _views(dataset: Any, values: NDArray[Any], used: Flags | None) -> Iterator[Pixels]:
    """Every way to show the values, as they stand in the file; their own range at the end."""
    with contextlib.suppress(*_NO_TABLE):
        yield to_8_bits(_look_up(values, dataset.VOILUTSequence[0]))
    function = str(dataset.get("VOILUTFunction") or "LINEAR").upper()
    centers, widths = _numbers(dataset, "WindowCenter"), _numbers(dataset, "WindowWidth")
    for center, width in islice(zip(centers, widths, strict=False), _MAX_WINDOWS):
        if width > 0 and not math.isnan(center):
            yield (window(values, center, width, function) * 255 + 0.5).astype(np.uint8)
    yield to_8_bits(values, used)


def _look_up(values: NDArray[Any], item: Any) -> NDArray[Any]:
    """Values through a modality or VOI lookup table (PS3.3, C.11.1.1 and C.11.2.1.1).

    By hand: pydicom reads no table of 12 bits (stored in 16; 8 bits are stored in 8 or in 16), and
    none that is shorter than it says. One of `_NO_TABLE` where there is none.
    """
    n_entries, first, bits = (int(value) for value in item.LUTDescriptor)
    n_entries = n_entries % 65536 or 65536
    if first >= 2**15 and values.min() < 0:  # written without its sign
        first -= 2**16
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
