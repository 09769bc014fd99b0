"""Numbers, cells and tables as a reader expects them."""

from __future__ import annotations

import pytest

from pulmonet.metrics.estimate import Estimate, number
from pulmonet.metrics.tables import Cell, Value, cell, table
from pulmonet.report.wording import duration, listing, percent


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.42, "0.4 s"), (42.0, "42 s"), (252.0, "4 min 12 s"), (7530.0, "2 h 05 min"), (None, "–")],
)
def test_durations(seconds: float | None, expected: str) -> None:
    assert duration(seconds) == expected


def test_words() -> None:
    assert listing(["a"]) == "a" and listing(["a", "b", "c"]) == "a, b and c"
    assert number(float("nan")) == "–" and percent(0.125) == "12.5 %"


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
    assert cell(estimate).text == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("word", Cell("word")),
        (None, Cell("–")),
        (1302, Cell("1,302", 1302)),
        (0.12345, Cell("0.123", 0.12345)),
        (Cell("as it is", 2.0), Cell("as it is", 2.0)),
    ],
)
def test_values(value: Value, expected: Cell) -> None:
    assert cell(value) == expected


def test_a_table_has_the_columns_of_its_rows_and_is_none_without_rows() -> None:
    (found,) = table("Ages", [{"Name": "a", "Years": 61}, {"Name": "b", "Years": None}], ["n"])
    assert found.columns == ("Name", "Years") and found.notes == ("n",)
    assert [[one.text for one in row] for row in found.rows] == [["a", "61"], ["b", "–"]]
    assert table("Ages", []) == []
