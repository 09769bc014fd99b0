"""The phantoms' side view: x runs from the breastbone (-1, left on the film) to the back (+1)."""

from collections.abc import Sequence

import numpy as np

from pulmonet.arrays import Pixels
from pulmonet.data.phantoms.anatomy import ANATOMY, Film, Map, depth, outline, sigmoid, soften
from pulmonet.data.phantoms.film import develop
from pulmonet.data.phantoms.findings import LOBES, Box, Finding, displace, moved_by

HILUM = ANATOMY["hila"]["aside"]


def take_lateral(film: Film, findings: Sequence[Finding]) -> tuple[Pixels, list[Box]]:
    """Draw one side view and the boxes of its findings, as `take_frontal` does."""
    before, film = _lungs(film), moved_by(film, findings)
    body, lung = film.body, _lungs(film)
    size = film.pose.heart_ratio / 0.45
    # front and underside stay on breastbone and diaphragm: a large heart grows backwards
    grown = {"back": -0.64 + 0.80 * size, "high": size**0.5}
    heart = film.fill(outline("heart aside", at=(0, _dome(film)), **grown), 3.5)
    air = lung * (0.55 + 0.45 * depth(np.sqrt(lung), 0.4 * film.unit))
    air *= 1 - heart * (0.42 + 0.36 * depth(heart, 0.3 * film.unit))
    lost = dict.fromkeys((-1, 1), 0.5 * np.clip(before - lung, 0, 1))
    boxes = displace(air, heart, findings, lambda found: [_draw_finding(film, lung, found)], lost)
    total = _tissue(film)
    total -= 0.50 * np.sqrt(body.tissue) * air
    total += body.bone * _bones(film, np.clip(lung - heart, 0, 1))
    total += 0.17 * _vessels(film) * np.clip(1.6 * air, 0, 1)
    windpipe = film.draw(film.blank(), "windpipe")
    total += 0.05 * heart - 0.10 * soften(windpipe, 1.5)
    grain = np.random.default_rng(body.tree_seed + 1)
    total += 0.014 * film.noise(grain, 0.03) * np.clip(air * 1.5, 0, 1)
    return develop(film, np.asarray(total, np.float32)), boxes


def _dome(film: Film) -> float:
    return film.pose.inspiration - 0.02


def _lungs(film: Film) -> Map:
    """Both lungs over one another, each with half of the air; the left dome lies lower."""
    floor, pose = _dome(film), film.pose
    air = np.zeros((film.height, film.width), np.float32)
    back = outline("back of the lung", floor=floor)
    for dome in (floor - pose.raised_right, floor + 0.035 - pose.raised_left):
        between = 0.5 * (dome + floor)
        front = outline("front of the lung", between=between)
        base = outline("base of the lung", dome=dome, between=between)
        air += 0.5 * film.fill(np.vstack([front, base, back]), 1.0)
    return air


def _tissue(film: Film) -> Map:
    body = film.body
    wall = 0.16 + 0.2 * (body.tissue - 0.8)
    edge = np.vstack([outline(f"{end} of the trunk", wall=wall) for end in ("front", "back")])
    if body.breasts > 0:
        near = np.exp(-(((edge[:, 1] - 0.8) / 0.25) ** 2)) * (edge[:, 0] < 0)
        edge[:, 0] -= (0.08 + 0.16 * body.breasts) * near
    trunk = film.fill(edge, 1.5)
    tissue = 0.68 * body.tissue * depth(trunk, 0.3 * film.unit)
    x, y = film.grid
    # The arms are raised and lie over the apices.
    arms = sigmoid((0.06 - y) / 0.05) * np.exp(-np.square(np.square((x - 0.1) / 0.7)))
    tissue = np.maximum(tissue, 0.62 * body.tissue * arms)
    below = sigmoid((y - _dome(film) - 0.16 - 0.12 * x) / 0.08)
    tissue += 0.2 * body.tissue * trunk * below
    tissue += 0.12 * trunk * sigmoid((0.3 - y) / 0.08)
    return np.asarray(tissue, np.float32)


