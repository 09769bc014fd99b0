"""The comparison of runs: every run on its line, whatever its name."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from matplotlib.figure import Figure

from pulmonet.figures.comparison import draw_model_comparison
from pulmonet.metrics.results import RunResult


@pytest.mark.parametrize("n_runs", [1, 6])
def test_model_comparison(
    n_runs: int, make_result: Callable[..., RunResult], drawn: list[Figure]
) -> None:
    base = make_result(("Edema", "Cardiomegaly"))
    results = [base.model_copy(update={"run": f"run_$i${i}"}) for i in range(n_runs)]
    assert draw_model_comparison(results, ())
    macro, *labels = drawn[0].axes
    ticks = macro.get_yticklabels()
    assert [tick.get_text() for tick in ticks] == [result.run for result in results]
    assert not any(tick.get_parse_math() for tick in ticks)
    titles = [axes.get_title(loc="left") for axes in labels]
    assert titles == ["Edema", "Cardiomegaly"]


def test_several_datasets_say_trained_on_and_tested_on(
    make_result: Callable[..., RunResult], drawn: list[Figure]
) -> None:
    base = make_result(("Edema",))
    facts = {"run": "net", "trained_on": "north", "split": "valid"}
    inside = base.model_copy(update=facts | {"dataset": "north", "external": False})
    outside = base.model_copy(update=facts | {"dataset": "south", "external": True})
    draw_model_comparison([inside, outside], ())
    macro = drawn[0].axes[0]
    names = {tick.get_text(): tick.get_position()[1] for tick in macro.get_yticklabels()}
    assert set(names) == {"net\nnorth → north, valid", "net\nnorth → south, valid"}
    points = [line for line in macro.lines if line.get_marker() == "D"]
    colours = {float(line.get_ydata()[0]): line.get_color() for line in points}
    assert len({colours[place] for place in names.values()}) == 2
    assert "external testing" in drawn[0].get_suptitle().replace("\n", " ")


@pytest.mark.parametrize("n_labels", [1, 2, 5])
def test_no_title_runs_into_another_or_out_of_the_picture(
    n_labels: int, make_result: Callable[..., RunResult], drawn: list[Figure]
) -> None:
    base = make_result(("Edema", "Mass", "Hernia", "Pneumonia", "Nodule")[:n_labels])
    facts = {"run": "net", "trained_on": "nih-cxr+pneumoniamnist", "split": "valid"}
    places = ("nih-cxr+pneumoniamnist", "pneumoniamnist", "elsewhere")
    draw_model_comparison([base.model_copy(update=facts | {"dataset": one}) for one in places], ())
    (figure,) = drawn
    figure.canvas.draw()
    whole = figure.bbox
    texts = [axes.title if axes.get_title() else axes._left_title for axes in figure.axes]
    boxes = sorted((text.get_window_extent() for text in texts), key=lambda box: box.x0)
    assert all(one.x1 <= other.x0 for one, other in pairwise(boxes))
    for text in (figure._suptitle, *figure.axes[0].get_yticklabels()):
        box = text.get_window_extent()
        assert box.x0 >= whole.x0 and box.x1 <= whole.x1
