"""Heat maps laid over the original image, at its own resolution and aspect.

The network sees a square that was cut out of the image, padded or stretched; its map is put back
where that square lay (`pulmonet.data.images.square.placement`).
"""

from typing import cast

import cv2
import matplotlib
import numpy as np
from scipy import ndimage

from pulmonet.arrays import Floats32, Pixels
from pulmonet.data.images.square import Placement

#: Share of colour where the map is 1; it falls with the map, so that 0 leaves the X-ray as it is.
OPACITY = 0.65


def scale_maps(raw: Floats32, side: int) -> Floats32:
    """Signed (..., h, w) maps as (..., S, S) float32 in [0, 1]: ReLU, bilinear, min 0 and max 1.

    A map without any positive value, or constant, becomes all zero: it points nowhere.
    """
    flat = np.maximum(raw, 0).reshape(-1, *raw.shape[-2:])
    scaled = np.zeros((len(flat), side, side), dtype=np.float32)
    for position, positive in enumerate(flat):
        if positive.shape == (side, side):
            large = positive
        else:
            large = cv2.resize(positive, (side, side), interpolation=cv2.INTER_LINEAR)
        low, high = float(large.min()), float(large.max())
        if high > low and np.isfinite(high):
            scaled[position] = (large - low) / (high - low)
    return scaled.reshape(*raw.shape[:-2], side, side)


def place_map(heat: Floats32, height: int, width: int, where: Placement) -> Floats32:
    """The square's map in the image's own pixels, bilinear; NaN outside a crop, which is not seen.

    `heat` is (S, S) in [0, 1], cells of equal size that tile the square; height and width are of
    the image and of the answer (float32); `where` is what the square covers, maybe outside.
    """
    spans = (width, where.x0, where.x1), (height, where.y0, where.y1)
    # where each pixel's centre lies between the square's edges, 0 to 1 inside
    x, y = ((np.arange(n) + 0.5 - start) / (stop - start) for n, start, stop in spans)
    cells = x * heat.shape[1] - 0.5, y * heat.shape[0] - 0.5
    columns, rows = np.meshgrid(*(along.astype(np.float32) for along in cells))
    flat = np.ascontiguousarray(heat, np.float32)
    placed = cv2.remap(flat, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside_x, inside_y = (np.abs(along - 0.5) <= 0.5 for along in (x, y))
    placed[~(inside_y[:, None] & inside_x)] = np.nan
    return cast(Floats32, placed)


def boxes_above(placed: Floats32, share: float) -> list[dict[str, int | float]]:
    """Boxes around the parts of a map (H, W) that reach `share` of its maximum, the largest first.

    ``xmin``, ``ymin``, ``xmax`` and ``ymax`` are fractions of the image from its top left,
    ``left``, ``top``, ``right`` and ``bottom`` its pixels, the last two behind the box.
    """
    values, (height, width) = np.nan_to_num(placed, nan=0.0), placed.shape
    parts, _ = ndimage.label((values >= share * values.max()) & (values > 0))
    found = []
    for y, x in ndimage.find_objects(parts):
        edges = {"left": x.start, "top": y.start, "right": x.stop, "bottom": y.stop}
        shares = np.divide(list(edges.values()), [width, height] * 2).tolist()
        found.append(dict(zip(("xmin", "ymin", "xmax", "ymax"), shares, strict=True)) | edges)
    return sorted(found, key=lambda box: (box["xmin"] - box["xmax"]) * (box["ymax"] - box["ymin"]))


def colour_table(name: str) -> Pixels:
    """(256, 3) RGB of a colour map."""
    return cast(Pixels, matplotlib.colormaps[name](np.arange(256), bytes=True)[:, :3])


def blend(image: Pixels, placed: Floats32, colour_map: str = "plasma") -> Pixels:
    """The overlay, (H, W, 3) RGB uint8: colour over grey, the more of it the higher the map.

    Image, grey, and map, in [0, 1], are (H, W); NaN leaves the image as it is.
    """
    values = np.nan_to_num(placed, nan=0.0)
    colours = colour_table(colour_map)[np.round(values * 255).astype(np.uint8)]
    share = (OPACITY * values)[..., None]
    mixed = image[..., None] * (1 - share) + colours * share
    return cast(Pixels, np.round(mixed).astype(np.uint8))


def encode_png(image: Pixels) -> bytes:
    """PNG bytes of an (H, W) grey or (H, W, 3) RGB image."""
    ordered = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, buffer = cv2.imencode(".png", ordered)
    assert done, "cv2 encodes any uint8 image as PNG"
    return bytes(buffer.tobytes())
