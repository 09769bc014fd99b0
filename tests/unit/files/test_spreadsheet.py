"""Tables that a spreadsheet opens without running a cell, and that read as they were."""

from __future__ import annotations

import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmonet.files.spreadsheet import escaped, plain_cells, table_text, unescaped

FORMULAS = ("=1+1", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''=1", "＝1+1", "-", "=")
PLAIN = ("-0.5", "+49", "1e-05", "-1.5e+3", "", "'", "''", "patient1", "it's", "'quoted'", " =1")


@pytest.mark.parametrize("cell", FORMULAS)
def test_no_cell_begins_a_formula(cell: str) -> None:
    assert escaped(cell) == f"'{cell}"
    assert unescaped(escaped(cell)) == cell


@pytest.mark.parametrize("cell", PLAIN)
def test_numbers_and_words_stay_what_they_are(cell: str) -> None:
    assert escaped(cell) == unescaped(cell) == cell


@given(st.text(alphabet="'=+-@\t\r\n1.e a＝"))
def test_every_text_comes_back(cell: str) -> None:
    assert unescaped(escaped(cell)) == cell


def test_a_table_comes_back_with_its_header() -> None:
    table = pd.DataFrame({"=name": list(FORMULAS), "b": [-0.5] * len(FORMULAS)})
    text = table_text(table)
    assert text.splitlines()[:2] == ["'=name,b", "'=1+1,-0.5"]
    read = pd.read_csv(io.StringIO(text, newline=""), dtype=str, keep_default_na=False)
    pd.testing.assert_frame_equal(plain_cells(read), table.astype({"b": str}), check_dtype=False)


def test_decimals_stay_beside_a_cell_with_a_carriage_return() -> None:
    table = pd.DataFrame({"Path": ["a\rb.png", "c.png"], "xmin": [0.123456789, 0.5]})
    text = table_text(table, "%.5f")
    assert text == 'Path,xmin\r\n"a\rb.png",0.12346\r\nc.png,0.50000\r\n'
