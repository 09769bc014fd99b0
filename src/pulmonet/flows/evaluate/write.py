"""What `evaluate` writes and where: JSON, calibration, figures and ONNX of runs; table of all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pulmonet.errors import ArtifactError, PulmoNetError
from pulmonet.files.write import changing, write_atomic, write_json
from pulmonet.flows import console
from pulmonet.flows.evaluate.material import Material
from pulmonet.metrics import final_table
from pulmonet.metrics.calibration.fit import Calibration, read_calibration
from pulmonet.metrics.evaluation import fit_calibration
from pulmonet.metrics.options import EvaluationOptions
from pulmonet.metrics.results import Comparison, Evaluation, RunResult, read_evaluation
from pulmonet.run.folder import RunDir
from pulmonet.words import list_first


def check_folder(
    run_dir: RunDir, combines: str | None, members: Sequence[str], tta: str, flag: str
) -> None:
    """Refuse a folder that holds a run, or results of something else; earlier ones of it may be.

    Args:
        run_dir: where results are to go that are no run's own.
        combines: ``ensemble``, ``out-of-fold``, or None for a file of scores, or for a run with
            test-time augmentation.
        members: the runs combined.
        tta: none, jitter or flip.
        flag: that chooses another folder.

    Raises:
        ArtifactError: the folder is taken, or its results cannot be read.
    """
    path = run_dir.path
    if run_dir.exists():
        raise ArtifactError(f"{path}: holds a run, which stays; choose another name ({flag})")
    if path.exists() and not path.is_dir():
        raise ArtifactError(f"{path}: a file; choose another name ({flag})")
    files = sorted(path.glob("[!.]*")) if path.is_dir() else []
    results = [file for file in files if file.match("evaluation_*.json")]
    found = [result for file in results for result in read_evaluation(file).runs]
    wanted = (combines, sorted(members), tta)
    for one in found:
        if (one.combines, sorted(one.members), one.tta) != wanted:
            kind = "the ensemble of" if one.combines == "ensemble" else "the folds"
            what = "a file of scores" if one.tta == "none" else f"a run with --tta {one.tta}"
            what = what if one.combines is None else f"{kind} {', '.join(one.members)}"
            raise ArtifactError(
                f"{path}: holds results of {what}, which stay; choose another name ({flag}), or "
                "move the folder away"
            )
    if files and not found and wanted != (None, [], "none"):
        raise ArtifactError(
            f"{path}: holds other files ({list_first(file.name for file in files)}); choose "
            f"another name ({flag})"
        )


def write_run(material: Material, result: RunResult, comparisons: Sequence[Comparison]) -> None:
    """A run's evaluation_*.json, and its predictions where they are in no file yet."""
    own = [record for record in comparisons if result.run in (record.a, record.b)]
    document = Evaluation(runs=[result], comparisons=own).model_dump(mode="json", by_alias=True)
    write_json(material.run_dir.evaluation_path(result.dataset, result.split), document)
    if not material.is_saved:  # after the JSON, which tells whose folder this is
        path = material.run_dir.predictions_path(result.dataset, result.split)
        material.predictions.write(path)


def stored_calibration(material: Material, options: EvaluationOptions) -> Calibration | None:
    """Calibration fitted on other rows with the same weights; None cross-fits on these."""
    kept = _kept_calibration(material)
    if kept is None or options.level == "study" or material.without_calibration:
        return None
    return None if _same_rows(kept, material) else kept


def write_calibration(material: Material, options: EvaluationOptions) -> None:
    """Store calibrators and thresholds, unless better ones (of the valid split) are there."""
    if options.level == "study" or material.without_calibration:
        return
    path = material.run_dir.calibration_path
    with changing(path):
        kept = _kept_calibration(material)
        same_rows = kept is not None and _same_rows(kept, material)
        if kept is not None and not same_rows and not material.fits_calibration:
            return
        sha256 = material.facts.get("checkpoint_sha256")
        fitted = fit_calibration(material.predictions, options, checkpoint_sha256=sha256)
        if kept is not None and same_rows:  # --labels fits some, the others stay
            fitted = fitted.model_copy(update={"labels": {**kept.labels, **fitted.labels}})
        write_json(path, fitted.model_dump(mode="json", by_alias=True))


def _kept_calibration(material: Material) -> Calibration | None:
    """That of an earlier evaluation of the same weights."""
    kept = read_calibration(material.run_dir.calibration_path)
    sha256 = material.facts.get("checkpoint_sha256")
    return kept if kept is not None and kept.checkpoint_sha256 == sha256 else None


def _same_rows(kept: Calibration, material: Material) -> bool:
    rows = material.predictions
    return (kept.dataset, kept.split) == (rows.dataset, rows.split)


def write_figures(material: Material, result: RunResult) -> None:
    """A run's figures, beside its evaluation_*.json."""
    from pulmonet.figures.evaluation import evaluation_figures

    path = material.run_dir.evaluation_path(result.dataset, result.split)
    for name, png in evaluation_figures(result, material.read_image).items():
        write_atomic(path.with_name(f"{name}{path.stem.removeprefix('evaluation')}.png"), png)


def write_table(path: Path, results: Sequence[RunResult]) -> None:
    """The final table as CSV and Markdown: its rows by now, and those of `results`."""
    labels = list(dict.fromkeys(label for result in results for label in result.labels))
    with changing(path):
        table = final_table.merge(final_table.read_table(path), final_table.table_of(results))
        labels = final_table.labels_in(table, labels)
        write_atomic(path, final_table.to_csv(table, labels))
        write_atomic(path.with_suffix(".md"), final_table.to_markdown(table, labels))


def write_comparison_figure(
    artifacts_dir: Path, results: Sequence[RunResult], comparisons: Sequence[Comparison]
) -> None:
    """model_comparison.png, where there is something to compare."""
    from pulmonet.figures.comparison import draw_model_comparison

    if any(result.macro.auroc.value is not None for result in results):
        figure = draw_model_comparison(results, comparisons)
        write_atomic(artifacts_dir / "model_comparison.png", figure)


def export_runs(run_dirs: Sequence[RunDir]) -> list[PulmoNetError]:
    """Write ``model.onnx`` into each run's folder; gives what went wrong with one among several.

    Raises:
        ArtifactError: the only run, or its weights, cannot be read.
    """
    from pulmonet.flows.calibration import calibration_of
    from pulmonet.models.onnx import export_onnx
    from pulmonet.models.trained import load_run

    failures: list[PulmoNetError] = []
    for run_dir in run_dirs:
        path = run_dir.path / "model.onnx"
        try:
            trained = load_run(run_dir, "cpu")
            export_onnx(trained, calibration_of(trained), path)
        except ArtifactError as error:
            if len(run_dirs) == 1:
                raise
            console.show_error(str(error))
            failures.append(error)
        else:
            console.say(f"Exported: {path}")
    return failures
