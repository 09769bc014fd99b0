"""`explain --boxes`: how well heat maps localise the findings, beside four baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pulmonet.arrays import Flags, Pixels
from pulmonet.data.images.read import read_source_image
from pulmonet.data.manifest import Manifest
from pulmonet.data.regions import Key, Region, read_regions
from pulmonet.errors import DataError
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
from pulmonet.flows.pooled_folds import DisjointFolds
from pulmonet.labels import resolve_label
from pulmonet.models.trained import TrainedRun, load_run
from pulmonet.run.record import joint_digest
from pulmonet.words import list_first

#: Networks with fresh weights whose maps are averaged for the fourth baseline.
N_RANDOM_NETWORKS = 3
BATCH_SIZE = 8


@dataclass(frozen=True)
class _Case:
    """One label on one image: its region on the square, and scores by row of the table."""

    label: str
    patient: str
    mask: Flags
    scores: dict[str, MapScores]


def score_localization(
    task: Settled, trained: TrainedRun, chosen: RunRows, datasets: Datasets
) -> Localization:
    """Score the maps of all rows of the split that have a region of a wanted label.

    Of several runs (patient folds) each is scored on its own fold, and their cases are pooled.

    Raises:
        DataError: the file is no box file, or no region fits split and labels.
        ConfigError: two of several runs share an image or a patient of the split.
    """
    pooled: dict[str, list[_Case]] = {}
    disjoint = DisjointFolds()
    digests: list[str] = []
    n_unmatched, path = 0, Path()
    for number, run_dir in enumerate((task.run_dir, *task.further_runs)):
        if number:
            trained = load_run(run_dir, task.device)
            chosen = datasets.rows_of(trained.record, task)
        digests.append(trained.sha256)
        manifest, split = chosen.manifest, chosen.split
        regions, n_unmatched, path = read_regions(task.boxes or Path(), manifest)
        if n_unmatched:
            console.note(f"{path.name}: {n_unmatched:,} regions of images outside this dataset")
        keys = _keys(regions, task, chosen, path)
        scored = manifest.table.iloc[[row for row, _ in keys]]
        disjoint.add(scored["path"], scored["patient"], run=f"--run {run_dir.name}", split=split)
        cases = _score_cases(task, trained, manifest, {key: regions[key] for key in keys})
        outside = ~manifest.table["patient"].isin(scored["patient"]).to_numpy(bool)
        for label in task.labels:
            own = [case for case in cases if case.label == label]
            others = sorted(row for row, name in regions if name == label and outside[row])
            if own:
                masks = [_mask(regions[row, label], row, trained, manifest) for row in others]
                _add_priors(own, masks)
                pooled.setdefault(label, []).extend(own)
    result = Localization(
        runs=[run_dir.name for run_dir in (task.run_dir, *task.further_runs)],
        variants=list(task.variants),
        dataset=manifest.name,
        split=split,
        synthetic=manifest.synthetic,
        regions=portable_path(path),
        n_unmatched=n_unmatched,
        n_resamples=task.n_resamples,
        n_random_networks=N_RANDOM_NETWORKS,
        checkpoint_sha256=joint_digest(digests),
        labels={label: _compare(pooled[label], task) for label in task.labels if label in pooled},
    )
    task.ledger.write(task.folder / "localization.json", to_json(result))
    show_localization(task.labels, result)
    return result


def _compare(cases: Sequence[_Case], task: Settled) -> LabelLocalization:
    """Each variant against its own randomised networks and the baselines that all folds have."""
    ways = {way.name: _randomised_row(way, task) for way in task.variants}
    scores = {
        row: [case.scores[row] for case in cases]
        for row in (*ways, *BASELINES[:3], *ways.values())
        if all(row in case.scores for case in cases)
    }
    pairs = [(way, base) for way, random in ways.items() for base in (*BASELINES[:3], random)]
    return localization.compare_with_baselines(
        scores, [case.patient for case in cases], pairs=pairs, n_resamples=task.n_resamples
    )


def _randomised_row(variant: MapVariant, task: Settled) -> str:
    return BASELINES[3] if len(task.variants) == 1 else f"{BASELINES[3]}, {variant.name}"


def _mask(region: Region, row: int, trained: TrainedRun, manifest: Manifest) -> Flags:
    """A region of an image that is not scored; it is read only where its shape matters."""
    shape = (1, 1) if trained.fit == "stretch" else read_source_image(manifest, row).shape
    return region.on_square(trained.image_size, shape[0], shape[1], trained.fit)


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
) -> list[_Case]:
    """Scores of the run's maps, and of the randomised networks' mean map, for every region."""
    networks = [trained.network]
    networks += [randomised(trained.network, seed=seed) for seed in range(N_RANDOM_NETWORKS)]
    named = {label for _, label in regions}
    labels = [label for label in task.labels if label in named]
    columns = [trained.labels.index(resolve_label(label, trained.labels)) for label in labels]
    patients = manifest.table["patient"].to_numpy(object)
    rows = sorted({row for row, _ in regions})
    cases: list[_Case] = []
    bad: dict[int, str] = {}

    def read(row: int) -> Pixels | None:
        try:
            return read_source_image(manifest, row)
        except DataError as error:
            if not trained.record.config.data.skip_bad:
                raise
            bad[row] = str(error)
            return None

    with console.steps("Scoring maps", len(rows)) as progress:
        for start in range(0, len(rows), BATCH_SIZE):
            part = rows[start : start + BATCH_SIZE]
            images = {row: image for row in part if (image := read(row)) is not None}
            progress.advance(len(part))
            if not images:
                continue
            pixels = to_network_input(list(images.values()), trained)
            own, *random = (
                maps_of_variants(network, pixels, columns, task.variants) for network in networks
            )
            for row, label in (key for key in regions if key[0] in images):
                where = list(images).index(row), labels.index(label)
                height, width = images[row].shape
                mask = regions[row, label].on_square(trained.image_size, height, width, trained.fit)
                scores: dict[str, MapScores] = {}
                for way in task.variants:
                    mean = np.mean([maps[way].maps[where] for maps in random], axis=0)
                    scores[way.name] = score_map(own[way].maps[where], mask)
                    scores[_randomised_row(way, task)] = score_map(mean, mask)
                cases.append(_Case(label, str(patients[row]), mask, scores))
    left_out(bad, np.asarray(rows), str(manifest.table["split"].iloc[rows[0]]))
    return cases


def _add_priors(cases: Sequence[_Case], references: Sequence[Flags]) -> None:
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
