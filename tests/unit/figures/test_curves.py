"""ROC and precision-recall curves: a line a run, on the same axes."""

from __future__ import annotations

from collections.abc import Callable

from pulmonet.figures.comparison import comparison_figures
from pulmonet.figures.curves import draw_curves
from pulmonet.metrics.results import Evaluation, RunResult


def test_runs_on_the_same_rows_share_a_picture(make_result: Callable[..., RunResult]) -> None:
    base = make_result(("Edema", "Mass"))
    runs = [base.model_copy(update={"run": f"run_$i${i}"}) for i in range(4)]
    figures = comparison_figures(Evaluation(runs=runs))
    assert set(figures) == {"model_comparison", "roc_tiny_valid", "precision_recall_tiny_valid"}
    for n_runs, n_bands in ((2, 2), (4, 0)):  # four bands on each other show nothing
        figure = draw_curves(runs[:n_runs], "roc")
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts()] == [
            one.run for one in runs[:n_runs]
        ]
        assert not any(text.get_parse_math() for text in legend.get_texts())
        for axes, entry in zip(figure.axes, base.labels.values(), strict=True):
            numbers = [text.get_text() for text in axes.get_legend().get_texts()]
            assert numbers == [f"AUROC {entry.auroc.text(2)}"] * n_runs
            assert len(axes.collections) == n_bands
            looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines[1:]}
            assert len(looks) == n_runs
