"""Markdown: every character of the artifacts shows as itself; tables keep their columns."""

from __future__ import annotations

import html
import re

import markdown_it
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmonet.metrics.tables import Cell, Table, escape_inline
from pulmonet.report.render.blocks import Document, Picture, Section, Text
from pulmonet.report.render.markdown import render_markdown
from report_factory import HOSTILE_LABELS

READER = markdown_it.MarkdownIt("gfm-like", {"linkify": False, "html": True})


def _shown(source: str) -> str:
    """The words a reader sees."""
    return html.unescape(re.sub(r"<[^>]+>", "", READER.render(source))).strip()


def _report(document: Document) -> str:
    return render_markdown(document)["report.md"]


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=40))
def test_any_label_shows_as_itself_in_a_table(label: str) -> None:
    label = " ".join(label.split())
    table = Table("c", ("Label", "n"), ((Cell(label), Cell("1", 1.0)),))
    document = Document("t", "s", "w", "v", False, (Section("k", "S", (table,)),))
    rendered = READER.render(_report(document))
    row = re.findall(r"<td[^>]*>(.*?)</td>", rendered, re.S)
    assert [html.unescape(cell) for cell in row] == [label, "1"]


@pytest.mark.parametrize("label", HOSTILE_LABELS)
def test_hostile_labels_are_words(label: str) -> None:
    rendered = READER.render(escape_inline(label))
    assert "<script" not in rendered and "<img" not in rendered and "<a " not in rendered
    assert _shown(escape_inline(label)) == label


@pytest.mark.parametrize("text", ["1. no list", "- no list", "# no heading", "+ x", "2) x", "===="])
def test_a_paragraph_never_becomes_a_list_or_heading(text: str) -> None:
    document = Document("t", "s", "w", "v", False, (Section("k", "S", (Text(text),)),))
    rendered = READER.render(_report(document))
    assert f"<p>{html.escape(text, quote=False)}</p>" in rendered


def test_code_in_prose_keeps_its_spaces() -> None:
    document = Document("t", "s", "w", "v", False, (Section("k", "S", (Text("run `a b` now"),)),))
    assert "run `a b` now" in _report(document)


def test_code_in_a_table_note_and_in_a_caption_is_code() -> None:
    table = Table("t", ("a",), ((Cell("x"),),), ("run `pulmonet explain` again",))
    picture = Picture("p.png", b"", "alt", "made by `explain`")
    document = Document("T", "s", "now", "1", False, (Section("k", "K", (table, picture)),))
    text = _report(document)
    assert "\nrun `pulmonet explain` again\n" in text and "\nmade by `explain`\n" in text
    assert "\\`" not in text
