"""The overlay lies where the finding lies, whatever was cut out of the image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pulmonet.choices import COLOUR_MAPS
from pulmonet.data.images.square import fit_square, placement
from pulmonet.errors import ConfigError
from pulmonet.explain.maps.overlay import (
    blend,
    boxes_above,
    colour_table,
    encode_png,
    place_map,
    scale_maps,
)
from pulmonet.explain.maps.variants import check_colour_map

SHAPES = {"portrait": (430, 300), "landscape": (300, 430), "square": (320, 320)}


def image_with_square(height: int, width: int) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
    """A dark image with one bright square inside the central square, which crop keeps."""
    image = np.full((height, width), 20, dtype=np.uint8)
    x0, y0, side = width // 2 + 20, height // 2 - 90, 61
    image[y0 : y0 + side, x0 : x0 + side] = 250
    return image, (x0, y0, x0 + side, y0 + side)


def edges_of(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_overlay_of_a_bright_square_lies_on_the_square(shape: str, fit: str) -> None:
    height, width = SHAPES[shape]
    image, square = image_with_square(height, width)
    seen = cv2.resize(fit_square(image, 256, fit), (224, 224), interpolation=cv2.INTER_AREA)

    # a method that points exactly at what is bright in the network's square
    heat = scale_maps(np.where(seen > 135, seen, 0).astype(np.float32), 224)
    placed = place_map(heat, height, width, placement(height, width, fit))
    overlay = blend(image, placed)

    assert overlay.shape == (height, width, 3)
    coloured = overlay.max(axis=2).astype(int) - overlay.min(axis=2) > 40
    np.testing.assert_allclose(edges_of(coloured), square, atol=2)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_coarse_map_keeps_its_centre(shape: str) -> None:
    """Half-pixel conventions: a blob in one cell of 7 x 7 stays centred on that cell."""
    height, width = SHAPES[shape]
    raw = np.zeros((7, 7), dtype=np.float32)
    raw[2, 4] = 1.0
    where = placement(height, width, "stretch")
    placed = place_map(scale_maps(raw, 224), height, width, where)
    rows, columns = np.mgrid[:height, :width] + 0.5
    centre = (placed * columns).sum() / placed.sum(), (placed * rows).sum() / placed.sum()
    assert centre == pytest.approx((width * 4.5 / 7, height * 2.5 / 7), abs=0.75)


def test_nothing_is_claimed_outside_a_crop() -> None:
    placed = place_map(np.ones((16, 16), np.float32), 100, 60, placement(100, 60, "crop"))
    assert np.isnan(placed[:20]).all()
    assert np.isnan(placed[80:]).all()
    assert (placed[20:80] == 1).all()
    image = np.full((100, 60), 77, np.uint8)
    assert (blend(image, placed)[:20] == 77).all()


def test_a_map_of_zeros_leaves_the_x_ray_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 40), dtype=np.uint8)
    overlay = blend(image, np.zeros((50, 40), np.float32))
    np.testing.assert_array_equal(overlay, np.repeat(image[..., None], 3, axis=2))


def test_png_bytes_come_back_as_they_went() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    decoded = cv2.imdecode(np.frombuffer(encode_png(rgb), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), rgb)


def lightness(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """CIE L* of (N, 3) sRGB colours."""
    lab = cv2.cvtColor((rgb[None] / 255).astype(np.float32), cv2.COLOR_RGB2LAB)
    return np.asarray(lab[0, :, 0], np.float64)


def test_the_default_colours_are_perceptually_even_and_jets_are_not() -> None:
    steps = np.diff(lightness(colour_table(COLOUR_MAPS[0]))[::8])
    assert (steps > 0).all(), "lightness rises all the way"
    assert steps.std() < 0.5 * steps.mean()
    assert (np.diff(lightness(colour_table("jet"))[::8]) < 0).any()


def test_unknown_colour_maps_are_named() -> None:
    with pytest.raises(ConfigError, match=r"--colour-map viridiss: .*did you mean 'viridis'"):
        check_colour_map("viridiss")


def test_scaled_maps_lie_in_the_unit_interval_and_nothing_stays_nothing() -> None:
    raw = np.random.default_rng(0).normal(size=(2, 3, 7, 7)).astype(np.float32)
    raw[0, 0] = -1.0
    raw[1, 2] = 4.0
    maps = scale_maps(raw, 64)
    assert maps.shape == (2, 3, 64, 64)
    assert maps.dtype == np.float32
    assert not maps[0, 0].any(), "no evidence for the label"
    assert not maps[1, 2].any(), "the same everywhere points nowhere"
    others = maps[0, 1:], maps[1, :2]
    assert all(m.min() == 0 and m.max() == 1 for part in others for m in part)


def test_boxes_lie_around_the_parts_above_a_share_of_the_maximum() -> None:
    """The largest first; a map without a positive value has none; what a crop hides is outside."""
    placed = np.zeros((40, 80), np.float32)
    placed[4:10, 8:24] = 0.8
    placed[20:30, 40:80] = 0.5
    placed[35, 0] = 0.39  # below half of the maximum
    placed[:, 60:] = np.nan
    first, second = boxes_above(placed, 0.5)
    assert first == {
        "xmin": 0.5, "ymin": 0.5, "xmax": 0.75, "ymax": 0.75,
        "left": 40, "top": 20, "right": 60, "bottom": 30,
    }  # fmt: skip
    assert (second["left"], second["top"], second["right"], second["bottom"]) == (8, 4, 24, 10)
    assert len(boxes_above(placed, 0.7)) == 1
    assert len(boxes_above(placed, 0.3)) == 3
    assert boxes_above(np.zeros((4, 4), np.float32), 0.5) == []
