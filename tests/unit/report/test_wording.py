"""Numbers as a reader expects them."""

from __future__ import annotations

import pytest

from pulmonet.metrics.estimate import Estimate
from pulmonet.report.wording import duration, estimate_cell, listing, number, percent
from pulmonet.words import count


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.42, "0.4 s"), (42.0, "42 s"), (252.0, "4 min 12 s"), (7530.0, "2 h 05 min"), (None, "–")],
)
def test_durations(seconds: float | None, expected: str) -> None:
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    ("estimate", "expected"),
    [
        (Estimate(value=0.8124, low=0.7741, high=0.8459), "0.812 (0.774–0.846)"),
        (Estimate(value=-0.02, low=-0.1, high=-0.01), "−0.020 (−0.100 to −0.010)"),
        (Estimate(value=0.5), "0.500"),
        (Estimate(value=None, reason="one class"), "–"),
    ],
)
def test_estimates(estimate: Estimate, expected: str) -> None:
    assert estimate_cell(estimate).text == expected


def test_words() -> None:
    assert count(1, "image") == "1 image" and count(1302, "image") == "1,302 images"
    assert count(2, "study", "studies") == "2 studies"
    assert listing(["a"]) == "a" and listing(["a", "b", "c"]) == "a, b and c"
    assert number(float("nan")) == "–" and percent(0.125) == "12.5 %"
