"""What `evaluate` writes: JSON, calibration and figures of a run, the table and figure of all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pulmonet.files.write import write_atomic, write_json
from pulmonet.flows.evaluate.material import Material
from pulmonet.metrics import final_table
from pulmonet.metrics.calibration.fit import read_calibration
from pulmonet.metrics.evaluation import fit_calibration
from pulmonet.metrics.options import EvaluationOptions
from pulmonet.metrics.results import Comparison, Evaluation, RunResult


def write_run(
    material: Material,
    result: RunResult,
    comparisons: Sequence[Comparison],
    options: EvaluationOptions,
) -> None:
    run_dir = material.run_dir
    own = [record for record in comparisons if result.run in (record.a, record.b)]
    document = Evaluation(runs=[result], comparisons=own)
    write_json(
        run_dir.evaluation_path(result.dataset, result.split),
        document.model_dump(mode="json", by_alias=True),
    )
    if not material.is_saved:  # after the JSON, which tells whose folder this is
        path = run_dir.predictions_path(result.dataset, result.split)
        material.predictions.write(path)
    if options.level == "image" and not material.without_calibration:
        _write_calibration(material, options)


def write_figures(material: Material, result: RunResult) -> None:
    from pulmonet.figures.evaluation import evaluation_figures

    path = material.run_dir.evaluation_path(result.dataset, result.split)
    for name, png in evaluation_figures(result, material.read_image).items():
        write_atomic(path.with_name(f"{name}{path.stem.removeprefix('evaluation')}.png"), png)


def _write_calibration(material: Material, options: EvaluationOptions) -> None:
    """Store calibrators and thresholds, unless better ones (of the valid split) are there."""
    predictions = material.predictions
    sha256 = material.facts.get("checkpoint_sha256")
    kept = read_calibration(material.run_dir.calibration_path)
    same_weights = kept is not None and kept.checkpoint_sha256 == sha256
    same_rows = kept is not None and (kept.dataset, kept.split) == (
        predictions.dataset,
        predictions.split,
    )
    if same_weights and not same_rows and not material.fits_calibration:
        return
    fitted = fit_calibration(predictions, options, checkpoint_sha256=sha256)
    if kept is not None and same_weights and same_rows:  # --labels fits some, the others stay
        fitted = fitted.model_copy(update={"labels": {**kept.labels, **fitted.labels}})
    write_json(material.run_dir.calibration_path, fitted.model_dump(mode="json", by_alias=True))


def write_table(
    path: Path, earlier: Sequence[final_table.Row], results: Sequence[RunResult]
) -> None:
    rows = final_table.merge(earlier, final_table.rows_of_all(results))
    labels = list(dict.fromkeys(label for result in results for label in result.labels))
    labels = final_table.labels_in(rows, labels)
    write_atomic(path, final_table.to_csv(rows, labels))
    write_atomic(path.with_suffix(".md"), final_table.to_markdown(rows, labels))


def write_comparison_figure(
    artifacts_dir: Path, results: Sequence[RunResult], comparisons: Sequence[Comparison]
) -> None:
    from pulmonet.figures.comparison import draw_model_comparison

    if any(result.macro.auroc.value is not None for result in results):
        write_atomic(
            artifacts_dir / "model_comparison.png", draw_model_comparison(results, comparisons)
        )
