"""Limitations that follow from the artifacts, and those that only the authors can name."""

from pulmonet.report.collect import Context
from pulmonet.report.render.blocks import Bullets, Section, Text
from pulmonet.report.texts import entries


def limitations_section(context: Context) -> Section:
    """Each line follows from something in the artifacts."""
    collection = context.collection
    results = [result for run in collection.runs for result in run.results]
    inside = {facts.name for facts in collection.datasets}
    labels = (pair for result in results for pair in result.labels.items())
    lines = entries(
        "limitations",
        runs=collection.runs,
        synthetic=collection.synthetic,
        results=results,
        elsewhere=sorted({one.dataset for one in results if one.is_external(inside)}),
        rare=sorted({label for label, item in labels if item.few_positives}),
        datasets=collection.datasets,
    )
    listed = Bullets(tuple(("", line) for line in lines))
    more = [Text(words) for key, words in context.notes.items() if key == "limitations"]
    return Section("limitations", "Limitations", (listed, *more))
