"""Bones and soft tissue of the front view phantoms."""

from __future__ import annotations

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
    sigmoid,
    smooth_curve,
    soften,
)
from pulmonet.data.phantoms.organs import dome_height

N_RIBS = 11


def draw_tissue(frame: Frame, body: Body, pose: Pose) -> Map:
    """Soft tissue of trunk, neck, arms and abdomen as attenuation, before air is taken out."""
    wall = 0.10 + 0.16 * (body.tissue - 0.8)
    half = [
        (0.27, -0.7),
        (0.29, -0.32),
        (0.36, -0.2),
        (0.72, -0.13),
        (1.12, -0.12),
        (1.24, 0.02),
        (1.12 + wall, 0.3),
        (1.0 + wall, 0.5),
        (1.0 + wall, 0.8),
        (1.02 + 1.1 * wall, 1.1),
        (1.02 + 1.3 * wall, 1.4),
        (1.0 + 1.4 * wall, 2.2),
    ]
    left = smooth_curve(half)
    trunk = frame.fill(np.vstack([left, (left * (-1, 1))[::-1]]), 1.2)
    tissue = 0.66 * body.tissue * depth(trunk, 0.34 * frame.unit)
    reach = 1.62 if pose.projection == "AP" else 1.95
    for side in (-1, 1):
        arm = [(1.1, -0.13), (1.33, -0.08), (1.42, 0.1), (reach - 0.02, 1.0), (reach, 1.6)]
        inner = [(reach - 0.34, 1.6), (reach - 0.35, 1.0), (1.13, 0.32), (1.0, 0.1)]
        limb = frame.fill(mirrored(smooth_curve(arm + inner, closed=True), side), 1.2)
        tissue = np.maximum(tissue, 0.5 * depth(limb, 0.2 * frame.unit))
    x, y = frame.grid
    below = dome_height(body, pose, -1)
    abdomen = trunk * sigmoid((y - below - 0.12) / 0.08)
    tissue += 0.2 * body.tissue * abdomen * np.exp(-np.square(np.square(x / 1.1)))
    # Chest wall, back muscles and scapular tissue lie over the upper half of the lungs.
    tissue += 0.06 * body.tissue * trunk * np.exp(-(((y - 0.1) / 0.28) ** 2))
    return np.asarray(tissue, np.float32)


def draw_breasts(frame: Frame, body: Body, pose: Pose) -> Map:
    """Breast shadows over the lower lungs, 0-1: a soft upper and a clear lower edge."""
    if body.breasts <= 0:
        return np.zeros((frame.height, frame.width), np.float32)
    x, y = frame.grid
    shadow = np.zeros_like(x)
    low = pose.inspiration + 0.02
    for side in (-1, 1):
        u = (x * side - 0.66) / 0.44
        v = (y - (low - 0.17)) / 0.34
        radius = np.sqrt(u**2 + v**2)
        edge = np.clip((1 - radius) / 0.08, 0, 1)
        shadow = np.maximum(shadow, edge * np.clip(0.45 + 0.7 * v, 0, 1))
    return np.asarray(body.breasts * shadow, np.float32)


