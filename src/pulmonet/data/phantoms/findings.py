"""The five findings as a radiologist describes them, drawn onto a front view phantom.

A finding fills air spaces: it is a map of the share of the lung's air that it displaces, 0 to 1.
Heart size, raised domes and displacement of the mediastinum go into the `Pose` instead, since they
move anatomy. The box of a finding is the box of its own map.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from pulmonet.data.phantoms.anatomy import ANATOMY, Film, Map, sigmoid, soften, turned
from pulmonet.data.phantoms.organs import HILA

#: Label, xmin, ymin, xmax, ymax (fractions of the image).
Box = tuple[str, float, float, float, float]

#: Where a consolidation, and plates of atelectasis, may lie.
LOBES, PLATES = ANATOMY["lobes"], ANATOMY["plates"]


@dataclass(frozen=True)
class Finding:
    """One finding of one study."""

    label: str  # as in CheXpert
    severity: float  # 0 (barely visible) to 1 (gross)
    place: str = ""  # lobe, plate or side; "" where the finding has no choice
    seed: int = 0  # of its texture and exact position

    @property
    def side(self) -> int:
        """-1 = the patient's right, +1 left, 0 both."""
        if self.label == "Consolidation":
            return int(LOBES[self.place]["side"])
        return -1 if "right" in self.place else 1 if "left" in self.place else 0


def moved_by(film: Film, findings: Sequence[Finding]) -> Film:
    """The film with heart size, domes and mediastinum as the findings have them."""
    pose = film.pose
    for finding in findings:
        severity = finding.severity
        if finding.label == "Cardiomegaly":
            pose = replace(pose, heart_ratio=max(pose.heart_ratio, 0.5) + 0.035 + 0.15 * severity)
        elif finding.label == "Atelectasis" and "base" in finding.place:
            up = 0.04 + 0.13 * severity
            right = finding.side < 0
            pose = replace(pose, raised_right=up) if right else replace(pose, raised_left=up)
        elif finding.label == "Pleural Effusion" and severity > 0.75:
            pose = replace(pose, shift=pose.shift - 0.25 * (severity - 0.75) * finding.side)
    return replace(film, pose=pose)


def draw_finding(film: Film, finding: Finding) -> list[Map]:
    """Displaced air, one (H, W) map in 0-1 for each separate region of the finding."""
    rng = np.random.default_rng(finding.seed)
    if finding.label == "Edema":
        return [_edema(film, finding, rng, side) for side in (-1, 1)]
    drawers = {"Pleural Effusion": _effusion, "Consolidation": _consolidation}
    return [drawers.get(finding.label, _atelectasis)(film, finding, rng)]


def _effusion(film: Film, finding: Finding, rng: Generator) -> Map:
    """Fluid that fills the angle and climbs the lateral wall: the meniscus."""
    x, y = film.grid
    side = finding.side
    u = np.clip(x * side, 0, 1.05)
    climb = rng.uniform(0.10, 0.16) + 0.10 * finding.severity
    level = film.dome(side) + 0.18 - (0.14 + 0.64 * finding.severity**1.2)
    level = level + climb * (1 - np.square(np.square(u / 0.98)))
    softness = 0.012 if film.pose.projection == "PA" else rng.uniform(0.018, 0.05)
    fluid = sigmoid((y - level) / softness) * rng.uniform(0.86, 0.97)
    if film.pose.projection == "AP":  # some has run to the back of a half lying patient: a veil
        fluid = np.maximum(fluid, 0.35 * finding.severity * sigmoid((y - level + 0.22) / 0.09))
    return np.asarray(fluid * film.lungs[side], np.float32)


def _edema(film: Film, finding: Finding, rng: Generator, side: int) -> Map:
    """Bat wing haze about one hilum, blotchy, with Kerley B lines at the lateral base."""
    x, y = film.grid
    hilum = HILA[side]
    u = (x - hilum[0] - 0.06 * side - film.pose.shift) / (0.34 + 0.14 * finding.severity)
    v = (y - hilum[1] - 0.12) / (0.32 + 0.10 * finding.severity)
    wing = np.exp(-((u**2 + v**2) ** 1.3))
    blotches = 1 + 0.28 * film.noise(rng, 0.07) + 0.2 * film.noise(rng, 0.16)
    haze = (0.26 + 0.56 * finding.severity) * wing * np.clip(blotches, 0.25, 1.8)
    haze += 0.10 * finding.severity * film.lungs[side]
    lines = film.blank()
    for y_line in np.arange(0.7, 1.02, 0.045) * film.pose.inspiration:
        edge = side * 0.955
        start = edge - side * rng.uniform(0.08, 0.15)
        shifted = y_line + rng.uniform(-0.012, 0.012)
        film.stroke(lines, [(edge, shifted), (start, shifted + 0.012)], 0.008, 0.9)
    haze += (0.10 + 0.35 * finding.severity) * soften(lines, 0.6)
    return np.asarray(np.clip(haze, 0, 0.9) * film.lungs[side], np.float32)


