"""Lungs, heart, great vessels and airways of the front view phantoms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pulmonet.data.phantoms.anatomy import CAGE_X, CAGE_Y, Body, Pose
from pulmonet.data.phantoms.shapes import Frame, Map, curve, depth, mirrored, soften

#: Roots of the lungs by side (-1 = the patient's right), (x, y); the left one lies higher.
HILA = {-1: (-0.23, 0.50), 1: (0.25, 0.46)}


@dataclass(frozen=True)
class Chest:
    """One patient in one pose on one film, with the lungs that result."""

    frame: Frame
    body: Body
    pose: Pose

    def dome(self, side: int) -> float:
        """Body y of the top of a hemidiaphragm."""
        raised = self.pose.raised_right if side < 0 else self.pose.raised_left
        return self.pose.inspiration + (self.body.dome_gap if side > 0 else 0.0) - raised

    @cached_property
    def lungs(self) -> dict[int, Map]:
        """Outlines by side, (H, W) in 0-1: domes where inspiration and volume loss put them."""
        outlines = {}
        for side in (-1, 1):
            dome = self.dome(side)
            angle = self.pose.inspiration + 0.21
            y_wall = np.linspace(0.03, angle - 0.03, 14)
            wall = np.column_stack([np.interp(y_wall, CAGE_Y, CAGE_X) - 0.015, y_wall])
            apex = curve([0.13, 0.2, 0.36, 0.5], [0.14, 0.03, -0.015, 0.03])
            base = curve(
                [0.975, 0.90, 0.76, 0.56, 0.34, 0.10],
                [angle, dome + 0.12, dome + 0.04, dome, dome + 0.015, dome + 0.07],
            )
            outlines[side] = self.frame.fill(mirrored(np.vstack([apex, wall, base]), side), 0.9)
        return outlines

    def air(self) -> Map:
        """Depth of air before heart and mediastinum displace it, 0-1."""
        both = np.maximum(self.lungs[-1], self.lungs[1])
        air = both * (0.5 + 0.5 * depth(both, 0.42 * self.frame.unit))
        _, y = self.frame.grid
        # apices are thinner and lie behind more bone
        return np.asarray(air * np.clip(0.78 + 0.3 * y, 0.7, 1.02), np.float32)


def draw_heart(chest: Chest) -> Map:
    """The heart, 0-1, blurred by its beat; as wide as the cardiothoracic ratio x 2 body units."""
    pose = chest.pose
    width = 2 * pose.heart_ratio
    right, left = -0.34 * width, 0.66 * width
    base = pose.inspiration + chest.body.dome_gap + 0.06
    lying = 1.06 - 0.1 * (pose.heart_ratio - 0.45)  # larger hearts lie on a broader base
    right_x = [-0.15, right * 0.82, right, right * 0.92, right * 0.45]
    left_x = [left * 0.4, left * 0.88, left, left * 0.93 * lying, left * 0.66, 0.25, 0.2]
    right_y = [-0.62, -0.46, -0.27, -0.10, 0.02]
    left_y = [0.03, -0.02, -0.13, -0.27, -0.45, -0.57, -0.66]
    outline = curve(right_x + left_x, base + np.array(right_y + left_y), closed=True)
    outline[:, 0] += pose.shift + 0.06 * pose.turn
    return chest.frame.fill(outline, 1.8)


def draw_mediastinum(chest: Chest) -> Map:
    """Great vessels, aortic knob and the tissue about the spine, 0-1."""
    knob, pose = chest.body.aorta * np.array([0, 0, 0, 0.7, 1, 0.6, 0, 0, 0, 0, 0]), chest.pose
    left = curve(
        np.array([0.12, 0.13, 0.14, 0.14, 0.14, 0.14, 0.17, 0.22, 0.21, 0.17, 0.15]) + knob,
        [-0.5, 0.02, 0.14, 0.2, 0.27, 0.345, 0.38, 0.43, 0.55, 0.8, 1.4],
    )
    right = curve([-0.14, -0.15, -0.16, -0.165, -0.13, -0.12], [1.4, 0.7, 0.4, 0.2, 0.02, -0.5])
    moved = np.array([pose.shift + 0.08 * pose.turn, 0])
    return chest.frame.fill(np.vstack([left, right]) + moved, 2.2)


def draw_airway(chest: Chest) -> Map:
    """Trachea and main bronchi as air, 0-1."""
    frame, pose = chest.frame, chest.pose
    canvas = frame.blank()
    x = 0.5 * pose.shift + 0.05 * pose.turn
    carina = (x + 0.02, 0.36)
    frame.stroke(canvas, [(x, -0.5), (x, 0.0), carina], 0.085, 0.75)
    frame.stroke(canvas, [carina, (x - 0.09, 0.43), (x - 0.2, 0.5)], 0.055, 0.5)
    frame.stroke(canvas, [carina, (x + 0.1, 0.44), (x + 0.25, 0.49)], 0.05, 0.45)
    return soften(canvas, 2.0)


def draw_vessels(chest: Chest) -> Map:
    """Pulmonary vessels branching from the hila, 0-1, brighter where thicker."""
    frame, pose = chest.frame, chest.pose
    canvas = frame.blank()
    rng = np.random.default_rng(chest.body.tree_seed)

    def grow(x: float, y: float, angle: float, width: float, n_left: int) -> None:
        """A branch from (x, y), and the `n_left` - 1 generations of thinner ones at its end."""
        half = 0.5 * (rng.uniform(0.15, 0.27) * (0.8 + 0.08 * n_left))
        bend = angle + rng.normal(0, 0.22)
        middle = (x + side * half * np.cos(angle), y + half * np.sin(angle))
        end = (middle[0] + side * half * np.cos(bend), middle[1] + half * np.sin(bend))
        frame.stroke(canvas, [(x, y), middle, end], width, min(1.0, 0.16 + 16 * width))
        if n_left > 1:
            split = rng.uniform(0.25, 0.6)
            for turn, thinner in ((split, 0.72), (-rng.uniform(0.15, 0.5), 0.62)):
                grow(*end, angle + turn, width * thinner, n_left - 1)

    for side, hilum in HILA.items():
        root = (hilum[0] + pose.shift * 0.7 + 0.05 * pose.turn, hilum[1])
        n_trunks = 9
        for trunk in range(n_trunks):
            # From straight up (apex) over lateral to straight down (base), the base fuller.
            angle = -1.35 + 2.75 * (trunk + rng.uniform(0.1, 0.9)) / n_trunks
            grow(*root, angle, 0.040 if angle > 0 else 0.028, 4)
        spread = np.array([[0.0, 0.0], [0.02, 0.06], [0.01, 0.13]]) * (side, 1)
        frame.stroke(canvas, np.asarray(root) + spread, 0.085, 0.85)
    return soften(canvas, 0.75)
