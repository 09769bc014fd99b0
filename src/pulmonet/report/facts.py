"""What the artifacts can answer of a reporting checklist; an empty string is "unknown"."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

from pulmonet.artifacts import DatasetFacts
from pulmonet.metrics.results import RunResult
from pulmonet.report.collect import Collection, RunArtifacts
from pulmonet.report.wording import count, listing, model_name, number, setting


@dataclass(frozen=True)
class Facts:
    """One sentence each; the names are those that checklist items ask by."""

    title: str
    objectives: str
    source: str
    excluded: str
    preprocessing: str
    outcome: str
    predictors: str
    no_assessor: str
    sample: str
    missing: str
    partitions: str
    disjoint: str
    subset: str
    training: str
    selection: str
    weights: str
    specification: str
    ensembling: str
    subgroups: str
    measures: str
    uncertainty: str
    calibration: str
    scores: str
    imbalance: str
    output: str
    shift: str
    software: str
    flow: str
    people: str
    performance: str
    accuracy: str
    failures: str
    explanations: str
    internal: str
    external: str
    limitations: str
    bad_input: str
    report_deidentified: str


def find_facts(collection: Collection) -> Facts:
    """Answers from the runs of `collection`."""
    runs = collection.runs
    best = collection.best_run()
    datasets = [run.record.provenance.dataset for run in runs]
    known = [facts for facts in datasets if facts is not None]
    results = list(chain.from_iterable(found.results for found in collection.evaluated))
    of_runs = list(chain.from_iterable(run.results for run in runs))
    config = best.record.config
    networks = listing(sorted({model_name(run.record.config.model.name) for run in runs}))
    labels = listing(list(dict.fromkeys(label for run in runs for label in run.labels)))
    return Facts(
        title=f"Deep learning ({networks}) for multi-label classification of chest X-rays",
        objectives="Development" + (" and evaluation" if results else ", not yet evaluated"),
        source=listing(sorted({f"{facts.name} ({facts.source})" for facts in known})),
        excluded=_excluded(known),
        preprocessing=f"Grey images, {config.data.fit} to {config.data.image_size} × "
        f"{config.data.image_size} pixels, ImageNet normalisation; see Settings",
        outcome=f"{labels}, as the source labels them",
        predictors="The pixels of one image, nothing else",
        no_assessor="Not applicable: pixels are read by software",
        sample=_sample(known),
        missing=f"Blank labels: {config.targets.blank} in training; uncertain labels: "
        f"{_policy(best)}; unknown in evaluation. See Data",
        partitions=_partitions(best),
        disjoint=_disjoint(known),
        subset=_subset(runs),
        training=f"{config.optim.name}, learning rate {config.optim.lr:g}, "
        f"{count(config.optim.epochs, 'epoch')}, loss {config.loss.name}; see Settings",
        selection=f"{config.select.checkpoint} epoch by macro AUROC on {config.select.on}",
        weights={"imagenet": "ImageNet", "none": "Random"}.get(config.model.weights, "From a file"),
        specification=f"{networks}; weights in best_model.pth of each run, digests under "
        "How to reproduce",
        ensembling=_ensembling(collection),
        subgroups="See Subgroups under each run's results"
        if any(result.subgroups for result in results)
        else "",
        measures="AUROC, average precision, Brier score, calibration, operating points"
        if results
        else "",
        uncertainty=_uncertainty(results),
        calibration="Calibrators fitted after training; see Calibration"
        if any(label.calibrated for result in results for label in result.labels.values())
        else "",
        scores="Sigmoid of the network's output, one score a label",
        imbalance="Positives weighed by negatives / positives"
        if config.loss.pos_weight == "balanced"
        else f"No weighing of positives; loss {config.loss.name}",
        output="A score in [0, 1] per finding, and a class where a threshold is stored",
        shift="See the notes on shift in the results"
        if any(result.shift for result in results)
        else "",
        software=f"PulmoNet {best.record.provenance.pulmonet} and the versions under "
        "How to reproduce",
        flow="See the table of rows and patients in each role" if known else "",
        people="See Who is in each split" if any(facts.summary for facts in known) else "",
        performance=_performance(collection, best),
        accuracy="See Operating points"
        if any(label.operating_points for result in results for label in result.labels.values())
        else "",
        failures="See Worst cases"
        if any(label.worst_cases for result in results for label in result.labels.values())
        else "",
        explanations="See Explanations" if any(_has_maps(run) for run in runs) else "",
        internal=_tested(of_runs, known, inside=True),
        external=_tested(of_runs, known, inside=False),
        limitations="See Limitations",
        bad_input="Unreadable images end in an error that names them; nothing is guessed",
        report_deidentified="Patients and images have pseudonyms in this report",
    )


def _excluded(known: list[DatasetFacts]) -> str:
    total = sum(sum(facts.excluded.values()) for facts in known)
    return f"{count(total, 'row')} left out, with reasons under Data" if total else ""


def _ensembling(collection: Collection) -> str:
    found = {
        f"{result.run}: {result.combination_text()}"
        for other in collection.others
        for result in other.results
        if result.combines == "ensemble" or result.tta != "none"
    }
    return "; ".join(sorted(found)) or "None: each run stands alone"


def _policy(run: RunArtifacts) -> str:
    policy = run.record.config.targets.uncertain_policy
    return f"{setting(policy)} in training"


def _sample(known: list[DatasetFacts]) -> str:
    return "; ".join(
        f"{facts.name}: "
        + ", ".join(
            f"{role} {n:,} images of {facts.n_patients.get(role, 0):,} patients"
            for role, n in sorted(facts.n_rows.items())
        )
        for facts in {facts.fingerprint: facts for facts in known}.values()
    )


def _partitions(run: RunArtifacts) -> str:
    data = run.record.config.data
    if data.folds is not None:
        return f"{data.folds} patient folds, fold {data.fold} for validation"
    return "The source's own splits, where it has them; else a share of its patients"


def _disjoint(known: list[DatasetFacts]) -> str:
    if not known:
        return ""
    if all(facts.patients_known for facts in known):
        return "Patients: one in two splits is an error"
    return "Images: the source names no patients"


def _subset(runs: tuple[RunArtifacts, ...]) -> str:
    shares = sorted({run.record.config.data.subset for run in runs})
    modes = listing(sorted({run.record.config.data.subset_mode for run in runs}))
    if shares == [1.0]:
        return "None: all training rows"
    return f"Shares of the training data: {', '.join(f'{share:g}' for share in shares)} by {modes}"


def _uncertainty(results: list[RunResult]) -> str:
    if not results:
        return ""
    facts = results[0].bootstrap
    return f"95 % intervals from {facts.n_resamples:,} resamples of {facts.unit}s"


def _performance(collection: Collection, run: RunArtifacts) -> str:
    result = collection.headline(run)
    if result is None or result.macro.auroc.value is None:
        return ""
    auroc = result.macro.auroc
    return (
        f"Macro AUROC {number(auroc.value)} ({number(auroc.low)} to {number(auroc.high)}), "
        f"{result.run} on {result.dataset}, {result.split}; see Results"
    )


def _has_maps(run: RunArtifacts) -> bool:
    return bool(run.heat_maps.images or run.heat_maps.panels)


def _tested(results: list[RunResult], known: list[DatasetFacts], *, inside: bool) -> str:
    trained_on = {facts.name for facts in known}
    names = {result.dataset for result in results if (result.dataset in trained_on) == inside}
    if names:
        return f"On {listing(sorted(names))}"
    return "" if inside else "None in the artifacts"
