"""One more row, made of all runs that are evaluated: `--ensemble` and `--pool-folds`; no torch."""

import contextlib
import operator
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pulmonet.arrays import Pixels
from pulmonet.config.fields import RunConfig
from pulmonet.errors import ArtifactError, ConfigError
from pulmonet.flows import console
from pulmonet.flows.evaluate.material import Material, Source, with_labels
from pulmonet.flows.evaluate.options import Combination, EvaluateOptions
from pulmonet.flows.evaluate.write import check_folder
from pulmonet.metrics.baseline import KnownRows
from pulmonet.metrics.results import FlowStep
from pulmonet.run.folder import RunDir
from pulmonet.run.predictions import Predictions
from pulmonet.run.record import joint_digest

#: The pooled rows' split: no split of the source, but every row that was in one fold.
OUT_OF_FOLD = "out-of-fold"


def check_combination(
    combination: Combination, sources: Sequence[Source], options: EvaluateOptions
) -> RunDir:
    """What can be known before the long work; gives the folder of the results.

    Raises:
        ConfigError: too few runs, a name that one of them has, not all folds of one deal.
        ArtifactError: the folder is taken.
    """
    kind, name, flag = combination
    members = [source.name for source in sources]
    if name in members:
        raise ConfigError(f"{flag} {name}: a run evaluated here is called so; choose another name")
    if kind == "out-of-fold":
        _check_folds(f"{flag} {name}", sources, options)
    elif len(sources) < 2:
        text = f"--ensemble: averages two or more runs, and there is only {members[0]}; name more"
        raise ConfigError(text)
    run_dir = RunDir(options.artifacts_dir / name)
    check_folder(run_dir, kind, members, options.tta, flag)
    return run_dir


def _check_folds(flag: str, sources: Sequence[Source], options: EvaluateOptions) -> None:
    """A run that cannot be read is passed over: it will be named when it is its turn."""
    if options.split not in {None, "valid"} or "splits" in options.columns:
        text = f"{flag}: takes each run's own validation fold; leave out --split and --splits"
        raise ConfigError(text)
    configs: dict[str, RunConfig] = {}
    for source in sources:
        if source.run_dir is None:
            text = f"{flag}: takes runs; a file of scores does not say which fold it is of"
            raise ConfigError(text)
        with contextlib.suppress(ArtifactError):
            configs[source.run_dir.name] = source.run_dir.read_record().config
    if not configs:
        return
    names = _names_by_fold(flag, configs)
    n_folds = next(iter(configs.values())).data.folds or 0
    missing = [str(fold) for fold in range(n_folds) if fold not in names]
    if missing and len(configs) == len(sources):
        what = f"fold {missing[0]}" if len(missing) == 1 else f"folds {', '.join(missing)}"
        raise ConfigError(f"{flag}: no run of {what} of {n_folds}; name one of each")
    # one recipe is what the pooled row stands for: settings that differ are named
    (first, like), *others = ((run, config.flat()) for run, config in configs.items())
    for run, found in others:
        if differing := [key for key in found if found[key] != like[key] and _is_learned(key)]:
            console.warn(f"{run} was not trained as {first} was: other {', '.join(differing)}")


def _names_by_fold(flag: str, configs: Mapping[str, RunConfig]) -> dict[int, str]:
    """Which run is of which fold; all are of one deal."""
    first, like = next(iter(configs.items()))
    names: dict[int, str] = {}
    for run, config in configs.items():
        if config.data.folds is None:
            raise ConfigError(
                f"{flag}: {run} was not trained with --folds; name the runs of one recipe's folds"
            )
        pairs = ((like.data.folds, config.data.folds), (like.seed, config.seed))
        for what, (ours, theirs) in zip(("--folds", "--seed"), pairs, strict=True):
            if ours != theirs:
                raise ConfigError(
                    f"{flag}: {first} was trained with {what} {ours}, {run} with {theirs}: their "
                    "folds were drawn differently; pool runs of one --folds and --seed"
                )
        if config.data.fold in names:
            raise ConfigError(
                f"{flag}: {names[config.data.fold]} and {run} are both of fold "
                f"{config.data.fold}; name one run a fold"
            )
        names[config.data.fold] = run
    return names


def _is_learned(setting: str) -> bool:
    """Whether runs that are combined should have it alike."""
    places = {"data.fold", "data.data_dir", "data.skip_bad", "data.follow_links"}
    return setting not in places and not setting.startswith("runtime.")


