"""What helps, measured out-of-fold on real X-rays: arms x seeds x five patient folds.

    python benchmarks/study.py run --data-dir DATA --out study quick original --seeds 0 1
    python benchmarks/study.py run --data-dir DATA --out study quick --tta jitter
    python benchmarks/study.py table --data-dir DATA --out study --against quick

`run` trains what is missing (a finished run is left alone, an interrupted one resumed), each with
`pulmonet train` in a process of its own, the final epoch always, and scores each fold's validation
patients with `pulmonet evaluate`. `table` pools the folds, so that every patient is scored by
a network that never saw it, and gives the macro AUROC over all rows and over abnormal rows (`No
Finding` = 0): the mean over seeds, with 95 % intervals from resampling patients, and the paired
difference to one arm on the same resamples.

Arms named `-more` train on a second collection as well, whose patient numbers mean the same people;
they are scored on the rows of the first:

    python benchmarks/study.py run --data-dir nih-cxr --more nih-cxr-more --out study one-lite0-more

The label of `kermany-224` is pneumonia; its arms are named so:

    python benchmarks/study.py run --data-dir kermany-224 --out kermany kermany-quick --seeds 0

Scores alone will do: where a fold's `predictions_*.csv` is in `--out`, nothing is trained. Those
of the arms with a second collection are in `benchmarks/scores`, so their table needs no training:

    python benchmarks/study.py table --data-dir nih-cxr --out benchmarks/scores --seeds 0

`run --tta jitter` scores them once more with test-time augmentation; the table has these scores as
an arm of their own, `quick+jitter`.

A difference is taken over the seeds that both arms have: a seed also deals the folds.

Two runs at once with one thread each (the default) use two cores best; where times are
compared, use `--jobs 1 --threads 2` and leave the machine alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit
from study_arms import ARMS

from pulmonet.labels import DEFAULT_LABELS
from pulmonet.metrics.baseline import Covariates, cross_fit_baseline
from pulmonet.metrics.ranking.auc import rank, weighted_ranking
from pulmonet.metrics.ranking.resamples import PatientResamples, number_units
from pulmonet.run.folder import RunDir
from pulmonet.run.predictions import Predictions

N_FOLDS = 5
BASELINE = "view, age, sex alone"
#: In the place of a seed: scores that are no single seed's.
OF_ALL_SEEDS = -1


def run_name(arm: str, seed: int, fold: int) -> str:
    return f"{arm}-s{seed}-f{fold}"


# --- training -----------------------------------------------------------------------------


def train_fold(arm: str, seed: int, fold: int, options: argparse.Namespace) -> str:
    """Train one fold, where that has not been done; the line to print."""
    name = run_name(arm, seed, fold)
    run_dir = RunDir(options.out / name)
    if not run_dir.exists() and scores_path(name, options).exists():
        return f"{name}: its scores are there"
    command = [
        *(sys.executable, "-m", "pulmonet", "train", *ARMS[arm]),
        *("--data-dir", options.data_dir, "--out-dir", options.out, "--name", name),
        *("--folds", N_FOLDS, "--fold", fold, "--seed", seed, "--resume"),
        *more_data(arm, options),
        *("--set", "select.checkpoint=last", "--set", f"runtime.threads={options.threads}"),
    ]
    call(command, options.out / f"{name}.txt", options.threads)
    provenance = run_dir.read_record().provenance
    last = run_dir.read_log().iloc[-1]
    return f"{name}: {last['val_macro_auroc']:.4f}, {provenance.duration_seconds:.0f} s"


def more_data(arm: str, options: argparse.Namespace) -> list[object]:
    """The further collection of an arm that is named so, whose patient numbers are the same."""
    if not arm.endswith("-more") and "-more-" not in arm:
        return []
    if options.more is None:
        raise SystemExit(f"{arm} trains on two collections: add --more FOLDER")
    same = f"{options.data_dir.name},{options.more.name}"
    return ["--data-dir", options.more, "--same-patients", same]


def call(command: Sequence[object], log: Path, threads: int) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    with log.open("a") as output:
        done = subprocess.run(
            [str(word) for word in command],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"exit code {done.returncode}; see {log}")


def prediction_paths(arm: str, seed: int, options: argparse.Namespace) -> list[Path]:
    """The folds' predictions; of an arm with test-time augmentation where its name says so."""
    trained, _, tta = arm.partition("+")
    ending = f"+{tta}" if tta else ""
    return [
        scores_path(f"{run_name(trained, seed, fold)}{ending}", options)
        for fold in options.folds or range(N_FOLDS)
    ]


