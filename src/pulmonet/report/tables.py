"""Tables from rows as mappings, each value written and sorted by its kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pulmonet.metrics.estimate import Estimate
from pulmonet.report.render.blocks import Cell, Table
from pulmonet.report.wording import NOTHING, number

Value = Cell | Estimate | str | float | None
"""What a table shows; None is an en dash."""


def cell(value: Value, digits: int = 3) -> Cell:
    """A cell: words as they are, counts with thousands, numbers with `digits`, each sortable.

    An estimate has its interval in brackets.
    """
    match value:
        case Cell():
            return value
        case None | str():
            return Cell(NOTHING if value is None else value)
        case int():
            return Cell(f"{value:,}", value)
        case float():
            return Cell(number(value, digits), value)
    if value.value is None or value.low is None or value.high is None:
        return Cell(number(value.value, digits), value.value)
    words = f"{number(value.value, digits)} ({interval(value, digits)})"
    return Cell(words, value.value, interval=(value.low, value.high))


def interval(estimate: Estimate, digits: int = 3) -> str:
    """``0.774–0.846``; negative ends are joined by a word, as "-0.10–-0.02" cannot be read."""
    low, high = number(estimate.low, digits), number(estimate.high, digits)
    return f"{low} to {high}" if estimate.low is not None and estimate.low < 0 else f"{low}–{high}"


def table(
    caption: str,
    rows: Iterable[Mapping[str, Value]],
    notes: Iterable[str] = (),
    *,
    forest: bool = False,
) -> list[Table]:
    """A table of rows that all have the same columns; none where there is no row.

    Args:
        caption: stands above it.
        rows: column -> value; the first column names the row.
        notes: stand below it.
        forest: whether the page draws intervals as bars.
    """
    all_rows = list(rows)
    if not all_rows:
        return []
    body = tuple(tuple(map(cell, row.values())) for row in all_rows)
    return [Table(caption, tuple(all_rows[0]), body, tuple(notes), forest)]
