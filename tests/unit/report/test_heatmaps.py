"""Heat maps for the page: where they lie, and how they look."""

from __future__ import annotations

import cv2
import matplotlib
import numpy as np
import pytest

from pulmonet.report.heatmaps import draw_overlay, lay_map, map_png, xray_jpeg


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("shape", [(200, 200), (150, 300), (300, 150)])
def test_a_spot_lies_where_the_network_saw_it(fit: str, shape: tuple[int, int]) -> None:
    height, width = shape
    heat = np.zeros((64, 64), np.float32)
    heat[30:34, 30:34] = 1.0  # the centre of the square is the centre of the image
    placed = lay_map(heat, height, width, fit, side=160)
    assert placed.shape == (round(height * 160 / max(shape)), round(width * 160 / max(shape)))
    row, column = np.unravel_index(int(placed.argmax()), placed.shape)
    assert abs((row + 0.5) / placed.shape[0] - 0.5) < 0.05
    assert abs((column + 0.5) / placed.shape[1] - 0.5) < 0.05


def test_outside_a_crop_nothing_is_shown() -> None:
    placed = lay_map(np.ones((8, 8), np.float32), 100, 200, "crop", side=200)
    assert placed[:, :49].max() == 0 and placed[:, 51:149].min() == 1
    assert placed[:, 151:].max() == 0


def test_the_png_has_the_colour_map_and_its_opacity() -> None:
    ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (8, 1))
    decoded = cv2.imdecode(np.frombuffer(map_png(ramp), np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded is not None and decoded.shape == (8, 64, 4)
    np.testing.assert_allclose(decoded[0, :, 3], np.linspace(0, 255, 64), atol=1)
    expected = matplotlib.colormaps["plasma"](1.0, bytes=True)[:3]
    np.testing.assert_array_equal(decoded[0, -1, :3][::-1], expected)


def test_an_empty_map_leaves_the_xray_as_it_is() -> None:
    xray = np.random.default_rng(0).integers(0, 256, (50, 40), dtype=np.uint8)
    overlay = draw_overlay(xray, np.zeros((20, 16), np.float32))
    np.testing.assert_array_equal(overlay, np.repeat(xray[..., None], 3, axis=2))


def test_the_xray_is_shrunk_and_carries_no_metadata() -> None:
    jpeg = xray_jpeg(np.zeros((1000, 700), np.uint8), 512)
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert decoded is not None and decoded.shape == (512, 358)
    assert b"Exif" not in jpeg
