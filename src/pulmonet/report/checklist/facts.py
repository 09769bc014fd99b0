"""What the artifacts can answer of a reporting checklist; an empty string is "unknown"."""

from collections.abc import Iterable

from pulmonet.metrics.results import RunResult
from pulmonet.report.collect import Collection, RunArtifacts
from pulmonet.report.names import COUNTED
from pulmonet.report.texts import fields
from pulmonet.report.wording import listing, networks_of
from pulmonet.run.record import DatasetFacts

#: Columns of subgroups that describe patients and radiographs, not where they come from.
_PEOPLE = {"sex", "age", "view"}
#: Which part of an image a network sees.
_CROPS = {"crop": "the central square", "pad": "the whole, padded", "stretch": "the whole"}


def find_facts(collection: Collection) -> dict[str, str]:
    """Answers from the runs of `collection`, a sentence each; items ask by these keys."""
    known, best, runs = collection.datasets, collection.best_run(), collection.runs
    results, parts = collection.results, [run.config.data for run in collection.runs]
    inside = {facts.name for facts in known}
    of_runs = [result for run in runs for result in run.results]
    labels = [label for result in results for label in result.labels.values()]
    there = {
        "subgroups": any(one.subgroups for one in results),
        "shift": any(one.shift for one in results),
        "accuracy": any(label.operating_points for label in labels),
        "failures": any(label.worst_cases for label in labels),
        "explanations": any(run.heat_maps for run in runs),
    }
    return fields(
        "checklist",
        runs=runs,
        best=best,
        config=best.config,
        data=best.config.data,
        targets=best.config.targets,
        published=best.provenance.is_published,
        networks=networks_of(runs),
        known=known,
        sources=sorted({f"{facts.name} ({facts.source})" for facts in known}),
        patients_known=all(facts.patients_known for facts in known),
        n_excluded=sum(sum(facts.excluded.values()) for facts in known),
        has_positives=any(any(facts.positives.values()) for facts in known),
        sample=_sample(known),
        blanks=[COUNTED.get(one, one) for one in sorted({result.blank for result in results})],
        views=sorted({part.views for part in parts}),
        fits=sorted({_CROPS[part.fit] for part in parts}),
        shares=[f"{share:g}" for share in sorted({part.subset for part in parts})],
        modes=sorted({part.subset_mode for part in parts if part.subset < 1}),
        ensembles=_ensembles(collection),
        seeds=_seeds(runs),
        results=results,
        main=collection.headline(best),
        there=there,
        is_calibrated=any(label.calibrated for label in labels),
        internal=_tested(one for one in of_runs if not one.is_external(inside)),
        external=_tested(one for one in of_runs if one.is_external(inside)),
        clusters=sorted({one.column for result in results for one in result.subgroups} - _PEOPLE),
    )


def _ensembles(collection: Collection) -> list[str]:
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
    return sorted(found)


def _sample(known: list[DatasetFacts]) -> str:
    return "; ".join(
        f"{facts.name}: "
        + ", ".join(
            f"{role} {n:,} images of {facts.n_patients.get(role, 0):,} patients"
            for role, n in sorted(facts.n_rows.items())
        )
        for facts in {facts.fingerprint: facts for facts in known}.values()
    )


def _seeds(runs: tuple[RunArtifacts, ...]) -> list[list[str]]:
    """Names of runs that differ in nothing but the seed."""
    recipes: dict[str, dict[int, str]] = {}
    for run in runs:
        alike = run.config.model_dump(mode="json", exclude={"seed", "runtime"})
        recipes.setdefault(str(alike), {})[run.config.seed] = run.name
    return [list(names.values()) for names in recipes.values() if len(names) > 1]


def _tested(results: Iterable[RunResult]) -> list[str]:
    """Datasets and splits, and what their rows had decided before."""
    names = set()
    for result in results:
        used = listing(result.rows_used_for)
        words = f"rows used for {used}" if used else "unused"
        names.add(f"{result.dataset}, {result.split} ({words})")
    return sorted(names)