def average(name: str, materials: Sequence[Material], run_dir: RunDir) -> Material:
    """The mean of the members' scores, row by row, on the labels that all share.

    Two or more `materials`, scored on the same rows; the results go to `run_dir`.

    Raises:
        ConfigError: another dataset, split, rows, targets or patients; no label shared.
    """
    sharing = _sharing_labels(name, materials)
    first = sharing[0].predictions
    others = [_on_rows_of(first, material.predictions) for material in sharing[1:]]
    scores = [first.scores, *(other.scores for other in others)]
    patients = next((one.patients for one in (first, *others) if one.patients is not None), None)
    mean = np.stack(scores).astype(np.float64).mean(axis=0).astype(np.result_type(*scores))
    names = [material.predictions.run for material in materials]
    return Material(
        replace(first, run=name, scores=mean, patients=patients),
        run_dir,
        _joined_facts(sharing, "ensemble", f"Mean of the scores of {', '.join(names)}."),
        _shared_training([material.training for material in sharing]),
        sharing[0].read_image,
        fits_calibration=all(material.fits_calibration for material in materials),
        is_part=sharing[0].is_part,
        without_calibration=any(material.without_calibration for material in materials),
        is_saved=False,
        scores_of=joint_digest(material.scores_of for material in materials),
    )


def _on_rows_of(first: Predictions, other: Predictions) -> Predictions:
    """`other` in the order of `first`, whose rows, targets and patients it has."""
    for what, flag in (("dataset", "--data-dir"), ("split", "--split")):
        ours, theirs = getattr(first, what), getattr(other, what)
        if ours != theirs:
            text = f"--ensemble: {first.run} was scored on {what} {ours}, {other.run} on {theirs}"
            raise ConfigError(f"{text}; choose one for all with {flag}")
    if lacking := set(first.paths) ^ set(other.paths):
        raise ConfigError(
            f"--ensemble: {first.run} ({len(first.paths):,} rows) and {other.run} "
            f"({len(other.paths):,}) were scored on other rows: {len(lacking):,} are in one only; "
            "choose --views and --split for all; the folds of one recipe go with --pool-folds"
        )
    if first.paths != other.paths:
        if len(set(first.paths)) < len(first.paths) or len(first.paths) != len(other.paths):
            text = f"--ensemble: {first.run} and {other.run} have rows of the same path,"
            raise ConfigError(f"{text} in another order; sort both files alike")
        row_of = {path: row for row, path in enumerate(other.paths)}
        other = other.take(np.asarray([row_of[path] for path in first.paths], np.int64))
    _check_truth(first, other)
    return other


def _check_truth(first: Predictions, other: Predictions) -> None:
    both, n_rows = f"--ensemble: {first.run} and {other.run}", len(first.paths)
    differs = ~np.isclose(first.targets, other.targets, rtol=0, atol=0, equal_nan=True)
    for column in np.flatnonzero(differs.any(axis=0)).tolist():
        raise ConfigError(
            f"{both} have other targets of {first.labels[column]} in "
            f"{int(differs[:, column].sum()):,} of {n_rows:,} rows; use the same labels for "
            "both, or leave it out with --labels"
        )
    if first.patients is not None and other.patients is not None:
        same = map(operator.eq, first.patients, other.patients)
        if wrong := n_rows - sum(same):
            where = f"in {wrong:,} of {n_rows:,} rows"
            raise ConfigError(f"{both} name other patients {where}; make them the same")


def _shared_training(found: Sequence[KnownRows | None]) -> KnownRows | None:
    """The rows that all members were trained on; None where they differ or are not at hand."""
    known = [(one.targets, one.covariates.age_years) for one in found if one is not None]
    same = len(known) == len(found) and all(
        np.array_equal(theirs, ours, equal_nan=True)
        for other in known[1:]
        for theirs, ours in zip(other, known[0], strict=True)
    )
    return found[0] if same else None


def check_disjoint(folds: Sequence[Predictions]) -> None:
    """That no image and no patient is in two of some folds. ConfigError: one is."""
    seen: dict[str, set[str]] = {"images": set(), "patients": set()}
    for rows in folds:
        for what, new in (("images", rows.paths), ("patients", rows.patients or ())):
            if shared := seen[what].intersection(new):
                text = f"{rows.run}: shares {len(shared):,} {what} of split '{rows.split}'"
                raise ConfigError(f"{text} with another run; pool disjoint patient folds only")
            seen[what].update(new)


