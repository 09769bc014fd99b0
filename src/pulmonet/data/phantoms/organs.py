"""What is seen of any chest from the front: heart, vessels, airways, bones and soft tissue."""

import numpy as np

from pulmonet.arrays import Array
from pulmonet.data.phantoms.anatomy import (
    ANATOMY,
    Body,
    Film,
    Map,
    cage,
    depth,
    mirrored,
    outline,
    sigmoid,
    soften,
)

#: Roots of the lungs by side (-1 = the patient's right).
HILA = {-1: ANATOMY["hila"]["right"], 1: ANATOMY["hila"]["left"]}

N_RIBS = 11


def draw_heart(film: Film) -> Map:
    """The heart, 0-1, blurred by its beat; as wide as the cardiothoracic ratio x 2 body units."""
    pose = film.pose
    right, left = -0.34 * 2 * pose.heart_ratio, 0.66 * 2 * pose.heart_ratio
    lying = 1.06 - 0.1 * (pose.heart_ratio - 0.45)  # larger hearts lie on a broader base
    at = (pose.shift + 0.06 * pose.turn, pose.inspiration + film.body.dome_gap + 0.06)
    return film.fill(outline("heart", at=at, right=right, left=left, lying=left * lying), 1.8)


def draw_mediastinum(film: Film) -> Map:
    """Great vessels, aortic knob and the tissue about the spine, 0-1."""
    left = outline("left mediastinum", knob=film.body.aorta)
    at = film.pose.shift + 0.08 * film.pose.turn, 0
    return film.fill(np.vstack([left, outline("right mediastinum")]) + at, 2.2)


def draw_airway(film: Film) -> Map:
    """Trachea and main bronchi as air, 0-1."""
    at = 0.5 * film.pose.shift + 0.05 * film.pose.turn, 0
    return soften(film.draw(film.blank(), "airway", at=at), 2.0)


def draw_vessels(film: Film) -> Map:
    """Pulmonary vessels branching from the hila, 0-1, brighter where thicker."""
    pose = film.pose
    canvas = film.blank()
    rng = np.random.default_rng(film.body.tree_seed)

    def grow(x: float, y: float, angle: float, width: float, n_left: int) -> None:
        """A branch from (x, y), and the `n_left` - 1 generations of thinner ones at its end."""
        half = 0.5 * (rng.uniform(0.15, 0.27) * (0.8 + 0.08 * n_left))
        bend = angle + rng.normal(0, 0.22)
        middle = (x + side * half * np.cos(angle), y + half * np.sin(angle))
        end = (middle[0] + side * half * np.cos(bend), middle[1] + half * np.sin(bend))
        film.stroke(canvas, [(x, y), middle, end], width, min(1.0, 0.16 + 16 * width))
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
        film.stroke(canvas, np.asarray(root) + spread, 0.085, 0.85)
    return soften(canvas, 0.75)


def draw_tissue(film: Film) -> Map:
    """Soft tissue of trunk, neck, arms and abdomen as attenuation, before air is taken out."""
    body = film.body
    left = outline("trunk", wall=0.10 + 0.16 * (body.tissue - 0.8))
    trunk = film.fill(np.vstack([left, (left * (-1, 1))[::-1]]), 1.2)
    tissue = 0.66 * body.tissue * depth(trunk, 0.34 * film.unit)
    reach = 1.62 if film.pose.projection == "AP" else 1.95
    for side in (-1, 1):
        limb = film.fill(outline("arm", side=side, reach=reach), 1.2)
        tissue = np.maximum(tissue, 0.5 * depth(limb, 0.2 * film.unit))
    x, y = film.grid
    abdomen = trunk * sigmoid((y - film.dome(-1) - 0.12) / 0.08)
    tissue += 0.2 * body.tissue * abdomen * np.exp(-np.square(np.square(x / 1.1)))
    # Chest wall, back muscles and scapular tissue lie over the upper half of the lungs.
    tissue += 0.06 * body.tissue * trunk * np.exp(-(((y - 0.1) / 0.28) ** 2))
    return np.asarray(tissue, np.float32)


def draw_breasts(film: Film) -> Map:
    """Breast shadows over the lower lungs, 0-1: a soft upper and a clear lower edge."""
    x, y = film.grid
    shadow = np.zeros_like(x)
    if film.body.breasts <= 0:
        return shadow
    low = film.pose.inspiration + 0.02
    for side in (-1, 1):
        u = (x * side - 0.66) / 0.44
        v = (y - (low - 0.17)) / 0.34
        edge = np.clip((1 - np.sqrt(u**2 + v**2)) / 0.08, 0, 1)
        shadow = np.maximum(shadow, edge * np.clip(0.45 + 0.7 * v, 0, 1))
    return np.asarray(film.body.breasts * shadow, np.float32)


