"""CSV that people open in a spreadsheet: no cell of a stranger's runs as a formula there.

A cell that a spreadsheet would take for one is written with an apostrophe before it, and loses it
when it is read: https://owasp.org/www-community/attacks/CSV_Injection.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # not for a wrong flag
    import pandas as pd

#: What may begin a formula; the last four are full-width forms.
_BEGINS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
_FORMULA = re.compile(rf"'*[{re.escape(_BEGINS)}]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def escaped(cell: str) -> str:
    """A cell that is no formula; `unescaped` gives it back. Numbers stay numbers."""
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell


def unescaped(cell: str) -> str:
    """A cell without the apostrophe that `escaped` put before it."""
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell) else cell


def table_text(table: pd.DataFrame, float_format: str | None = None) -> str:
    """A table as CSV, its header and its cells of text `escaped`."""
    safe = _replaced(table, escaped)
    text: str = safe.to_csv(index=False, lineterminator="\n", float_format=float_format)
    if "\r" in text:  # such a cell is quoted only where lines end in a carriage return
        text = safe.to_csv(index=False, lineterminator="\r\n", float_format=float_format)
    return text


def plain_cells(table: pd.DataFrame) -> pd.DataFrame:
    """What `table_text` was given, where all cells were read as text."""
    return _replaced(table, unescaped)


def _replaced(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    table = table.rename(columns=lambda name: change(str(name)))
    for place in range(table.shape[1]):
        cells = table.iloc[:, place].tolist()
        if any(isinstance(cell, str) and cell[:1] in f"'{_BEGINS}" and cell for cell in cells):
            values = [change(cell) if isinstance(cell, str) else cell for cell in cells]
            table.isetitem(place, values)
    return table
