"""What `evaluate` works on: runs or files of scores, and predictions with what is known of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from pulmonet.arrays import Pixels
from pulmonet.data.sources.rows import parse_age
from pulmonet.errors import ArtifactError, ConfigError, PulmoNetError
from pulmonet.files.paths import expand
from pulmonet.files.read import sha256_of
from pulmonet.flows import console
from pulmonet.flows.evaluate.options import EvaluateOptions
from pulmonet.labels import file_name_of, resolve_label
from pulmonet.metrics.baseline import KnownRows
from pulmonet.metrics.results import UNKNOWN_USE
from pulmonet.models.published import OFFERED, named_run
from pulmonet.run.folder import RunDir, is_run_name, list_runs, no_run
from pulmonet.run.predictions import Predictions
from pulmonet.words import list_first

ReadImage = Callable[[str], Pixels]
Item = TypeVar("Item")
Made = TypeVar("Made")


class Fold(NamedTuple):
    """The patient fold that a run was not trained on; `data` is the digest of all rows dealt."""

    number: int
    data: str


@dataclass(frozen=True)
class Material:
    """One run's predictions with what is known around them.

    `facts` are further fields of `RunResult` (checkpoint, fingerprint, what the rows were used
    for). A calibration is neither used nor written (`without_calibration`) where the splits are not
    the run's (rows that chose a threshold may be among those reported later), and where the scores
    are not those that `explain` gives.
    """

    predictions: Predictions  # images as rows
    run_dir: RunDir  # where its results go
    facts: Mapping[str, Any] = field(default_factory=dict)
    training: KnownRows | None = None  # the rows trained on, where they are at hand
    read_image: ReadImage | None = None  # path in the dataset -> grey image, if at hand
    fits_calibration: bool = False  # whether these may replace a calibration of other rows
    without_calibration: bool = False
    fold: Fold | None = None  # whose rows these are, of a run that was scored on its own fold
    is_part: bool = False  # rows of one collection: thresholds are those of all together
    is_saved: bool = True  # whether the predictions are in a file already
    scores_of: str | None = None  # whose scores these are, if no run's: as in `Calibration`


@dataclass(frozen=True)
class Source:
    """A run, or else a file of scores, what its results are called, and where they go."""

    name: str
    results_dir: RunDir
    run_dir: RunDir | None = None
    file: Path | None = None
    is_named: bool = False  # by NAME=FILE: files of one name are one model's


def each_of(
    items: Sequence[Item], make: Callable[[Item], Made]
) -> tuple[list[Made], list[PulmoNetError]]:
    """What comes of each; a damaged one among several is named, and the others go on."""
    made: list[Made] = []
    failures: list[PulmoNetError] = []
    for item in items:
        try:
            made.append(make(item))
        except ArtifactError as error:
            if len(items) == 1:
                raise
            console.show_error(str(error))
            failures.append(error)
    return made, failures


def find_sources(options: EvaluateOptions) -> list[Source]:
    """What is to be evaluated, in the order named: runs only, or files only.

    Raises:
        ConfigError: two files of one name.
        ArtifactError: no such run.
    """
    artifacts_dir = options.artifacts_dir
    if options.predictions:
        return list(_named_files(options.predictions, artifacts_dir).values())
    found = [named_run(name, artifacts_dir) for name in _without_others(options.runs)]
    found = found or list_runs(artifacts_dir)
    if not found:
        offer = f"or take a published network: pulmonet evaluate {OFFERED}"
        raise ArtifactError(f"{no_run(artifacts_dir)}; {offer}")
    names = [options.name_of(run_dir.name) for run_dir in found]
    return [
        Source(name, RunDir(run_dir.path.with_name(name)), run_dir)
        for name, run_dir in zip(names, found, strict=True)
    ]


def _without_others(names: Sequence[str]) -> list[str]:
    """What a shell made of ``artifacts/*``, less the files and folders that are no runs."""
    names = list(dict.fromkeys(names))
    others = [
        name for name in names if len(Path(name).parts) > 1 and not RunDir(Path(name)).exists()
    ]
    runs = [name for name in names if name not in others]
    if not runs or not all(Path(name).exists() for name in others):
        return names
    if others:
        console.note(f"passed over, since they are no runs: {list_first(others)}")
    return runs


def _named_files(predictions: Sequence[Path], artifacts_dir: Path) -> dict[str, Source]:
    """Files by name: ``NAME=FILE`` as typed, else the file's stem as a folder is called."""
    sources: dict[str, Source] = {}
    for path in predictions:
        name, separator, rest = str(path).partition("=")
        is_named = bool(separator and rest) and is_run_name(name) and not path.exists()
        name, file = (name, expand(rest)) if is_named else (file_name_of(path.stem), expand(path))
        if name in sources:
            other = sources[name].file
            what = f"--predictions: {other} and {file} would both be called '{name}'"
            raise ConfigError(f"{what}; name them: --predictions NAME={other}")
        sources[name] = Source(name, RunDir(artifacts_dir / name), file=file, is_named=is_named)
    return sources


def read_scores(source: Source, options: EvaluateOptions) -> Material:
    """The scores of a file; a blank label is unknown, unless --blank says that it is negative.

    Raises:
        ArtifactError: it cannot be read, or its results would go where a run lives.
    """
    path = source.file
    assert path is not None
    split = options.split or "all"
    read = Predictions.read(path, run=source.name, dataset="predictions", split=split)
    if source.results_dir.exists():
        what = f"{path}: its results would go to {source.results_dir.path}, which holds a run"
        raise ArtifactError(f"{what}; rename the file, or choose another --artifacts-dir")
    if read.left_out:
        what = f"{path}: left out, for a label needs both LABEL and LABEL_score:"
        console.warn(f"{what} {list_first(read.left_out, 20)}")
    if read.patients is None:
        console.note(f"{path}: names no patients, so images are resampled")
    ages = read.columns.get("age_years", np.zeros(0))
    if ages.dtype == object:  # text, as 045Y
        years = np.asarray([parse_age(text) for text in ages])
        odd = {text for text, year in zip(ages, years, strict=True) if text and np.isnan(year)}
        if odd:
            console.note(f"{path}: no age in years, so unknown: {list_first(sorted(odd), 3)}")
        read = replace(read, columns=read.columns | {"age_years": years})
    counts_as = options.blank if "blank" in options.model_fields_set else "ignore"
    blank = np.isnan(read.targets).sum(axis=0).tolist()
    missing = {label: {"blank": n} for label, n in zip(read.labels, blank, strict=True)}
    if counts_as == "zeros":
        is_blank = np.isnan(read.targets) & np.isfinite(read.targets).any(axis=0)
        read = replace(read, targets=np.where(is_blank, np.float32(0), read.targets))
    facts = {"rows_used_for": [UNKNOWN_USE], "missing": missing, "blank": counts_as}
    scores_of = source.name if source.is_named else sha256_of(path)
    return Material(read, source.results_dir, facts, scores_of=scores_of)


def with_labels(material: Material, wanted: Sequence[str]) -> Material:
    """Only the labels asked for, in that order; all where none is."""
    if not wanted:
        return material
    rows, training = material.predictions, material.training
    names = [resolve_label(name, rows.labels) for name in wanted]
    columns = [rows.labels.index(name) for name in dict.fromkeys(names)]
    chosen = replace(
        rows,
        labels=tuple(rows.labels[column] for column in columns),
        targets=rows.targets[:, columns],
        scores=rows.scores[:, columns],
    )
    if training is not None:
        training = replace(training, targets=training.targets[:, columns])
    return replace(material, predictions=chosen, training=training)
