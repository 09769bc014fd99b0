"""A patient's build, the pose on a film, and the film to take.

Body coordinates: x runs from the patient's right (-1, left on the film) to the left (+1), the
unit being half the inner width of the rib cage; y runs down from the lung apices (0) to the top of
the right dome (1) at full inspiration. Shapes are schematic; what counts is that each structure has
its place, its edges and its neighbours.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pulmonet.data.phantoms.shapes import Frame, Map, curve, mirrored

#: Outer edge of the rib cage: |x| by y.
CAGE_Y = np.array([-0.06, 0.0, 0.06, 0.2, 0.4, 0.65, 0.9, 1.1, 1.25, 1.5])
CAGE_X = np.array([0.25, 0.45, 0.60, 0.76, 0.89, 0.97, 1.0, 1.0, 0.99, 0.95])

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
class Film(Frame):
    """One image to take: geometry, patient, exposure and devices, without the findings."""

    body: Body
    pose: Pose
    exposure: Exposure
    devices: tuple[str, ...] = ()

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
        wall = np.column_stack([np.interp(y_wall, CAGE_Y, CAGE_X) - 0.015, y_wall])
        apex = curve([0.13, 0.2, 0.36, 0.5], [0.14, 0.03, -0.015, 0.03])
        for side in (-1, 1):
            down = np.array([0.12, 0.04, 0.0, 0.015, 0.07]) + self.dome(side)
            base = curve([0.975, 0.90, 0.76, 0.56, 0.34, 0.10], [angle, *down])
            outlines[side] = self.fill(mirrored(np.vstack([apex, wall, base]), side), 0.9)
        return outlines
