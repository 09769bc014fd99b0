"""What the artifacts can answer of a reporting checklist; an empty string is "unknown"."""

from __future__ import annotations

from pulmonet.config.schema import TargetConfig
from pulmonet.metrics.results import RunResult
from pulmonet.report.collect import Collection, RunArtifacts
from pulmonet.report.wording import (
    COUNTED,
    FITTED,
    checkpoint_kept,
    labels_of,
    listing,
    networks_of,
    number,
    setting,
)
from pulmonet.run.record import DatasetFacts
from pulmonet.words import count

#: Columns of subgroups that describe patients and films, not where they come from.
_PEOPLE = {"sex", "age", "view"}


#: Answers that hold for every report.
_ALWAYS = {
    "predictors": "The pixels of one image, nothing else",
    "no_assessor": "Not applicable: pixels are read by software",
    "scores": "Sigmoid of the network's output, one score a label",
    "limitations": "See Limitations",
    "bad_input": "Unreadable images end in an error that names them; nothing is guessed",
    "report_deidentified": "Patients and images have pseudonyms in this report",
    "settings": "See Settings; all of them in run_config.json of each run",
}


def find_facts(collection: Collection) -> dict[str, str]:
    """Answers from the runs of `collection`, a sentence each; items ask by these keys."""
    return _ALWAYS | _of_data(collection) | _of_training(collection) | _of_results(collection)


def _of_data(collection: Collection) -> dict[str, str]:
    known, best = collection.datasets, collection.best_run()
    targets = best.config.targets
    return {
        "source": listing(sorted({f"{facts.name} ({facts.source})" for facts in known})),
        "excluded": _excluded(known),
        "outcome": f"{listing(labels_of(collection.runs))}, as the source labels them",
        "sample": _sample(known),
        "events": _events(known),
        "missing": f"In training blank labels {COUNTED[targets.blank]}, uncertain ones "
        f"{_policy(targets)}; {_in_evaluation(collection.results)}. See Data",
        "partitions": _partitions(best),
        "disjoint": _disjoint(known),
        "subset": _subset(collection.runs),
        "flow": "See the table of rows and patients in each role" if known else "",
        "people": "See Who is in each split" if any(facts.summary for facts in known) else "",
    }


def _of_training(collection: Collection) -> dict[str, str]:
    best, networks = collection.best_run(), networks_of(collection.runs)
    config, loss, side = best.config, best.config.loss, best.config.data.image_size
    return {
        "title": f"Deep learning ({networks}) for multi-label classification of chest X-rays",
        "preprocessing": f"Grey images, {FITTED[config.data.fit]} {side} × {side} pixels, ImageNet "
        "normalisation; see Settings",
        "training": f"{config.optim.name}, learning rate {config.optim.lr:g}, "
        f"{count(config.total_epochs, 'epoch')}, loss {loss.name}; see Settings",
        "selection": checkpoint_kept(config.select),
        "weights": {"imagenet": "ImageNet", "none": "Random"}.get(
            config.model.weights, "From a file"
        ),
        "specification": f"{networks}; weights in best_model.pth of each run, digests under "
        "How to reproduce",
        "ensembling": _ensembling(collection),
        "robustness": _robustness(collection.runs),
        "imbalance": "Positives weighed by negatives / positives"
        if loss.pos_weight == "balanced"
        else f"No weighing of positives; loss {loss.name}",
        "software": f"PulmoNet {best.provenance.pulmonet} and the versions under How to reproduce",
    }


def _of_results(collection: Collection) -> dict[str, str]:
    results, known = collection.results, collection.datasets
    of_runs = [result for run in collection.runs for result in run.results]
    labels = [label for result in results for label in result.labels.values()]
    has_points = any(label.operating_points for label in labels)
    return {
        "objectives": "Development" + (" and evaluation" if results else ", not yet evaluated"),
        "subgroups": "See Subgroups under each run's results"
        if any(result.subgroups for result in results)
        else "",
        "clusters": _clusters(results),
        "measures": "AUROC, average precision, Brier score, calibration, operating points"
        if results
        else "",
        "uncertainty": _uncertainty(results),
        "calibration": "Calibrators fitted after training; see Calibration"
        if any(label.calibrated for label in labels)
        else "None in the artifacts",
        "output": "A score in [0, 1] per finding"
        + ("; classes at the thresholds under Operating points" if has_points else ""),
        "shift": "See the notes on shift in the results"
        if any(result.shift for result in results)
        else "",
        "performance": _performance(collection),
        "accuracy": "See Operating points" if has_points else "",
        "failures": "See Worst cases" if any(label.worst_cases for label in labels) else "",
        "explanations": "See Explanations" if any(run.heat_maps for run in collection.runs) else "",
        "internal": _tested(of_runs, known, inside=True),
        "external": _tested(of_runs, known, inside=False),
    }


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
    found |= {
        f"{run.name}: the mean of {run.config.model.members} networks' scores"
        for run in collection.runs
        if run.config.model.members > 1
    }
    return "; ".join(sorted(found)) or "None: each run stands alone"


