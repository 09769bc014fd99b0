"""The calibration that belongs to a run's weights."""

from __future__ import annotations

from pulmonet.flows import console
from pulmonet.metrics.calibration.fit import Calibration, read_calibration
from pulmonet.models.trained import TrainedRun


def calibration_of(trained: TrainedRun) -> Calibration | None:
    """A run's ``calibration.json``; None where there is none, or one of other weights.

    Raises:
        ArtifactError: damaged.
    """
    path = trained.run_dir.calibration_path
    found, ours = read_calibration(path), trained.record.provenance.checkpoint_sha256
    if found and found.checkpoint_sha256 and ours and found.checkpoint_sha256 != ours:
        console.warn(
            f"{path}: belongs to other weights and is left out; run `pulmonet evaluate` again"
        )
        return None
    return found
