"""Any depth as 8 bits."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from pulmonet.data.images.grey import few_greys, to_8_bits, upright
from small_dataset import smooth_image


def test_a_few_extreme_pixels_do_not_swallow_the_contrast() -> None:
    values = np.full((100, 100), 1000, np.uint16)
    values[:, 50:] = 1400
    values[0, 0] = 65535
    scaled = to_8_bits(values)
    assert scaled[50, 80] - int(scaled[50, 10]) == 255


@pytest.mark.parametrize("percent", [0, 0.05, 0.09, 0.1, 0.11, 0.12, 0.5, 1, 2, 10, 30, 60])
@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_a_marker_of_any_size_leaves_the_greys(percent: float, kind: type) -> None:
    image = smooth_image(3, 400, 400).astype(kind) * 16 + 100
    rows = round(160_000 * percent / 100 / 400)
    image[:rows] = 65535
    assert len(np.unique(to_8_bits(image)[rows:])) > 200


def test_a_marker_with_a_soft_edge_and_a_black_border() -> None:
    image = smooth_image(3, 400, 400).astype(np.uint16) * 16 + 2000
    image[:4] = 65535
    image[4, :200] = np.linspace(6000, 65000, 200)
    image[:, :30] = 0
    assert len(np.unique(to_8_bits(image)[10:, 40:])) > 150


def test_few_levels_and_ordinary_ranges_stay_as_they_are() -> None:
    levels = np.asarray([0, 5, 15, 30, 65, 125, 255] * 70, np.uint16).reshape(70, 7)
    assert to_8_bits(levels)[0].tolist() == [0, 5, 15, 30, 65, 125, 255]
    border = smooth_image(3, 400, 400).astype(np.uint16) * 60 + 30000
    border[:, :100] = 0
    expected = border / 45300 * 255
    assert np.abs(to_8_bits(border) - expected).max() <= 1


def test_few_greys() -> None:
    picture = np.bincount(smooth_image(3, 256, 256).ravel(), minlength=256)
    assert not few_greys(picture)
    white = picture.copy()
    white[255] += 70_000
    assert few_greys(white)
    assert few_greys(np.bincount(smooth_image(3, 256, 256).ravel() // 17, minlength=256))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_as_pillow_shows_it(orientation: int) -> None:
    image = smooth_image(1, 5, 7)
    picture = Image.fromarray(image)
    picture.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(picture))
    np.testing.assert_array_equal(upright(image, orientation), expected)
