"""The sentences and tables of a report: Jinja templates of plain text below ``templates/``.

A text (``summary.txt.j2``) has an entry a line, which indented lines continue; a line that ends in
a tag of Jinja's goes on in the next one, unless the tag ends in ``+%}``. `tables.toml` has each
table's caption, notes and columns. Renderers escape what comes of them, not these templates.
"""

import re
import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, cast

from jinja2 import Environment, Template
from jinja2.environment import TemplateExpression

from pulmonet.files.templates import environment
from pulmonet.metrics import tables
from pulmonet.metrics.tables import Table
from pulmonet.report import names, wording
from pulmonet.report.render.blocks import Text
from pulmonet.words import count

TEMPLATES = Path(__file__).with_name("templates")
_ABSENT = object()


def _on_one_line(value: Any) -> Any:
    """No line of a name or of a message begins an entry."""
    lines = value.splitlines() if isinstance(value, str) else [value]
    return value if lines == [value] else " ".join(map(str.strip, lines))


@cache
def _environment() -> Environment:
    made = environment(TEMPLATES, finalize=_on_one_line)
    said = vars(names) | vars(tables) | vars(wording) | {"counted": count, "absent": _ABSENT}
    made.globals |= said
    made.filters |= said
    return made


def entries(name: str, **facts: Any) -> list[str]:
    """The entries of the text ``name.txt.j2``, each on one line."""
    return _entries_of(_environment().get_template(f"{name}.txt.j2").render(facts))


def _entries_of(text: str) -> list[str]:
    lines = re.sub(r"[ \t]*(?:\n[ \t]+)+", " ", text).split("\n")
    return [line for line in map(str.strip, lines) if line]


def fields(name: str, **facts: Any) -> dict[str, str]:
    """The entries of a text in which each is ``key: value``; a value may be empty."""
    parts = (entry.partition(":") for entry in entries(name, **facts))
    return {key: value.strip() for key, _, value in parts}


def paragraphs(name: str, **facts: Any) -> list[Text]:
    """The entries of a text in which each is ``kind: text``, as blocks of that kind."""
    parts = (entry.partition(": ") for entry in entries(name, **facts))
    return [Text(text, cast(Any, kind)) for kind, _, text in parts]


@cache
def _tables() -> dict[str, Any]:
    return tomllib.loads((TEMPLATES / "tables.toml").read_text("utf-8"))


@cache
def _template(text: str) -> Template:
    return _environment().from_string(text)


@cache
def _expression(text: str) -> TemplateExpression:
    return _environment().compile_expression(text, undefined_to_none=False)


def table_of(
    name: str, rows: Iterable[Any], notes: Iterable[str] = (), **facts: Any
) -> list[Table]:
    """A table of `tables.toml`: its columns are expressions over `facts` and the parts of rows.

    Those columns that are not `absent` of every row; no table where `where` leaves no row.
    `notes` follow its own.
    """
    told = _tables()[name]
    names, where = told["row"].split(), _expression(told.get("where", "true"))
    parts = (row if len(names) > 1 else (row,) for row in rows)
    named = (facts | dict(zip(names, row, strict=True)) for row in parts)
    all_rows = [row for row in named if where(**row)]
    if not all_rows:
        return []

    def fill(text: str) -> str:
        return _template(text).render(facts, rows=all_rows)

    heads = [fill(head) for head in told["columns"]]
    cells_of = _expression(f"[{', '.join(told['columns'].values())}]")
    cells = [list(cells_of(**row) or ()) for row in all_rows]
    columns = enumerate(zip(*cells, strict=True))
    shown = [at for at, column in columns if any(value is not _ABSENT for value in column)]
    return tables.table(
        fill(told["caption"]),
        ({heads[at]: None if row[at] is _ABSENT else row[at] for at in shown} for row in cells),
        [*_entries_of(fill(told.get("notes", ""))), *notes],
        forest=told.get("forest", False),
        key=name,
    )
