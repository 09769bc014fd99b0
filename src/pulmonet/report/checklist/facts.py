"""What the artifacts can answer of a reporting checklist; an empty string is "unknown"."""

from collections.abc import Iterable

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
    scale_of,
    setting,
)
from pulmonet.run.record import DatasetFacts
from pulmonet.words import count

#: Columns of subgroups that describe patients and radiographs, not where they come from.
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
    data, targets, sample = best.config.data, best.config.targets, _sample(known)
    excluded = sum(sum(facts.excluded.values()) for facts in known)
    left_out = f"{count(excluded, 'row')} left out"
    told = any(any(facts.positives.values()) for facts in known)
    policy = targets.uncertain_policy
    if isinstance(policy, str):
        uncertain = COUNTED.get(policy, f"are treated by the policy {policy}")
    else:
        uncertain = f"are treated label by label ({setting(policy)})"
    blanks = sorted({result.blank for result in collection.results})
    later = f", blank ones {listing([COUNTED.get(one, one) for one in blanks])}" if blanks else ""
    disjoint = "Images: the source names no patients"
    if all(facts.patients_known for facts in known):
        disjoint = "Patients: one in two splits is an error"
    partitions = "The source's own splits, where it has them; else a fraction of its patients"
    if data.splits is not None:
        partitions = "A file that says which patient is in which split"
    elif data.folds is not None:
        partitions = f"{data.folds} patient folds, fold {data.fold} for validation"
    return {
        "source": listing(sorted({f"{facts.name} ({facts.source})" for facts in known})),
        "excluded": f"{left_out}, with reasons under Data" if excluded else "",
        "outcome": f"{listing(labels_of(collection.runs))}, as the source labels them",
        "sample": sample,
        "events": f"{sample}; positives per label under Data" if told else "",
        "missing": f"In training blank labels {COUNTED[targets.blank]}, uncertain ones "
        f"{uncertain}; in evaluation uncertain ones are left out{later}. See Data",
        "partitions": partitions,
        "disjoint": disjoint if known else "",
        "subset": _subset(collection.runs),
        "flow": "See the table of rows and patients in each role" if known else "",
        "people": "See Who is in each split" if any(facts.summary for facts in known) else "",
    }


def _of_training(collection: Collection) -> dict[str, str]:
    best, networks = collection.best_run(), networks_of(collection.runs)
    config, loss, side = best.config, best.config.loss, best.config.data.image_size
    starts = {"imagenet": "ImageNet", "none": "Random"}
    facts = {
        "title": f"Deep learning ({networks}) for multi-label classification of chest X-rays",
        "preprocessing": f"Grey images, {FITTED[config.data.fit]} {side} × {side} pixels, "
        f"{scale_of(best)}; see Settings",
        "training": f"{config.optim.name}, learning rate {config.optim.lr:g}, "
        f"{count(config.total_epochs, 'epoch')}, loss {loss.name}; see Settings",
        "selection": checkpoint_kept(config.select),
        "weights": starts.get(config.model.weights, "From a file"),
        "specification": f"{networks}; weights in best_model.pth of each run, digests under "
        "How to reproduce",
        "ensembling": _ensembling(collection),
        "robustness": _robustness(collection.runs),
        "imbalance": "Positives weighed by negatives / positives"
        if loss.pos_weight == "balanced"
        else f"No weighing of positives; loss {loss.name}",
        "software": f"PulmoNet {best.provenance.pulmonet} and the versions under How to reproduce",
    }
    if best.provenance.is_published:
        facts |= dict.fromkeys(("training", "selection", "imbalance"), "")
        facts["weights"] = best.provenance.origin()
    return facts


