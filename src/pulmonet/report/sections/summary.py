"""Five lines that a clinician understands."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from pulmonet.metrics.results import Comparison, RunResult
from pulmonet.report.collect import Collection, Context
from pulmonet.report.render.blocks import Bullets, Section, Text
from pulmonet.report.sections.results import overview
from pulmonet.report.stale import Problem
from pulmonet.report.texts import entries, fields, paragraphs
from pulmonet.report.wording import difference_of

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
    return Section("summary", "Summary", (*above, bullets, *overview(collection)))


def _facts(collection: Collection) -> dict[str, Any]:
    """What the five lines are made of."""
    best, runs = collection.best_run(), collection.trained
    result = collection.headline(best)
    starts: dict[str, list[str]] = {}
    for run in runs:
        weights = run.config.model.weights
        kind = weights if weights in {"imagenet", "none"} else "file"
        starts.setdefault(run.provenance.origin() or kind, []).append(run.name)
    compared = _compared(collection, result) if result else []
    return {
        "best": best,
        "result": result,
        "runs": runs,
        "rivals": collection.rivals(),
        "headline": collection.headline,
        "starts": starts,
        "alone": not any(run.main_result() for run in runs if run is not best),
        "others": [one for other in collection.others for one in other.results],
        "alike": [name for name, one, _ in compared if not one.distinguished],
        "worse": [name for name, one, gap in compared if one.distinguished and gap > 0],
        "left_out": [run.name for run in collection.runs if run not in runs],
        "research_only": RESEARCH_ONLY,
    }


def _compared(collection: Collection, result: RunResult) -> list[tuple[str, Comparison, float]]:
    """The other side of each comparison that `result` is in, and by how much that is behind."""
    found = []
    for rows, one in collection.comparisons:
        if rows == (result.dataset, result.split) and result.run in one.runs() and one.is_primary():
            is_b = result.run in (one.b_members or [one.b])
            gap = difference_of(one, swap=is_b).value
            found.append((one.a if is_b else one.b, one, gap or 0.0))
    return found


def stale_note(context: Context) -> list[Text]:
    """What is not shown since it was computed from other weights or rows than now lie there."""
    return paragraphs("stale", stale=context.collection.stale, named=partial(_named, context))


def _named(context: Context, problems: Sequence[Problem]) -> str:
    """Files and what is wrong, without what a damaged file's message may quote from it."""
    said = context.identities
    return "; ".join(f"{said.scrub(one.where)}: {said.quoteless(one.what)}" for one in problems)


def headline_tiles(context: Context) -> tuple[tuple[str, str, str], ...]:
    """The numbers that stand above the page."""
    collection, best = context.collection, context.collection.best_run()
    facts = {"result": collection.headline(best), "rivals": collection.rivals()}
    tiles = (one.split("|", 2) for one in entries("tiles", best=best, **facts))
    return tuple((name, value, more) for name, value, more in tiles)
