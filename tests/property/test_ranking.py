"""What AUROC and average precision may not depend on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pulmonet.metrics.ranking.auc import auroc, average_precision
from pulmonet.metrics.ranking.delong import delong

Array = NDArray[np.float64]


@st.composite
def rows(draw: st.DrawFn) -> tuple[Array, Array]:
    """Targets of both classes and scores on a coarse grid, so that ties are common."""
    pairs = st.tuples(st.booleans(), st.integers(0, 12))
    drawn = draw(st.lists(pairs, min_size=0, max_size=40))
    drawn += [(True, draw(st.integers(0, 12))), (False, draw(st.integers(0, 12)))]
    targets, scores = zip(*drawn, strict=True)
    return np.asarray(targets, float), np.asarray(scores) / 12


@given(rows(), st.floats(0.2, 5))
def test_unchanged_by_monotone_maps(data: tuple[Array, Array], power: float) -> None:
    targets, scores = data
    mapped = scores**power
    assert auroc(targets, mapped) == pytest.approx(auroc(targets, scores), abs=1e-12)
    expected = average_precision(targets, scores)
    assert average_precision(targets, mapped) == pytest.approx(expected, abs=1e-12)


@given(rows(), st.randoms(use_true_random=False))
def test_unchanged_by_row_order(data: tuple[Array, Array], random: object) -> None:
    targets, scores = data
    order = list(range(len(targets)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert auroc(targets[order], scores[order]) == pytest.approx(auroc(targets, scores))
    assert average_precision(targets[order], scores[order]) == pytest.approx(
        average_precision(targets, scores)
    )


@given(rows())
def test_auroc_is_symmetric_under_label_swap(data: tuple[Array, Array]) -> None:
    targets, scores = data
    assert auroc(1 - targets, scores) == pytest.approx(1 - auroc(targets, scores), abs=1e-12)
    assert auroc(1 - targets, 1 - scores) == pytest.approx(auroc(targets, scores), abs=1e-12)


@given(rows())
def test_bounds_and_delong_value(data: tuple[Array, Array]) -> None:
    targets, scores = data
    assert 0 <= auroc(targets, scores) <= 1
    assert targets.mean() / 2 <= average_precision(targets, scores) <= 1
    assert delong(targets, scores).auroc[0] == pytest.approx(auroc(targets, scores), abs=1e-12)
