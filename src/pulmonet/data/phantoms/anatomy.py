"""A patient's build, the pose on a film, the film to take, and what is drawn onto it.

Body coordinates: x runs from the patient's right (-1, left on the film) to the left (+1), the
unit being half the inner width of the rib cage; y runs down from the lung apices (0) to the top of
the right dome (1) at full inspiration. Shapes are schematic; what counts is that each structure has
its place, its edges and its neighbours. What does not depend on the patient stands in
``anatomy.toml``.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from pulmonet.arrays import Array, Floats32, Pixels

Map = Floats32  # (H, W) over the film
Canvas = Pixels  # (H, W) that shapes are drawn onto

ANATOMY = tomllib.loads(Path(__file__).with_name("anatomy.toml").read_text("utf-8"))

DEVICES = ("electrodes", "central line", "pacemaker", "tube")


@dataclass(frozen=True)
class Body:
    """What stays the same from film to film of one patient."""

    breadth: float  # width over height, relative to the average
    tissue: float  # thickness of the soft tissue, 0.8 slim to 1.3 stout
    heart_ratio: float  # cardiothoracic ratio without disease, 0.40-0.50
    aorta: float  # size of the aortic knob, grows with age
    bone: float  # mineral density of the bones, shrinks with age
    breasts: float  # 0 = none
    dome_gap: float  # how much lower the left dome lies than the right
    rib_slope: float
    tree_seed: int  # of the vessels, which are the patient's own


@dataclass(frozen=True)
class Pose:
    """How the patient stood or lay, and what the findings moved."""

    projection: str  # AP (portable, arms down, heart magnified), PA or LATERAL
    inspiration: float  # height of the lungs relative to full inspiration, 0.8-1.05
    turn: float  # rotation about the long axis: moves the mediastinum, -1 to 1
    heart_ratio: float  # cardiothoracic ratio as it appears on this film
    raised_right: float = 0.0  # elevation of the domes by volume loss, in body units
    raised_left: float = 0.0
    shift: float = 0.0  # displacement of heart and mediastinum by findings, in body units


@dataclass(frozen=True)
class Exposure:
    """How the film was taken and developed."""

    low: float  # attenuation that turns black
    high: float  # attenuation that turns white
    gamma: float
    grain: float  # deviation of the noise in grey levels
    haze: float  # scattered radiation, 0-1
    collimated: bool  # black borders where the beam was narrowed
    marker_left: bool  # letter on the patient's left (L) or right (R) side
    seed: int


@dataclass(frozen=True)
class Film:
    """One image to take: geometry, patient, exposure and devices, without the findings."""

    height: int
    width: int
    matrix: Array  # (2, 3) affine from body coordinates to pixels
    body: Body
    pose: Pose
    exposure: Exposure
    devices: tuple[str, ...] = ()

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

    def draw(self, canvas: Canvas, name: str, **how: Any) -> Canvas:
        """Draw strokes of ``anatomy.toml``, placed as `shape` does, onto `canvas`; gives it."""
        for facts in ANATOMY["strokes"][name]:
            points = shape(facts, **how)
            points = np.vstack([points, points[:1]]) if "closed" in facts else points
            for width, value in facts["lines"]:
                self.stroke(canvas, points, width, value)
        return canvas

    def noise(self, rng: Generator, scale: float) -> Map:
        """Smooth random texture of unit deviation whose grains are `scale` body units wide."""
        step = max(scale * self.unit, 1.0)
        shape = (int(self.height / step) + 4, int(self.width / step) + 4)
        coarse = rng.standard_normal(shape, np.float32)
        fine = cv2.resize(coarse, (self.width, self.height), interpolation=cv2.INTER_CUBIC)
        return np.asarray(fine, np.float32)

    def dome(self, side: int) -> float:
        """Body y of the top of a hemidiaphragm (-1 = the patient's right)."""
        raised = self.pose.raised_right if side < 0 else self.pose.raised_left
        return self.pose.inspiration + (self.body.dome_gap if side > 0 else 0.0) - raised

    @cached_property
    def lungs(self) -> dict[int, Map]:
        """From the front, by side, (H, W) in 0-1: domes where inspiration and loss put them."""
        outlines = {}
        angle = self.pose.inspiration + 0.21
        y_wall = np.linspace(0.03, angle - 0.03, 14)
        wall = np.column_stack([cage(y_wall) - 0.015, y_wall])
        for side in (-1, 1):
            base = outline("lung base", angle=angle, dome=self.dome(side))
            edge = np.vstack([outline("lung apex"), wall, base])
            outlines[side] = self.fill(mirrored(edge, side), 0.9)
        return outlines


def shape(
    facts: Mapping[str, Any], *, side: int = 1, at: ArrayLike = 0.0, **amounts: float
) -> Array:
    """(N, 2) points of a shape of ``anatomy.toml`` under its `amounts`, then placed.

    Mirrored for `side` -1 (the patient's right), then moved by `at`.
    """
    x, y = (np.array(facts[axis], np.float64) for axis in "xy")
    for name, weights in ((name, facts.get(name, {})) for name in amounts):
        x += amounts[name] * np.asarray(weights.get("x", 0))
        y += amounts[name] * np.asarray(weights.get("y", 0))
    points = np.column_stack([x, y]) if "straight" in facts else curve(x, y, "closed" in facts)
    return mirrored(points, side) + np.asarray(at, np.float64)


def outline(name: str, **how: Any) -> Array:
    """One of the outlines of ``anatomy.toml``, as `shape`."""
    return shape(ANATOMY["outlines"][name], **how)


def cage(y: ArrayLike) -> Array:
    """Outer edge of the rib cage: |x| by y."""
    known = ANATOMY["cage"]
    return np.asarray(np.interp(np.asarray(y), known["y"], known["x"]))


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