def _bones(film: Film, clear: Map) -> Map:
    """Spine, breastbone, ribs, shoulder blade as attenuation; ribs show best over `clear` lung."""
    ribs, bones = film.blank(), film.blank()
    spine = outline("spine aside")
    film.stroke(bones, spine, 0.2, 0.5)
    for start, end in zip(spine[:-2:2], spine[2::2], strict=True):
        middle = 0.5 * (start + end)
        across = np.array([end[1] - start[1], start[0] - end[0]])
        across *= 0.095 / np.hypot(*across)
        film.stroke(bones, [middle - across, middle + across], 0.02, 0.75)
    film.draw(bones, "breastbone")
    for index in range(9):
        at, slope = (0, 0.1 + 0.115 * index), 0.34 * film.body.rib_slope
        for offset in (0.0, 0.03):  # the two sides do not quite cover one another
            film.draw(ribs, "rib aside", at=at, slope=slope, offset=offset)
    film.draw(ribs, "shoulder blade aside")
    return 0.14 * soften(bones, 1.4) + 0.11 * soften(ribs, 1.1) * (0.4 + 0.6 * clear)


def _vessels(film: Film) -> Map:
    canvas = film.blank()
    rng = np.random.default_rng(film.body.tree_seed)
    root = np.asarray(HILUM)
    film.stroke(canvas, [root, root + np.array([0.05, 0.1])], 0.14, 0.9)
    for angle in np.linspace(0, 2 * np.pi, 26, endpoint=False):
        bend, length = rng.normal(0, 0.25), rng.uniform(0.3, 0.6)
        first = root + 0.45 * length * np.array([np.cos(angle), np.sin(angle)])
        turned = np.array([np.cos(angle + bend), np.sin(angle + bend)])
        film.stroke(canvas, [root, first], 0.024, 0.5)
        film.stroke(canvas, [first, first + 0.55 * length * turned], 0.014, 0.35)
    film.stroke(canvas, outline("aortic arch"), 0.13 + 0.6 * film.body.aorta, 0.4)
    return soften(canvas, 1.4)


def _draw_finding(film: Film, lung: Map, finding: Finding) -> Map:
    """Displaced air of one finding, (H, W) in 0-1."""
    rng = np.random.default_rng(finding.seed)
    x, y = film.grid
    severity = finding.severity
    if finding.label == "Pleural Effusion":  # deepest in the posterior angle
        level = _dome(film) + 0.32 - 0.06 - 0.6 * severity + 0.3 * (0.85 - x)
        level += 0.12 * (1 - np.clip((x - 0.3) / 0.5, 0, 1))
        density = 0.85 * sigmoid((y - level) / 0.02)
    elif finding.label == "Edema":
        wide = 0.36 + 0.14 * severity
        wing = np.exp(-((((x - HILUM[0]) / wide) ** 2 + ((y - 0.58) / 0.36) ** 2) ** 1.3))
        density = (0.26 + 0.5 * severity) * wing * (1 + 0.3 * film.noise(rng, 0.08))
    elif finding.label == "Consolidation":
        (cx, cy), (wide, high) = LOBES[finding.place]["aside"]
        grown = 0.65 + 0.45 * severity
        u, v = (x - cx) / (wide * grown), (y - cy * film.pose.inspiration) / high
        ragged = np.sqrt(u**2 + (v / grown) ** 2) + 0.12 * film.noise(rng, 0.12)
        density = (0.35 + 0.45 * severity) * sigmoid((1 - ragged) / 0.1)
    else:
        base = "base" in finding.place
        centre_x, centre_y = (0.35, _dome(film) - 0.06) if base else (0.02, 0.43)
        across = y - centre_y - rng.uniform(-0.2, 0.3) * (x - centre_x)
        strip = sigmoid((0.014 + 0.02 * severity - np.abs(across)) / 0.007)
        ends = sigmoid((0.24 + 0.1 * severity - np.abs(x - centre_x)) / 0.03)
        density = (0.5 + 0.35 * severity) * strip * ends
    return np.asarray(np.clip(density, 0, 0.92) * lung, np.float32)
