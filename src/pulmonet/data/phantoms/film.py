"""From anatomy to an 8-bit film: exposure, noise, devices, letters; one front view image."""

from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np
from numpy.random import Generator

from pulmonet.arrays import Pixels
from pulmonet.data.phantoms import organs
from pulmonet.data.phantoms.anatomy import Film, Map, curve, depth, soften
from pulmonet.data.phantoms.findings import Box, Finding, displace, draw_finding, moved_by


def take_frontal(film: Film, findings: Sequence[Finding]) -> tuple[Pixels, list[Box]]:
    """Draw one front view and the boxes of its findings.

    The same film with other findings differs by the findings alone: noise, texture and exposure
    have seeds of their own. Returns the image (H, W) uint8 and one box per separate region.
    """
    before, film = film.lungs, moved_by(film, findings)
    heart, mediastinum = organs.draw_heart(film), organs.draw_mediastinum(film)
    both = np.maximum(film.lungs[-1], film.lungs[1])
    air = both * (0.5 + 0.5 * depth(both, 0.42 * film.unit))
    # apices are thinner and lie behind more bone
    air = np.asarray(air * np.clip(0.78 + 0.3 * film.grid[1], 0.7, 1.02), np.float32)
    air *= 1 - 0.94 * mediastinum
    air *= 1 - heart * (0.62 + 0.3 * depth(heart, 0.3 * film.unit))
    lost = {
        side: np.asarray(0.5 * np.clip(before[side] - lung, 0, 1) * (1 - heart), np.float32)
        for side, lung in film.lungs.items()
    }
    boxes = displace(air, heart, findings, partial(draw_finding, film), lost)
    return develop(film, _attenuate(film, air, heart, mediastinum)), boxes


def _attenuate(film: Film, air: Map, heart: Map, mediastinum: Map) -> Map:
    body = film.body
    total = organs.draw_tissue(film)
    total -= 0.60 * np.sqrt(body.tissue) * air
    solid = np.maximum(heart, mediastinum)
    total += 0.125 * body.bone * organs.draw_ribs(film) * (1 - 0.6 * solid)
    total += 0.10 * body.bone * organs.draw_spine(film)
    total += 0.15 * body.bone * organs.draw_girdle(film)
    total += 0.18 * organs.draw_vessels(film) * np.clip(air * 1.6, 0, 1)
    total += 0.05 * heart * depth(heart, 0.3 * film.unit)
    total += 0.09 * organs.draw_breasts(film)
    total -= 0.10 * organs.draw_airway(film)
    total -= 0.16 * organs.draw_stomach(film)
    # Lung is never smooth: fine interstitial pattern wherever there is air.
    grain = np.random.default_rng(body.tree_seed + 1)
    pattern = film.noise(grain, 0.022) + 0.8 * film.noise(grain, 0.045)
    total += 0.011 * pattern * np.clip(air * 1.5, 0, 1)
    total += 0.02 * film.noise(grain, 0.5)
    return np.asarray(total, np.float32)


def draw_devices(film: Film) -> Map:
    """Lines, leads and tubes as attenuation."""
    rng = np.random.default_rng(film.exposure.seed + 3)
    thin, solid = film.blank(), film.blank()
    if "electrodes" in film.devices:
        for _ in range(int(rng.integers(2, 5))):
            x, y = rng.uniform(-0.9, 0.9), rng.uniform(0.1, 1.2)
            film.stroke(solid, [(x, y), (x, y)], 0.06, 0.55)
            lead = curve([x, x + rng.normal(0, 0.3), 1.6], [y, y + rng.uniform(0.1, 0.3), 1.5])
            film.stroke(thin, lead, 0.012, 0.6)
    if "pacemaker" in film.devices:
        angle = np.linspace(0, 2 * np.pi, 20)
        can = np.column_stack([0.66 + 0.13 * np.cos(angle), 0.16 + 0.1 * np.sin(angle)])
        solid = np.maximum(solid, (255 * film.fill(can, 0.5)).astype(np.uint8))
    for device in ("central line", "pacemaker", "tube"):
        if device in film.devices:
            film.draw(thin, device, tip=-0.12 + film.pose.shift)
    return 0.34 * soften(thin, 0.6) + 0.4 * soften(solid, 0.7)


def develop(film: Film, attenuation: Map) -> Pixels:
    """Attenuation to grey levels, with devices, scatter, grain, collimation and letters."""
    attenuation = attenuation + draw_devices(film)
    exposure = film.exposure
    rng = np.random.default_rng(exposure.seed)
    scatter = soften(attenuation, 0.12 * film.unit)
    mixed = (1 - exposure.haze) * attenuation + exposure.haze * (0.6 * scatter + 0.25)
    level = np.clip((mixed - exposure.low) / (exposure.high - exposure.low), 0, 1.4)
    # A film's shoulder: the brightest parts are compressed, not cut.
    grey = (1 - np.exp(-0.9 * level**exposure.gamma)) / (1 - np.exp(-0.9))
    grain = cv2.GaussianBlur(rng.standard_normal(grey.shape, np.float32), (0, 0), 0.55)
    image = 255 * grey + exposure.grain * 1.8 * grain * (0.35 + 0.65 * (1 - grey))
    if exposure.collimated:
        image = _collimate(rng, image)
    pixels: Pixels = np.clip(np.round(image), 0, 252).astype(np.uint8)
    letter, low, high = ("L", 0.86, 0.93) if exposure.marker_left else ("R", 0.04, 0.09)
    x, y = film.width * rng.uniform(low, high), film.height * rng.uniform(0.07, 0.2)
    font, corner = cv2.FONT_HERSHEY_SIMPLEX, (int(x), int(y))
    cv2.putText(pixels, letter, corner, font, 0.5, 250, 2, cv2.LINE_AA)
    if film.pose.projection == "AP" and rng.random() < 0.5:
        corner = (int(film.width * 0.02), int(film.height * rng.uniform(0.9, 0.98)))
        cv2.putText(pixels, "PORTABLE", corner, font, 0.28, 240, 1, cv2.LINE_AA)
    return pixels


def _collimate(rng: Generator, image: Map) -> Map:
    height, width = image.shape
    tilt = rng.uniform(-0.03, 0.03)
    top, bottom, left, right = rng.uniform(0.0, 0.06, 4) * (height, height, width, width)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    down, across = tilt * (columns - width / 2), tilt * (rows - height / 2)
    from_top, from_bottom = rows - top + down, height - 1 - bottom - rows - down
    from_left, from_right = columns - left - across, width - 1 - right - columns + across
    inside = np.minimum.reduce([from_top, from_bottom, from_left, from_right])
    return np.asarray(image * np.clip(inside / 2, 0, 1), np.float32)
