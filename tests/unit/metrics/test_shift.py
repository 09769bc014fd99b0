"""How rows differ from those trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pulmonet.metrics.baseline import KnownRows, covariates_of
from pulmonet.metrics.shift import describe_shift
from pulmonet.run.predictions import Predictions


def test_shift_names_the_largest_differences_first(
    make_predictions: Callable[..., Predictions],
) -> None:
    here = covariates_of(make_predictions())
    older = replace(here, age_years=here.age_years + 15)
    targets = make_predictions().targets
    rarer = targets.copy()
    rarer[10:, 1] = 0
    found = describe_shift(
        ("Edema", "Rare", "Absent"), KnownRows(here, targets), KnownRows(older, rarer)
    )
    assert found.mean_age_years[1] - found.mean_age_years[0] == pytest.approx(15)
    assert len(found.notes) == 2
    assert any(text.startswith("age: mean") for text in found.notes)
    assert any(text.startswith("Rare: ") for text in found.notes)
    assert found.prevalence["Absent"] == (None, None)
