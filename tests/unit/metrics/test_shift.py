"""How rows differ from those trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from pulmonet.metrics.baseline import Covariates, KnownRows
from pulmonet.metrics.shift import describe_shift
from pulmonet.run.predictions import Predictions


def test_shift_names_the_largest_differences_first(
    make_predictions: Callable[..., Predictions],
) -> None:
    rows = make_predictions()
    here = Covariates.of(rows.columns, len(rows.paths))
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


@pytest.mark.parametrize(("years", "share", "positive"), [(3.2, 0.11, 0.155), (2.8, 0.09, 0.145)])
def test_what_counts_as_a_shift(years: float, share: float, positive: float) -> None:
    """From 3 years, a tenth of the rows, and half as many positives again; not below."""

    def rows(years: float, share: float, positive: float) -> KnownRows:
        is_part = np.arange(1000) < 1000 * share
        views = np.where(is_part, "AP", "PA").astype(object)
        targets = (np.arange(1000) < 1000 * positive).astype(float)[:, None]
        known = {"view": views, "age_years": np.full(1000, 50 + years)}
        covariates = Covariates.of(known, 1000)
        return KnownRows(covariates, targets)

    notes = describe_shift(["Edema"], rows(0, 0, 0.1), rows(years, share, positive)).notes
    kinds = {note.partition(":")[0] for note in notes}
    assert kinds == ({"age", "view AP", "view PA", "Edema"} if years > 3 else set())
    fewer = describe_shift(["Edema"], rows(years, share, positive), rows(0, 0, 0.1)).notes
    assert {note.partition(":")[0] for note in fewer} == kinds  # the other way round, too