def scores_path(name: str, options: argparse.Namespace) -> Path:
    """What a fold's network gives for the patients that it was not trained on."""
    return Path(options.out) / name / f"predictions_{options.data_dir.name}_valid.csv"


def score(arm: str, seed: int, options: argparse.Namespace) -> None:
    """The validation patients of each fold, by that fold's network."""
    ending = f"+{options.tta}" if options.tta != "none" else ""
    paths = prediction_paths(arm + ending, seed, options)
    names = [path.parent.name.removesuffix(ending) for path in paths if not path.exists()]
    if not names:
        return
    command = [
        *(sys.executable, "-m", "pulmonet", "evaluate", *names, "--artifacts-dir", options.out),
        *("--data-dir", options.data_dir, "--no-figures", "--bootstrap", 100),
        *("--tta", options.tta),
    ]
    call(command, options.out / f"{arm}{ending}-s{seed}-evaluate.txt", options.threads)


def run(options: argparse.Namespace) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    for arm in options.arms:
        for seed in options.seeds:
            with ThreadPoolExecutor(options.jobs) as pool:
                folds = options.folds or range(N_FOLDS)
                jobs = [pool.submit(train_fold, arm, seed, fold, options) for fold in folds]
                for job in jobs:
                    print(job.result(), flush=True)
            if not options.folds:
                score(arm, seed, options)
                found = pooled(arm, seed, options)
                value = macro_samples(found, np.ones((1, 10**6), np.int32)).mean()
                print(f"== {arm} seed {seed}: out-of-fold macro AUROC {value:.4f}", flush=True)


# --- results ------------------------------------------------------------------------------


