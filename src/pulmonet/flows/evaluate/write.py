"""What `evaluate` writes and where: JSON, calibration, figures and ONNX of runs; table of all."""

import contextlib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pulmonet.choices import FigureFormat
from pulmonet.data.manifest import COLLECTION
from pulmonet.errors import ArtifactError, PulmoNetError
from pulmonet.files.ledger import Ledger
from pulmonet.files.read import sha256_of
from pulmonet.files.spreadsheet import table_text
from pulmonet.files.write import changing, to_bytes, to_json
from pulmonet.flows import console
from pulmonet.flows.evaluate.material import Material, each_of
from pulmonet.metrics import final_table
from pulmonet.metrics.calibration.fit import Calibration, read_calibration
from pulmonet.metrics.evaluation import fit_calibration
from pulmonet.metrics.options import EvaluationOptions
from pulmonet.metrics.results import Comparison, Evaluation, RunResult, read_evaluation
from pulmonet.metrics.suspects import rank_suspects
from pulmonet.run.folder import RunDir, list_runs
from pulmonet.run.predictions import text_of
from pulmonet.words import count, list_first


def check_folder(
    run_dir: RunDir, combines: str | None, members: Sequence[str], tta: str, flag: str
) -> None:
    """Refuse a folder that holds a run, or results of something else; earlier ones of it may be.

    `combines` is None for a file of scores, and for a run with test-time augmentation; `flag`
    chooses another folder.

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
            text = f"{path}: holds results of {what}, which stay"
            raise ArtifactError(f"{text}; choose another name ({flag}), or move the folder away")
    if files and not found and wanted != (None, [], "none"):
        text = f"{path}: holds other files ({list_first(file.name for file in files)})"
        raise ArtifactError(f"{text}; choose another name ({flag})")


def write_scores(material: Material) -> None:
    """The predictions of a run, of all its labels; not those of several views of each image."""
    rows = material.predictions
    if material.is_saved:
        path = material.run_dir.predictions_path(rows.dataset, rows.split)
        _write(material, path, to_bytes(rows.to_csv()))


def write_run(material: Material, result: RunResult, comparisons: Sequence[Comparison]) -> None:
    """A run's evaluation_*.json, and its predictions where they are in no file yet.

    Of scores out of fold also suspect_labels.csv, of all collections together.
    ArtifactError: that was edited since.
    """
    here = [record for record in comparisons if record.rows == result.rows()]
    own = [record for record in here if result.run in record.runs()]
    path = material.run_dir.predictions_path(result.dataset, result.split)
    scores = b"" if material.is_saved else to_bytes(material.predictions.to_csv())
    digest = hashlib.sha256(scores).hexdigest() if scores else None
    if material.is_saved and path.is_file():
        digest = sha256_of(path)
    result = result.model_copy(update={"predictions_sha256": digest})
    document = Evaluation(runs=[result], comparisons=own).model_dump(mode="json", by_alias=True)
    _write(material, material.run_dir.evaluation_path(result.dataset, result.split), document)
    if scores:  # after the JSON, which tells whose folder this is
        _write(material, path, scores)
    if result.combines == "out-of-fold" and not material.is_part:
        found, path = rank_suspects(material.predictions), material.run_dir.suspects_path
        Ledger(path.parent, "move it away").write(path, table_text(found, "%.9g"))
        console.say(f"{count(len(found), 'label')} that may be wrong: {path}")


def with_targets(materials: Sequence[Material]) -> list[Material]:
    """Those that have something to evaluate; of the others the scores are written."""
    for material in materials:
        rows = material.predictions
        if not rows.has_targets:
            path = material.run_dir.predictions_path(rows.dataset, rows.split)
            if not material.is_saved:
                _write(material, path, to_bytes(rows.to_csv()))
            n_images = count(len(rows.paths), "image")
            console.say(f"{n_images} without labels: nothing to evaluate; scores: {path}")
    return [material for material in materials if material.predictions.has_targets]


def _write(material: Material, path: Path, content: Any) -> None:
    """A file of its folder, where the names of results are PulmoNet's; JSON but of bytes."""
    data = content if isinstance(content, bytes) else to_json(content)
    Ledger(material.run_dir.path, "move it away").write(path, data, by_name=True)


