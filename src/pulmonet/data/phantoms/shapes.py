"""What the phantoms are drawn with: coordinates, shapes and textures on a film's grid."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from pulmonet.arrays import Array, Floats32, Pixels

Map = Floats32  # (H, W) over the film
Canvas = Pixels  # (H, W) that shapes are drawn onto


@dataclass(frozen=True)
class Frame:
    """Where the body lies on the film: body coordinates to pixels and back."""

    height: int
    width: int
    matrix: Array  # (2, 3) affine from body coordinates to pixels

    @cached_property
    def unit(self) -> float:
        """Pixels per body unit (geometric mean of the two axes)."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:, :2]))))

    @cached_property
    def grid(self) -> tuple[Map, Map]:
        """Body coordinates (x, y) of every pixel, each (H, W)."""
        rows, columns = np.ogrid[: self.height, : self.width]
        inverse = cv2.invertAffineTransform(self.matrix)
        x, y = (across * columns + down * rows + start for across, down, start in inverse)
        return x.astype(np.float32), y.astype(np.float32)

    def to_pixels(self, points: ArrayLike) -> Array:
        """(N, 2) body coordinates to (N, 2) pixels."""
        return np.asarray(points, np.float64) @ self.matrix[:, :2].T + self.matrix[:, 2]

    def _fixed(self, points: ArrayLike) -> NDArray[np.int32]:
        """(N, 2) body coordinates to OpenCV's fixed point pixels with 4 fractional bits."""
        return np.clip(np.round(self.to_pixels(points) * 16), -65536, 65536).astype(np.int32)

    def blank(self) -> Canvas:
        """An empty canvas, (H, W)."""
        return np.zeros((self.height, self.width), np.uint8)

    def fill(self, polygon: ArrayLike, blur: float = 1.0) -> Map:
        """A filled shape with edges `blur` pixels soft, 0 to 1."""
        canvas = self.blank()
        cv2.fillPoly(canvas, [self._fixed(polygon)], 255, cv2.LINE_AA, 4)
        return soften(canvas, blur)

    def stroke(self, canvas: Canvas, points: ArrayLike, width: float, value: float) -> None:
        """Draw a curve `width` body units wide onto `canvas`, `value` 0 to 1."""
        thickness = max(1, round(width * self.unit))
        line = self._fixed(points).reshape(-1, 1, 2)
        cv2.polylines(canvas, [line], False, 255 * value, thickness, cv2.LINE_AA, 4)

    def noise(self, rng: Generator, scale: float) -> Map:
        """Smooth random texture of unit deviation whose grains are `scale` body units wide."""
        step = max(scale * self.unit, 1.0)
        shape = (int(self.height / step) + 4, int(self.width / step) + 4)
        coarse = rng.standard_normal(shape, np.float32)
        fine = cv2.resize(coarse, (self.width, self.height), interpolation=cv2.INTER_CUBIC)
        return np.asarray(fine, np.float32)


def soften(canvas: Canvas | Map, sigma: float) -> Map:
    """To float32 (bytes are scaled to 0-1), blurred by `sigma` pixels."""
    scaled = canvas.astype(np.float32)
    if canvas.dtype == np.uint8:
        scaled /= 255
    blurred = cv2.GaussianBlur(scaled, (0, 0), sigma) if sigma > 0 else scaled
    return np.asarray(blurred, np.float32)


def curve(x: ArrayLike, y: ArrayLike, closed: bool = False) -> Array:
    """A Catmull-Rom curve through N points, their x and y given, 8 steps between two of them."""
    knots = np.column_stack([x, y]).astype(np.float64)
    if closed:
        padded = np.vstack([knots[-1:], knots, knots[:2]])
    else:
        padded = np.vstack([2 * knots[0] - knots[1], knots, 2 * knots[-1] - knots[-2]])
    t = np.linspace(0, 1, 8, endpoint=False)[None, :, None]
    p0, p1, p2, p3 = (padded[i : len(padded) - 3 + i, None, :] for i in range(4))
    square, cube = 2 * p0 - 5 * p1 + 4 * p2 - p3, 3 * p1 - p0 - 3 * p2 + p3
    flat = (0.5 * (2 * p1 + (p2 - p0) * t + square * t**2 + cube * t**3)).reshape(-1, 2)
    return flat if closed else np.vstack([flat, knots[-1:]])


def depth(mask: Map, reach: float) -> Map:
    """Thickness of a rounded body with outline `mask`: 0 at the edge, 1 from `reach` pixels in."""
    distance = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    inward = np.clip(distance / reach, 0, 1)
    return np.asarray(np.sqrt(1 - (1 - inward) ** 2), np.float32)


def mirrored(points: ArrayLike, side: int) -> Array:
    """Points given with positive x on `side` (-1 = the patient's right)."""
    return np.asarray(points, np.float64) * (side, 1)


def turned(x: Map, y: Map, angle: float) -> tuple[Map, Map]:
    """Coordinates along and across an axis tilted by `angle`."""
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def sigmoid(values: ArrayLike) -> Map:
    """A soft step from 0 to 1."""
    clipped = np.clip(np.asarray(values, np.float32), -30, 30)
    return np.asarray(1 / (1 + np.exp(-clipped)), np.float32)