def pool(name: str, materials: Sequence[Material], run_dir: RunDir) -> Material:
    """All rows of all folds, each with the score of the run that did not train on its patient.

    `materials` are of one run a fold, scored on its own fold; the results go to `run_dir`.

    Raises:
        ConfigError: an image or patient in two folds; other data or views.
        ArtifactError: the data have changed since a run was trained.
    """
    ordered = _of_one_deal(f"--pool-folds {name}", materials)
    check_disjoint([material.predictions for material in ordered])
    reader_of = {path: each.read_image for each in ordered for path in each.predictions.paths}

    def read_image(path: str) -> Pixels:
        reader = reader_of[path]
        assert reader is not None
        return reader(path)

    sharing = _sharing_labels(name, ordered)
    parts = [material.predictions for material in sharing]
    note = (
        f"Out of fold: {', '.join(part.run for part in parts)} scored one fold each, so no patient "
        "was scored by a network that had seen them."
    )
    columns = [key for key in parts[0].columns if all(key in part.columns for part in parts)]
    pooled = replace(
        parts[0],
        run=name,
        split=OUT_OF_FOLD,
        paths=tuple(path for part in parts for path in part.paths),
        patients=_joined([part.patients for part in parts]),
        studies=_joined([part.studies for part in parts]),
        targets=np.concatenate([part.targets for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        columns={key: np.concatenate([part.columns[key] for part in parts]) for key in columns},
    )
    return Material(
        pooled,
        run_dir,
        _joined_facts(sharing, "out-of-fold", note),
        read_image=read_image,
        without_calibration=True,
        is_part=sharing[0].is_part,
        is_saved=False,
    )


def _of_one_deal(flag: str, materials: Sequence[Material]) -> list[Material]:
    """The materials by fold."""
    dealt = []
    for material in materials:
        if material.fold is None:
            raise ConfigError(
                f"{flag}: {material.predictions.run} was scored on another dataset than it was "
                "trained on, which has none of its folds; leave out --data-dir"
            )
        dealt.append((material.fold, material))
    ordered = sorted(dealt, key=lambda pair: pair[0].number)
    first_fold, first = ordered[0]
    for fold, material in ordered:
        run, views = material.predictions.run, material.facts["views"]
        if material.facts.get("same_data_as_training") is False:
            raise ArtifactError(
                f"{flag}: rows, patients or labels have changed since {run} was trained, so its "
                "fold may hold patients that it has seen; restore the data, or train the folds "
                "again"
            )
        if fold.data != first_fold.data:
            raise ConfigError(
                f"{flag}: {first.predictions.run} and {run} were trained on other rows or labels, "
                "so their patients were not assigned to the same folds; train them on the same data"
            )
        if views != first.facts["views"]:
            what = f"{flag}: {first.predictions.run} is scored on views {first.facts['views']},"
            raise ConfigError(f"{what} {run} on {views}; choose --views")
    return [material for _, material in ordered]


def _joined(parts: Sequence[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    known = [part for part in parts if part is not None]
    return tuple(one for part in known for one in part) if len(known) == len(parts) else None


def _sharing_labels(name: str, materials: Sequence[Material]) -> list[Material]:
    """The members cut to the labels that all have, in the first one's order; others are named."""
    all_labels = [material.predictions.labels for material in materials]
    shared = [label for label in all_labels[0] if all(label in labels for labels in all_labels)]
    if not shared:
        raise ConfigError(f"{name}: its members share no label; choose runs of the same labels")
    others = dict.fromkeys(label for labels in all_labels for label in labels)
    left_out = [label for label in others if label not in shared]
    if left_out:
        console.note(f"{name}: without {', '.join(left_out)}, which not all of its members have")
    return [with_labels(material, shared) for material in materials]


def _joined_facts(materials: Sequence[Material], combines: str, note: str) -> dict[str, Any]:
    """Provenance of what several runs make together: what they share, and all that was used."""
    facts = [material.facts for material in materials]
    same_data = {one.get("same_data_as_training") for one in facts}
    digests = [one.get("checkpoint_sha256") for one in facts]
    external = [one.get("external") for one in facts]
    seen = [one["seen"] for one in facts if one.get("seen")]
    counted = facts if combines == "out-of-fold" else facts[:1]  # an ensemble's rows are the same
    missing: dict[str, Counter[str]] = defaultdict(Counter)
    for one in counted:
        for label, kinds in one.get("missing", {}).items():
            missing[label].update(kinds)
    flow = facts[0].get("flow", [])
    if combines == "out-of-fold" and flow:
        last = [one["flow"][-1] for one in counted]
        n_patients = sum(step.n_patients or 0 for step in last) or None
        n_rows = sum(step.n_rows for step in last)
        scored = FlowStep(name="in one of the folds", n_rows=n_rows, n_patients=n_patients)
        flow = [flow[0], scored]
    shared = {
        key: values.pop()
        for key in ("blank", "views", "tta", "dataset_fingerprint")
        if len(values := {one.get(key) for one in facts}) == 1 and None not in values
    }
    return shared | {
        "flow": flow,
        "missing": missing,
        "combines": combines,
        "members": [material.predictions.run for material in materials],
        "synthetic": any(one.get("synthetic", False) for one in facts),
        "rows_used_for": list(dict.fromkeys(x for one in facts for x in one["rows_used_for"])),
        "checkpoint_sha256": joint_digest(digests),
        "one_class_in_training": {
            label: missing
            for one in facts
            for label, missing in one.get("one_class_in_training", {}).items()
        },
        "same_data_as_training": False if False in same_data else same_data == {True} or None,
        "external": None if None in external else all(external),
        "seen": max(seen, key=lambda one: one.trained_on, default=None),
        "notes": list(dict.fromkeys([note, *(x for one in facts for x in one.get("notes", []))])),
    }
