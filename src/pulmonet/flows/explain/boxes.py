"""`explain --boxes`: how well heat maps localise the findings, beside four baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pulmonet.arrays import Flags, Pixels
from pulmonet.data.images.read import read_source_image
from pulmonet.data.manifest import Manifest, fingerprint_of_deal
from pulmonet.data.regions import Key, Region, read_regions
from pulmonet.errors import ConfigError, DataError
from pulmonet.explain.checks import localization
from pulmonet.explain.checks.localization import MapScores, score_map
from pulmonet.explain.checks.sanity import randomised
from pulmonet.explain.maps.methods import maps_of_variants, to_network_input
from pulmonet.explain.maps.variants import MapVariant
from pulmonet.explain.results import BASELINES, LabelLocalization, Localization
from pulmonet.files.paths import portable_path
from pulmonet.files.write import to_json
from pulmonet.flows import console
from pulmonet.flows.dataset import Datasets, RunRows, left_out
from pulmonet.flows.explain.options import Settled
from pulmonet.flows.explain.screen import show_localization
from pulmonet.flows.seen import taught_rows
from pulmonet.labels import resolve_label
from pulmonet.models.trained import TrainedRun, load_run
from pulmonet.run.folder import RunDir
from pulmonet.run.record import joint_digest
from pulmonet.words import count, list_first

#: Networks with fresh weights whose maps are averaged for the fourth baseline.
N_RANDOM_NETWORKS = 3
BATCH_SIZE = 8


@dataclass(frozen=True)
class Case:
    """One label on one image: its region on the square, and scores by row of the table."""

    label: str
    path: str
    patient: str
    mask: Flags
    scores: dict[str, MapScores]


@dataclass
class Scored:
    """What came of one run, or of several of disjoint patients, each scored on its own."""

    runs: list[str]
    cases: list[Case]
    path: Path  # where the regions are from
    n_unmatched: int
    places: set[tuple[str, str, str]]  # label, image and patient of its regions, taught ones too
    n_taught: int  # regions left out
    cells: dict[str, tuple[int, int]]  # height and width of each way's maps

    def seen(self) -> set[str]:
        """Its images and patients."""
        return {name for _, *names in self.places for name in names}


def score_localization(
    task: Settled, trained: TrainedRun, chosen: RunRows, datasets: Datasets
) -> Localization:
    """Score the maps of all rows of the split that have a region of a wanted label.

    Of several runs those that share no patient are pooled (patient folds), each scored on its own
    fold; those of the same rows are compared.

    Raises:
        DataError: the file is no box file, no region fits split and labels, or a run learned from
            boxes of all the patients.
        ConfigError: two runs share some of the images or patients of the split, and not all, or
            their different rows are of different datasets.
    """
    groups: list[Scored] = []
    first = chosen
    digests: list[str] = []
    for number, run_dir in enumerate((task.run_dir, *task.further_runs)):
        if number:
            trained = load_run(run_dir, task.device)
            chosen = datasets.rows_of(trained.record, task)
            _check_datasets(first, chosen, task)
        digests.append(trained.sha256)
        found = score_run(task, trained, chosen, run_dir)
        here = found.seen()
        if group := next((group for group in groups if group.seen().isdisjoint(here)), None):
            group.runs += found.runs
            group.cases += found.cases
            group.places |= found.places
            group.n_taught += found.n_taught
        else:
            groups.append(found)
    ends = [f" of {group.runs[0]}" if len(groups) > 1 else "" for group in groups]
    cases = _merge(groups, ends, f"--run {task.run}: some", chosen.split)
    result = Localization(
        runs=[name for group in groups for name in group.runs],
        groups=[group.runs for group in groups],
        variants=[
            way.model_copy(update={"name": f"{way.name}{end}", "cells": group.cells[way.name]})
            for group, end in zip(groups, ends, strict=True)
            for way in task.variants
        ],
        dataset=chosen.manifest.name,
        split=chosen.split,
        synthetic=chosen.manifest.synthetic,
        regions=portable_path(found.path),
        n_unmatched=found.n_unmatched,
        n_resamples=task.n_resamples,
        n_random_networks=N_RANDOM_NETWORKS,
        checkpoint_sha256=joint_digest(digests),
        labels={
            label: _compare(own, ends, task)
            for label in task.labels
            if (own := [case for case in cases if case.label == label])
        },
        n_taught=sum(group.n_taught for group in groups),
    )
    task.ledger.write(task.folder / "localization.json", to_json(result))
    show_localization(task.labels, result)
    return result


def _check_datasets(first: RunRows, chosen: RunRows, task: Settled) -> None:
    """Refuse other rows of another dataset: the same images have other names and patients there."""
    both = (first.manifest, first.rows), (chosen.manifest, chosen.rows)
    rows, others = (
        (one.root.resolve(), one.table[["path", "patient"]].iloc[own].to_numpy(object).tolist())
        for one, own in both
    )
    if rows != others and len({fingerprint_of_deal(one) for one, _ in both}) > 1:
        names = " and ".join(dict.fromkeys(one.name for one, _ in both))
        text = f"--run {task.run}: their rows are of different datasets ({names})"
        raise ConfigError(f"{text}; name one dataset with --data-dir")


def _merge(groups: Sequence[Scored], ends: Sequence[str], some: str, split: str) -> list[Case]:
    """The cases that all groups have, with the scores of all: `ends` stand behind their names.

    Errors as of `score_localization`; `some` of the runs begin their messages.
    """
    if any(group.places != groups[0].places for group in groups):
        raise ConfigError(
            f"{some} share images or patients of split '{split}', and not all; pool runs of "
            "disjoint patient folds, or compare runs on the same rows"
        )
    cases = {(case.label, case.path): case for case in groups[0].cases}
    for group, end in zip(groups, ends, strict=True):
        for case in group.cases:
            named = {f"{name}{end}": found for name, found in case.scores.items()}
            if kept := cases.get((case.label, case.path)):
                kept.scores.update(named)
    everywhere = set.intersection(
        *({(case.label, case.path) for case in group.cases} for group in groups)
    )
    if not everywhere:
        raise DataError(f"{some} learned from the boxes of each patient; choose another --split")
    return [case for key, case in cases.items() if key in everywhere]


def score_run(task: Settled, trained: TrainedRun, chosen: RunRows, run_dir: RunDir) -> Scored:
    """Scores of one run's maps and of all baselines, patients left out whose boxes it learned from.

    DataError: as `score_localization`.
    """
    manifest = chosen.manifest
    regions, n_unmatched, path = read_regions(task.boxes or Path(), manifest)
    if n_unmatched:
        console.note(f"{path.name}: {n_unmatched:,} regions of images outside this dataset")
    keys = _keys(regions, task, chosen, path)
    rows = np.asarray([row for row, _ in keys], np.int64)
    taught = taught_rows(run_dir, trained.record, chosen, rows)
    if n_taught := int(taught.sum()):
        whose = f"of patients whose boxes {run_dir.name} learned from"
        if n_taught == len(keys):
            what = f"{path}: all {n_taught:,} regions of split '{chosen.split}' are {whose}"
            raise DataError(f"{what}; choose another --split, or data that it was not trained on")
        console.warn(f"left out {count(n_taught, 'region')} {whose}; {len(keys) - n_taught:,} left")
    patients, paths = (manifest.table[name].to_numpy(object) for name in ("patient", "path"))
    places = {(label, paths[row], patients[row]) for row, label in keys}
    keys, rows = [key for key, gone in zip(keys, taught, strict=True) if not gone], rows[~taught]
    cases, cells = _score_cases(task, trained, manifest, {key: regions[key] for key in keys})
    bad: dict[int, str] = {}
    outside = ~np.isin(patients, patients[rows])
    for label in task.labels:
        own = [case for case in cases if case.label == label]
        others = sorted(row for row, name in regions if name == label and outside[row])
        if own:
            masks = (_mask(regions[row, label], row, trained, manifest, bad) for row in others)
            _add_priors(own, [mask for mask in masks if mask is not None])
    if bad:
        reasons = list_first(text.partition(";")[0] for text in bad.values())
        console.warn(f"left out of the priors {count(len(bad), 'unreadable image')}: {reasons}")
    return Scored([run_dir.name], cases, path, n_unmatched, places, n_taught, cells)


def _compare(cases: Sequence[Case], ends: Sequence[str], task: Settled) -> LabelLocalization:
    """Each way against its own randomised networks and the baselines that all folds have.

    Of several groups of runs, whose rows have different `ends`, also against the first group's.
    """
    ways = {
        f"{way.name}{end}": f"{_randomised_row(way, task)}{end}"
        for end in ends
        for way in task.variants
    }
    scores = {
        row: [case.scores[row] for case in cases]
        for row in (*ways, *BASELINES[:3], *ways.values())
        if all(row in case.scores for case in cases)
    }
    pairs = [(way, base) for way, random in ways.items() for base in (*BASELINES[:3], random)]
    pairs += [
        (f"{way.name}{end}", f"{way.name}{ends[0]}") for end in ends[1:] for way in task.variants
    ]
    return localization.compare_with_baselines(
        scores, [case.patient for case in cases], pairs=pairs, n_resamples=task.n_resamples
    )


def _randomised_row(variant: MapVariant, task: Settled) -> str:
    return BASELINES[3] if len(task.variants) == 1 else f"{BASELINES[3]}, {variant.name}"


def _mask(
    region: Region, row: int, trained: TrainedRun, manifest: Manifest, bad: dict[int, str]
) -> Flags | None:
    """A region of an image that is not scored; it is read only where its shape matters."""
    height, width = 1, 1
    if trained.fit != "stretch" and region.mask is None:
        if (image := _read(row, trained, manifest, bad)) is None:
            return None
        height, width = image.shape
    return region.on_square(trained.image_size, height, width, trained.fit)


def _read(row: int, trained: TrainedRun, manifest: Manifest, bad: dict[int, str]) -> Pixels | None:
    """An image; None of one that cannot be read, why is in `bad`. DataError without skip_bad."""
    try:
        return read_source_image(manifest, row)
    except DataError as error:
        if not trained.record.config.data.skip_bad:
            raise
        bad[row] = str(error)
        return None


def _keys(regions: Mapping[Key, Region], task: Settled, chosen: RunRows, path: Path) -> list[Key]:
    """The images and labels to score, in order."""
    rows = set(chosen.rows.tolist())
    keys = sorted(key for key in regions if key[0] in rows and key[1] in task.labels)
    first = sorted({row for row, _ in keys})[: task.n_rows]
    if not keys:
        there = sorted({label for _, label in regions})
        raise DataError(
            f"{path}: no region of {list_first(task.labels)} in split '{chosen.split}'; it has "
            f"{list_first(there, 12) or 'none'}; choose another --label or --split"
        )
    return [key for key in keys if key[0] in first]


def _score_cases(
    task: Settled, trained: TrainedRun, manifest: Manifest, regions: Mapping[Key, Region]
) -> tuple[list[Case], dict[str, tuple[int, int]]]:
    """Scores of the run's maps, and of the randomised networks' mean map, for every region.

    And height and width of each way's maps in cells.
    """
    networks = [trained.network]
    networks += [randomised(trained.network, seed=seed) for seed in range(N_RANDOM_NETWORKS)]
    labels = [label for label in task.labels if any(label == name for _, name in regions)]
    columns = [trained.labels.index(resolve_label(label, trained.labels)) for label in labels]
    patients, paths = (manifest.table[name].to_numpy(object) for name in ("patient", "path"))
    rows = sorted({row for row, _ in regions})
    cases: list[Case] = []
    cells: dict[str, tuple[int, int]] = {}
    bad: dict[int, str] = {}

    with console.steps("Scoring maps", len(rows)) as progress:
        for start in range(0, len(rows), BATCH_SIZE):
            part = rows[start : start + BATCH_SIZE]
            read = ((row, _read(row, trained, manifest, bad)) for row in part)
            images = {row: image for row, image in read if image is not None}
            progress.advance(len(part))
            if not images:
                continue
            pixels = to_network_input(list(images.values()), trained)
            own, *random = (
                maps_of_variants(network, pixels, columns, task.variants) for network in networks
            )
            cells = {way.name: own[way].raw.shape[2:] for way in task.variants}
            for row, label in (key for key in regions if key[0] in images):
                where = list(images).index(row), labels.index(label)
                height, width = images[row].shape
                mask = regions[row, label].on_square(trained.image_size, height, width, trained.fit)
                scores: dict[str, MapScores] = {}
                for way in task.variants:
                    mean = np.mean([maps[way].maps[where] for maps in random], axis=0)
                    scores[way.name] = score_map(own[way].maps[where], mask)
                    scores[_randomised_row(way, task)] = score_map(mean, mask)
                cases.append(Case(label, paths[row], str(patients[row]), mask, scores))
    left_out(bad, np.asarray(rows), str(manifest.table["split"].iloc[rows[0]]))
    return cases, cells


def _add_priors(cases: Sequence[Case], references: Sequence[Flags]) -> None:
    """Baselines that look at no image; priors of unscored, else of the other scored patients."""
    centre = localization.image_centre(cases[0].mask.shape[0])
    for case in cases:
        case.scores[BASELINES[2]] = score_map(centre, case.mask)
    others = [
        references or [other.mask for other in cases if other.patient != case.patient]
        for case in cases
    ]
    priors = zip(BASELINES, (localization.prior_density, localization.mean_box), strict=False)
    for name, make in priors if all(others) else ():
        shared = make(references) if references else None
        for case, rest in zip(cases, others, strict=True):
            case.scores[name] = score_map(make(rest) if shared is None else shared, case.mask)
