"""The comparison of runs: every run on its line, whatever its name."""

from __future__ import annotations

from collections.abc import Callable

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
