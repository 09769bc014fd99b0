"""The calibration that belongs to a run's weights."""

from pulmonet.flows import console
from pulmonet.metrics.calibration.fit import Calibration, read_calibration
from pulmonet.models.trained import TrainedRun
from pulmonet.run.record import explain_stale


def calibration_of(trained: TrainedRun) -> Calibration | None:
    """A run's ``calibration.json``; None where there is none, or one of other weights.

    Raises:
        ArtifactError: damaged.
    """
    path = trained.run_dir.calibration_path
    found, name = read_calibration(path), trained.run_dir.name
    digest = None if found is None else found.checkpoint_sha256
    if stale := explain_stale(digest, [name], {name: trained.sha256}, "evaluate"):
        console.warn(f"{path}: left out, since it is {stale}")
        return None
    return found
