"""How predictions are evaluated: what the flags of `evaluate` decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pulmonet.metrics.calibration.fit import CalibratorKind
from pulmonet.metrics.studies import StudyRule
from pulmonet.metrics.thresholds import DEFAULT_CRITERIA


@dataclass(frozen=True)
class EvaluationOptions:
    """How predictions are evaluated; recorded in the result.

    Attributes:
        n_resamples: bootstrap resamples.
        seed: of resamples, folds and simulations.
        interval: percentile or bca.
        level: image or study.
        study_rule: max or mean over a study's images.
        criteria: operating points, the first is used for subgroups.
        calibrator: platt, temperature or isotonic.
        prevalence: deployment prevalence by label; the key "" serves all others.
        subgroup_columns: columns beside sex, age and view.
    """

    n_resamples: int = 1000
    seed: int = 42
    interval: Literal["percentile", "bca"] = "percentile"
    level: Literal["image", "study"] = "image"
    study_rule: StudyRule = "max"
    criteria: tuple[str, ...] = DEFAULT_CRITERIA
    calibrator: CalibratorKind = "platt"
    prevalence: Mapping[str, float] = field(default_factory=dict)
    subgroup_columns: tuple[str, ...] = ()

    def prevalence_of(self, label: str) -> float | None:
        """Deployment prevalence of a label, where stated."""
        return self.prevalence.get(label, self.prevalence.get(""))
