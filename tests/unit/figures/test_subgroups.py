"""The forest plot of subgroups."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from matplotlib.figure import Figure

from pulmonet.figures.subgroups import draw_subgroups
from pulmonet.metrics.results import RunResult, SubgroupLabel

REASON = "too small to score: 8 positive patients, at least 10 are needed"


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"Edema": SubgroupLabel(n=40, positives=12, reason=REASON)}, "8 positive patients"),
        ({}, None),
    ],
)
def test_a_group_too_small_says_how_small(
    labels: dict[str, SubgroupLabel],
    words: str | None,
    make_result: Callable[..., RunResult],
    drawn: list[Figure],
) -> None:
    result = make_result(("Edema",))
    first, *others = result.subgroups
    small = first.model_copy(update={"labels": labels})
    draw_subgroups(result.model_copy(update={"subgroups": [small, *others]}))
    said = [text.get_text() for text in drawn[0].axes[0].texts]
    assert said == ["too small" if words is None else f"too small: {words}"]
