"""Imported before the first fork: a report, whose templates take longer to compile than to fill."""

from __future__ import annotations

import tempfile
from pathlib import Path

import blank
from pulmonet.report.collect import Context, collect
from pulmonet.report.model_card import render_model_card
from pulmonet.report.pseudonyms import Identities
from pulmonet.report.render.html import render_html
from pulmonet.report.render.markdown import render_markdown
from pulmonet.report.sections import build_document
from report_factory import make_run

blank.leave_figures_blank()
with tempfile.TemporaryDirectory() as _place:
    make_run(Path(_place))  # no heat maps: OpenCV's threads would not survive the fork
    _context = Context(collect(Path(_place)), Identities(b"k" * 32), written="now")
    _document = build_document(_context)
    render_html(_document)
    render_markdown(_document)
    render_model_card(_context)
blank.draw_figures()
