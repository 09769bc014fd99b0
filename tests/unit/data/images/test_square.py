"""Squares, and where an image's pixels lie there."""

from __future__ import annotations

import numpy as np
import pytest

from pulmonet.data.images.square import fit_square, placement
from small_dataset import smooth_image


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("shape", [(60, 72), (72, 60), (61, 72), (50, 50), (40, 200)])
def test_a_square_covers_what_its_placement_says(fit: str, shape: tuple[int, int]) -> None:
    """A bright dot lands where `placement` maps it to."""
    side = 32
    box = placement(*shape, fit)
    for y, x in ((shape[0] // 2, shape[1] // 2), (shape[0] // 2 + 8, shape[1] // 2 - 9)):
        image = np.zeros(shape, np.uint8)
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
        square = fit_square(image, side, fit).astype(float)
        rows, columns = np.mgrid[:side, :side] + 0.5
        got = np.array([(square * axis).sum() / square.sum() for axis in (rows, columns)])
        expected = np.array(
            [
                (y + 0.5 - box.y0) / (box.y1 - box.y0) * side,
                (x + 0.5 - box.x0) / (box.x1 - box.x0) * side,
            ]
        )
        np.testing.assert_allclose(got, expected, atol=0.3)


def test_fit_square_uses_the_area_filter() -> None:
    image = smooth_image(1, 64, 96)
    blocks = image.reshape(32, 2, 32, 3).mean(axis=(1, 3))
    assert np.abs(fit_square(image, 32, "stretch") - blocks).max() <= 1
    assert fit_square(image, 32, "crop").shape == (32, 32)
    padded = fit_square(image, 96, "pad")
    np.testing.assert_array_equal(padded[16:80], image)
    assert padded[:16].max() == padded[80:].max() == 0
