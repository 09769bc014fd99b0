"""One table, three writers."""

from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmonet.files.spreadsheet import unescaped
from pulmonet.metrics.estimate import Estimate
from pulmonet.metrics.tables import Cell, Table, by_run, cell, to_csv, to_latex, to_markdown


def _table(*rows: tuple[object, ...]) -> Table:
    columns = ("Label", "AUROC")[: len(rows[0])]
    return Table("Caption_1", columns, tuple(tuple(map(cell, row)) for row in rows))  # type: ignore[arg-type]


def test_a_csv_has_numbers_in_full_and_ends_of_intervals() -> None:
    found = _table(("a", Estimate(value=0.123456789, low=-0.5, high=0.75)), ("b", None))
    assert to_csv(found) == (
        'Label,AUROC,"AUROC, low","AUROC, high"\na,0.123456789,-0.5,0.75\nb,,,\n'
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1302, "1302"),
        (float("nan"), ""),
        (-0.5, "-0.5"),
        (Cell("12.5 %", 0.125), "0.125"),
        (Cell("61 years", 61.0), "61 years"),
        (Cell("4 min 12 s", 252.0), "4 min 12 s"),
        (Cell("ethics", kind="todo"), "TODO ethics"),
    ],
)
def test_a_csv_keeps_units(value: object, expected: str) -> None:
    assert to_csv(_table(("a", value))).splitlines()[1] == f"a,{expected}"


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30))
def test_any_label_comes_back_from_the_csv(label: str) -> None:
    rows = list(csv.reader(io.StringIO(to_csv(_table((label,), ("x",))))))
    assert unescaped(rows[1][0]) == label


def test_latex_says_what_the_cells_say() -> None:
    text = to_latex(_table(("50 % of a_b & c", Estimate(value=-0.2, low=-0.3, high=0.1))))
    assert r"50~\% of a\_b \& c & $-$0.200 ($-$0.300 to 0.100) \\" in text
    assert r"\begin{tabular}{@{}lr@{}}" in text and r"\caption{Caption\_1}" in text


def test_long_tables_in_latex_are_several_or_break_over_pages() -> None:
    parts = to_latex(_table(*[(f"a{n}", n) for n in range(81)])).split(r"\begin{table}")[1:]
    assert ["(continued)" in part for part in parts] == [False, True, True]
    found = [re.findall(r"^a(\d+) & (\d+)", part, re.M) for part in parts]
    assert [len(rows) for rows in found] == [40, 40, 1]
    assert [row for rows in found for row in rows] == [(str(n), str(n)) for n in range(81)]
    assert "longtable" in to_latex(_table(*[("some words " * 9, 1)] * 41))
    assert r"{@{}lr@{}}" in to_latex(_table(("0f" * 32, 1)))  # nowhere to break


def test_notes_are_lines_and_no_markup() -> None:
    notes = ("* fewer than 20", "run `x_y` again", "1. no list")
    text = to_markdown(Table("c", ("a",), ((Cell("x"),),), notes))
    assert text.endswith("\n\n\\* fewer than 20  \nrun `x_y` again  \n1\\. no list\n")


def test_runs_are_columns_until_they_are_many() -> None:
    few, many = (
        by_run("c", "Label", {(label, f"r{n}"): 1 for label in "ab" for n in range(n_runs)})[0]
        for n_runs in (4, 5)
    )
    assert few.columns == ("Label", "r0", "r1", "r2", "r3") and many.columns == ("Run", "a", "b")
