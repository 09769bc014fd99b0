"""Numbers as a reader expects them."""

from __future__ import annotations

import pytest

from pulmonet.report.wording import duration, listing, number, percent


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.42, "0.4 s"), (42.0, "42 s"), (252.0, "4 min 12 s"), (7530.0, "2 h 05 min"), (None, "–")],
)
def test_durations(seconds: float | None, expected: str) -> None:
    assert duration(seconds) == expected


def test_words() -> None:
    assert listing(["a"]) == "a" and listing(["a", "b", "c"]) == "a, b and c"
    assert number(float("nan")) == "–" and percent(0.125) == "12.5 %"
