"""Figures for print: sizes, text, fonts, and what stands clear of the lines."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

import blank
from pulmonet.figures.comparison import comparison_figures
from pulmonet.figures.curves import draw_curves
from pulmonet.figures.evaluation import evaluation_figures
from pulmonet.figures.style import render
from pulmonet.metrics.results import Evaluation, FlowStep, RunResult

LABELS = ("Enlarged Cardiomediastinum", "Edema")


@pytest.fixture(scope="module")
def figures(make_result: Callable[..., RunResult]) -> dict[str, Figure]:
    """Every figure of `evaluate`: of one run, of several, of several datasets; drawn once."""
    blank.draw_figures()
    flow = [FlowStep(name="all of tiny", n_rows=90, n_patients=60), FlowStep(name="b", n_rows=80)]
    one = make_result(LABELS).model_copy(update={"flow": flow, "synthetic": True})
    other = one.model_copy(update={"run": "other", "group_letters": "ab"})
    there = other.model_copy(update={"dataset": "south", "external": True, "trained_on": "tiny"})
    found = evaluation_figures(one, lambda path: np.full((40, 50), len(path), np.uint8))
    found |= {
        f"several {name}": made
        for name, made in comparison_figures(Evaluation(runs=[one, other])).items()
    }
    found |= {
        f"places {name}": made
        for name, made in comparison_figures(Evaluation(runs=[one, there])).items()
    }
    for figure in found.values():
        FigureCanvasAgg(figure).draw()
    return found


def texts(figure: Figure) -> Iterator[Text]:
    """All that is drawn: matplotlib keeps ticks beyond the ends, too."""
    found = [*figure.texts]
    legends = [*figure.legends]
    for axes in figure.axes:
        found += [axes.title, axes._left_title, *axes.texts]
        legends += [axes.get_legend()] if axes.get_legend() else []
        if axes.axison:
            for axis in (axes.xaxis, axes.yaxis):
                found += [axis.label, *(tick.label1 for tick in axis._update_ticks())]
    found += [text for legend in legends for text in legend.get_texts()]
    return (text for text in found if text.get_visible() and text.get_text().strip())


def test_text_has_seven_to_nine_points_and_figures_one_or_two_columns(
    figures: dict[str, Figure],
) -> None:
    assert {"roc", "worst_cases", "flow", "several roc_tiny_valid"} <= set(figures)
    assert "places trained_tested" in figures
    for name, figure in figures.items():
        sizes = {text.get_fontsize() for text in texts(figure)}
        assert sizes and min(sizes) >= 7 and max(sizes) <= 9, name
        assert figure.get_figwidth() in {3.5, 7.2}, name
        assert figure.dpi == 300, name


def test_nothing_is_cut_at_the_edge(figures: dict[str, Figure]) -> None:
    for name, figure in figures.items():
        for text in texts(figure):
            box = text.get_window_extent()
            assert box.x0 >= -1 and box.x1 <= figure.bbox.x1 + 1, (name, text.get_text())
            assert box.y0 >= -1 and box.y1 <= figure.bbox.y1 + 1, (name, text.get_text())


def test_no_line_runs_behind_words(figures: dict[str, Figure]) -> None:
    """Captions and legends stand outside their axes; words inside have a white ground."""
    for name in ("roc", "precision_recall", "reliability", "decision", "score_histograms"):
        for axes in (axes for axes in figures[name].axes if axes.axison):
            legend = axes.get_legend()
            words = [*axes.texts, *(legend.get_texts() if legend else ())]
            for text in (text for text in words if text.get_text()):
                assert text.get_window_extent().y0 >= axes.bbox.y1 - 1, (name, text.get_text())
    forest = figures["several model_comparison"].axes[0]
    letters = [text for text in forest.texts if text.get_text() in {"", "ab"}]
    assert any(text.get_text() == "ab" for text in letters)
    assert all(text.get_window_extent().x0 >= forest.bbox.x1 for text in letters)


def test_every_picture_says_auroc_n_what_a_band_is_and_that_phantoms_are_no_patients(
    figures: dict[str, Figure],
) -> None:
    for name, figure in figures.items():
        said = " ".join(text.get_text() for text in texts(figure)).replace("\u00a0", " ")
        assert said.count("SYNTHETIC. ") == 1, name
        if name not in {"flow", "worst_cases", "calibration_subgroups"}:
            assert "AUROC" in said or "AP 0." in said, name
        if not name.startswith("places"):
            assert "n = 80 images" in said.replace("\n", " "), name
        assert "  " not in said, name
        if name not in {"flow", "worst_cases", "score_histograms"}:
            assert "95 %, images as units" in said.replace("\n", " "), name


def test_fonts_are_embedded_as_truetype_and_svg_needs_none(
    make_result: Callable[..., RunResult],
) -> None:
    def draw() -> Figure:
        return draw_curves([make_result(("Edema",))], "roc")

    pdf = render(draw(), "pdf")
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)
    parts = [pdf]
    for stream in streams:
        try:
            parts.append(zlib.decompress(stream))
        except zlib.error:
            continue
    whole = b"\n".join(parts)
    assert whole.count(b"/FontFile2") >= 1 and b"/CIDFontType2" in whole
    assert b"/Type3" not in whole, "journals refuse Type 3"
    assert b"CreationDate" not in whole and pdf == render(draw(), "pdf")
    svg = render(draw(), "svg").decode()
    assert "<text" not in svg and "<path" in svg
    assert "<dc:date>" not in svg and svg == render(draw(), "svg").decode()


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_a_paper_takes_the_pdf_at_its_own_size(tmp_path: Path, figures: dict[str, Figure]) -> None:
    names = {"figure": "roc", "figure*": "several model_comparison"}  # one column, and two
    for number, name in enumerate(names.values()):
        (tmp_path / f"{number}.pdf").write_bytes(render(figures[name], "pdf"))
    shown = "".join(
        rf"\begin{{{kind}}}\includegraphics{{{number}.pdf}}\end{{{kind}}}"
        for number, kind in enumerate(names)
    )
    geometry = "a4paper,textwidth=183mm,columnsep=5mm,textheight=250mm"
    text = rf"\documentclass[twocolumn]{{article}}\usepackage[{geometry}]{{geometry}}"
    text += rf"\usepackage{{graphicx}}\begin{{document}}Text.{shown}\end{{document}}"
    (tmp_path / "paper.tex").write_text(text)
    command = ["pdflatex", "-interaction=batchmode", "-halt-on-error", "paper.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    log = (tmp_path / "paper.log").read_text("latin-1")
    assert "Overfull" not in log and "Output written on paper.pdf" in log


def test_a_png_says_its_resolution(figures: dict[str, Figure]) -> None:
    with Image.open(io.BytesIO(render(figures["roc"]))) as image:
        assert image.width == 3.5 * 300, "two panels: one column"
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
