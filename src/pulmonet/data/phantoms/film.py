"""From anatomy to an 8-bit film: exposure, noise, devices, letters; one front view image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pulmonet.data.phantoms import organs, skeleton
from pulmonet.data.phantoms.anatomy import Body, Pose
from pulmonet.data.phantoms.findings import Box, Finding, displace, draw_finding, moved_by
from pulmonet.data.phantoms.organs import Chest
from pulmonet.data.phantoms.shapes import Frame, Map, curve, depth, noise, smooth_curve, soften

DEVICES = ("electrodes", "central line", "pacemaker", "tube")


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
    """One image to take: geometry, exposure and devices, without the findings."""

    height: int
    width: int
    matrix: NDArray[np.float64]
    body: Body
    pose: Pose
    exposure: Exposure
    devices: tuple[str, ...] = ()


def take_frontal(film: Film, findings: Sequence[Finding]) -> tuple[NDArray[np.uint8], list[Box]]:
    """Draw one front view and the boxes of its findings.

    The same film with other findings differs by the findings alone: noise, texture and exposure
    have seeds of their own.

    Returns:
        The image (H, W) uint8 and one box per separate region.
    """
    frame = Frame(film.height, film.width, film.matrix)
    chest = Chest(frame, film.body, moved_by(film.pose, findings))
    heart, mediastinum = organs.draw_heart(chest), organs.draw_mediastinum(chest)
    air = chest.air() * (1 - 0.94 * mediastinum)
    air *= 1 - heart * (0.62 + 0.3 * depth(heart, 0.3 * frame.unit))

    def regions(finding: Finding) -> list[tuple[Map, Map]]:
        lost = _lost_volume(chest, finding, heart)
        return [(density, lost) for density in draw_finding(chest, finding)]

    boxes = displace(air, heart, findings, regions)
    return develop(frame, film, _attenuate(chest, film, air, heart, mediastinum)), boxes


def _lost_volume(chest: Chest, finding: Finding, heart: Map) -> Map:
    """Where a raised dome took the place of lung, 0-1: it belongs to the atelectasis."""
    pose = chest.pose
    if finding.label != "Atelectasis" or not (pose.raised_left or pose.raised_right):
        return np.zeros_like(heart)
    before = replace(chest, pose=replace(pose, raised_left=0, raised_right=0))
    lost = before.lungs[finding.side] - chest.lungs[finding.side]
    return np.asarray(0.5 * np.clip(lost, 0, 1) * (1 - heart), np.float32)


def _attenuate(chest: Chest, film: Film, air: Map, heart: Map, mediastinum: Map) -> Map:
    frame, body = chest.frame, chest.body
    total = skeleton.draw_tissue(chest)
    total -= 0.60 * np.sqrt(body.tissue) * air
    solid = np.maximum(heart, mediastinum)
    total += 0.125 * body.bone * skeleton.draw_ribs(chest) * (1 - 0.6 * solid)
    total += 0.10 * body.bone * skeleton.draw_spine(chest)
    total += 0.15 * body.bone * skeleton.draw_girdle(chest)
    total += 0.18 * organs.draw_vessels(chest) * np.clip(air * 1.6, 0, 1)
    total += 0.05 * heart * depth(heart, 0.3 * frame.unit)
    total += 0.09 * skeleton.draw_breasts(chest)
    total -= 0.10 * organs.draw_airway(chest)
    total -= 0.16 * _stomach(chest, film.exposure.seed)
    # Lung is never smooth: fine interstitial pattern wherever there is air.
    grain = np.random.default_rng(body.tree_seed + 1)
    pattern = noise(grain, frame, 0.022) + 0.8 * noise(grain, frame, 0.045)
    total += 0.011 * pattern * np.clip(air * 1.5, 0, 1)
    total += 0.02 * noise(grain, frame, 0.5)
    total += draw_devices(frame, film, chest.pose)
    return np.asarray(total, np.float32)


def _stomach(chest: Chest, seed: int) -> Map:
    """Gas under the left dome, 0-1; level fluid below it in a standing patient."""
    rng = np.random.default_rng(seed + 7)
    if rng.random() < 0.45:
        return np.zeros((chest.frame.height, chest.frame.width), np.float32)
    half_width, height = rng.uniform(0.12, 0.26), rng.uniform(0.06, 0.15)
    cx = rng.uniform(0.42, 0.6)
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    cut = 0.1 if chest.pose.projection == "PA" else 1.0
    uneven = 1 + 0.12 * np.sin(2 * angle + rng.uniform(0, 6)) + 0.1 * np.sin(3 * angle)
    across = cx + half_width * uneven * np.cos(angle)
    down = chest.dome(1) + 0.06 + height * (1 + np.minimum(uneven * np.sin(angle), cut))
    return chest.frame.fill(np.column_stack([across, down]), 2.0) * float(rng.uniform(0.5, 1))


def draw_devices(frame: Frame, film: Film, pose: Pose) -> Map:
    """Lines, leads and tubes as attenuation."""
    rng = np.random.default_rng(film.exposure.seed + 3)
    thin, solid = frame.blank(), frame.blank()
    if "electrodes" in film.devices:
        for _ in range(int(rng.integers(2, 5))):
            spot = (rng.uniform(-0.9, 0.9), rng.uniform(0.1, 1.2))
            frame.stroke(solid, [spot, spot], 0.06, 0.55)
            ends = [(spot[0] + rng.normal(0, 0.3), spot[1] + rng.uniform(0.1, 0.3)), (1.6, 1.5)]
            frame.stroke(thin, smooth_curve([spot, *ends]), 0.012, 0.6)
    if "central line" in film.devices:
        x = -0.12 + pose.shift
        line = curve([-0.45, -0.34, -0.2, x - 0.02, x], [-0.3, -0.05, 0.08, 0.25, 0.55])
        frame.stroke(thin, line, 0.014, 0.75)
    if "pacemaker" in film.devices:
        angle = np.linspace(0, 2 * np.pi, 20)
        can = np.column_stack([0.66 + 0.13 * np.cos(angle), 0.16 + 0.1 * np.sin(angle)])
        solid = np.maximum(solid, (255 * frame.fill(can, 0.5)).astype(np.uint8))
        lead = curve([0.6, 0.4, 0.1, -0.1, -0.12, 0.15], [0.1, 0.0, 0.15, 0.35, 0.7, 0.95])
        frame.stroke(thin, lead, 0.014, 0.9)
    if "tube" in film.devices:
        frame.stroke(thin, [(0.02, -0.5), (0.01, 0.0), (0.02, 0.26)], 0.04, 0.35)
        feeding = curve([-0.02, 0.0, 0.04, 0.2, 0.45], [-0.5, 0.3, 0.8, 1.1, 1.25])
        frame.stroke(thin, feeding, 0.014, 0.6)
    return 0.34 * soften(thin, 0.6) + 0.4 * soften(solid, 0.7)


def develop(frame: Frame, film: Film, attenuation: Map) -> NDArray[np.uint8]:
    """Attenuation to grey levels, with scatter, grain, collimation and letters."""
    exposure = film.exposure
    rng = np.random.default_rng(exposure.seed)
    scatter = soften(attenuation, 0.12 * frame.unit)
    mixed = (1 - exposure.haze) * attenuation + exposure.haze * (0.6 * scatter + 0.25)
    level = np.clip((mixed - exposure.low) / (exposure.high - exposure.low), 0, 1.4)
    # A film's shoulder: the brightest parts are compressed, not cut.
    grey = (1 - np.exp(-0.9 * level**exposure.gamma)) / (1 - np.exp(-0.9))
    grain = cv2.GaussianBlur(rng.standard_normal(grey.shape, np.float32), (0, 0), 0.55)
    image = 255 * grey + exposure.grain * 1.8 * grain * (0.35 + 0.65 * (1 - grey))
    if exposure.collimated:
        image = _collimate(rng, image)
    pixels: NDArray[np.uint8] = np.clip(np.round(image), 0, 252).astype(np.uint8)
    _write_letters(film, rng, pixels)
    return pixels


def _collimate(rng: np.random.Generator, image: Map) -> Map:
    height, width = image.shape
    tilt = rng.uniform(-0.03, 0.03)
    top, bottom, left, right = rng.uniform(0.0, 0.06, 4) * (height, height, width, width)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    down, across = tilt * (columns - width / 2), tilt * (rows - height / 2)
    from_top, from_bottom = rows - top + down, height - 1 - bottom - rows - down
    from_left, from_right = columns - left - across, width - 1 - right - columns + across
    inside = np.minimum.reduce([from_top, from_bottom, from_left, from_right])
    return np.asarray(image * np.clip(inside / 2, 0, 1), np.float32)


def _write_letters(film: Film, rng: np.random.Generator, image: NDArray[np.uint8]) -> None:
    left = film.exposure.marker_left
    x = film.width * (rng.uniform(0.86, 0.93) if left else rng.uniform(0.04, 0.09))
    y = film.height * rng.uniform(0.07, 0.2)
    font, letter = cv2.FONT_HERSHEY_SIMPLEX, "L" if left else "R"
    cv2.putText(image, letter, (int(x), int(y)), font, 0.5, 250, 2, cv2.LINE_AA)
    if film.pose.projection == "AP" and rng.random() < 0.5:
        at = (int(film.width * 0.02), int(film.height * rng.uniform(0.9, 0.98)))
        cv2.putText(image, "PORTABLE", at, font, 0.28, 240, 1, cv2.LINE_AA)
