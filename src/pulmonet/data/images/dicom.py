"""DICOM pixels as they are meant to be seen, through the extra `dicom` (pydicom)."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulmonet.arrays import Flags, Floats32, Pixels
from pulmonet.data.images.grey import to_8_bits, to_grey
from pulmonet.data.images.header import check_size
from pulmonet.errors import DataError
from pulmonet.words import first_line

#: Modalities (PS3.3, C.7.3.1.1.1) of other images than radiographs and of no images at all, as
#: they lie beside radiographs in an archive's folders. What is not listed is taken.
NO_RADIOGRAPHS = frozenset(
    {
        *("CT", "MR", "PT", "NM", "US", "IVUS", "MG", "ES", "XC", "OP", "OPT", "SM"),
        *("ECG", "EPS", "HD", "AU", "SR", "KO", "PR", "SEG", "DOC", "PLAN", "REG", "FID"),
        *("RTDOSE", "RTPLAN", "RTRECORD", "RTSTRUCT"),
    }
)


def decode_dicom(content: bytes, where: str) -> Pixels:
    """The first frame of a DICOM file as (H, W) uint8 grey, air dark.

    In the order of the standard (PS3.4, N.2): rescale or modality LUT, VOI LUT or window, and
    MONOCHROME1 inverted. Without a window, the range that the image uses is scaled to 0-255,
    padding left aside.

    Raises:
        DataError: no pydicom, no radiograph, damaged, compressed in a way that no plugin reads,
            too large.
    """
    dataset, height, width = _open(content, where, stop_before_pixels=False)
    check_size(height * int(dataset.get("NumberOfFrames") or 1), width, where)
    try:
        return _grey(dataset, dataset.pixel_array)
    except MemoryError:
        raise
    except Exception as error:  # pydicom and its plugins raise whatever they meet
        name = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
        syntax, reason = getattr(name, "name", "unknown transfer syntax"), first_line(error)[:120]
        raise DataError(
            f"{where}: DICOM pixels cannot be decoded ({syntax}: {reason}); copy it "
            "again, or install all decoders: pip install 'pulmonet[dicom]'"
        ) from None


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
    try:
        # old archives write no preamble; what is no DICOM at all has no rows then
        file = io.BytesIO(content)
        dataset = pydicom.dcmread(file, force=True, stop_before_pixels=stop_before_pixels)
        modality = str(dataset.get("Modality") or "")
        if modality not in NO_RADIOGRAPHS:
            return dataset, int(dataset.Rows), int(dataset.Columns)
    except Exception as error:  # pydicom raises whatever it meets
        reason = first_line(error)[:120]
        raise DataError(f"{where}: damaged DICOM ({reason}); copy it again") from None
    raise DataError(f"{where}: no chest radiograph (its Modality is {modality}); leave it out")


def _grey(dataset: Any, pixels: NDArray[Any]) -> Pixels:
    from pydicom.pixels.processing import apply_modality_lut, apply_voi, convert_color_space

    if int(dataset.get("NumberOfFrames") or 1) > 1:
        pixels = pixels[0]
    kind = str(dataset.PhotometricInterpretation)
    if int(dataset.get("SamplesPerPixel") or 1) == 3:
        colours = pixels if kind == "RGB" else convert_color_space(pixels, kind, "RGB")
        return to_grey(np.ascontiguousarray(colours[..., ::-1]))
    values = apply_modality_lut(pixels, dataset)
    center, width = _first(dataset, "WindowCenter"), _first(dataset, "WindowWidth")
    if dataset.get("VOILUTSequence"):
        grey = to_8_bits(apply_voi(values.astype(np.int64), dataset))
    elif width and center is not None:
        function = str(dataset.get("VOILUTFunction") or "LINEAR")
        shown = window(values, float(center), float(width), function)
        grey = (shown * 255 + 0.5).astype(np.uint8)
    else:
        used: Flags | None = None
        if (padding := dataset.get("PixelPaddingValue")) is not None:
            low, high = sorted((int(padding), int(dataset.get("PixelPaddingRangeLimit", padding))))
            used = np.asarray((pixels < low) | (pixels > high))
        grey = to_8_bits(values, used)
    return np.asarray(255 - grey if kind == "MONOCHROME1" else grey, np.uint8)


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


def _first(dataset: Any, name: str) -> Any:
    """The first value of an element that may hold several (several windows are views to choose)."""
    value = dataset.get(name)
    is_list = hasattr(value, "__iter__") and not isinstance(value, str)
    return next(iter(value), None) if is_list else value
