"""The flags of `evaluate` that decide how: what they take, and what they say to all else."""

from __future__ import annotations

import pytest

from pulmonet.errors import ConfigError
from pulmonet.metrics.options import EvaluationOptions, check_criterion


def test_criteria_are_checked() -> None:
    assert check_criterion(" Sensitivity=0.90") == "sensitivity=0.9"
    with pytest.raises(ConfigError, match=r"unknown criterion \(did you mean 'youden'"):
        check_criterion("yuden")
    for text in ("2", "1", "0", "x"):
        with pytest.raises(ConfigError, match=f"'{text}' is not a fraction between 0 and 1"):
            check_criterion(f"ppv={text}")


def test_shares_are_read_per_label() -> None:
    options = EvaluationOptions.model_validate({"prevalence": ["0.05", "Edema=0.1"]})
    assert options.prevalence_of("Edema") == 0.1
    assert options.prevalence_of("Cardiomegaly") == 0.05
    assert EvaluationOptions().prevalence_of("Edema") is None
    for text in ("Edema=2", "x", "0"):
        with pytest.raises(ConfigError, match=f"--prevalence {text}: not a fraction"):
            EvaluationOptions.model_validate({"prevalence": [text]})


@pytest.mark.parametrize("n_resamples", [99, 100_001])
def test_resamples_have_bounds(n_resamples: int) -> None:
    with pytest.raises(ConfigError, match="an interval needs 100 to 100,000 resamples"):
        EvaluationOptions(n_resamples=n_resamples)
