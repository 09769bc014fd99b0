"""The texts and tables of a report: what no type checker reads is read here."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from pulmonet.report.texts import TEMPLATES, _environment, entries, table_of

TABLES = tomllib.loads((TEMPLATES / "tables.toml").read_text("utf-8"))


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.txt.j2")), ids=lambda path: path.name)
def test_every_text_can_be_compiled(path: Path) -> None:
    assert _environment().get_template(path.name)


@pytest.mark.parametrize("name", TABLES)
def test_every_table_can_be_compiled(name: str) -> None:
    assert set(TABLES[name]) <= {"caption", "notes", "row", "where", "forest", "columns"}
    for text in (*TABLES[name]["columns"].values(), TABLES[name].get("where", "true")):
        _environment().compile_expression(text)
    words = (TABLES[name]["caption"], TABLES[name].get("notes", ""))
    for text in (*words, *TABLES[name]["columns"]):
        _environment().from_string(text)


def test_no_line_of_a_name_becomes_an_entry() -> None:
    pair = {"arms": {"an\narm": ["a", "b"]}, "primary": [], "pooled": [], "macros": []}
    assert entries("evaluate_comparison", **pair, endpoint="", difference=str) == [
        "No two runs have the very same rows and labels: nothing to compare.",
        "an arm is the mean of a, b; intervals hold for other seeds.",
    ]


def test_a_table_without_rows_is_none() -> None:
    assert table_of("versions", []) == []
    (found,) = table_of("versions", [("torch", ["2.6", "2.7"])])
    assert [cell.text for cell in found.rows[0]] == ["torch", "2.6, 2.7"]


def test_a_misspelt_fact_is_an_error_and_no_empty_cell() -> None:
    with pytest.raises(UndefinedError, match="'roles' is undefined"):
        table_of("roles", ["train"])
