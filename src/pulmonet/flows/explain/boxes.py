"""`explain --boxes`: how well heat maps point at the findings, beside four baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pulmonet.data.images.read import read_source_image
from pulmonet.data.manifest import Manifest
from pulmonet.errors import DataError
from pulmonet.explain.checks.chexlocalize import read_segmentations
from pulmonet.explain.checks.localization import (
    MapScores,
    compare_with_baselines,
    image_centre,
    mean_box,
    prior_density,
    score_map,
)
from pulmonet.explain.checks.randomisation import randomised
from pulmonet.explain.checks.regions import Key, Region, labels_of, read_box_regions
from pulmonet.explain.maps.methods import maps_of_variants, to_network_input
from pulmonet.explain.maps.variants import Variant
from pulmonet.explain.results import BASELINES, LabelLocalization, Localization, MapVariant
from pulmonet.files.paths import portable_path
from pulmonet.files.write import write_json
from pulmonet.flows import console
from pulmonet.flows.dataset import Datasets, RunRows
from pulmonet.flows.explain.options import Settled
from pulmonet.flows.explain.screen import show_localization
from pulmonet.flows.folds import DisjointFolds
from pulmonet.labels import resolve_label
from pulmonet.models.trained import TrainedRun, load_run
from pulmonet.words import list_first

#: Networks with fresh weights whose maps are averaged for the fourth baseline.
N_RANDOM_NETWORKS = 3
BATCH_SIZE = 8

Mask = NDArray[np.bool_]
#: By variant: scores of the run's map, and of the randomised networks' mean map.
_OwnAndRandom = dict[Variant, tuple[MapScores, MapScores]]


@dataclass
class _Cases:
    """One label's cases, of all folds: scores by row of the table, and whose image each is."""

    scores: dict[str, list[MapScores]] = field(default_factory=dict)
    owners: list[str] = field(default_factory=list)

    def add(self, scores: Mapping[str, list[MapScores]], owners: Sequence[str]) -> None:
        """Further cases; a baseline that one fold lacks is left out of the whole."""
        if not self.owners:
            self.scores = {name: list(found) for name, found in scores.items()}
        else:
            self.scores = {
                name: found + scores[name] for name, found in self.scores.items() if name in scores
            }
        self.owners += owners


def score_localization(
    task: Settled, trained: TrainedRun, chosen: RunRows, datasets: Datasets
) -> Localization:
    """Score the maps of all rows of the split that have a region of a wanted label.

    With several runs (patient folds) each is scored on the split of its own fold, and their
    cases are pooled. Several methods and layers are scored on the same cases.

    Raises:
        DataError: the file is no box file, or no region fits split and labels.
        ConfigError: two of several runs share an image or a patient of the split.
    """
    pooled = {label: _Cases() for label in task.labels}
    disjoint = DisjointFolds()
    n_unmatched, path = 0, task.boxes or Path()
    for number, run_dir in enumerate((task.run_dir, *task.further_runs)):
        if number:
            trained = load_run(run_dir, task.device)
            chosen = datasets.rows_of(trained.record, task)
        manifest, split = chosen.manifest, chosen.split
        regions, n_unmatched, path = _read_regions(path, manifest)
        cases = _cases(regions, task, chosen, path)
        scored = manifest.table.iloc[[row for row, _ in cases]]
        disjoint.add(scored["path"], scored["patient"], run=f"--run {run_dir.name}", split=split)
        _score_fold(task, trained, manifest, cases, regions, pooled)
    labels = {label: _compare(found, task) for label, found in pooled.items() if found.owners}
    result = Localization(
        runs=[run_dir.name for run_dir in (task.run_dir, *task.further_runs)],
        variants=[
            MapVariant(name=variant.name, method=variant.method, layer=variant.layer)
            for variant in task.variants
        ],
        dataset=manifest.name,
        split=split,
        synthetic=manifest.synthetic,
        regions=portable_path(path),
        n_unmatched=n_unmatched,
        n_resamples=task.n_resamples,
        n_random_networks=N_RANDOM_NETWORKS,
        labels=labels,
    )
    write_json(task.folder / "localization.json", result)
    show_localization(task.labels, result)
    return result


def _compare(found: _Cases, task: Settled) -> LabelLocalization:
    """Each variant against the baselines that look at no image and its own randomised networks."""
    pairs = [
        (variant.name, baseline)
        for variant in task.variants
        for baseline in (*BASELINES[:3], _randomised_row(variant, task))
    ]
    return compare_with_baselines(
        found.scores, found.owners, pairs=pairs, n_resamples=task.n_resamples
    )


def _randomised_row(variant: Variant, task: Settled) -> str:
    return BASELINES[3] if len(task.variants) == 1 else f"{BASELINES[3]}, {variant.name}"


