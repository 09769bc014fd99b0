"""Five lines that a clinician understands."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from pulmonet.report.collect import Collection, Context
from pulmonet.report.render.blocks import Bullets, Section, Text
from pulmonet.report.stale import Problem
from pulmonet.report.texts import fields, paragraphs
from pulmonet.report.wording import interval, number
from pulmonet.run.record import DatasetFacts
from pulmonet.words import count

RESEARCH_ONLY = (
    "For research and education. Not a medical device: nothing here may be used to diagnose or "
    "treat a patient."
)


def summary_section(context: Context) -> Section:
    """What was trained on what, how good it is, and what that does not mean."""
    collection, named = context.collection, partial(_named, context)
    facts = {**vars(context), **vars(collection), "synthetic": collection.synthetic}
    above = paragraphs("warnings", **facts, named=named)
    lines = fields("summary", **_facts(collection)).items()
    bullets = Bullets(tuple((f"{lead}.", text) for lead, text in lines), numbered=True)
    return Section("summary", "Summary", (*above, bullets))


def _facts(collection: Collection) -> dict[str, Any]:
    """What the five lines are made of."""
    best, runs, rivals = collection.best_run(), collection.trained, collection.rivals()
    result = collection.headline(best)
    starts: dict[str, list[str]] = {}
    for run in runs:
        weights = run.config.model.weights
        kind = weights if weights in {"imagenet", "none"} else "file"
        starts.setdefault(run.provenance.origin() or kind, []).append(run.name)
    letters = set(result.group_letters if result else "")
    labels = result.labels if result else {}
    notes = result.notes if result else best.provenance.notes
    return {
        "best": best,
        "result": result,
        "runs": runs,
        "rivals": rivals,
        "headline": collection.headline,
        "trained_on": partial(_trained_on, kind="X-rays"),
        "starts": starts,
        "alone": not any(run.main_result() for run in runs if run is not best),
        "together": [
            one
            for other in collection.others
            for one in other.results
            if one.combines and one.macro.auroc.value is not None and one is not result
        ],
        "said": [x for x in notes if x.startswith(("No label's AUROC", "The training log"))],
        "alike": [one.run for one in rivals if letters & set(one.group_letters)],
        "left_out": [run.name for run in collection.runs if run not in runs],
        "rare": [label for label, item in labels.items() if item.few_positives],
        "research_only": RESEARCH_ONLY,
    }


def stale_note(context: Context) -> list[Text]:
    """What is not shown since it was computed from other weights or rows than now lie there."""
    return paragraphs("stale", stale=context.collection.stale, named=partial(_named, context))


def _named(context: Context, problems: Sequence[Problem]) -> str:
    """Files and what is wrong, without what a damaged file's message may quote from it."""
    said = context.identities
    return "; ".join(f"{said.scrub(one.where)}: {said.quoteless(one.what)}" for one in problems)


def _trained_on(facts: DatasetFacts, kind: str) -> tuple[str, str]:
    """(``2,230``, ``X-rays of 640 patients``)."""
    kind = "phantom images" if facts.synthetic else kind
    patients = count(facts.n_patients.get("train", 0), "patient")
    whose = f"{kind} of {patients}" if facts.patients_known else kind
    return f"{facts.n_rows.get('train', 0):,}", whose


def headline_tiles(context: Context) -> tuple[tuple[str, str, str], ...]:
    """The numbers that stand above the page."""
    best = context.collection.best_run()
    result, facts = context.collection.headline(best), best.provenance.dataset
    tiles = []
    if result is not None and result.macro.auroc.value is not None:
        auroc = result.macro.auroc
        said = "" if auroc.low is None else f"95 % interval {interval(auroc)}; "
        title = result.macro.auroc_name().replace("macro", "Macro", 1)
        title += ", best run" if context.collection.rivals() else ""
        if result.combines == "out-of-fold":
            title = f"{title.removesuffix(', best run')}, out of fold"
        units = "images" if result.level == "image" else "studies"
        rows = f"{units} of {count(result.n_patients, 'patient')}, {result.split} split"
        tiles.append((title, number(auroc.value), f"{said}{result.run}"))
        tiles.append(("Evaluated on", f"{result.n_rows:,}", rows))
    if facts is not None:
        tiles.append(("Trained on", *_trained_on(facts, "images")))
    tiles.append(("Findings", str(len(best.labels)), "scored in every image"))
    return tuple(tiles)
