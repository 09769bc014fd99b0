"""The phantoms' side view: x runs from the breastbone (-1, left on the film) to the back (+1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pulmonet.data.phantoms.anatomy import (
    Body,
    Frame,
    Map,
    Pose,
    depth,
    noise,
    sigmoid,
    smooth_curve,
    soften,
)
from pulmonet.data.phantoms.film import Box, Film, develop, draw_devices
from pulmonet.data.phantoms.findings import Finding, box_around, moved_by

HILUM = (0.14, 0.50)

#: Centre and half axes of a consolidated lobe seen from the side.
LOBES_FROM_THE_SIDE = {
    "right upper": ((-0.15, 0.24), (0.34, 0.20)),
    "right middle": ((-0.38, 0.72), (0.28, 0.15)),
    "right lower": ((0.48, 0.86), (0.30, 0.26)),
    "left upper": ((-0.12, 0.27), (0.34, 0.22)),
    "lingula": ((-0.40, 0.74), (0.26, 0.17)),
    "left lower": ((0.46, 0.88), (0.28, 0.26)),
}


def take_lateral(film: Film, findings: Sequence[Finding]) -> tuple[NDArray[np.uint8], list[Box]]:
    """Draw one side view and the boxes of its findings, as `take_frontal` does.

    Returns:
        The image (H, W) uint8 and one box per separate region.
    """
    frame = Frame(film.height, film.width, film.matrix)
    body = film.body
    pose = moved_by(film.pose, findings)
    lung = _lungs(frame, pose)
    heart = frame.fill(_heart_outline(pose), 3.5)
    air = lung * (0.55 + 0.45 * depth(np.sqrt(lung), 0.4 * frame.unit))
    air *= 1 - heart * (0.42 + 0.36 * depth(heart, 0.3 * frame.unit))
    clear = air.copy()
    boxes: list[Box] = []
    for finding in findings:
        if finding.label == "Cardiomegaly":
            density, seen = np.zeros_like(air), box_around(heart, 0.5)
        else:
            density = _draw_finding(frame, pose, lung, finding)
            lost = np.zeros_like(air)
            if finding.label == "Atelectasis" and pose != film.pose:
                lost = 0.5 * np.clip(_lungs(frame, film.pose) - lung, 0, 1)
            seen = box_around(np.maximum(density * clear, lost))
        boxes += [(finding.label, *seen)] if seen else []
        air *= 1 - density
    total = _tissue(frame, body, pose)
    total -= 0.50 * np.sqrt(body.tissue) * air
    total += body.bone * _bones(frame, body, np.clip(lung - heart, 0, 1))
    total += 0.17 * _vessels(frame, body) * np.clip(1.6 * air, 0, 1)
    total += 0.05 * heart - 0.10 * _windpipe(frame)
    grain = np.random.default_rng(body.tree_seed + 1)
    total += 0.014 * noise(grain, frame, 0.03) * np.clip(air * 1.5, 0, 1)
    total += draw_devices(frame, film, pose)
    return develop(frame, film, np.asarray(total, np.float32)), boxes


def _dome(pose: Pose) -> float:
    return pose.inspiration - 0.02


def _lungs(frame: Frame, pose: Pose) -> Map:
    """Both lungs over one another, each with half of the air; the left dome lies lower."""
    air = np.zeros((frame.height, frame.width), np.float32)
    floor = _dome(pose)
    for dome in (floor - pose.raised_right, floor + 0.035 - pose.raised_left):
        front = [
            (-0.02, 0.0),
            (-0.2, 0.1),
            (-0.46, 0.28),
            (-0.62, 0.5),
            (-0.68, 0.75),
            (-0.68, 0.5 * (dome + floor) + 0.05),
        ]
        base = [
            (-0.5, dome - 0.01),
            (-0.2, dome - 0.03),
            (0.1, dome + 0.02),
            (0.4, dome + 0.12),
            (0.62, 0.5 * (dome + floor) + 0.25),
        ]
        back = [
            (0.74, floor + 0.34),
            (0.82, 0.95),
            (0.83, 0.7),
            (0.76, 0.42),
            (0.56, 0.16),
            (0.3, 0.03),
        ]
        edge = [smooth_curve(part) for part in (front, base, back)]
        air += 0.5 * frame.fill(np.vstack(edge), 1.0)
    return air


def _heart_outline(pose: Pose) -> NDArray[np.float64]:
    size = pose.heart_ratio / 0.45
    dome = _dome(pose)
    # Front and underside stay on breastbone and diaphragm: a large heart grows backwards.
    back = -0.64 + 0.80 * size
    shape = [
        (-0.62, dome - 0.1),
        (-0.58, dome - 0.3),
        (-0.40, dome - 0.46 * size**0.5),
        (-0.12, dome - 0.50 * size**0.5),
        (back - 0.08, dome - 0.38 * size**0.5),
        (back, dome - 0.16),
        (back - 0.12, dome + 0.04),
        (-0.25, dome + 0.06),
        (-0.5, dome + 0.05),
    ]
    return smooth_curve(shape, closed=True)


def _tissue(frame: Frame, body: Body, pose: Pose) -> Map:
    wall = 0.16 + 0.2 * (body.tissue - 0.8)
    front = [
        (-0.25, -0.7),
        (-0.3, -0.25),
        (-0.45, 0.0),
        (-0.7 - wall, 0.4),
        (-0.74 - wall, 0.8),
        (-0.74 - 1.2 * wall, 1.2),
        (-0.7 - 1.5 * wall, 2.0),
    ]
    back = [
        (0.9 + wall, 2.0),
        (0.94 + wall, 1.3),
        (0.98 + wall, 0.7),
        (0.95 + wall, 0.3),
        (0.85 + wall, 0.0),
        (0.55, -0.3),
        (0.45, -0.7),
    ]
    outline = np.vstack([smooth_curve(front), smooth_curve(back)])
    if body.breasts > 0:
        near = np.exp(-(((outline[:, 1] - 0.8) / 0.25) ** 2)) * (outline[:, 0] < 0)
        outline[:, 0] -= (0.08 + 0.16 * body.breasts) * near
    trunk = frame.fill(outline, 1.5)
    tissue = 0.68 * body.tissue * depth(trunk, 0.3 * frame.unit)
    x, y = frame.grid
    # The arms are raised and lie over the apices.
    arms = sigmoid((0.06 - y) / 0.05) * np.exp(-np.square(np.square((x - 0.1) / 0.7)))
    tissue = np.maximum(tissue, 0.62 * body.tissue * arms)
    below = sigmoid((y - _dome(pose) - 0.16 - 0.12 * x) / 0.08)
    tissue += 0.2 * body.tissue * trunk * below
    tissue += 0.12 * trunk * sigmoid((0.3 - y) / 0.08)
    return np.asarray(tissue, np.float32)


def _bones(frame: Frame, body: Body, clear: Map) -> Map:
    """Spine, breastbone, ribs, shoulder blade as attenuation; ribs show best over `clear` lung."""
    ribs, bones = frame.blank(), frame.blank()
    spine = smooth_curve(
        [(0.42, -0.6), (0.5, -0.1), (0.72, 0.4), (0.75, 0.8), (0.66, 1.2), (0.6, 1.8)]
    )
    frame.stroke(bones, spine, 0.2, 0.5)
    for start, end in zip(spine[:-2:2], spine[2::2], strict=True):
        middle = 0.5 * (start + end)
        across = np.array([end[1] - start[1], start[0] - end[0]])
        across *= 0.095 / np.hypot(*across)
        frame.stroke(bones, np.vstack([middle - across, middle + across]), 0.02, 0.75)
    breastbone = smooth_curve([(-0.34, 0.1), (-0.6, 0.36), (-0.74, 0.66)])
    frame.stroke(bones, breastbone, 0.05, 0.6)
    for index in range(9):
        top = 0.1 + 0.115 * index
        slope = 0.34 * body.rib_slope
        for offset in (0.0, 0.03):  # the two sides do not quite cover one another
            rib = [
                (0.86, top + offset),
                (0.5, top + 0.3 * slope),
                (0.0, top + 0.8 * slope + offset),
                (-0.5, top + 1.25 * slope),
            ]
            frame.stroke(ribs, smooth_curve(rib), 0.035, 0.6)
    blade = [(0.55, -0.1), (0.78, 0.2), (0.92, 0.45)]
    frame.stroke(ribs, smooth_curve(blade), 0.03, 0.8)
    return 0.14 * soften(bones, 1.4) + 0.11 * soften(ribs, 1.1) * (0.4 + 0.6 * clear)


def _vessels(frame: Frame, body: Body) -> Map:
    canvas = frame.blank()
    rng = np.random.default_rng(body.tree_seed)
    root = np.asarray(HILUM)
    frame.stroke(canvas, np.vstack([root, root + np.array([0.05, 0.1])]), 0.14, 0.9)
    for angle in np.linspace(0, 2 * np.pi, 26, endpoint=False):
        bend, length = rng.normal(0, 0.25), rng.uniform(0.3, 0.6)
        first = root + 0.45 * length * np.array([np.cos(angle), np.sin(angle)])
        turned = np.array([np.cos(angle + bend), np.sin(angle + bend)])
        frame.stroke(canvas, np.vstack([root, first]), 0.024, 0.5)
        frame.stroke(canvas, np.vstack([first, first + 0.55 * length * turned]), 0.014, 0.35)
    arch = smooth_curve([(-0.12, 0.42), (0.05, 0.24), (0.3, 0.24), (0.5, 0.42), (0.58, 0.8)])
    frame.stroke(canvas, arch, 0.13 + 0.6 * body.aorta, 0.4)
    return soften(canvas, 1.4)


def _windpipe(frame: Frame) -> Map:
    canvas = frame.blank()
    frame.stroke(canvas, [(0.02, -0.6), (0.06, 0.0), (0.16, 0.46)], 0.075, 0.9)
    return soften(canvas, 1.5)


def _draw_finding(frame: Frame, pose: Pose, lung: Map, finding: Finding) -> Map:
    """Displaced air of one finding, (H, W) in 0-1."""
    rng = np.random.default_rng(finding.seed)
    x, y = frame.grid
    severity = finding.severity
    if finding.label == "Pleural Effusion":  # deepest in the posterior angle
        floor = _dome(pose) + 0.32
        level = floor - 0.06 - 0.6 * severity + 0.3 * (0.85 - x)
        level += 0.12 * (1 - np.clip((x - 0.3) / 0.5, 0, 1))
        density = 0.85 * sigmoid((y - level) / 0.02)
    elif finding.label == "Edema":
        wide = 0.36 + 0.14 * severity
        wing = np.exp(-((((x - HILUM[0]) / wide) ** 2 + ((y - 0.58) / 0.36) ** 2) ** 1.3))
        density = (0.26 + 0.5 * severity) * wing * (1 + 0.3 * noise(rng, frame, 0.08))
    elif finding.label == "Consolidation":
        centre, axes = LOBES_FROM_THE_SIDE[finding.place]
        grown = 0.65 + 0.45 * severity
        u, v = (x - centre[0]) / (axes[0] * grown), (y - centre[1] * pose.inspiration) / axes[1]
        ragged = np.sqrt(u**2 + (v / grown) ** 2) + 0.12 * noise(rng, frame, 0.12)
        density = (0.35 + 0.45 * severity) * sigmoid((1 - ragged) / 0.1)
    else:
        base = "base" in finding.place
        centre_x, centre_y = (0.35, _dome(pose) - 0.06) if base else (0.02, 0.43)
        tilt = rng.uniform(-0.2, 0.3)
        across = y - centre_y - tilt * (x - centre_x)
        thickness = 0.014 + 0.02 * severity
        strip = sigmoid((thickness - np.abs(across)) / 0.007)
        ends = sigmoid((0.24 + 0.1 * severity - np.abs(x - centre_x)) / 0.03)
        density = (0.5 + 0.35 * severity) * strip * ends
    return np.asarray(np.clip(density, 0, 0.92) * lung, np.float32)
