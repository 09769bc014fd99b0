"""A table of numbers with their intervals, and its three writers: Markdown, CSV and LaTeX.

Text in cells, captions and notes is plain text: a writer escapes it, so that a label called
``<script>`` or ``a_b`` stays a word.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from jinja2 import Template

from pulmonet.files.spreadsheet import escaped
from pulmonet.files.templates import environment
from pulmonet.metrics.estimate import Estimate, number

NOTHING = "–"
#: Up to this many runs stand side by side as columns; more become rows.
MAX_RUN_COLUMNS = 4
#: In LaTeX a longer table is several, and columns of longer texts have lines.
MAX_ROWS = 40
MAX_TEXT = 36
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~&$@])")
_IN_LATEX = str.maketrans(
    {one: f"\\{one}" for one in "{}$&#%_"}
    | {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "`": r"\textasciigrave{}"}
    | {"*": "{*}", "[": "{[}"}  # after the end of a row these would be of its command
    | {"−": "$-$", "×": r"$\times$", "±": r"$\pm$", "≥": r"$\geq$", "→": r"$\to$", "–": "--"}
)
#: How statements, expressions and comments begin and end: Jinja's own are LaTeX's.
_MARKS = {
    f"{what}_{end}_string": mark
    for what, marks in {"block": "<% %>", "variable": "<< >>", "comment": "<# #>"}.items()
    for end, mark in zip(("start", "end"), marks.split(), strict=True)
}


@dataclass(frozen=True)
class Cell:
    """A table cell: what is read, and what a column is sorted by."""

    text: str
    sort: float | None = None
    kind: Literal["", "todo", "good", "muted"] = ""
    interval: tuple[float, float] | None = None  # its ends, for the small bar of the page


@dataclass(frozen=True)
class Table:
    """A table with a caption; the first column names the row."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    forest: bool = False  # whether the page draws intervals as bars, on one scale a table
    key: str = ""  # of its files, within its section


Value = Cell | Estimate | str | float | None
"""What a table shows; None is an en dash."""
Rows = Iterable[Mapping[str, Value]]
Cells = Mapping[tuple[str, str], Value]


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
    known = value.value is not None and value.low is not None and value.high is not None
    ends: Any = (value.low, value.high) if known else None
    return Cell(value.text(digits), value.value, interval=ends)


def table(
    caption: str, rows: Rows, notes: Iterable[str] = (), *, forest: bool = False, key: str = ""
) -> list[Table]:
    """A table of rows (column -> value, the same columns in each); none where there is no row."""
    all_rows = list(rows)
    body = tuple(tuple(map(cell, row.values())) for row in all_rows)
    return [Table(caption, tuple(all_rows[0]), body, tuple(notes), forest, key)] if body else []


def grid(caption: str, corner: str, cells: Cells, **more: Any) -> list[Table]:
    """A table of (row, column) -> value, in the order of the first cells; none without a cell."""
    rows, columns = (list(dict.fromkeys(key[at] for key in cells)) for at in (0, 1))
    body = tuple((Cell(row), *(cell(cells.get((row, one))) for one in columns)) for row in rows)
    return [Table(caption, (corner, *columns), body, **more)] if cells else []


def by_run(caption: str, corner: str, cells: Cells, **more: Any) -> list[Table]:
    """A `grid` with a column a run; these become its rows where they are many."""
    if len({run for _, run in cells}) <= MAX_RUN_COLUMNS:
        return grid(caption, corner, cells, **more)
    return grid(caption, "Run", {(run, row): one for (row, run), one in cells.items()}, **more)


def escape(text: str) -> str:
    """A paragraph's plain text as Markdown that shows the same; code in backticks is code."""
    parts = re.split(r"(`[^`\n]+`)", " ".join(text.split()))
    parts[::2] = [_SPECIAL.sub(r"\\\1", part) for part in parts[::2]]
    # A line that starts like a list or a rule would become one.
    text = re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", "".join(parts))
    return re.sub(r"^([-+=])", r"\\\1", text)


def escape_inline(text: str) -> str:
    """Plain text inside a line or a table cell of Markdown: nothing in it is markup."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def to_markdown(table: Table) -> str:
    """GitHub's flavour; the notes stand below as plain lines."""
    return _render("tables.md.j2", table)


def to_latex(table: Table) -> str:
    """A ``table`` for each `MAX_ROWS` rows, as wide as a line at most; or a ``longtable``."""
    return _render("tables.tex.j2", table)


def to_csv(table: Table) -> str:
    """Numbers in full; the ends of intervals are columns of their own."""
    found: list[list[str]] = []
    for name, *cells in zip(table.columns, *table.rows, strict=True):
        found.append([name, *map(_plain, cells)])
        if any(one.interval for one in cells):
            pairs = [one.interval or ("", "") for one in cells]
            for end, values in zip(("low", "high"), zip(*pairs, strict=True), strict=True):
                found.append([f"{name}, {end}", *(f"{x:.9g}" if x != "" else "" for x in values)])
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    rows = zip(*found, strict=True)
    writer.writerows([escaped(" ".join(one.split())) for one in row] for row in rows)
    return file.getvalue()


def _plain(one: Cell) -> str:
    """Its number, its words where the number alone would lack a unit, or nothing."""
    words = re.sub(r" \([^()]*\)$", "", one.text)
    if one.sort is not None and (one.interval or not re.search("[A-Za-z]|^–$", words)):
        return f"{one.sort:.9g}"
    todo = "TODO " if one.kind == "todo" else ""
    return "" if one.text == NOTHING else f"{todo}{one.text}"


def _render(name: str, table: Table) -> str:
    columns = list(zip(*table.rows, strict=True))
    limits = {"max_rows": MAX_ROWS, "max_text": MAX_TEXT}
    return _template(name).render(table=table, columns=columns, **limits).rstrip() + "\n"


@cache
def _template(name: str) -> Template:
    made = environment(Path(__file__).parent, **_MARKS)
    made.filters |= {"prose": escape, "inline": escape_inline}
    made.filters["tex"] = lambda text: " ".join(text.split()).translate(_IN_LATEX)
    return made.get_template(name)
