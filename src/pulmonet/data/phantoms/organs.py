"""Lungs, heart, great vessels and airways of the front view phantoms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulmonet.data.phantoms.anatomy import (
    CAGE_X,
    CAGE_Y,
    Body,
    Frame,
    Map,
    Pose,
    depth,
    mirrored,
    smooth_curve,
    soften,
)

#: Roots of the lungs, (x, y); the left one lies higher.
HILUM_RIGHT = (-0.23, 0.50)
HILUM_LEFT = (0.25, 0.46)


@dataclass(frozen=True)
class Lungs:
    """The air of the two lungs and where they end.

    Attributes:
        right: outline of the right lung (left on the film), (H, W) in 0-1.
        left: outline of the left lung.
        air: depth of air before heart and mediastinum displace it, 0-1.
    """

    right: Map
    left: Map
    air: Map

    def of(self, side: int) -> Map:
        """Outline by side, -1 = the patient's right."""
        return self.right if side < 0 else self.left


@dataclass(frozen=True)
class Chest:
    """One patient in one pose on one film, with the lungs that result."""

    frame: Frame
    body: Body
    pose: Pose
    lungs: Lungs


def dome_height(body: Body, pose: Pose, side: int) -> float:
    """Body y of the top of a hemidiaphragm."""
    raised = pose.raised_right if side < 0 else pose.raised_left
    return pose.inspiration + (body.dome_gap if side > 0 else 0.0) - raised


def draw_lungs(frame: Frame, body: Body, pose: Pose) -> Lungs:
    """Outline and air of both lungs, domes where inspiration and volume loss put them."""
    outlines = []
    for side in (-1, 1):
        dome = dome_height(body, pose, side)
        angle = pose.inspiration + 0.21
        y_wall = np.linspace(0.03, angle - 0.03, 14)
        wall = np.column_stack([np.interp(y_wall, CAGE_Y, CAGE_X) - 0.015, y_wall])
        apex = smooth_curve([(0.13, 0.14), (0.2, 0.03), (0.36, -0.015), (0.5, 0.03)])
        base = smooth_curve(
            [
                (0.975, angle),
                (0.90, dome + 0.12),
                (0.76, dome + 0.04),
                (0.56, dome),
                (0.34, dome + 0.015),
                (0.10, dome + 0.07),
            ]
        )
        polygon = mirrored(np.vstack([apex, wall, base]), side)
        outlines.append(frame.fill(polygon, 0.9))
    right, left = outlines
    both = np.maximum(right, left)
    air = both * (0.5 + 0.5 * depth(both, 0.42 * frame.unit))
    _, y = frame.grid
    air *= np.clip(0.78 + 0.3 * y, 0.7, 1.02)  # apices are thinner and lie behind more bone
    return Lungs(right, left, air)


def heart_outline(body: Body, pose: Pose) -> NDArray[np.float64]:
    """Closed outline of the heart; its width is the cardiothoracic ratio x 2 body units."""
    width = 2 * pose.heart_ratio
    right, left = -0.34 * width, 0.66 * width
    base = pose.inspiration + body.dome_gap + 0.06
    lying = 1.06 - 0.1 * (pose.heart_ratio - 0.45)  # larger hearts lie on a broader base
    shape = [
        (-0.15, base - 0.62),
        (right * 0.82, base - 0.46),
        (right, base - 0.27),
        (right * 0.92, base - 0.10),
        (right * 0.45, base + 0.02),
        (left * 0.4, base + 0.03),
        (left * 0.88, base - 0.02),
        (left, base - 0.13),
        (left * 0.93 * lying, base - 0.27),
        (left * 0.66, base - 0.45),
        (0.25, base - 0.57),
        (0.2, base - 0.66),
    ]
    outline = smooth_curve(shape, closed=True)
    outline[:, 0] += pose.shift + 0.06 * pose.turn
    return outline


def draw_heart(frame: Frame, body: Body, pose: Pose) -> Map:
    """The heart's outline, 0-1, blurred by its beat."""
    return frame.fill(heart_outline(body, pose), 1.8)