def stored_calibration(material: Material, options: EvaluationOptions) -> Calibration | None:
    """Calibration fitted on other rows with the same weights; None cross-fits on these."""
    kept, path = _kept_calibration(material), material.run_dir.calibration_path
    if kept is None and path.exists():
        console.note(f"{path}: of other weights or scores, or rows have changed since; fitted anew")
    if kept is None or options.level == "study" or material.without_calibration:
        return None
    if 0 < (shared := _shared(kept, material)) < 1 and not material.is_part:
        console.note(f"{path}: {shared:.0%} of its rows and these are shared; fitted anew")
    elif not shared and kept.scores_of:
        name = material.predictions.run
        console.note(f"{name}: thresholds of {kept.fitted_on}; give other scores another name")
    if not shared:
        _say_not_asked_for(kept, options)
    return None if shared else kept


def _say_not_asked_for(kept: Calibration, options: EvaluationOptions) -> None:
    """Flags that a stored calibration does not follow."""
    kinds = {one.calibrator.kind for one in kept.labels.values() if one.calibrator}
    there = {name for one in kept.labels.values() for name in one.thresholds}
    missing = [f"--threshold {name}" for name in options.criteria if name not in there]
    if "calibrator" in options.model_fields_set and kinds and options.calibrator not in kinds:
        missing.append(f"--calibrator {options.calibrator}")
    if missing and there:
        what = f"thresholds and calibrators of {kept.fitted_on} are used, which have none of"
        console.note(f"{what} {', '.join(missing)}; evaluate those rows with it first")


def write_calibration(material: Material, options: EvaluationOptions, result: RunResult) -> None:
    """Store calibrators and thresholds, unless better ones (of the valid split) are there."""
    if options.level == "study" or material.without_calibration or material.is_part:
        return
    path = material.run_dir.calibration_path
    with changing(path):
        kept = _kept_calibration(material)
        shared = 0.0 if kept is None else _shared(kept, material)
        rows = material.predictions
        others = kept is not None and (not shared or kept.dataset != rows.dataset)
        if others and not material.fits_calibration:
            return
        sha256 = material.facts.get("checkpoint_sha256")
        fitted = fit_calibration(rows, options, result=result, checkpoint_sha256=sha256)
        if kept is not None and shared == 1:  # --labels fits some, the others stay
            labels = kept.labels | fitted.labels
            missing = kept.left_out | fitted.left_out
            fitted = fitted.model_copy(update={"labels": labels, "left_out": missing})
        facts = {
            "dataset_fingerprint": material.facts.get("dataset_fingerprint"),
            "scores_of": material.scores_of,
            "rows": tuple(sorted(_digests(material))),
        }
        document = fitted.model_copy(update=facts).model_dump(mode="json", by_alias=True)
        _write(material, path, document)


def _kept_calibration(material: Material) -> Calibration | None:
    """That of an earlier evaluation of the same weights, on rows that are the same still."""
    kept = read_calibration(material.run_dir.calibration_path)
    facts, rows = material.facts, material.predictions
    whose = (facts.get("checkpoint_sha256"), material.scores_of)
    if kept is None or (kept.checkpoint_sha256, kept.scores_of) != whose:
        return None
    changed = kept.dataset_fingerprint not in (None, facts.get("dataset_fingerprint"))
    return None if kept.dataset == rows.dataset and changed else kept


def _digests(material: Material) -> set[str]:
    """Of the paths and patients, salted with the model's: they are known again, and not listed.

    As in several collections: the name of each in front; of files, which may lack it, none.
    """
    rows, model = material.predictions, material.facts.get("checkpoint_sha256")
    ids: Iterable[str] = (*rows.paths, *(rows.patients or ()))
    names = [f"{text_of(one)}/" for one in rows.columns.get(COLLECTION, ())]
    if names and material.scores_of:
        ids, names = map(str.removeprefix, ids, names * 2), []
    front = "" if names else f"{rows.dataset}/"
    salted = (f"{model or material.scores_of} {front}{one}" for one in ids)
    encoded = (one.encode("utf-8", "surrogatepass") for one in salted)
    return {hashlib.blake2b(one, digest_size=8).hexdigest() for one in encoded}


