"""A patient's build and the pose on a film.

Body coordinates: x runs from the patient's right (-1, left on the film) to the left (+1), the
unit being half the inner width of the rib cage; y runs down from the lung apices (0) to the top of
the right dome (1) at full inspiration. Shapes are schematic; what counts is that each structure has
its place, its edges and its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Outer edge of the rib cage: |x| by y.
CAGE_Y = np.array([-0.06, 0.0, 0.06, 0.2, 0.4, 0.65, 0.9, 1.1, 1.25, 1.5])
CAGE_X = np.array([0.25, 0.45, 0.60, 0.76, 0.89, 0.97, 1.0, 1.0, 0.99, 0.95])


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
