"""What the phantoms are drawn with: a patient's build, the pose on a film, and shapes on its grid.

Body coordinates: x runs from the patient's right (-1, left on the film) to the left (+1), the
unit being half the inner width of the rib cage; y runs down from the lung apices (0) to the top of
the right dome (1) at full inspiration. Shapes are schematic; what counts is that each structure has
its place, its edges and its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Map = NDArray[np.float32]
"""(H, W) float32 over the film."""

#: Outer edge of the rib cage: |x| by y.
CAGE_Y = np.array([-0.06, 0.0, 0.06, 0.2, 0.4, 0.65, 0.9, 1.1, 1.25, 1.5])
CAGE_X = np.array([0.25, 0.45, 0.60, 0.76, 0.89, 0.97, 1.0, 1.0, 0.99, 0.95])


@dataclass(frozen=True)
class Body:
    """What stays the same from film to film of one patient."""

    breadth: float
    """Width over height, relative to the average."""
    tissue: float
    """Thickness of the soft tissue, 0.8 slim to 1.3 stout."""
    heart_ratio: float
    """Cardiothoracic ratio without disease, 0.40-0.50."""
    aorta: float
    """Size of the aortic knob, grows with age."""
    bone: float
    """Mineral density of the bones, shrinks with age."""
    breasts: float
    """0 = none."""
    dome_gap: float
    """How much lower the left dome lies than the right."""
    rib_slope: float
    tree_seed: int
    """Of the vessels, which are the patient's own."""


@dataclass(frozen=True)
class Pose:
    """How the patient stood or lay, and what the findings moved."""

    projection: str
    """AP (portable, arms down, heart magnified), PA or LATERAL."""
    inspiration: float
    """Height of the lungs relative to full inspiration, 0.8-1.05."""
    turn: float
    """Rotation about the long axis: moves the mediastinum, -1 to 1."""
    heart_ratio: float
    """Cardiothoracic ratio as it appears on this film."""
    raised_right: float = 0.0
    raised_left: float = 0.0
    """Elevation of the domes by volume loss, in body units."""
    shift: float = 0.0
    """Displacement of heart and mediastinum by findings, in body units."""


@dataclass(frozen=True)
class Frame:
    """Where the body lies on the film: body coordinates to pixels and back."""

    height: int
    width: int
    matrix: NDArray[np.float64]
    """(2, 3) affine from body coordinates to pixels."""

    @cached_property
    def unit(self) -> float:
        """Pixels per body unit (geometric mean of the two axes)."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:, :2]))))

    @cached_property
    def grid(self) -> tuple[Map, Map]:
        """Body coordinates (x, y) of every pixel, each (H, W)."""
        inverse = cv2.invertAffineTransform(self.matrix)
        columns = np.arange(self.width, dtype=np.float64)[None, :]
        rows = np.arange(self.height, dtype=np.float64)[:, None]
        x = inverse[0, 0] * columns + inverse[0, 1] * rows + inverse[0, 2]
        y = inverse[1, 0] * columns + inverse[1, 1] * rows + inverse[1, 2]
        return x.astype(np.float32), y.astype(np.float32)

    def to_pixels(self, points: ArrayLike) -> NDArray[np.float64]:
        """(N, 2) body coordinates to (N, 2) pixels."""
        return np.asarray(points, np.float64) @ self.matrix[:, :2].T + self.matrix[:, 2]

    def fixed(self, points: ArrayLike) -> NDArray[np.int32]:
        """(N, 2) body coordinates to OpenCV's fixed point pixels with 4 fractional bits."""
        return np.clip(np.round(self.to_pixels(points) * 16), -65536, 65536).astype(np.int32)

    def blank(self) -> NDArray[np.uint8]:
        """An empty canvas, (H, W)."""
        return np.zeros((self.height, self.width), np.uint8)

    def fill(self, polygon: ArrayLike, blur: float = 1.0) -> Map:
        """A filled shape with edges `blur` pixels soft, 0 to 1."""
        canvas = self.blank()
        cv2.fillPoly(canvas, [self.fixed(polygon)], 255, cv2.LINE_AA, 4)
        return soften(canvas, blur)

    def stroke(
        self, canvas: NDArray[np.uint8], points: ArrayLike, width: float, value: float
    ) -> None:
        """Draw a curve `width` body units wide onto `canvas`, `value` 0 to 1."""
        thickness = max(1, round(width * self.unit))
        line = self.fixed(points).reshape(-1, 1, 2)
        cv2.polylines(canvas, [line], False, 255 * value, thickness, cv2.LINE_AA, 4)


def soften(canvas: NDArray[np.uint8] | Map, sigma: float) -> Map:
    """To float32 (bytes are scaled to 0-1), blurred by `sigma` pixels."""
    scaled = canvas.astype(np.float32)
    if canvas.dtype == np.uint8:
        scaled /= 255
    if sigma <= 0:
        return scaled
    return np.asarray(cv2.GaussianBlur(scaled, (0, 0), sigma), np.float32)


def smooth_curve(
    points: ArrayLike, closed: bool = False, n_between: int = 8
) -> NDArray[np.float64]:
    """A Catmull-Rom curve through (N, 2) `points`."""
    knots = np.asarray(points, np.float64)
    if closed:
        padded = np.vstack([knots[-1:], knots, knots[:2]])
    else:
        padded = np.vstack([2 * knots[0] - knots[1], knots, 2 * knots[-1] - knots[-2]])
    t = np.linspace(0, 1, n_between, endpoint=False)[None, :, None]
    p0, p1, p2, p3 = (padded[i : len(padded) - 3 + i, None, :] for i in range(4))
    curve = 0.5 * (
        2 * p1
        + (p2 - p0) * t
        + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2
        + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    )
    flat = curve.reshape(-1, 2)
    return flat if closed else np.vstack([flat, knots[-1:]])


def noise(rng: np.random.Generator, frame: Frame, scale: float) -> Map:
    """Smooth random texture of unit deviation whose grains are `scale` body units wide."""
    step = max(scale * frame.unit, 1.0)
    shape = (int(frame.height / step) + 4, int(frame.width / step) + 4)
    coarse = rng.standard_normal(shape, np.float32)
    fine = cv2.resize(coarse, (frame.width, frame.height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(fine, np.float32)


def depth(mask: Map, reach: float) -> Map:
    """Thickness of a rounded body with outline `mask`: 0 at the edge, 1 from `reach` pixels in."""
    distance = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    inward = np.clip(distance / reach, 0, 1)
    return np.asarray(np.sqrt(1 - (1 - inward) ** 2), np.float32)


def mirrored(points: ArrayLike, side: int) -> NDArray[np.float64]:
    """Points given with positive x on `side` (-1 = the patient's right)."""
    return np.asarray(points, np.float64) * (side, 1)


def sigmoid(values: ArrayLike) -> Map:
    """A soft step from 0 to 1."""
    clipped = np.clip(np.asarray(values, np.float32), -30, 30)
    return np.asarray(1 / (1 + np.exp(-clipped)), np.float32)