def _score_fold(
    task: Settled,
    trained: TrainedRun,
    manifest: Manifest,
    cases: Sequence[Key],
    regions: Mapping[Key, Region],
    pooled: Mapping[str, _Cases],
) -> None:
    """Add one run's cases to the pool; priors come from patients outside its split."""
    scores, masks = _score_cases(task, trained, manifest, cases, regions)
    patients = manifest.table["patient"].to_numpy(object)
    scored = {patients[row] for row, _ in cases}
    for label, found in pooled.items():
        keys = [key for key in cases if key[1] == label]
        if not keys:
            continue
        others = sorted(row for row, name in regions if name == label)
        references = [
            _on_square(regions[row, label], row, trained, manifest)
            for row in others
            if patients[row] not in scored
        ]
        owners = [str(patients[row]) for row, _ in keys]
        own = {way.name: [scores[key][way][0] for key in keys] for way in task.variants}
        random = {
            _randomised_row(way, task): [scores[key][way][1] for key in keys]
            for way in task.variants
        }
        found.add(
            own | _prior_scores([masks[key] for key in keys], owners, references) | random, owners
        )


def _on_square(region: Region, row: int, trained: TrainedRun, manifest: Manifest) -> Mask:
    """A region of an image that is not scored; it is read only where its shape matters."""
    shape = (1, 1) if trained.fit == "stretch" else read_source_image(manifest, row).shape
    return region.on_square(trained.image_size, shape[0], shape[1], trained.fit)


def _read_regions(boxes: Path, manifest: Manifest) -> tuple[dict[Key, Region], int, Path]:
    path = boxes if boxes.exists() or boxes.is_absolute() else manifest.root / boxes
    if not path.exists():
        raise DataError(
            f"--boxes {boxes}: no such file, here or in {manifest.root}; name a boxes.csv, or "
            "CheXlocalize's JSON"
        )
    read = read_segmentations if path.suffix.lower() == ".json" else read_box_regions
    regions, n_unmatched = read(path, manifest)
    if n_unmatched:
        console.note(f"{path.name}: {n_unmatched:,} regions of images outside this dataset")
    return regions, n_unmatched, path


def _cases(
    regions: Mapping[Key, Region],
    task: Settled,
    chosen: RunRows,
    path: Path,
) -> list[Key]:
    rows = set(chosen.rows.tolist())
    cases = sorted(k for k in regions if k[0] in rows and k[1] in task.labels)
    if task.n_rows is not None:
        first = set(sorted({row for row, _ in cases})[: task.n_rows])
        cases = [key for key in cases if key[0] in first]
    if not cases:
        raise DataError(
            f"{path}: no region of {list_first(task.labels)} in split '{chosen.split}'; it has "
            f"{list_first(labels_of(regions), 12) or 'none'}; choose another --label or --split"
        )
    return cases


def _score_cases(
    task: Settled,
    trained: TrainedRun,
    manifest: Manifest,
    cases: Sequence[Key],
    regions: Mapping[Key, Region],
) -> tuple[dict[Key, _OwnAndRandom], dict[Key, Mask]]:
    """Per case and variant the scores of the run and of the randomised networks; the regions."""
    networks = [trained.network]
    networks += [randomised(trained.network, seed=seed) for seed in range(N_RANDOM_NETWORKS)]
    named = {label for _, label in cases}
    labels = [label for label in task.labels if label in named]
    columns = [trained.labels.index(resolve_label(label, trained.labels)) for label in labels]
    scores: dict[Key, _OwnAndRandom] = {}
    masks: dict[Key, Mask] = {}
    rows = sorted({row for row, _ in cases})
    with console.steps("Scoring maps", len(rows)) as progress:
        for start in range(0, len(rows), BATCH_SIZE):
            part = rows[start : start + BATCH_SIZE]
            images = [read_source_image(manifest, row) for row in part]
            pixels = to_network_input(images, trained)
            own, *random = (
                maps_of_variants(network, pixels, columns, task.variants) for network in networks
            )
            for key in (key for key in cases if key[0] in part):
                where = part.index(key[0]), labels.index(key[1])
                height, width = images[where[0]].shape
                mask = regions[key].on_square(trained.image_size, height, width, trained.fit)
                masks[key] = mask
                scores[key] = {
                    way: (
                        score_map(own[way][where], mask),
                        score_map(np.mean([maps[way][where] for maps in random], axis=0), mask),
                    )
                    for way in task.variants
                }
            progress.advance(len(part))
    return scores, masks


def _prior_scores(
    masks: Sequence[Mask], owners: Sequence[str], references: Sequence[Mask]
) -> dict[str, list[MapScores]]:
    """The three baselines that look at no image; left out where no other patient has a region.

    Priors come from patients that are not scored; where there are none, from all scored
    patients but the image's own.
    """
    centre = image_centre(masks[0].shape[0])
    found = {BASELINES[2]: [score_map(centre, mask) for mask in masks]}
    others = [
        list(references)
        or [other for other, owner in zip(masks, owners, strict=True) if owner != own]
        for own in owners
    ]
    if all(others):
        for name, make in ((BASELINES[0], prior_density), (BASELINES[1], mean_box)):
            shared = make(others[0]) if references else None
            found[name] = [
                score_map(make(rest) if shared is None else shared, mask)
                for rest, mask in zip(others, masks, strict=True)
            ]
    return {name: found[name] for name in BASELINES if name in found}
