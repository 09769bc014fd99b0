"""Values of any depth and colour as 8-bit grey."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pulmonet.arrays import Flags, Ints, Pixels
from pulmonet.data.images.decoding import Remark

#: A range is only cut down to less than this part of it: the image would keep under 64 greys.
_CROWDED = 0.25

#: Bins of the histogram in which gaps are looked for, the empty ones that make a gap, and the
#: part of all pixels below which a bin counts as empty: the soft edge of a marker lies there.
_BINS, _GAP_BINS, _THIN = 256, 32, 1 / 4000

#: Different values that make an image of one side of a gap.
_MIN_VALUES = 64

#: Pixels that are looked at for gaps.
_SAMPLE = 500_000

#: Greys that hold nearly all pixels of an image that has lost its contrast.
_FEW = 16


def to_grey(image: NDArray[Any]) -> Pixels:
    """(H, W), (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA of any depth as (H, W) uint8."""
    if image.ndim == 3:
        colours = image[..., :3] if image.shape[2] >= 3 else image[..., 0]
        if colours.ndim == 3 and colours.dtype not in (np.uint8, np.uint16, np.float32):
            colours = colours.astype(np.float32)
        image = cv2.cvtColor(colours, cv2.COLOR_BGR2GRAY) if colours.ndim == 3 else colours
    return image if image.dtype == np.uint8 else to_8_bits(image)


def colour_of(image: NDArray[Any]) -> Remark:
    """`COLOUR` where over 1 in 200 pixels of (H, W, 3 or more) have a colour rather than a tint."""
    if image.ndim != 3 or image.shape[2] < 3:
        return Remark.NONE
    part = image[:: max(1, len(image) // 256), :: max(1, image.shape[1] // 256), :3]
    spread = part.max(axis=2).astype(np.float64) - part.min(axis=2)
    full = np.iinfo(part.dtype).max if part.dtype.kind in "iu" else part.max(initial=0)
    return Remark.COLOUR if (spread > full / 8).mean() > 1 / 200 else Remark.NONE


def to_8_bits(values: NDArray[Any], used: Flags | None = None) -> Pixels:
    """Scale (H, W) values of any depth to 0-255 over the range that the image uses.

    From its smallest to its largest value; where a few extreme pixels (markers, borders) hold
    more than half of that range, from the 0.1th to the 99.9th percentile; and without what a gap
    parts from the image, however large, where that would leave it under 64 greys. `used`, (H, W),
    says which pixels count, e.g. no padding; all where None.
    """
    counted = values if used is None or not used.any() else values[used]
    counted = counted[np.isfinite(counted)] if counted.dtype.kind == "f" else counted
    if not counted.size:
        return np.zeros(values.shape, np.uint8)
    low, high = float(counted.min()), float(counted.max())
    inner_low, inner_high = np.percentile(counted, (0.1, 99.9))
    if 0 < inner_high - inner_low < (high - low) / 2:
        low, high = float(inner_low), float(inner_high)
    sample = counted.ravel()[:: max(1, counted.size // _SAMPLE)]
    while (shorter := _without_strangers(sample, low, high)) is not None:
        low, high = shorter
    scaled = values.astype(np.float32)
    scaled -= low
    scaled *= 255.0 / max(high - low, 1e-12)
    np.clip(np.nan_to_num(scaled, copy=False), 0, 255, out=scaled)
    scaled += 0.5
    return scaled.astype(np.uint8)


def upright(image: Pixels, orientation: int) -> Pixels:
    """An (H, W) image as viewers show it under an EXIF orientation, 1 to 8 (CIPA DC-008, 4.6.4)."""
    if orientation >= 5:
        image = image.T
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def few_greys(counts: Ints) -> bool:
    """Whether a (256,) histogram of greys is no picture any more.

    Most pixels are black or white, or few greys hold nearly all of them.
    """
    n_pixels = int(counts.sum())
    if int(counts[0] + counts[-1]) > 0.5 * n_pixels:
        return True
    inner = np.sort(counts)[::-1][:_FEW]
    return int(inner.sum()) > 0.95 * n_pixels


def _without_strangers(sample: NDArray[Any], low: float, high: float) -> tuple[float, float] | None:
    """The range of the pixels that gaps part from the few others; None where it stays as it is.

    Of two sides of a gap the one with most of the distinct values is the image: a marker or a
    border has one, or the few of a soft edge.
    """
    limit = (high - low) * _CROWDED
    while high - low >= limit > 0:
        sample = sample[(sample >= low) & (sample <= high)]
        counts = np.histogram(sample, _BINS, (low, high))[0]
        filled = np.flatnonzero(counts > len(sample) * _THIN)
        gaps = np.diff(filled)
        if not len(gaps) or gaps.max() <= _GAP_BINS:
            return None
        place = int(gaps.argmax())
        middle = low + (high - low) * float(filled[place] + filled[place + 1] + 1) / (2 * _BINS)
        distinct = np.unique(sample)
        bins = ((distinct - low) * (_BINS / (high - low))).astype(np.int64).clip(0, _BINS - 1)
        distinct = distinct[np.isin(bins, filled)]  # without the soft edge of a marker
        n_below = int(np.searchsorted(distinct, middle))
        side = distinct[:n_below] if n_below > len(distinct) / 2 else distinct[n_below:]
        if len(side) < max(_MIN_VALUES, 0.8 * len(distinct)):
            return None
        low, high = float(side[0]), float(side[-1])
    return (low, high) if high > low else None