def _shared(kept: Calibration, material: Material) -> float:
    """Share of the rows of both that are in both; in older files the split's name tells."""
    rows, before, here = material.predictions, {*kept.rows}, _digests(material)
    if before:
        return len(here & before) / len(here | before)
    is_same = material.is_part or kept.dataset == rows.dataset
    return float(is_same and kept.split == rows.split)


def write_figures(material: Material, result: RunResult, kinds: Sequence[FigureFormat]) -> None:
    """A run's figures, beside its evaluation_*.json."""
    if kinds:
        from pulmonet.figures.evaluation import evaluation_figures

        found = evaluation_figures(result, material.read_image)
        path = material.run_dir.figure_path("", result.dataset, result.split)
        _write_all(Ledger(path.parent, "move it away"), found, kinds, path.stem)


def _write_all(
    ledger: Ledger, figures: Mapping[str, Any], kinds: Sequence[FigureFormat], end: str = ""
) -> None:
    """Each as files of some kinds; those of other kinds would be of an earlier call.

    They have an `end` in a run's folder, where the name alone makes a file PulmoNet's.
    """
    from pulmonet.figures.style import render

    for name, figure in figures.items():
        for kind in get_args(FigureFormat):
            path = ledger.folder / f"{name}{end}.{kind}"
            if kind in kinds:
                ledger.write(path, render(figure, kind), by_name=bool(end))
            else:
                ledger.remove(path)


def ledger_of(artifacts_dir: Path) -> Ledger:
    """What is PulmoNet's beside the runs."""
    return Ledger(artifacts_dir, "choose another --artifacts-dir")


def write_table(path: Path, results: Sequence[RunResult]) -> None:
    """The final table as CSV and Markdown: its rows by now, and those of `results`.

    Rows of other weights than now lie in their run's folder are marked, and named.
    """
    weights = {}
    for run_dir in list_runs(path.parent):
        with contextlib.suppress(ArtifactError, OSError):
            file, name = run_dir.best_model_path, run_dir.name  # the file decides
            said = run_dir.read_record().provenance.checkpoint_sha256
            weights[name] = sha256_of(file) if file.is_file() else said
    labels = list(dict.fromkeys(label for result in results for label in result.labels))
    ledger = ledger_of(path.parent)
    with changing(path):
        old = final_table.read_table(path)
        table = final_table.merge(old, final_table.table_of(results))
        lost = final_table.without_letters(old, table)
        if lost:
            console.warn(
                f"{path.name} and model_comparison.png no longer compare {list_first(lost)}, since "
                "not all were evaluated now, and with other scores or options than before; "
                "evaluate them together to compare them"
            )
        table = final_table.mark_stale(table, weights)
        labels = final_table.labels_in(table, labels)
        ledger.write(path, final_table.to_csv(table, labels), by_name=True)  # it was read before
        ledger.write(path.with_suffix(".md"), final_table.to_markdown(table, labels))
    for row in table[table["Stale"] != ""].itertuples():
        console.warn(f"{path.name}: {row.Model} on {row.Dataset}, {row.Split} is {row.Stale}")


def write_comparison_figures(
    artifacts_dir: Path, evaluation: Evaluation, kinds: Sequence[FigureFormat]
) -> None:
    """model_comparison.png and the others, where there is something to compare."""
    if kinds:
        from pulmonet.figures.comparison import comparison_figures

        _write_all(ledger_of(artifacts_dir), comparison_figures(evaluation), kinds)


def export_runs(run_dirs: Sequence[RunDir]) -> list[PulmoNetError]:
    """Write ``model.onnx`` into each run's folder; gives what went wrong with one among several."""
    from pulmonet.models.onnx import export_onnx
    from pulmonet.models.trained import load_run

    def export(run_dir: RunDir) -> None:
        path, trained = run_dir.onnx_path, load_run(run_dir, "cpu")
        export_onnx(trained, trained.calibration, path)
        console.say(f"Exported: {path}")

    return each_of(run_dirs, export)[1]
