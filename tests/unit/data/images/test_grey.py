"""Any depth as 8 bits."""

from __future__ import annotations

import numpy as np

from pulmonet.data.images.grey import to_8_bits


def test_a_few_extreme_pixels_do_not_swallow_the_contrast() -> None:
    values = np.full((100, 100), 1000, np.uint16)
    values[:, 50:] = 1400
    values[0, 0] = 65535
    scaled = to_8_bits(values)
    assert scaled[50, 80] - int(scaled[50, 10]) == 255
