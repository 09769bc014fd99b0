"""Bones and soft tissue of the front view phantoms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pulmonet.data.phantoms.anatomy import CAGE_X, CAGE_Y, Body
from pulmonet.data.phantoms.organs import Chest
from pulmonet.data.phantoms.shapes import Map, curve, depth, mirrored, sigmoid, soften

N_RIBS = 11


def draw_tissue(chest: Chest) -> Map:
    """Soft tissue of trunk, neck, arms and abdomen as attenuation, before air is taken out."""
    frame, body = chest.frame, chest.body
    wall = 0.10 + 0.16 * (body.tissue - 0.8)
    thickness = wall * np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1.1, 1.3, 1.4])
    left = curve(
        np.array([0.27, 0.29, 0.36, 0.72, 1.12, 1.24, 1.12, 1.0, 1.0, 1.02, 1.02, 1.0]) + thickness,
        [-0.7, -0.32, -0.2, -0.13, -0.12, 0.02, 0.3, 0.5, 0.8, 1.1, 1.4, 2.2],
    )
    trunk = frame.fill(np.vstack([left, (left * (-1, 1))[::-1]]), 1.2)
    tissue = 0.66 * body.tissue * depth(trunk, 0.34 * frame.unit)
    reach = 1.62 if chest.pose.projection == "AP" else 1.95
    arm = curve(
        [1.1, 1.33, 1.42, reach - 0.02, reach, reach - 0.34, reach - 0.35, 1.13, 1.0],
        [-0.13, -0.08, 0.1, 1.0, 1.6, 1.6, 1.0, 0.32, 0.1],
        closed=True,
    )
    for side in (-1, 1):
        limb = frame.fill(mirrored(arm, side), 1.2)
        tissue = np.maximum(tissue, 0.5 * depth(limb, 0.2 * frame.unit))
    x, y = frame.grid
    abdomen = trunk * sigmoid((y - chest.dome(-1) - 0.12) / 0.08)
    tissue += 0.2 * body.tissue * abdomen * np.exp(-np.square(np.square(x / 1.1)))
    # Chest wall, back muscles and scapular tissue lie over the upper half of the lungs.
    tissue += 0.06 * body.tissue * trunk * np.exp(-(((y - 0.1) / 0.28) ** 2))
    return np.asarray(tissue, np.float32)


def draw_breasts(chest: Chest) -> Map:
    """Breast shadows over the lower lungs, 0-1: a soft upper and a clear lower edge."""
    x, y = chest.frame.grid
    shadow = np.zeros_like(x)
    if chest.body.breasts <= 0:
        return shadow
    low = chest.pose.inspiration + 0.02
    for side in (-1, 1):
        u = (x * side - 0.66) / 0.44
        v = (y - (low - 0.17)) / 0.34
        edge = np.clip((1 - np.sqrt(u**2 + v**2)) / 0.08, 0, 1)
        shadow = np.maximum(shadow, edge * np.clip(0.45 + 0.7 * v, 0, 1))
    return np.asarray(chest.body.breasts * shadow, np.float32)


def rib_curve(index: int, body: Body) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Posterior and anterior part of rib `index` (0 = first) on the positive side."""
    head = -0.05 + 0.112 * index
    drop = body.rib_slope * (0.07 + 0.125 * min(index, 4) / 4)
    end_y = head + drop
    end_x = float(np.interp(end_y, CAGE_Y, CAGE_X))
    t = np.linspace(0, 1, 15)
    x = 0.09 + (end_x - 0.09) * t**0.88
    y = head - 0.05 * np.sin(np.pi * np.minimum(t * 1.25, 1)) + drop * t**2.3
    reach = 0.34 + 0.03 * max(index - 4, 0)
    front_y = end_y + body.rib_slope * (0.12 + 0.02 * index)
    s = np.linspace(0, 1, 12)
    front_x = end_x - (end_x - reach) * s**1.25
    anterior = np.column_stack([front_x, end_y + (front_y - end_y) * np.sin(s * np.pi / 2)])
    return np.column_stack([x, y]), anterior