def pooled(arm: str, seed: int, options: argparse.Namespace) -> Predictions:
    """All rows, each scored out-of-fold, in the order of their paths."""
    paths = prediction_paths(arm, seed, options)
    parts = [five_labels(Predictions.read(path)) for path in paths]
    order = np.argsort(np.concatenate([np.asarray(part.paths, object) for part in parts]))

    def join(values: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
        return np.concatenate(values)[order]

    return replace(
        parts[0],
        run=arm,
        paths=tuple(join([np.asarray(part.paths, object) for part in parts])),
        patients=tuple(join([np.asarray(part.patients, object) for part in parts])),
        studies=tuple(join([np.asarray(part.studies, object) for part in parts])),
        targets=join([part.targets for part in parts]),
        scores=join([part.scores for part in parts]),
        columns={name: join([part.columns[name] for part in parts]) for name in parts[0].columns},
    )


def five_labels(predictions: Predictions) -> Predictions:
    """Only CheXpert's five, in their order, where a network was trained on them and others."""
    labels = tuple(label for label in DEFAULT_LABELS if label in predictions.labels)
    labels = labels or predictions.labels
    columns = [predictions.labels.index(label) for label in labels]
    return replace(
        predictions,
        labels=labels,
        targets=predictions.targets[:, columns],
        scores=predictions.scores[:, columns],
    )


def macro_samples(predictions: Predictions, weights: NDArray[np.int32]) -> NDArray[np.float64]:
    """(L, R) AUROC of each label under R weightings of the patients."""
    units = number_units(predictions.patients, len(predictions.paths))
    return np.stack(
        [
            weighted_ranking(
                rank(predictions.targets[:, column], predictions.scores[:, column], units),
                weights,
                with_precision=False,
            )[0]
            for column in range(len(predictions.labels))
        ]
    )


def only(predictions: Predictions, rows: NDArray[np.bool_]) -> Predictions:
    return replace(
        predictions,
        paths=tuple(np.asarray(predictions.paths, object)[rows]),
        patients=tuple(np.asarray(predictions.patients, object)[rows]),
        studies=None,
        targets=predictions.targets[rows],
        scores=predictions.scores[rows],
        columns={name: values[rows] for name, values in predictions.columns.items()},
    )


def abnormal_rows(predictions: Predictions, data_dir: Path) -> NDArray[np.bool_]:
    """(N,) whether a row's `No Finding` is 0."""
    paths = [data_dir / f"{split}.csv" for split in ("train", "valid")]
    table = pd.concat([pd.read_csv(path) for path in paths if path.exists()])
    normal = set(table.loc[table["No Finding"] == 1, "Path"])
    strip = {path.removeprefix(f"{data_dir.name}/") for path in normal} | normal
    return np.asarray([path not in strip for path in predictions.paths])


def of_baseline(predictions: Predictions) -> Predictions:
    """The same rows scored by view, age and sex, each patient by a model of other patients."""
    covariates = Covariates.of(predictions.columns, len(predictions.paths), "view sex age_years")
    units = number_units(predictions.patients, len(predictions.paths))
    scores = cross_fit_baseline(covariates, predictions.targets, units)
    return replace(predictions, scores=scores.astype(np.float32))


def average(parts: Sequence[Predictions]) -> Predictions:
    """The mean of several arms' or seeds' scores."""
    return replace(parts[0], scores=np.mean([part.scores for part in parts], axis=0))


def finished(options: argparse.Namespace) -> dict[str, dict[int, Predictions]]:
    """Arm -> seed -> out-of-fold predictions, of all that are complete."""
    found: dict[str, dict[int, Predictions]] = {}
    for arm in (f"{name}{ending}" for name in ARMS for ending in ("", "+jitter", "+flip")):
        for seed in options.seeds:
            if all(path.exists() for path in prediction_paths(arm, seed, options)):
                found.setdefault(arm, {})[seed] = pooled(arm, seed, options)
    return found


def table(options: argparse.Namespace) -> None:
    found = finished(options)
    for group in options.average:
        members = group.split(",")
        found[f"average of {' + '.join(members)}"] = {
            seed: average([found[arm][seed] for arm in members])
            for seed in options.seeds
            if all(seed in found[arm] for arm in members)
        }
    for arm in options.average_seeds:
        parts = list(found[arm].values())
        found[f"{arm}, average of {len(parts)} seeds"] = {OF_ALL_SEEDS: average(parts)}
    first = next(iter(next(iter(found.values())).values()))
    kinds = [first.columns[name] for name in ("view", "sex", "age_years") if name in first.columns]
    if any(pd.Series(values).nunique() > 1 for values in kinds):
        found[BASELINE] = {OF_ALL_SEEDS: of_baseline(first)}
    result = {}
    for rows_name, rows in (
        ("all", np.ones(len(first.paths), bool)),
        ("abnormal", abnormal_rows(first, options.data_dir)),
    ):
        if not (first.targets[rows] == 0).any(axis=0).all():  # whose every image is abnormal
            continue
        chosen = {
            arm: {seed: only(part, rows) for seed, part in parts.items()}
            for arm, parts in found.items()
        }
        result[rows_name] = summarise(chosen, options)
        print(f"\n{rows_name} rows: {int(rows.sum())}\n" + as_markdown(result[rows_name]))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def summarise(
    found: dict[str, dict[int, Predictions]], options: argparse.Namespace
) -> dict[str, dict]:
    some = next(iter(next(iter(found.values())).values()))
    units = number_units(some.patients, len(some.paths))
    resamples = PatientResamples(some.targets, units, options.resamples, seed=0)
    once = np.ones((1, resamples.n_units), np.int32)
    weights = np.concatenate([once, *resamples.blocks()])
    samples = {
        arm: {seed: macro_samples(part, weights) for seed, part in parts.items()}  # (L, 1 + R)
        for arm, parts in found.items()
    }
    result = {}
    for arm, of_seeds in samples.items():
        values = np.stack(list(of_seeds.values()))  # (seeds, L, 1 + R)
        macro = values.mean(axis=(0, 1))
        result[arm] = {
            "n_seeds": len(values),
            "macro": summary(macro),
            "per_seed": values.mean(axis=1)[:, 0].tolist(),
            "labels": {
                label: summary(values[:, column].mean(axis=0))
                for column, label in enumerate(some.labels)
            },
        }
        if options.against in samples:
            other = samples[options.against]
            common = of_seeds.keys() & other.keys()  # a seed deals the folds, some are harder
            pairs = (of_seeds, other)
            macros = [
                np.mean([part[seed] for seed in (common or part)], axis=(0, 1)) for part in pairs
            ]
            difference = summary(macros[0] - macros[1])
            if len(common) > 1:
                each = [(of_seeds[seed] - other[seed]).mean(axis=0)[0] for seed in common]
                difference |= with_seeds(difference, np.asarray(each))
            result[arm]["difference"] = difference
            result[arm]["n_common_seeds"] = len(common)
    return result


def with_seeds(found: dict[str, float], each: NDArray[np.float64]) -> dict[str, float]:
    """The interval of other patients and other seeds, of `each` seed's difference.

    Student's distribution by Welch and Satterthwaite; patients count as known well.
    """
    of_patients = ((found["high"] - found["low"]) / 3.92) ** 2
    of_seeds = each.var(ddof=1) / len(each)
    both = of_patients + of_seeds
    freedom = both**2 / max(of_seeds**2 / (len(each) - 1), 1e-30)
    half = float(stdtrit(freedom, 0.975)) * both**0.5
    return {"seeds_low": found["value"] - half, "seeds_high": found["value"] + half}


def summary(samples: NDArray[np.float64]) -> dict[str, float]:
    """Value on all rows (the first sample), and the percentile interval of the others."""
    low, high = np.quantile(samples[1:], [0.025, 0.975])
    return {"value": float(samples[0]), "low": float(low), "high": float(high)}


def as_markdown(result: dict[str, dict]) -> str:
    labels = list(next(iter(result.values()))["labels"])
    lines = [
        "| arm | seeds | " + " | ".join(labels) + " | macro AUROC | difference |",
        "|---|---:|" + "---:|" * len(labels) + "---|---|",
    ]
    for arm, entry in result.items():
        cells = [f"{entry['labels'][label]['value']:.3f}" for label in labels]
        macro, difference = entry["macro"], entry.get("difference")
        cells.append(f"{macro['value']:.3f} ({macro['low']:.3f}–{macro['high']:.3f})")
        text = ""
        if difference is not None:
            text = f"{difference['value']:+.3f} "
            text += f"({difference['low']:+.3f} to {difference['high']:+.3f})"
            if "seeds_low" in difference:
                ends = f"{difference['seeds_low']:+.3f} to {difference['seeds_high']:+.3f}"
                text += f", other seeds too {ends}"
        cells.append(text)
        lines.append(f"| {arm} | {entry['n_seeds']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def commands_of(
    text: str, arms: Iterable[str], *, seeds: list[int], against: str, others: Sequence[str] = ()
) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser, argparse.ArgumentParser]:
    """The parser of a study, and those of its ``run`` and ``table``, with what all studies ask.

    `others` are further commands.
    """
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "table", *others):
        command = commands.add_parser(name)
        command.add_argument("--data-dir", type=Path, required=True)
        command.add_argument("--out", type=Path, required=True)
        command.add_argument("--seeds", type=int, nargs="+", default=seeds)
        command.add_argument("--folds", type=int, nargs="+", help="only these")
    runs, tables = commands.choices["run"], commands.choices["table"]
    runs.add_argument("arms", nargs="+", choices=sorted(arms))
    tables.add_argument("--against", default=against, help="arm that others are compared with")
    tables.add_argument("--resamples", type=int, default=1000)
    tables.add_argument("--json", type=Path)
    return parser, runs, tables


def main() -> None:
    parser, runs, tables = commands_of(__doc__ or "", ARMS, seeds=[0, 1], against="quick")
    runs.add_argument("--more", type=Path, help="a second collection, for the arms named -more")
    runs.add_argument("--tta", default="none", choices=["none", "jitter", "flip"])
    runs.add_argument("--jobs", type=int, default=2, help="runs at once")
    runs.add_argument("--threads", type=int, default=1, help="of one run")
    tables.add_argument("--average", action="append", default=[], help="arm,arm: one more row")
    tables.add_argument("--average-seeds", action="append", default=[], help="arm: one more row")
    options = parser.parse_args()
    options.data_dir = options.data_dir.resolve()
    (run if options.command == "run" else table)(options)


if __name__ == "__main__":
    main()
