"""Several images of one study joined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from pulmonet.errors import ConfigError
from pulmonet.metrics.studies import join_studies
from pulmonet.run.predictions import Predictions


def test_studies_are_joined_by_loop(make_predictions: Callable[..., Predictions]) -> None:
    predictions = make_predictions()
    for rule, combine in (("max", np.max), ("mean", np.mean)):
        joined = join_studies(predictions, rule)
        assert len(joined.paths) == len(set(predictions.studies))
        for row in (0, 7, 50):
            members = [i for i, s in enumerate(predictions.studies) if s == joined.studies[row]]
            expected = combine(predictions.scores[members], axis=0)
            np.testing.assert_allclose(joined.scores[row], expected, rtol=1e-6)
            targets = predictions.targets[members]
            assert np.isnan(joined.targets[row, 2])
            assert joined.targets[row, 1] == np.nanmax(targets[:, 1])
            assert joined.patients[row] == predictions.patients[members[0]]
    assert join_studies(replace(predictions, patients=None)).patients is None
    with pytest.raises(ConfigError, match="these rows name no studies"):
        join_studies(replace(predictions, studies=None))
