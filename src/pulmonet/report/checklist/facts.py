"""What the artifacts can answer of a reporting checklist; an empty string is "unknown"."""

from collections.abc import Iterable

from pulmonet.metrics.results import RunResult
from pulmonet.report.collect import Collection, RunArtifacts
from pulmonet.report.texts import fields
from pulmonet.report.wording import listing

#: Columns of subgroups that describe patients and radiographs, not where they come from.
_PEOPLE = {"sex", "age", "view"}


def find_facts(collection: Collection) -> dict[str, str]:
    """Answers from the runs of `collection`, a sentence each; items ask by these keys."""
    known, best, runs = collection.datasets, collection.best_run(), collection.runs
    results, inside = collection.results, {facts.name for facts in known}
    of_runs = [result for run in runs for result in run.results]
    return fields(
        "checklist",
        runs=runs,
        others=collection.others,
        best=best,
        config=best.config,
        parts=[run.config.data for run in runs],
        known=known,
        n_excluded=max((sum(facts.excluded.values()) for facts in known), default=0),
        seeds=_seeds(runs),
        results=results,
        labels=[label for result in results for label in result.labels.values()],
        main=collection.headline(best),
        internal=_tested(one for one in of_runs if not one.is_external(inside)),
        external=_tested(one for one in of_runs if one.is_external(inside)),
        clusters=sorted({one.column for result in results for one in result.subgroups} - _PEOPLE),
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
