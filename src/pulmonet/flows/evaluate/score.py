"""From a run and a dataset to predictions: the half of `evaluate` that needs torch and images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulmonet.choices import SPLITS, TTA_VIEWS
from pulmonet.config.schema import DataConfig
from pulmonet.data.batches.augment import tta_views
from pulmonet.data.batches.load import evaluation_batches
from pulmonet.data.images.read import read_source_image
from pulmonet.data.manifest import Manifest
from pulmonet.data.pack.open import open_pack
from pulmonet.data.sources import locate_dataset, read_manifest
from pulmonet.data.splits.choose import annotated_in_split, select_rows
from pulmonet.data.splits.fingerprint import fingerprint, fingerprint_of_deal
from pulmonet.errors import ArtifactError, ConfigError, DataError
from pulmonet.flows import console
from pulmonet.flows.dataset import check_split, is_own_dataset, open_dataset, run_data
from pulmonet.flows.evaluate.folders import check_folder, tta_name
from pulmonet.flows.evaluate.material import Fold, Material
from pulmonet.labels import evaluation_targets
from pulmonet.metrics.baseline import Covariates
from pulmonet.metrics.shift import KnownRows
from pulmonet.models.inference import mean_scores, predict
from pulmonet.models.trained import TrainedRun, load_run
from pulmonet.run.folder import RunDir
from pulmonet.run.predictions import Predictions
from pulmonet.run.record import RunRecord


class Datasets:
    """Datasets opened so far, so that several runs on the same rows read them once."""

    def __init__(self) -> None:
        self._opened: dict[str, Manifest] = {}
        self._named: set[Path] = set()

    def open(self, data: DataConfig, seed: int, *, keep_split: bool) -> Manifest:
        """The manifest that `data` describes; `keep_split` keeps a split that is drawn here.

        Raises:
            DataError: no dataset, or one that cannot be used.
        """
        of_rows = data.model_dump(
            mode="json",
            include={"data_dir", "folds", "fold", "valid_fraction", "join", "map", "splits"},
        )
        key = repr((of_rows, seed))
        if key not in self._opened:
            root = locate_dataset(data.data_dir)
            if root in self._named:  # other folds or seed: its line has been said
                self._opened[key] = read_manifest(root, data, seed, keep_split=keep_split)
            else:
                self._opened[key] = open_dataset(data, seed, keep_split=keep_split)
                self._named.add(root)
        return self._opened[key]


@dataclass(frozen=True)
class _Rows:
    """The rows to score.

    Attributes:
        manifest: the dataset.
        rows: manifest row numbers.
        split: their split.
        external: whether the dataset is another than the one trained on.
        other_splits: whether the splits need not be those trained with.
    """

    manifest: Manifest
    rows: NDArray[np.int64]
    split: str
    external: bool
    other_splits: bool = False


def predict_run(
    run_dir: RunDir,
    datasets: Datasets,
    *,
    data_dir: str | None,
    columns: Mapping[str, Any],
    split: str | None,
    views: str | None,
    blank: str,
    batch_size: int,
    num_workers: int | None,
    device: str,
    tta: str,
) -> Material:
    """Score the rows of a split with a run's best checkpoint and write the predictions.

    Args:
        run_dir: the run.
        datasets: opened so far.
        data_dir: another dataset than the run's own, or where it lies now.
        columns: ``map``, ``join`` and ``splits`` where they are not the run's own.
        split: train, valid or test; valid when None, else the only one.
        views: all, frontal, AP, PA or lateral; the run's when None.
        blank: zeros or ignore.
        batch_size: images a forward pass.
        num_workers: loader threads; the run's when None.
        device: auto, cpu, cuda, ...
        tta: none, jitter or flip: views of each image to average over. Such results go to a
            folder of their own, and thresholds chosen on them serve nothing but themselves.

    Raises:
        ArtifactError: the run is damaged, or the folder of its results is taken.
        DataError: the dataset cannot be used, or lacks the split.
    """
    if blank not in {"zeros", "ignore"}:
        raise ConfigError(f"--blank {blank}: unknown; choose from zeros, ignore")
    if batch_size < 1:
        raise ConfigError(f"--batch-size {batch_size}: at least 1 is needed")
    results_dir = RunDir(run_dir.path.with_name(tta_name(run_dir.name, tta)))
    if tta != "none":
        check_folder(results_dir, None, [], tta=tta, flag="train --name")
    trained = load_run(run_dir, device)
    chosen = _choose(trained.record, datasets, data_dir, columns, split, views)
    scores, chosen = _scores(
        trained, chosen, batch_size=batch_size, num_workers=num_workers, tta=tta
    )
    targets = _targets(chosen, trained.labels, blank)
    predictions = _predictions(results_dir.name, trained.labels, chosen, targets, scores)
    if tta == "none":
        predictions.write(run_dir.predictions_path(predictions.dataset, predictions.split))
    facts = _facts(trained, chosen, blank, views or trained.record.config.data.views)
    if tta != "none":
        facts["tta"] = tta
        facts["notes"] += [f"Each score is the mean over {TTA_VIEWS[tta]} views (--tta {tta})."]
    return Material(
        predictions,
        results_dir,
        facts,
        _training_rows(trained, chosen, datasets, blank),
        _image_reader(chosen),
        fits_calibration=chosen.split == "valid" and not chosen.external,
        without_calibration=tta != "none"
        or (chosen.other_splits and not facts["same_data_as_training"]),
        fold=_fold(trained.record.config.data, chosen),
        is_saved=tta == "none",
    )


def _choose(
    record: RunRecord,
    datasets: Datasets,
    data_dir: str | None,
    columns: Mapping[str, Any],
    split: str | None,
    views: str | None,
) -> _Rows:
    config = record.config
    data = run_data(record, data_dir)
    external = not is_own_dataset(record, data)
    if external:  # folds, splits and columns of the run belong to the data it was trained on
        data = DataConfig(data_dir=data.data_dir, skip_bad=data.skip_bad, views=data.views)
    data = data.model_copy(update=dict(columns))
    manifest = datasets.open(data, config.seed, keep_split=external)
    there = [name for name in SPLITS if (manifest.table["split"] == name).any()]
    chosen = split or ("valid" if "valid" in there or len(there) != 1 else there[0])
    if not external and "splits" not in columns:
        check_split(record, manifest, chosen)
    rows = select_rows(manifest, chosen, views or data.views)
    return _Rows(manifest, rows, chosen, external, other_splits="splits" in columns)


def _scores(
    trained: TrainedRun, chosen: _Rows, *, batch_size: int, num_workers: int | None, tta: str
) -> tuple[NDArray[np.float32], _Rows]:
    runtime, data = trained.record.config.runtime, trained.record.config.data
    workers = runtime.num_workers if num_workers is None else num_workers
    with console.steps("packing", 0) as bar:
        pack = open_pack(
            chosen.manifest,
            chosen.rows,
            image_size=trained.image_size,
            fit=trained.fit,
            skip_bad=data.skip_bad,
            progress=bar.reach,
        )
    rows = chosen.rows
    if pack.bad_rows:
        rows = rows[~np.isin(rows, list(pack.bad_rows))]
        console.warn(f"left out {len(pack.bad_rows):,} unreadable images")
    views = tta_views(tta)
    found = []
    with console.steps(f"scoring with {trained.run_dir.name}", len(rows) * len(views)) as bar:
        for view in views:
            batches = evaluation_batches(
                pack,
                rows,
                image_size=trained.image_size,
                batch_size=batch_size,
                num_workers=workers,
                view=view,
                device=trained.device,
            )
            found.append(
                predict(trained.network, batches, device=trained.device, progress=bar.advance)
            )
    scores = mean_scores(found)
    if not np.isfinite(scores).all():
        raise ArtifactError(
            f"{trained.run_dir.best_model_path}: gives scores that are not numbers; the weights "
            "are damaged, train again with --overwrite"
        )
    return scores, replace(chosen, rows=rows)


def _targets(chosen: _Rows, labels: tuple[str, ...], blank: Any) -> NDArray[np.float32]:
    """(N, L) targets; a label that the dataset does not have is unknown throughout."""
    manifest = chosen.manifest
    known = tuple(label for label in labels if label in manifest.labels)
    if not known:
        raise DataError(
            f"{manifest.root}: has none of the run's labels ({', '.join(labels)}), only "
            f"{', '.join(manifest.labels)}; evaluate it on a dataset that shares some"
        )
    missing = [label for label in labels if label not in known]
    if missing:
        console.note(f"{manifest.name} has no column for {', '.join(missing)}: not scored")
    of_known = evaluation_targets(
        manifest.raw_labels(known)[chosen.rows],
        blank,
        annotated=annotated_in_split(manifest, chosen.split, known),
    )
    targets = np.full((len(chosen.rows), len(labels)), np.nan, np.float32)
    targets[:, [labels.index(label) for label in known]] = of_known
    return targets


def _predictions(
    run: str,
    labels: tuple[str, ...],
    chosen: _Rows,
    targets: NDArray[np.float32],
    scores: NDArray[np.float32],
) -> Predictions:
    manifest = chosen.manifest
    table = manifest.table.iloc[chosen.rows]
    names = [name for name in ("view", "sex", "age_years", *manifest.joined) if name in table]
    known = manifest.patients_known
    return Predictions(
        run=run,
        dataset=manifest.name,
        split=chosen.split,
        labels=labels,
        paths=tuple(table["path"]),
        patients=tuple(table["patient"]) if known else None,
        studies=tuple(table["study"]) if known else None,
        targets=targets,
        scores=scores,
        columns={name: _values(table[name]) for name in names},
    )


def _values(column: Any) -> NDArray[Any]:
    if column.dtype.kind in "fiu":
        return np.asarray(column.to_numpy(np.float64))
    return np.asarray(column.fillna("").astype(str).to_numpy(object))


def _facts(trained: TrainedRun, chosen: _Rows, blank: str, views: str) -> dict[str, Any]:
    provenance = trained.record.provenance
    here = fingerprint(chosen.manifest)
    trained_on = provenance.dataset.fingerprint if provenance.dataset else None
    same = None if trained_on is None else here == trained_on
    used: list[str] = []
    notes: list[str] = []
    if not chosen.external:
        if chosen.split == "train":
            used.append("training")
        elif chosen.other_splits and not same:
            used.append("perhaps training (--splits are not the run's)")
        selects = trained.record.config.select.checkpoint == "best"
        if selects and chosen.split == provenance.selected_on:
            used.append("checkpoint selection")
        if same is False:
            notes.append(
                "The data's fingerprint differs from the training's: rows, splits or labels have "
                "changed since."
            )
    else:
        notes.append("Another dataset than the one trained on: external testing.")
    if provenance.status != "finished":
        notes.append(
            f"Training is unfinished ({provenance.status}): these are its best weights so far."
        )
    elif provenance.checkpoint_sha256 is None:
        notes.append("run_config.json has no digest of the checkpoint: it was not checked.")
    return {
        "synthetic": chosen.manifest.synthetic,
        "rows_used_for": used,
        "blank": blank,
        "views": views,
        "checkpoint_sha256": provenance.checkpoint_sha256,
        "dataset_fingerprint": here,
        "same_data_as_training": same,
        "notes": notes,
    }


def _fold(data: DataConfig, chosen: _Rows) -> Fold | None:
    """The run's own fold, where `chosen` is it."""
    own = data.folds is not None and chosen.split == "valid" and not chosen.external
    return Fold(data.fold, fingerprint_of_deal(chosen.manifest)) if own else None


def _training_rows(
    trained: TrainedRun, chosen: _Rows, datasets: Datasets, blank: Any
) -> KnownRows | None:
    """View, age, sex and targets of the training split, for the baseline and the shift."""
    config = trained.record.config
    manifest = chosen.manifest
    try:
        if chosen.external:
            manifest = datasets.open(run_data(trained.record, None), config.seed, keep_split=False)
        rows = select_rows(manifest, "train", config.data.views)  # whole: the same for all runs
    except (DataError, ConfigError):
        console.note("the data trained on is not at hand: no baseline from it, no shift note")
        return None
    table = manifest.table.iloc[rows]
    covariates = Covariates(
        _values(table["view"]), _values(table["sex"]), _values(table["age_years"])
    )
    of_rows = _Rows(manifest, rows, "train", external=False)
    return KnownRows(covariates, _targets(of_rows, trained.labels, blank))


def _image_reader(chosen: _Rows) -> Callable[[str], NDArray[np.uint8]]:
    row_of = {
        path: int(row)
        for path, row in zip(
            chosen.manifest.table["path"].iloc[chosen.rows], chosen.rows, strict=True
        )
    }
    return lambda path: read_source_image(chosen.manifest, row_of[path])
