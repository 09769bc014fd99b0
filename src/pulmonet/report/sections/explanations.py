"""Explanations: example heat maps, localisation, sanity."""

from __future__ import annotations

from pulmonet.report.blocks import Block, Picture, Section, Text
from pulmonet.report.context import Context
from pulmonet.report.pictures import safe_name


def explanations_section(context: Context) -> Section:
    """What `explain` left."""
    blocks: list[Block] = [
        Text(
            "A heat map shows where the image moved the score of one finding. It is no outline "
            "of disease, and a plausible map does not make a score right."
        )
    ]
    children = []
    for run in context.collection.runs:
        pictures = [
            Picture(
                f"{safe_name(run.name)}_{safe_name(panel.method)}_{safe_name(panel.label)}.png",
                panel.png,
                f"{panel.method} heat map of {run.name} for {panel.label}",
                f"{panel.label}, {panel.method}, first validation row",
            )
            for panel in run.heat_maps.panels
        ]
        if pictures:
            children.append(Section(f"maps-{safe_name(run.name)}", run.name, tuple(pictures)))
    if not children:
        blocks.append(
            Text("The artifacts hold no heat maps; `pulmonet explain` makes them.", "note")
        )
    return Section("explanations", "Explanations", tuple(blocks), tuple(children))