def rib_curve(index: int, body: Body) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Posterior and anterior part of rib `index` (0 = first) on the positive side."""
    head = -0.05 + 0.112 * index
    drop = body.rib_slope * (0.07 + 0.125 * min(index, 4) / 4)
    end_y = head + drop
    end_x = float(np.interp(end_y, CAGE_Y, CAGE_X))
    t = np.linspace(0, 1, 15)
    x = 0.09 + (end_x - 0.09) * t**0.88
    y = head - 0.05 * np.sin(np.pi * np.minimum(t * 1.25, 1)) + drop * t**2.3
    posterior = np.column_stack([x, y])
    reach = 0.34 + 0.03 * max(index - 4, 0)
    front_y = end_y + body.rib_slope * (0.12 + 0.02 * index)
    s = np.linspace(0, 1, 12)
    front_x = end_x - (end_x - reach) * s**1.25
    anterior = np.column_stack([front_x, end_y + (front_y - end_y) * np.sin(s * np.pi / 2)])
    return posterior, anterior


def draw_ribs(frame: Frame, body: Body, pose: Pose) -> Map:
    """Ribs, 0-1: clear posterior arcs with a brighter cortex, faint anterior arcs."""
    back, front = frame.blank(), frame.blank()
    for index in range(N_RIBS):
        posterior, anterior = rib_curve(index, body)
        for side in (-1, 1):
            width = 0.047 if index else 0.06
            frame.stroke(back, mirrored(posterior, side), width, 0.95)
            frame.stroke(back, mirrored(posterior, side), width * 0.5, 0.5)
            if index < 8:
                frame.stroke(front, mirrored(anterior, side), 0.062, 0.9)
                frame.stroke(front, mirrored(anterior, side), 0.04, 0.42)
    _, y = frame.grid
    below = sigmoid((y - dome_height(body, pose, -1) - 0.06) / 0.05)
    ribs = soften(back, 0.75) + 0.42 * soften(front, 1.0)
    return np.asarray(ribs * (1 - 0.6 * below), np.float32)  # the abdomen drowns them


def draw_spine(frame: Frame, pose: Pose) -> Map:
    """Vertebral bodies, discs and pedicles, 0-1."""
    column, detail = frame.blank(), frame.blank()
    x = 0.03 * pose.turn
    frame.stroke(column, [(x, -0.7), (x, 2.2)], 0.19, 0.55)
    for level in np.arange(-0.55, 2.1, 0.118):
        body_box = [
            (x - 0.1, level),
            (x + 0.1, level),
            (x + 0.1, level + 0.09),
            (x - 0.1, level + 0.09),
        ]
        cv_box = np.asarray(body_box)
        frame.stroke(detail, np.vstack([cv_box, cv_box[:1]]), 0.012, 0.55)
        frame.stroke(detail, [(x, level + 0.06), (x, level + 0.12)], 0.022, 0.8)  # spinous process
        for side in (-1, 1):
            frame.stroke(
                detail,
                [(x + side * 0.06, level + 0.03), (x + side * 0.06, level + 0.05)],
                0.03,
                0.7,
            )
            frame.stroke(
                detail, [(x + side * 0.1, level + 0.03), (x + side * 0.19, level + 0.0)], 0.03, 0.4
            )
    return soften(column, 2.0) + 0.5 * soften(detail, 1.0)


def draw_girdle(frame: Frame, pose: Pose) -> Map:
    """Clavicles, scapulae and upper arms, 0-1."""
    bones, sheets = frame.blank(), frame.blank()
    portable = pose.projection == "AP"
    lift = -0.05 if portable else 0.0
    aside = 0.0 if portable else 0.14  # for PA films the shoulder blades are turned out
    for side in (-1, 1):
        near = 0.09 + 0.04 * pose.turn * side
        clavicle = smooth_curve(
            [
                (near, 0.13),
                (0.28, 0.07 + lift),
                (0.55, 0.03 + lift),
                (0.8, -0.04 + lift),
                (1.05, -0.07),
            ]
        )
        frame.stroke(bones, mirrored(clavicle, side), 0.062, 0.9)
        frame.stroke(bones, mirrored(clavicle, side), 0.036, 0.62)
        blade = smooth_curve(
            [
                (1.07, -0.02),
                (0.83 + aside, 0.0),
                (0.86 + aside, 0.25),
                (0.95 + aside, 0.52),
                (1.05 + aside, 0.3),
            ],
            closed=True,
        )
        cv_sheet = mirrored(blade, side)
        frame.stroke(sheets, np.vstack([cv_sheet, cv_sheet[:1]]), 0.02, 0.75)
        frame.stroke(sheets, mirrored([(0.85 + aside, 0.08), (1.15, -0.06)], side), 0.05, 0.45)
        shaft = [(1.24, 0.0), (1.33, 0.2), (1.48 + 2 * aside, 0.9), (1.55 + 2 * aside, 1.5)]
        frame.stroke(bones, mirrored(shaft, side), 0.105, 0.75)
        frame.stroke(bones, mirrored(shaft, side), 0.07, 0.5)
        frame.stroke(bones, mirrored([(1.2, -0.02), (1.22, 0.03)], side), 0.19, 0.7)
    return soften(bones, 1.0) + 0.6 * soften(sheets, 1.2)
