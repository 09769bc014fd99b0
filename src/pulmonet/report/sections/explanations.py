"""Explanations: example heat maps, localisation, sanity."""

import numpy as np

from pulmonet.arrays import Floats32, Pixels
from pulmonet.data.images.square import shrink
from pulmonet.explain.results import LabelExplanation, Localization, Sanity
from pulmonet.figures.panels import draw_heat_map_strip
from pulmonet.report import heatmaps
from pulmonet.report.collect import Context, RunArtifacts
from pulmonet.report.render.blocks import Block, Exhibit, ExhibitMap, Picture, Section, Text, Viewer
from pulmonet.report.texts import paragraphs, table_of
from pulmonet.report.wording import picture_name, safe_name

#: Images that the page shows over all runs, and labels in a markdown picture.
MAX_EXHIBITS = 24
MAX_STRIP_LABELS = 6


def explanations_section(context: Context) -> Section:
    """What `explain` left: viewer, localisation, sanity."""
    runs = context.collection.runs
    without = [run.name for run in context.collection.trained if not run.heat_maps]
    first, *notes = paragraphs("explanations", runs=runs, without=without)
    per_run = max(1, MAX_EXHIBITS // len(runs))
    exhibits, pictures = [], []
    for run in runs:
        shown = [image for image in run.heat_maps.images if image.xray is not None][:per_run]
        for exhibit, picture in (_show(context, run, image) for image in shown):
            exhibits.append(exhibit)
            pictures.append(picture)
        if context.identities.shown and not shown:  # a panel's small print names the image
            pictures += [
                Picture(
                    picture_name(run.name, method, label),
                    png,
                    f"{method} heat map of {run.name} for {label}",
                    f"{label}, {method}, first validation row",
                )
                for (label, method), png in run.heat_maps.panels.items()
            ]
    viewer = [Viewer(tuple(exhibits), tuple(pictures))] if exhibits or pictures else []
    children = tuple(section for run in runs for section in _checks(run))
    return Section("explanations", "Explanations", (first, *viewer, *notes), children)


def _show(
    context: Context, run: RunArtifacts, image: heatmaps.ExplainedImage
) -> tuple[Exhibit, Picture]:
    """The image for the viewer, and as a strip for markdown."""
    assert image.xray is not None
    path, targets = _identify(run, image)
    name = context.identities.image(path)
    where = (*image.xray.shape, run.config.data.fit, heatmaps.MAP_SIDE)
    placed = [heatmaps.lay_map(heat, *where) for heat in image.maps]
    of_labels = [(label, image.found[label]) for label in image.labels]
    maps = tuple(
        ExhibitMap(
            label=label,
            png=heatmaps.map_png(placed[position]) if found.overlay else None,
            score=found.score,
            verdict=": ".join(filter(None, (found.verdict(), found.decision(), found.grounds()))),
            present=found.present,
            target=targets.get(label, found.reference),
            empty=not image.maps[position].any(),
        )
        for position, (label, found) in enumerate(of_labels)
    )
    exhibit = Exhibit(run.name, name, heatmaps.xray_jpeg(image.xray), maps, image.method)
    scores = np.asarray([found.score for _, found in of_labels])
    chosen = np.argsort(-scores, kind="stable")[:MAX_STRIP_LABELS]
    shown = "highest scores" if len(chosen) < len(maps) else "scores"
    xray = shrink(image.xray, 320)
    return exhibit, Picture(
        picture_name(run.name, name, "maps"),
        draw_heat_map_strip(xray, [_overlay(xray, of_labels[n], placed[n]) for n in chosen]),
        f"X-ray {name} and heat maps of {run.name}",
        f"{name}, {run.name}: X-ray and heat maps with {shown}",
    )


def _overlay(
    xray: Pixels, of_label: tuple[str, LabelExplanation], placed: Floats32
) -> tuple[str, Pixels]:
    """What stands above a panel of the strip, and the panel."""
    label, found = of_label
    is_drawn = found.overlay is not None and placed.any()  # else no picture suggests a lesion
    return found.caption(label), heatmaps.draw_overlay(xray, placed) if is_drawn else xray


def _identify(run: RunArtifacts, image: heatmaps.ExplainedImage) -> tuple[str, dict[str, float]]:
    """The image's path in the dataset and its targets, where the predictions know it."""
    name = image.image
    for predictions in run.predictions:
        for row, path in enumerate(predictions.paths):
            if name is not None and (name == path or name.endswith(f"/{path}")):
                found = zip(predictions.labels, predictions.targets[row], strict=True)
                known = {label: float(value) for label, value in found if not np.isnan(value)}
                return path, known
    return name or image.folder, {}


def _checks(run: RunArtifacts) -> list[Section]:
    localization, sanity = run.heat_maps.localization, run.heat_maps.sanity
    blocks = _localization(localization) if localization else []
    blocks += _sanity(sanity) if sanity else []
    does = "localise the findings" if localization else "depend on the weights"
    title = f"Do the maps of {run.name} {does}?"
    key = f"checks-{safe_name(run.name)}"
    return [Section(key, title, tuple(blocks), folded=True)] if blocks else []


def _localization(found: Localization) -> list[Block]:
    rows = [
        (label, facts, name, row)
        for label, facts in found.labels.items()
        for name, row in facts.rows.items()
    ]
    if not rows:
        return [Text("No region of any label was found to compare with.", "note")]
    return [*table_of("localization", rows, found=found), Text(found.verdict())]


def _sanity(found: Sanity) -> list[Block]:
    stages = table_of("sanity", found.stages)
    return [*paragraphs("sanity", found=found), *stages]
