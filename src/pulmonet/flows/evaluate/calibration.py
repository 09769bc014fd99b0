"""Which calibration the rows of a run use, and which they leave behind for later."""

from __future__ import annotations

from pulmonet.files.write import write_json
from pulmonet.flows.evaluate.material import Material
from pulmonet.metrics.calibration.fit import Calibration, read_calibration
from pulmonet.metrics.evaluation import fit_calibration
from pulmonet.metrics.options import EvaluationOptions


def stored_calibration(material: Material, options: EvaluationOptions) -> Calibration | None:
    """Calibration fitted on other rows with the same weights; None cross-fits on these."""
    kept = read_calibration(material.run_dir.calibration_path)
    if kept is None or options.level == "study" or material.without_calibration:
        return None
    return kept if _same_weights(kept, material) and not _same_rows(kept, material) else None


def write_calibration(material: Material, options: EvaluationOptions) -> None:
    """Store calibrators and thresholds, unless better ones (of the valid split) are there."""
    if options.level == "study" or material.without_calibration:
        return
    path = material.run_dir.calibration_path
    kept = read_calibration(path)
    if kept is not None and not _same_weights(kept, material):
        kept = None
    if kept is not None and not _same_rows(kept, material):
        if not material.fits_calibration:
            return
        kept = None
    sha256 = material.facts.get("checkpoint_sha256")
    fitted = fit_calibration(material.predictions, options, checkpoint_sha256=sha256)
    if kept is not None:  # --labels fits some, the others stay
        fitted = fitted.model_copy(update={"labels": {**kept.labels, **fitted.labels}})
    write_json(path, fitted.model_dump(mode="json", by_alias=True))


def _same_weights(kept: Calibration, material: Material) -> bool:
    return kept.checkpoint_sha256 == material.facts.get("checkpoint_sha256")


def _same_rows(kept: Calibration, material: Material) -> bool:
    rows = material.predictions
    return (kept.dataset, kept.split) == (rows.dataset, rows.split)
