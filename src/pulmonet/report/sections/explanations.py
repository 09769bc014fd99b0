"""Explanations: example heat maps, localisation, sanity."""

from typing import Any

import numpy as np

from pulmonet.arrays import Floats32, Pixels
from pulmonet.data.images.square import shrink
from pulmonet.explain.results import LabelExplanation
from pulmonet.figures.panels import draw_heat_map_strip
from pulmonet.report import heatmaps
from pulmonet.report.collect import Context, RunArtifacts
from pulmonet.report.render.blocks import Block, Exhibit, Picture, Section, Viewer
from pulmonet.report.texts import paragraphs, table_of
from pulmonet.report.wording import picture_name, safe_name

#: Pictures in markdown over all runs, and labels in one.
MAX_STRIPS = 24
MAX_STRIP_LABELS = 6


def explanations_section(context: Context) -> Section:
    """What `explain` left: viewer, localisation, sanity."""
    best = context.collection.best_run()
    runs = sorted(context.collection.runs, key=lambda run: run is not best)
    without = [run.name for run in context.collection.trained if not run.heat_maps]
    first, *notes = paragraphs("explanations", runs=runs, without=without)
    images = [(run, one) for run in runs for one in run.heat_maps.images if one.xray is not None]
    n_maps = sum(bool(found.overlay) for _, one in images for found in one.found.values())
    n_xrays = len({(one.image, one.folder) for _, one in images})
    sides = heatmaps.sides_for(n_xrays, n_maps)
    exhibits = [_exhibit(context, run, one, sides) for run, one in images]
    pictures = []
    for run in runs:
        shown = [one for of, one in images if of is run]
        pictures += [_strip(context, run, one) for one in shown[: max(1, MAX_STRIPS // len(runs))]]
    children = [section for run in runs for section in _checks(context, run)]
    if exhibits:
        viewer = Viewer(tuple(exhibits), tuple(pictures))
        children.insert(0, Section("heat-maps", "Heat maps", (viewer,), beside=True))
    return Section("explanations", "Explanations", (first, *notes), tuple(children))


def _exhibit(
    context: Context, run: RunArtifacts, image: heatmaps.ExplainedImage, sides: tuple[int, int]
) -> Exhibit:
    """The image for the viewer; `sides` of X-ray and maps in pixels."""
    assert image.xray is not None
    path, targets = _identify(run, image)
    where = (*image.xray.shape, run.config.data.fit, sides[1])
    maps: list[dict[str, Any]] = []
    for label, heat in zip(image.labels, image.maps, strict=True):
        found, verdict = image.found[label], image.found[label].verdict()
        told = found.model_dump(include={"score", "present", "threshold"})
        placed = heatmaps.lay_map(heat, *where)
        y, x = np.unravel_index(int(placed.argmax()), placed.shape)
        told |= {"peak_x": (x + 0.5) / placed.shape[1], "peak_y": (y + 0.5) / placed.shape[0]}
        png = heatmaps.map_png(placed) if found.overlay else None
        told |= {"label": label, "png": png, "empty": not heat.any()}
        told |= {"present": None} if verdict == "no verdict" else {}
        told["verdict"] = "; ".join(filter(None, (verdict, found.decision(), found.grounds())))
        target = targets.get(label) if found.reference is None else found.reference
        maps.append(told | {"target": target})
    xray = heatmaps.xray_jpeg(image.xray, sides[0])
    return Exhibit(run.name, context.identities.image(path), xray, tuple(maps), image.method)


def _strip(context: Context, run: RunArtifacts, image: heatmaps.ExplainedImage) -> Picture:
    """X-ray and maps beside each other, for markdown."""
    assert image.xray is not None
    name = context.identities.image(_identify(run, image)[0])
    xray = shrink(image.xray, 320)
    whose = safe_name(run.name, context.collection.names)
    where = (*xray.shape, run.config.data.fit, heatmaps.MAP_SIDE)
    of_labels = [(label, image.found[label]) for label in image.labels]
    scores = np.asarray([found.score for _, found in of_labels])
    chosen = np.argsort(-scores, kind="stable")[:MAX_STRIP_LABELS]
    placed = {n: heatmaps.lay_map(image.maps[n], *where) for n in chosen.tolist()}
    way = f" ({image.method})" if image.method else ""
    shown = "highest scores" if len(chosen) < len(of_labels) else "scores"
    overlays = [_overlay(xray, of_labels[n], placed[n]) for n in placed]
    return Picture(
        picture_name(whose, name, *filter(None, [image.method]), "maps"),
        draw_heat_map_strip(f"{'SYNTHETIC ' * context.collection.synthetic}X-ray", xray, overlays),
        f"X-ray {name} and heat maps of {run.name}",
        f"{name}, {run.name}: X-ray and heat maps{way} with {shown}",
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
            if name == path or f"/{name}".endswith(f"/{predictions.dataset}/{path}"):
                found = zip(predictions.labels, predictions.targets[row], strict=True)
                known = {label: float(value) for label, value in found if not np.isnan(value)}
                return path, known
    return name or image.folder, {}


def _checks(context: Context, run: RunArtifacts) -> list[Section]:
    found, sanity = run.heat_maps.localization, run.heat_maps.sanity
    of_labels = (found.labels if found else {}).items()
    rows = [(label, facts, *row) for label, facts in of_labels for row in facts.rows.items()]
    blocks: list[Block] = [
        *table_of("localization", rows, found=found),
        *paragraphs("checks", found=found, rows=rows, sanity=sanity),
        *table_of("sanity", sanity.stages if sanity else ()),
    ]
    does = "localise the findings" if found else "depend on the weights"
    title = f"Do the maps of {run.name} {does}?"
    key = f"checks-{safe_name(run.name, context.collection.names)}"
    return [Section(key, title, tuple(blocks), folded=True, beside=True)] if blocks else []