def draw_mediastinum(frame: Frame, body: Body, pose: Pose) -> Map:
    """Great vessels, aortic knob and the tissue about the spine, 0-1."""
    knob = body.aorta
    edge_left = [
        (0.12, -0.5),
        (0.13, 0.02),
        (0.14, 0.14),
        (0.14 + 0.7 * knob, 0.2),
        (0.14 + knob, 0.27),
        (0.14 + 0.6 * knob, 0.345),
        (0.17, 0.38),
        (0.22, 0.43),
        (0.21, 0.55),
        (0.17, 0.8),
        (0.15, 1.4),
    ]
    edge_right = [
        (-0.14, 1.4),
        (-0.15, 0.7),
        (-0.16, 0.4),
        (-0.165, 0.2),
        (-0.13, 0.02),
        (-0.12, -0.5),
    ]
    outline = np.vstack([smooth_curve(edge_left), smooth_curve(edge_right)])
    moved = np.array([pose.shift + 0.08 * pose.turn, 0])
    return frame.fill(outline + moved, 2.2)


def draw_airway(frame: Frame, pose: Pose) -> Map:
    """Trachea and main bronchi as air, 0-1."""
    canvas = frame.blank()
    x = 0.5 * pose.shift + 0.05 * pose.turn
    carina = (x + 0.02, 0.36)
    frame.stroke(canvas, [(x, -0.5), (x, 0.0), carina], 0.085, 0.75)
    frame.stroke(canvas, [carina, (x - 0.09, 0.43), (x - 0.2, 0.5)], 0.055, 0.5)
    frame.stroke(canvas, [carina, (x + 0.1, 0.44), (x + 0.25, 0.49)], 0.05, 0.45)
    return soften(canvas, 2.0)


def draw_vessels(frame: Frame, body: Body, pose: Pose) -> Map:
    """Pulmonary vessels branching from the hila, 0-1, brighter where thicker."""
    canvas = frame.blank()
    rng = np.random.default_rng(body.tree_seed)
    for side, hilum in ((-1, HILUM_RIGHT), (1, HILUM_LEFT)):
        root = (hilum[0] + pose.shift * 0.7 + 0.05 * pose.turn, hilum[1])
        n_trunks = 9
        for trunk in range(n_trunks):
            # From straight up (apex) over lateral to straight down (base), the base fuller.
            angle = -1.35 + 2.75 * (trunk + rng.uniform(0.1, 0.9)) / n_trunks
            _branch(
                frame,
                canvas,
                rng,
                start=root,
                angle=angle,
                width=0.040 if angle > 0 else 0.028,
                side=side,
                depth_left=4,
            )
        spread = np.array([[0.0, 0.0], [0.02, 0.06], [0.01, 0.13]]) * (side, 1)
        frame.stroke(canvas, np.asarray(root) + spread, 0.085, 0.85)
    return soften(canvas, 0.75)


def _branch(
    frame: Frame,
    canvas: NDArray[np.uint8],
    rng: np.random.Generator,
    *,
    start: tuple[float, float],
    angle: float,
    width: float,
    side: int,
    depth_left: int,
) -> None:
    length = rng.uniform(0.15, 0.27) * (0.8 + 0.08 * depth_left)
    bend = rng.normal(0, 0.22)
    middle = (
        start[0] + side * 0.5 * length * np.cos(angle),
        start[1] + 0.5 * length * np.sin(angle),
    )
    end = (
        middle[0] + side * 0.5 * length * np.cos(angle + bend),
        middle[1] + 0.5 * length * np.sin(angle + bend),
    )
    frame.stroke(canvas, [start, middle, end], width, min(1.0, 0.16 + 16 * width))
    if depth_left > 1:
        split = rng.uniform(0.25, 0.6)
        for turn, thinner in ((split, 0.72), (-rng.uniform(0.15, 0.5), 0.62)):
            _branch(
                frame,
                canvas,
                rng,
                start=end,
                angle=angle + turn,
                width=width * thinner,
                side=side,
                depth_left=depth_left - 1,
            )
