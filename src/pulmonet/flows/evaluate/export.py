"""`pulmonet evaluate --export onnx`: evaluated runs as files for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from pulmonet.choices import ExportFormat
from pulmonet.errors import ArtifactError, ConfigError
from pulmonet.flows import console
from pulmonet.run.folder import find_run, list_runs
from pulmonet.words import did_you_mean

FORMATS: tuple[str, ...] = get_args(ExportFormat)


def check_format(name: str, predictions: Sequence[Path]) -> None:
    """Refuse what cannot be exported before the evaluation starts.

    Raises:
        ConfigError: an unknown format, saved predictions, or the extra is missing.
    """
    if name not in FORMATS:
        raise ConfigError(
            f"--export {name}: unknown format{did_you_mean(name, FORMATS)}; "
            f"choose from {', '.join(FORMATS)}"
        )
    if predictions:
        raise ConfigError("--export: saved predictions hold no network; name runs instead")
    from pulmonet.models.onnx import check_onnx_installed

    check_onnx_installed()


def export_runs(runs: Sequence[str], artifacts_dir: Path) -> int:
    """Write ``model.onnx`` into each run's folder.

    Args:
        runs: names or folders; all runs below `artifacts_dir` when empty.
        artifacts_dir: the artifacts folder.

    Returns:
        0, or 4 when a run among several could not be read.

    Raises:
        ArtifactError: the only run, or its weights, cannot be read.
    """
    from pulmonet.flows.calibration import calibration_of
    from pulmonet.models.onnx import export_onnx
    from pulmonet.models.trained import load_run

    code = 0
    chosen = [find_run(name, artifacts_dir) for name in runs] or list_runs(artifacts_dir)
    for run_dir in chosen:
        path = run_dir.path / "model.onnx"
        try:
            trained = load_run(run_dir, "cpu")
            export_onnx(trained, calibration_of(trained), path)
        except ArtifactError as error:
            if len(chosen) == 1:
                raise
            console.show_error(str(error))
            code = error.exit_code
        else:
            console.say(f"Exported: {path}")
    return code