def _policy(targets: TargetConfig) -> str:
    policy = targets.uncertain_policy
    if isinstance(policy, str):
        return COUNTED.get(policy, f"are treated by the policy {policy}")
    return f"are treated label by label ({setting(policy)})"


def _in_evaluation(results: list[RunResult]) -> str:
    """What became of unknown labels where scores were compared with them."""
    said = listing([COUNTED.get(blank, blank) for blank in sorted({r.blank for r in results})])
    return "in evaluation uncertain ones are left out" + (f", blank ones {said}" if said else "")


def _sample(known: list[DatasetFacts]) -> str:
    return "; ".join(
        f"{facts.name}: "
        + ", ".join(
            f"{role} {n:,} images of {facts.n_patients.get(role, 0):,} patients"
            for role, n in sorted(facts.n_rows.items())
        )
        for facts in {facts.fingerprint: facts for facts in known}.values()
    )


def _events(known: list[DatasetFacts]) -> str:
    """Participants, and where the positives of each role are told."""
    told = any(any(facts.positives.values()) for facts in known)
    return f"{_sample(known)}; positives per label under Data" if told else ""


def _partitions(run: RunArtifacts) -> str:
    data = run.config.data
    if data.splits is not None:
        return "A file that says which patient is in which split"
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
    """Which images, and which part of an image."""
    data = [run.config.data for run in runs]
    views = listing(sorted({part.views for part in data}))
    crops = {"crop": "the central square", "pad": "the whole, padded", "stretch": "the whole"}
    fits = listing(sorted({crops[part.fit] for part in data}))
    shares = listing([f"{share:g}" for share in sorted({part.subset for part in data})])
    modes = listing(sorted({part.subset_mode for part in data if part.subset < 1}))
    drawn = f"; share of the training data drawn by {modes}: {shares}" if modes else ""
    return f"Views: {views}; of each image {fits}, by software{drawn}"


def _clusters(results: list[RunResult]) -> str:
    """By what `evaluate --subgroup` named, a hospital or a scanner perhaps."""
    if not results:
        return ""
    columns = {group.column for result in results for group in result.subgroups}
    named = sorted(columns - _PEOPLE)
    if named:
        return f"Performance by {listing(named)}: see Subgroups"
    return "Not examined: no column of hospitals or other clusters was named"


def _robustness(runs: tuple[RunArtifacts, ...]) -> str:
    """Runs that differ in nothing but the seed."""
    recipes: dict[str, dict[int, str]] = {}
    for run in runs:
        alike = run.config.model_dump(mode="json", exclude={"seed", "runtime"})
        recipes.setdefault(str(alike), {})[run.config.seed] = run.name
    seeds = [list(names.values()) for names in recipes.values() if len(names) > 1]
    return "; ".join(f"{len(names)} seeds of one recipe: {listing(names)}" for names in seeds)


def _uncertainty(results: list[RunResult]) -> str:
    if not results:
        return ""
    facts = results[0].bootstrap
    return f"95 % intervals from {facts.n_resamples:,} resamples of {facts.unit}s"


def _performance(collection: Collection) -> str:
    result = collection.headline(collection.best_run())
    if result is None or result.macro.auroc.value is None:
        return ""
    auroc = result.macro.auroc
    return (
        f"Macro AUROC {number(auroc.value)} ({number(auroc.low)} to {number(auroc.high)}), "
        f"{result.run} on {result.dataset}, {result.split}; see Results"
    )


def _tested(results: list[RunResult], known: list[DatasetFacts], *, inside: bool) -> str:
    """Datasets and splits, and what their rows had decided before."""
    trained_on = {facts.name for facts in known}
    names = {
        f"{result.dataset}, {result.split} ("
        + (f"rows used for {listing(result.rows_used_for)}" if result.rows_used_for else "unused")
        + ")"
        for result in results
        if (result.dataset in trained_on) == inside
    }
    if names:
        return f"On {'; '.join(sorted(names))}"
    return "" if inside else "None in the artifacts"
