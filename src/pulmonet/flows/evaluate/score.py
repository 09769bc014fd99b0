"""From a run and a dataset to predictions: the half of `evaluate` that needs torch and images."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pulmonet.arrays import Array, Flags, Floats32, Ints
from pulmonet.choices import TTA_VIEWS, BlankPolicy
from pulmonet.data.batches.augment import tta_views
from pulmonet.data.batches.load import evaluation_batches
from pulmonet.data.images.read import read_source_image
from pulmonet.data.manifest import fingerprint, fingerprint_of_deal
from pulmonet.data.pack.open import Pack
from pulmonet.data.splits.choose import annotated_in_split, select_rows
from pulmonet.errors import ConfigError, DataError
from pulmonet.flows import console
from pulmonet.flows.dataset import Datasets, RunRows, known_names, left_out, pack_rows
from pulmonet.flows.evaluate.material import Fold, Material
from pulmonet.flows.evaluate.options import EvaluateOptions
from pulmonet.flows.seen import find_seen, squares_of
from pulmonet.labels import evaluation_targets
from pulmonet.metrics.baseline import Covariates, KnownRows
from pulmonet.metrics.ranking.auc import auroc
from pulmonet.metrics.results import FlowStep
from pulmonet.models.inference import mean_scores
from pulmonet.models.trained import TrainedRun, load_run
from pulmonet.report.texts import entries
from pulmonet.run.folder import RunDir
from pulmonet.run.predictions import Predictions
from pulmonet.run.record import RunRecord, SeenBefore
from pulmonet.words import count

#: Validation in bf16 or fp16 gives other scores than fp32 does, and ties.
_LOG_ROUNDING = 0.02


def score(
    name: str, run_dir: RunDir, results_dir: RunDir, options: EvaluateOptions, datasets: Datasets
) -> list[Material]:
    """Score the rows of a split with a run's best checkpoint: all, then each collection's alone.

    Raises:
        ArtifactError: the run is damaged.
        DataError: the dataset cannot be used, or lacks the split.
    """
    trained = load_run(run_dir, options.device)
    chosen = datasets.rows_of(trained.record, options)
    pack = pack_rows(chosen.manifest, chosen.rows, trained.record.config.data)
    chosen = replace(chosen, rows=left_out(pack.bad_rows, chosen.rows, chosen.split))
    scores = _score(trained, pack, chosen.rows, options)
    make = partial(_material, name, trained, results_dir, options, datasets)
    materials = [make(chosen, pack, scores)]
    for part, own, places in chosen.by_collection(pack, trained.record.provenance.dataset):
        if {*trained.labels} & {*part.manifest.labels}:
            materials.append(make(part, own, scores[places]))
    return materials


def _material(
    name: str,
    trained: TrainedRun,
    results_dir: RunDir,
    options: EvaluateOptions,
    datasets: Datasets,
    chosen: RunRows,
    pack: Pack,
    scores: Floats32,
) -> Material:
    """Rows with their (N, L) scores, and what is known around them."""
    record, rows, data = trained.record, chosen.rows, trained.record.config.data
    seen = find_seen(trained.run_dir, chosen, pack, record)
    if seen is None and not chosen.external:
        console.warn(f"{trained.run_dir.seen_path}: missing; no image tells what was trained on")
    predictions = _predictions(name, trained, chosen, scores, options.blank)
    is_plain = options.tta == "none"
    facts = _facts(trained, chosen, options, seen)
    facts |= {"flow": _flow(chosen, facts["views"]), "missing": _missing(chosen, trained.labels)}
    if trained.likeness is not None:
        distances = trained.likeness.distances(squares_of(pack, rows))
        facts |= _strangers(distances, trained.likeness.limit, predictions, facts["notes"])
    own_valid = chosen.split == "valid" and not chosen.external
    is_selection = chosen.split == record.provenance.selected_on and not chosen.external
    is_logged = is_plain and is_selection and not chosen.whole and options.blank == "zeros"
    if is_logged and facts["same_data_as_training"]:
        facts["notes"] += _unlike_log(trained, predictions)
    own_fold = own_valid and data.folds is not None
    training = None
    if predictions.has_targets:
        training = _training_rows(trained, chosen, options.blank, datasets)
    row_of = dict(zip(predictions.paths, rows.tolist(), strict=True))
    return Material(
        predictions,
        results_dir,
        facts,
        training,
        lambda path: read_source_image(chosen.manifest, row_of[path]),
        fits_calibration=own_valid,
        without_calibration=not is_plain
        or (chosen.other_splits and not facts["same_data_as_training"])
        or bool(seen and seen.selected_on and not own_valid),
        fold=Fold(data.fold, fingerprint_of_deal(chosen.manifest)) if own_fold else None,
        is_saved=is_plain,
        is_part=chosen.whole is not None,
    )


def _strangers(
    distances: Array, limit: float, predictions: Predictions, notes: list[str]
) -> dict[str, Any]:
    """Rows beyond the limit: flagged in the predictions, counted, and noted."""
    beyond = distances > limit
    predictions.columns.update(training_distance=distances, unlike_training=beyond * 1.0)
    if beyond.any():
        notes.append(
            f"{beyond.sum():,} of {len(beyond):,} images ({beyond.mean():.1%}) are unlike the "
            f"images that {predictions.run} was trained on (distance above {limit:.3g})."
        )
    return {"n_unlike": int(beyond.sum())}


def _training_rows(
    trained: TrainedRun, chosen: RunRows, blank: BlankPolicy, datasets: Datasets
) -> KnownRows | None:
    """View, age, sex and targets of the training split, for the baseline and the shift."""
    try:
        seen = datasets.training_rows_of(trained.record, chosen)
    except (DataError, ConfigError):
        console.note("the data trained on is not at hand: no baseline from it, no shift note")
        return None
    table = seen.manifest.table.iloc[seen.rows]
    columns = {str(name): _values(table[name]) for name in table}
    return KnownRows(Covariates.of(columns, len(table)), _targets(seen, trained.labels, blank))


def _score(trained: TrainedRun, pack: Pack, rows: Ints, options: EvaluateOptions) -> Floats32:
    """Scores (N, L) of `rows`."""
    n_workers = options.num_workers
    if n_workers is None:
        n_workers = trained.record.config.runtime.num_workers
    views = tta_views(options.tta)
    found = []
    with console.steps(f"scoring with {trained.run_dir.name}", len(rows) * len(views)) as bar:
        for view in views:
            batches = evaluation_batches(
                pack,
                rows,
                image_size=trained.image_size,
                batch_size=options.batch_size,
                num_workers=n_workers,
                view=view,
                device=trained.device,
            )
            found.append(trained.scores(batches, bar.advance))
    return mean_scores(found)


def _targets(chosen: RunRows, labels: tuple[str, ...], blank: BlankPolicy) -> Floats32:
    """(N, L) targets; a label that the dataset does not have is unknown throughout."""
    manifest = chosen.manifest
    missing = [label for label in labels if label not in manifest.labels]
    if manifest.labels and len(missing) == len(labels):
        raise DataError(
            f"{manifest.root}: has none of the run's labels ({', '.join(labels)}), only "
            f"{', '.join(manifest.labels)}; evaluate it on a dataset that shares some"
        )
    if manifest.labels and missing:
        console.note(f"{manifest.name} has no column for {', '.join(missing)}: not scored")
    raw, is_annotated = _raw_labels(chosen, labels)
    return evaluation_targets(raw, blank, annotated=is_annotated)


def _raw_labels(chosen: RunRows, labels: tuple[str, ...]) -> tuple[Floats32, Flags]:
    """(N, L) labels as the source has them, and whether they are annotated there."""
    table = chosen.manifest.table.iloc[chosen.rows].reindex(columns=list(labels))
    is_annotated = annotated_in_split(chosen.manifest, chosen.split, labels, chosen.rows)
    return table.to_numpy(np.float32), is_annotated


def _flow(chosen: RunRows, views: str) -> list[FlowStep]:
    """Rows and patients of the dataset, of the split, of the views in it, and of those scored."""
    manifest = chosen.manifest
    in_split = np.flatnonzero(manifest.table["split"] == chosen.split)
    steps = {
        f"all of {manifest.name}": np.arange(len(manifest)),
        f"split {chosen.split}": in_split,
        f"views: {views}": select_rows(manifest, chosen.split, views),
        "read and scored": chosen.rows,
    }
    patients = manifest.table["patient"].to_numpy(object)
    counted = {name: (len(rows), len(set(patients[rows]))) for name, rows in steps.items()}
    return [
        FlowStep(name=name, n_rows=n_rows, n_patients=n if manifest.patients_known else None)
        for name, (n_rows, n) in counted.items()
    ]


def _missing(chosen: RunRows, labels: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """Per label the scored rows that are uncertain or blank in the source, or not annotated."""
    found = {}
    for label, raw, known in zip(labels, *(x.T for x in _raw_labels(chosen, labels)), strict=True):
        counts = {"uncertain": (raw == -1).sum()} if label in chosen.manifest.labels else {}
        counts |= {"blank": (np.isnan(raw) & known).sum()} if known.any() else {}
        counts |= {} if known.all() else {"not annotated": (~known).sum()}
        found[label] = {kind: int(n) for kind, n in counts.items()}
    return found


def _predictions(
    run: str, trained: TrainedRun, chosen: RunRows, scores: Floats32, blank: BlankPolicy
) -> Predictions:
    manifest = chosen.manifest
    table = manifest.table.iloc[chosen.rows]
    names = [name for name in ("view", "sex", "age_years", *manifest.joined) if name in table]
    known = manifest.patients_known
    return Predictions(
        run=run,
        dataset=manifest.name,
        split=chosen.split,
        labels=trained.labels,
        paths=tuple(table["path"]),
        patients=tuple(table["patient"]) if known else None,
        studies=tuple(table["study"]) if known else None,
        targets=_targets(chosen, trained.labels, blank),
        scores=scores,
        columns={name: _values(table[name]) for name in names},
    )


def _values(column: Any) -> NDArray[Any]:
    if column.dtype.kind in "fiu":
        return np.asarray(column.to_numpy(np.float64))
    return np.asarray(column.fillna("").astype(str).to_numpy(object))


def _unlike_log(trained: TrainedRun, rows: Predictions) -> Iterator[str]:
    """A note where the training log has other AUROCs of the same labels on the same rows."""
    provenance, run_dir = trained.record.provenance, trained.run_dir
    log = run_dir.read_log() if run_dir.log_path.exists() else pd.DataFrame({"epoch": []})
    columns = zip(rows.labels, rows.targets.T, rows.scores.T, strict=True)
    now = {f"val_auc_{label}": auroc(targets, scores) for label, targets, scores in columns}
    then = log[log["epoch"] == provenance.best_epoch].reindex(columns=[*now])
    both = np.asarray([*then.to_numpy(np.float64), [*now.values()]])
    both = both[:, np.isfinite(both).all(axis=0)]
    if len(both) == 2 and both.size and abs(np.subtract(*both.mean(axis=1))) > _LOG_ROUNDING:
        before, after = both.mean(axis=1)
        yield (
            f"The training log has a mean AUROC of {before:.3f} on these rows, this evaluation "
            f"{after:.3f} over the same {count(both.shape[1], 'label')}: more than rounding, so "
            "these are not the weights or images of that epoch; train again."
        )


def _used_before(
    record: RunRecord, chosen: RunRows, seen: SeenBefore | None, *, same: bool
) -> list[str]:
    own, used = not chosen.external, []
    if own and chosen.split == "train":
        used.append("training")
    elif seen and (trained_on := seen.text()):
        used.append(f"training ({trained_on})")
    elif own and chosen.other_splits and not same and not seen:
        used.append("perhaps training (--splits are not the run's)")
    source = chosen.manifest.source.replace("chexpert", "")  # that layout is anybody's
    called, known = f"{chosen.manifest.name} {source}".lower(), record.provenance.published
    words = known["called"] if isinstance(known.get("called"), list) else []
    if alike := [word for word in words if str(word) in called]:
        used.append(f"perhaps training (it is called {alike[0]}, as data trained on)")
    if record.config.select.checkpoint == "best":
        if own and chosen.split == record.provenance.selected_on:
            used.append("checkpoint selection")
        elif seen and seen.selected_on:
            used.append(f"checkpoint selection ({seen.selected_on:,} of these images)")
    return used


def _facts(
    trained: TrainedRun, chosen: RunRows, options: EvaluateOptions, seen: SeenBefore | None
) -> dict[str, Any]:
    provenance = trained.record.provenance
    here = fingerprint(chosen.manifest)
    own, facts = not chosen.external, provenance.dataset
    names = known_names(chosen.manifest, facts)
    same = facts and all(names)
    used = _used_before(trained.record, chosen, seen, same=same is True)
    notes = entries(
        "evaluation_notes",
        provenance=provenance,
        own=own,
        partly=any(names),
        same=same,
        used=used,
        seen=seen,
        trained_on=seen.text() if seen else "",
        tta=options.tta,
        n_views=TTA_VIEWS.get(options.tta, 1),
    )
    return {
        "synthetic": chosen.manifest.synthetic,
        "trained_on": facts.name if facts else "",
        "rows_used_for": used,
        "blank": options.blank,
        "views": options.views or trained.record.config.data.views,
        "tta": options.tta,
        "checkpoint_sha256": trained.sha256,
        "dataset_fingerprint": here,
        "same_data_as_training": same,
        "external": not (own or used or any(names) or (seen and seen.selected_on)),
        "seen": seen,
        "origin": provenance.origin(),
        "one_class_in_training": provenance.one_class("train"),
        "notes": notes,
    }
