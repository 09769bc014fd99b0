"""The comparison of runs: every run on its line, whatever its name."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from pulmonet.figures.comparison import comparison_figures, draw_model_comparison
from pulmonet.figures.curves import draw_curves
from pulmonet.metrics.results import Evaluation, RunResult


@pytest.mark.parametrize("n_runs", [1, 6])
def test_model_comparison(n_runs: int, make_result: Callable[..., RunResult]) -> None:
    names = ["Edema", "Cardiomegaly", "Mass"]
    base = make_result(tuple(names))
    results = [base.model_copy(update={"run": f"run_$i${i}"}) for i in range(n_runs)]
    macro, *labels = draw_model_comparison(results, ()).axes
    firsts = [axes for axes in (macro, *labels) if axes.get_subplotspec().is_first_col()]
    assert len(firsts) == 2, "two lines of panels"
    for axes in firsts:
        ticks = axes.get_yticklabels()
        assert [tick.get_text() for tick in ticks] == [result.run for result in results]
        assert not any(tick.get_parse_math() for tick in ticks)
    titles = [axes.get_title(loc="left") for axes in labels if axes.axison]
    assert titles == names
    for axes in (macro, *labels[: len(names)]):
        assert axes.get_xlabel() == "AUROC"
        chance = [line for line in axes.lines if list(line.get_xdata()) == [0.5, 0.5]]
        assert len(chance) == 1 and axes.get_xlim()[0] < 0.5


def test_labels_of_few_patients_have_a_star_that_is_explained(
    make_result: Callable[..., RunResult],
) -> None:
    base = make_result(("Edema", "Mass"))
    rare = base.labels["Mass"].model_copy(update={"few_positives": True})
    result = base.model_copy(update={"labels": {**base.labels, "Mass": rare}})
    figure = draw_model_comparison([result, result], ())
    stars = [axes.texts[0].get_text().endswith(" *") for axes in figure.axes[1:]]
    assert stars == [base.labels["Edema"].few_positives, True]
    assert "* Fewer than 20 positive" in figure.get_suptitle().replace("\u00a0", " ")
    # a label that is not shown needs no star
    alone = rare.model_copy(update={"roc": None})
    result = base.model_copy(update={"labels": {**base.labels, "Mass": alone}})
    said = draw_curves([result], "roc").get_suptitle()
    assert ("Fewer than 20" in said) == base.labels["Edema"].few_positives


def test_folds_beside_their_whole_have_no_one_n(make_result: Callable[..., RunResult]) -> None:
    """And panels count the rows of the whole, whichever is drawn first."""
    base = make_result(("Edema",))
    part = base.labels["Edema"].model_copy(update={"n": 20, "positives": 3})
    fold = base.model_copy(update={"run": "fold", "n_rows": 20, "labels": {"Edema": part}})
    figure = draw_curves([fold, base], "roc")
    assert "(n = " not in figure.get_suptitle()
    assert figure.axes[0].texts[0].get_text() == base.labels["Edema"].counted()
    assert "(n = " in draw_curves([base, base], "roc").get_suptitle()


def test_several_datasets_say_trained_on_and_tested_on(
    make_result: Callable[..., RunResult],
) -> None:
    base = make_result(("Edema",))
    facts = {"run": "net", "trained_on": "north", "split": "valid"}
    inside = base.model_copy(update=facts | {"dataset": "north", "external": False})
    outside = base.model_copy(update=facts | {"dataset": "south", "external": True})
    figures = comparison_figures(Evaluation(runs=[inside, outside]))
    assert set(figures) == {"model_comparison", "trained_tested"}
    macro = figures["model_comparison"].axes[0]
    names = {tick.get_text(): tick.get_position()[1] for tick in macro.get_yticklabels()}
    assert set(names) == {"net\nnorth →\nnorth, valid", "net\nnorth →\nsouth, valid"}
    points = [line for line in macro.lines if line.get_marker() == "o"]
    colours = {float(line.get_ydata()[0]): line.get_color() for line in points}
    assert len({colours[place] for place in names.values()}) == 2
    said = figures["model_comparison"].get_suptitle().replace("\n", " ")
    assert "external testing" in said


def test_a_matrix_has_a_line_a_run_and_a_column_a_dataset(
    make_result: Callable[..., RunResult],
) -> None:
    base = make_result(("Edema",))
    cells = {("a", "north", "north"): False, ("a", "north", "south"): True}
    cells |= {("b", "south", "south"): False}  # and b was not tested on north
    results = [
        base.model_copy(update={"run": run, "trained_on": of, "dataset": on, "external": external})
        for (run, of, on), external in cells.items()
    ]
    axes = comparison_figures(Evaluation(runs=results))["trained_tested"].axes[0]
    rows = [tick.get_text() for tick in axes.get_yticklabels()]
    columns = [tick.get_text().partition("\n")[0] for tick in axes.get_xticklabels()]
    found = {}
    for text in axes.texts:
        x, y = text.get_position()
        found[rows[int(y)], columns[int(x)]] = text.get_text()
    assert set(found) == {
        *(("a\n(north)", "north"), ("a\n(north)", "south"), ("b\n(south)", "south"))
    }
    auroc = base.macro.auroc
    assert auroc.value is not None
    for (row, column), words in found.items():
        assert words.startswith(f"{auroc.value:.2f} ({auroc.low:.2f}–{auroc.high:.2f})\n1 label")
        assert words.endswith("external" if (row[0], column) == ("a", "south") else "internal")
    values = axes.images[0].get_array()
    assert values.mask.sum() == 1, "a cell that was not tested stays empty"


@pytest.mark.parametrize("n_labels", [1, 2, 5])
def test_no_title_runs_into_another_or_out_of_the_picture(
    n_labels: int, make_result: Callable[..., RunResult]
) -> None:
    base = make_result(("Edema", "Mass", "Hernia", "Pneumonia", "Nodule")[:n_labels])
    facts = {"run": "net", "trained_on": "nih-cxr+pneumoniamnist", "split": "valid"}
    places = ("nih-cxr+pneumoniamnist", "pneumoniamnist", "elsewhere")
    results = [base.model_copy(update=facts | {"dataset": one}) for one in places]
    figure = draw_model_comparison(results, ())
    figure.draw_without_rendering()
    whole = figure.bbox
    first_line = [axes for axes in figure.axes if axes.get_subplotspec().is_first_row()]
    boxes = [axes._left_title.get_window_extent() for axes in first_line]
    assert min(axes.bbox.width for axes in figure.axes) > 200, "a panel is left of each"
    assert all(one.x1 <= other.x0 for one, other in pairwise(boxes))
    for text in (figure._suptitle, *figure.axes[0].get_yticklabels()):
        box = text.get_window_extent()
        assert box.x0 >= whole.x0 and box.x1 <= whole.x1
