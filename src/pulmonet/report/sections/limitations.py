"""Limitations that follow from the artifacts, and those that only the authors can name."""

from pulmonet.report.collect import Context
from pulmonet.report.render.blocks import Block, Section, Text, bullets
from pulmonet.report.wording import listing


def limitations_section(context: Context) -> Section:
    """Each line follows from something in the artifacts."""
    collection = context.collection
    results = [result for run in collection.runs for result in run.results]
    lines = []
    if collection.synthetic:
        lines.append("Phantom images: no statement about patients is possible.")
    if not results:
        lines.append("No evaluation with intervals is in the artifacts.")
    if any(result.known_uses() for result in results):
        lines.append(
            "Some results come from rows that also trained the network, or chose the checkpoint or "
            "a calibration, so they are optimistic; `train --select-on dev` keeps the reported "
            "rows untouched."
        )
    inside = {facts.name for facts in collection.datasets}
    elsewhere = {result.dataset for result in results if result.is_external(inside)}
    if elsewhere:
        lines.append(f"External testing was done on {listing(sorted(elsewhere))} only.")
    else:
        lines.append("Internal testing only: no other dataset was evaluated.")
    lines += [
        f"{run.name}: {said}."
        for run in collection.runs
        for said in filter(None, (run.provenance.origin(), run.provenance.taught()))
    ]
    rare = {label for one in results for label, item in one.labels.items() if item.few_positives}
    if rare:
        lines.append(
            f"Fewer than 20 positive (or negative) patients for {listing(sorted(rare))}: intervals "
            "of their thresholds and calibration may be too narrow; below 5 there is none."
        )
    if len({run.config.seed for run in collection.runs}) == 1:
        lines.append("One seed: how much of a difference is luck of the seed is not known.")
    if not all(facts.patients_known for facts in collection.datasets):
        lines.append("The source names no patients: intervals take each image for a patient.")
    if not collection.synthetic:
        what = "Labels of public chest X-ray collections are mostly read from reports by software:"
        lines.append(f"{what} the reference standard has errors of its own.")
    blocks: list[Block] = [bullets(lines)]
    if "limitations" in context.notes:
        blocks.append(Text(context.notes["limitations"]))
    return Section("limitations", "Limitations", tuple(blocks))