def _consolidation(film: Film, finding: Finding, rng: Generator) -> Map:
    """Opacity of a lobe with an uneven border, cut straight by a fissure, with air bronchograms."""
    x, y = film.grid
    lobe, side = LOBES[finding.place], finding.side
    centre, axes = lobe["centre"], lobe["axes"]
    grown = 0.82 + 0.40 * finding.severity
    cx = centre[0] + rng.normal(0, 0.03) + film.pose.shift
    cy = (centre[1] + rng.normal(0, 0.03)) * film.pose.inspiration
    along, across = turned(x - cx, y - cy, rng.uniform(-0.4, 0.4) * side)
    u, v = along / (axes[0] * grown), across / (axes[1] * grown)
    ragged = np.sqrt(u**2 + v**2) + 0.13 * film.noise(rng, 0.14) + 0.05 * film.noise(rng, 0.06)
    opacity = sigmoid((1 - ragged) / rng.uniform(0.07, 0.14))
    if "fissure" in lobe:
        level, below = lobe["fissure"]
        fissure = level * film.pose.inspiration + 0.05 * (x + 0.5)
        opacity *= sigmoid(below * (y - fissure) / 0.012)
    opacity *= 1 + 0.12 * film.noise(rng, 0.05)
    hilum = np.array(HILA[side])
    airways = film.blank()
    for _ in range(5):
        target = np.array([cx, cy]) + rng.normal(0, 0.55, 2) * axes
        middle = 0.5 * (hilum + target) + rng.normal(0, 0.02, 2)
        film.stroke(airways, [hilum, middle, target], 0.022, 0.8)
    opacity *= 1 - 0.5 * soften(airways, 0.8)
    opacity *= 0.58 + 0.37 * finding.severity
    return np.asarray(np.clip(opacity, 0, 0.95) * film.lungs[side], np.float32)


def _atelectasis(film: Film, finding: Finding, rng: Generator) -> Map:
    """One to three plates, nearly level; a collapsed segment beneath them when severe."""
    x, y = film.grid
    side, centre = finding.side, PLATES[finding.place]
    n_plates = 1 + int(finding.severity > 0.35) + int(finding.severity > 0.7)
    is_base = "base" in finding.place
    cy = film.dome(side) - 0.075 if is_base else centre[1] * film.pose.inspiration
    density = np.zeros_like(x)
    for plate in range(n_plates):
        px = centre[0] + rng.normal(0, 0.05)
        py = cy - 0.085 * plate + rng.normal(0, 0.012)
        along, across = turned(x - px, y - py, rng.uniform(-0.1, 0.35) * side)
        across = across + 0.25 * along**2
        length = rng.uniform(0.2, 0.27) + 0.10 * finding.severity
        thickness = rng.uniform(0.013, 0.018) + 0.015 * finding.severity
        ends = sigmoid((length - np.abs(along)) / 0.03)
        strip = sigmoid((thickness - np.abs(across)) / 0.006) * ends
        density = np.maximum(density, (0.65 + 0.3 * finding.severity) * strip)
    if is_base:  # crowded, airless lung between the plates and the dome
        u = (x - centre[0]) / 0.42
        crowded = sigmoid((y - cy + 0.02) / 0.03) * np.exp(-np.square(np.square(u)))
        density = np.maximum(density, (0.2 + 0.45 * finding.severity) * crowded)
    return np.asarray(np.clip(density, 0, 0.92) * film.lungs[side], np.float32)


def displace(
    air: Map,
    heart: Map,
    findings: Sequence[Finding],
    draw: Callable[[Finding], list[Map]],
    lost: Mapping[int, Map],
) -> list[Box]:
    """Take from `air` (H, W) what the findings displace, and box each where it can be seen.

    `draw` gives the displaced share of the air of a finding's regions; `lost`, by side, where a
    raised dome took the place of lung: it belongs to the atelectasis. Each is (H, W), 0-1.
    """
    clear = air.copy()  # a finding shows only where there is air to displace
    boxes: list[Box | None] = []
    for finding in findings:
        if finding.label == "Cardiomegaly":
            boxes.append(box_around(finding.label, heart, 0.5))
            continue
        for density in draw(finding):
            seen = density * clear
            if finding.label == "Atelectasis":
                seen = np.maximum(seen, lost[finding.side])
            boxes.append(box_around(finding.label, seen))
            air *= 1 - density
    return [box for box in boxes if box]


def box_around(label: str, density: Map, cut: float = 0.3) -> Box | None:
    """Box of what is visible of a (H, W) map: above `cut` x its maximum; None if nothing is."""
    most = float(density.max())
    if most < 0.005:
        return None
    seen = density > cut * most
    columns, rows = (np.flatnonzero(seen.any(axis)).tolist() for axis in (0, 1))
    height, width = density.shape
    left, right = columns[0] / width, (columns[-1] + 1) / width
    return label, left, rows[0] / height, right, (rows[-1] + 1) / height