def rib_curve(index: int, body: Body) -> tuple[Array, Array]:
    """Posterior and anterior part of rib `index` (0 = first) on the positive side."""
    head = -0.05 + 0.112 * index
    drop = body.rib_slope * (0.07 + 0.125 * min(index, 4) / 4)
    end_y = head + drop
    end_x = float(cage(end_y))
    t = np.linspace(0, 1, 15)
    x = 0.09 + (end_x - 0.09) * t**0.88
    y = head - 0.05 * np.sin(np.pi * np.minimum(t * 1.25, 1)) + drop * t**2.3
    reach = 0.34 + 0.03 * max(index - 4, 0)
    front_y = end_y + body.rib_slope * (0.12 + 0.02 * index)
    s = np.linspace(0, 1, 12)
    front_x = end_x - (end_x - reach) * s**1.25
    anterior = np.column_stack([front_x, end_y + (front_y - end_y) * np.sin(s * np.pi / 2)])
    return np.column_stack([x, y]), anterior


def draw_ribs(film: Film) -> Map:
    """Ribs, 0-1: clear posterior arcs with a brighter cortex, faint anterior arcs."""
    back, front = film.blank(), film.blank()
    for index in range(N_RIBS):
        posterior, anterior = rib_curve(index, film.body)
        for side in (-1, 1):
            width = 0.047 if index else 0.06
            film.stroke(back, mirrored(posterior, side), width, 0.95)
            film.stroke(back, mirrored(posterior, side), width * 0.5, 0.5)
            if index < 8:
                film.stroke(front, mirrored(anterior, side), 0.062, 0.9)
                film.stroke(front, mirrored(anterior, side), 0.04, 0.42)
    _, y = film.grid
    below = sigmoid((y - film.dome(-1) - 0.06) / 0.05)
    ribs = soften(back, 0.75) + 0.42 * soften(front, 1.0)
    return np.asarray(ribs * (1 - 0.6 * below), np.float32)  # the abdomen drowns them


def draw_spine(film: Film) -> Map:
    """Vertebral bodies, discs and pedicles, 0-1."""
    column, detail = film.blank(), film.blank()
    x = 0.03 * film.pose.turn
    film.draw(column, "spine", at=(x, 0))
    for y in np.arange(-0.55, 2.1, 0.118):
        film.draw(detail, "vertebra", at=(x, y))
        for side in (-1, 1):
            film.draw(detail, "side of a vertebra", at=(x, y), side=side)
    return soften(column, 2.0) + 0.5 * soften(detail, 1.0)


def draw_girdle(film: Film) -> Map:
    """Clavicles, scapulae and upper arms, 0-1."""
    bones, sheets = film.blank(), film.blank()
    portable = film.pose.projection == "AP"
    lift = -0.05 if portable else 0.0
    aside = 0.0 if portable else 0.14  # for PA films the shoulder blades are turned out
    for side in (-1, 1):
        near = 0.09 + 0.04 * film.pose.turn * side
        film.draw(bones, "shoulder bones", side=side, near=near, lift=lift, aside=aside)
        film.draw(sheets, "shoulder blade", side=side, aside=aside)
    return soften(bones, 1.0) + 0.6 * soften(sheets, 1.2)


def draw_stomach(film: Film) -> Map:
    """Gas under the left dome, 0-1; level fluid below it in a standing patient."""
    rng = np.random.default_rng(film.exposure.seed + 7)
    if rng.random() < 0.45:
        return np.zeros_like(film.grid[0])
    half_width, height = rng.uniform(0.12, 0.26), rng.uniform(0.06, 0.15)
    cx = rng.uniform(0.42, 0.6)
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    cut = 0.1 if film.pose.projection == "PA" else 1.0
    uneven = 1 + 0.12 * np.sin(2 * angle + rng.uniform(0, 6)) + 0.1 * np.sin(3 * angle)
    across = cx + half_width * uneven * np.cos(angle)
    down = film.dome(1) + 0.06 + height * (1 + np.minimum(uneven * np.sin(angle), cut))
    return film.fill(np.column_stack([across, down]), 2.0) * float(rng.uniform(0.5, 1))