def _of_results(collection: Collection) -> dict[str, str]:
    results, runs = collection.results, collection.runs
    inside = {facts.name for facts in collection.datasets}
    of_runs = [result for run in runs for result in run.results]
    labels = [label for result in results for label in result.labels.values()]
    has_points = any(label.operating_points for label in labels)
    where = (
        ("subgroups", any(one.subgroups for one in results), "Subgroups under each run's results"),
        ("shift", any(one.shift for one in results), "the notes on shift in the results"),
        ("accuracy", has_points, "Operating points"),
        ("failures", any(label.worst_cases for label in labels), "Worst cases"),
        ("explanations", any(run.heat_maps for run in runs), "Explanations"),
    )
    facts = {key: f"See {place}" if found else "" for key, found, place in where} | {
        "objectives": "Development" + (" and evaluation" if results else ", not yet evaluated"),
        "calibration": "Calibrators fitted after training; see Calibration"
        if any(label.calibrated for label in labels)
        else "None in the artifacts",
        "output": "A score in [0, 1] per finding"
        + ("; classes at the thresholds under Operating points" if has_points else ""),
        "performance": _performance(collection),
        "internal": _tested(one for one in of_runs if not one.is_external(inside)),
        "external": _tested(one for one in of_runs if one.is_external(inside))
        or "None in the artifacts",
    }
    if not results:
        return facts | {"clusters": "", "measures": "", "uncertainty": ""}
    sample = results[0].bootstrap
    named = {group.column for result in results for group in result.subgroups} - _PEOPLE
    return facts | {
        # `evaluate --subgroup` can name a hospital or a scanner
        "clusters": f"Performance by {listing(sorted(named))}: see Subgroups"
        if named
        else "Not examined: no column of hospitals or other clusters was named",
        "measures": "AUROC, average precision, Brier score, calibration, operating points",
        "uncertainty": f"95 % intervals from {sample.n_resamples:,} resamples of {sample.unit}s",
    }


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


def _sample(known: list[DatasetFacts]) -> str:
    return "; ".join(
        f"{facts.name}: "
        + ", ".join(
            f"{role} {n:,} images of {facts.n_patients.get(role, 0):,} patients"
            for role, n in sorted(facts.n_rows.items())
        )
        for facts in {facts.fingerprint: facts for facts in known}.values()
    )


def _subset(runs: tuple[RunArtifacts, ...]) -> str:
    """Which images, and which part of an image."""
    data = [run.config.data for run in runs]
    views = listing(sorted({part.views for part in data}))
    crops = {"crop": "the central square", "pad": "the whole, padded", "stretch": "the whole"}
    fits = listing(sorted({crops[part.fit] for part in data}))
    shares = listing([f"{share:g}" for share in sorted({part.subset for part in data})])
    modes = listing(sorted({part.subset_mode for part in data if part.subset < 1}))
    drawn = f"; fraction of the training data drawn by {modes}: {shares}" if modes else ""
    return f"Views: {views}; of each image {fits}, by software{drawn}"


def _robustness(runs: tuple[RunArtifacts, ...]) -> str:
    """Runs that differ in nothing but the seed."""
    recipes: dict[str, dict[int, str]] = {}
    for run in runs:
        alike = run.config.model_dump(mode="json", exclude={"seed", "runtime"})
        recipes.setdefault(str(alike), {})[run.config.seed] = run.name
    seeds = [list(names.values()) for names in recipes.values() if len(names) > 1]
    return "; ".join(f"{len(names)} seeds of one recipe: {listing(names)}" for names in seeds)


def _performance(collection: Collection) -> str:
    result = collection.headline(collection.best_run())
    if result is None or result.macro.auroc.value is None:
        return ""
    auroc = result.macro.auroc
    ends = f"{number(auroc.low)} to {number(auroc.high)}"
    where = f"{result.run} on {result.dataset}, {result.split}"
    name = result.macro.auroc_name().replace("macro", "Macro", 1)
    return f"{name} {number(auroc.value)} ({ends}), {where}; see Results"


def _tested(results: Iterable[RunResult]) -> str:
    """Datasets and splits, and what their rows had decided before."""
    names = set()
    for result in results:
        used = listing(result.rows_used_for)
        words = f"rows used for {used}" if used else "unused"
        names.add(f"{result.dataset}, {result.split} ({words})")
    return f"On {'; '.join(sorted(names))}" if names else ""