def draw_ribs(chest: Chest) -> Map:
    """Ribs, 0-1: clear posterior arcs with a brighter cortex, faint anterior arcs."""
    frame = chest.frame
    back, front = frame.blank(), frame.blank()
    for index in range(N_RIBS):
        posterior, anterior = rib_curve(index, chest.body)
        for side in (-1, 1):
            width = 0.047 if index else 0.06
            frame.stroke(back, mirrored(posterior, side), width, 0.95)
            frame.stroke(back, mirrored(posterior, side), width * 0.5, 0.5)
            if index < 8:
                frame.stroke(front, mirrored(anterior, side), 0.062, 0.9)
                frame.stroke(front, mirrored(anterior, side), 0.04, 0.42)
    _, y = frame.grid
    below = sigmoid((y - chest.dome(-1) - 0.06) / 0.05)
    ribs = soften(back, 0.75) + 0.42 * soften(front, 1.0)
    return np.asarray(ribs * (1 - 0.6 * below), np.float32)  # the abdomen drowns them


def draw_spine(chest: Chest) -> Map:
    """Vertebral bodies, discs and pedicles, 0-1."""
    frame = chest.frame
    column, detail = frame.blank(), frame.blank()
    x = 0.03 * chest.pose.turn
    frame.stroke(column, [(x, -0.7), (x, 2.2)], 0.19, 0.55)
    vertebra = np.array([(-0.1, 0), (0.1, 0), (0.1, 0.09), (-0.1, 0.09), (-0.1, 0)])
    for y in np.arange(-0.55, 2.1, 0.118):
        frame.stroke(detail, vertebra + np.array([x, y]), 0.012, 0.55)
        frame.stroke(detail, [(x, y + 0.06), (x, y + 0.12)], 0.022, 0.8)  # spinous process
        for side in (-1, 1):
            pedicle = x + side * 0.06
            frame.stroke(detail, [(pedicle, y + 0.03), (pedicle, y + 0.05)], 0.03, 0.7)
            frame.stroke(detail, [(x + side * 0.1, y + 0.03), (x + side * 0.19, y)], 0.03, 0.4)
    return soften(column, 2.0) + 0.5 * soften(detail, 1.0)


def draw_girdle(chest: Chest) -> Map:
    """Clavicles, scapulae and upper arms, 0-1."""
    frame = chest.frame
    bones, sheets = frame.blank(), frame.blank()
    portable = chest.pose.projection == "AP"
    lift = -0.05 if portable else 0.0
    aside = 0.0 if portable else 0.14  # for PA films the shoulder blades are turned out
    blade_x = [1.07, 0.83 + aside, 0.86 + aside, 0.95 + aside, 1.05 + aside]
    blade = curve(blade_x, [-0.02, 0.0, 0.25, 0.52, 0.3], closed=True)
    shaft = [(1.24, 0.0), (1.33, 0.2), (1.48 + 2 * aside, 0.9), (1.55 + 2 * aside, 1.5)]
    for side in (-1, 1):
        near = 0.09 + 0.04 * chest.pose.turn * side
        clavicle_y = [0.13, 0.07 + lift, 0.03 + lift, -0.04 + lift, -0.07]
        clavicle = mirrored(curve([near, 0.28, 0.55, 0.8, 1.05], clavicle_y), side)
        frame.stroke(bones, clavicle, 0.062, 0.9)
        frame.stroke(bones, clavicle, 0.036, 0.62)
        frame.stroke(sheets, mirrored(np.vstack([blade, blade[:1]]), side), 0.02, 0.75)
        frame.stroke(sheets, mirrored([(0.85 + aside, 0.08), (1.15, -0.06)], side), 0.05, 0.45)
        frame.stroke(bones, mirrored(shaft, side), 0.105, 0.75)
        frame.stroke(bones, mirrored(shaft, side), 0.07, 0.5)
        frame.stroke(bones, mirrored([(1.2, -0.02), (1.22, 0.03)], side), 0.19, 0.7)
    return soften(bones, 1.0) + 0.6 * soften(sheets, 1.2)
