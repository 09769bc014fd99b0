"""Counts, durations and the first of many, as a reader expects them."""

from __future__ import annotations

import pytest

from pulmonet.words import count, duration, list_first


def test_counts() -> None:
    assert count(1, "image") == "1 image" and count(1302, "image") == "1,302 images"
    assert count(2, "study", "studies") == "2 studies"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.42, "0.4 s"), (42.0, "42 s"), (75.4, "1 min 15 s"), (7530.0, "2 h 05 min")],
)
def test_durations(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_the_first_of_many() -> None:
    assert list_first("abc") == "a, b, c"
    assert list_first(range(7)) == "0, 1, 2, 3, 4 and 2 more"
