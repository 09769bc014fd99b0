"""Explanations: example heat maps, localisation, sanity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pulmonet.figures.heat_map_strip import draw_heat_map_strip
from pulmonet.report.collect import RunArtifacts
from pulmonet.report.context import Context
from pulmonet.report.heatmaps import (
    MAP_SIDE,
    ExplainedImage,
    draw_overlay,
    lay_map,
    map_png,
    shrink,
    xray_jpeg,
)
from pulmonet.report.render.blocks import (
    Block,
    Cell,
    Exhibit,
    ExhibitMap,
    Picture,
    Section,
    Table,
    Text,
    Viewer,
    cells,
)
from pulmonet.report.render.pictures import safe_name
from pulmonet.report.sections.summary import trained
from pulmonet.report.wording import count_cell, listing, number, number_cell
from pulmonet.words import count

#: Images that the page shows over all runs, and labels in a markdown picture.
MAX_EXHIBITS = 24
MAX_STRIP_LABELS = 6


def explanations_section(context: Context) -> Section:
    """What `explain` left: viewer, localisation, sanity."""
    runs = context.collection.runs
    blocks: list[Block] = [
        Text(
            "A heat map shows where the image moved the score of one finding. It is no outline "
            "of disease, and a plausible map does not make a score right."
        )
    ]
    per_run = max(1, MAX_EXHIBITS // len(runs))
    exhibits: list[Exhibit] = []
    pictures: list[Picture] = []
    for run in runs:
        shown = [image for image in run.heat_maps.images if image.xray is not None][:per_run]
        exhibits += [_exhibit(context, run, image) for image in shown]
        pictures += [_strip(context, run, image) for image in shown]
        if context.identities.shown and not shown:
            pictures += _panels(run)
    if exhibits or pictures:
        blocks.append(Viewer(tuple(exhibits), tuple(pictures)))
    without = [
        run.name for run in trained(context) if not (run.heat_maps.images or run.heat_maps.panels)
    ]
    if without:
        words = f"No heat maps of {listing(without)}; `pulmonet explain` makes them."
        blocks.append(Text(words, "note"))
    blocks += [note for run in runs for note in _what_is_missing(run)]
    children = [section for run in runs for section in _checks(run)]
    return Section("explanations", "Explanations", tuple(blocks), tuple(children))


def _what_is_missing(run: RunArtifacts) -> list[Text]:
    maps = run.heat_maps
    if not maps.images and not maps.panels:
        return []
    if not any(image.xray is not None for image in maps.images):
        return [
            Text(
                f"{run.name}: its heat maps come without their X-rays; `pulmonet explain` writes "
                "both.",
                "note",
            )
        ]
    hidden = maps.n_images - len(maps.images)
    if hidden > 0:
        return [Text(f"{run.name}: {count(hidden, 'more image')} not shown.", "note")]
    return []


def _exhibit(context: Context, run: RunArtifacts, image: ExplainedImage) -> Exhibit:
    assert image.xray is not None
    height, width = image.xray.shape
    path, targets = _identify(run, image)
    maps = []
    for position, label in enumerate(image.labels):
        placed = lay_map(image.maps[position], height, width, run.heat_maps.fit, MAP_SIDE)
        maps.append(
            ExhibitMap(
                label=label,
                png=map_png(placed),
                score=float(image.scores[position]),
                threshold=image.thresholds.get(label),
                target=targets.get(label),
                empty=not image.maps[position].any(),
            )
        )
    return Exhibit(
        run=run.name,
        image=context.identities.image(path),
        grey=xray_jpeg(image.xray),
        maps=tuple(maps),
        method=image.method,
    )


def _identify(run: RunArtifacts, image: ExplainedImage) -> tuple[str, dict[str, float]]:
    """The image's path in the dataset and its targets, where the predictions know it."""
    name = image.image
    for predictions in run.predictions:
        for row, path in enumerate(predictions.paths):
            if name is not None and (name == path or name.endswith(f"/{path}")):
                found = zip(predictions.labels, predictions.targets[row], strict=True)
                known = {label: float(value) for label, value in found if not np.isnan(value)}
                return path, known
    return name or image.folder, {}


def _strip(context: Context, run: RunArtifacts, image: ExplainedImage) -> Picture:
    """X-ray and overlays in one row, for markdown."""
    assert image.xray is not None
    height, width = image.xray.shape
    xray = shrink(image.xray, 320)
    path, _ = _identify(run, image)
    name = context.identities.image(path)
    chosen = np.argsort(-image.scores, kind="stable")[:MAX_STRIP_LABELS]
    overlays = []
    for position in chosen:
        label, score = image.labels[position], float(image.scores[position])
        words, drawn = f"{label} {number(score, 2)}", xray
        threshold = image.thresholds.get(label)
        if threshold is not None and score < threshold:  # no picture suggests a lesion then
            words += ", absent"
        elif not image.maps[position].any():
            words += ", empty map"
        else:
            placed = lay_map(image.maps[position], height, width, run.heat_maps.fit, MAP_SIDE)
            drawn = draw_overlay(xray, placed)
        overlays.append((words, drawn))
    shown = "highest scores" if len(chosen) < len(image.labels) else "scores"
    return Picture(
        f"{safe_name(run.name)}_{safe_name(name)}_maps.png",
        draw_heat_map_strip(xray, overlays),
        f"X-ray {name} and heat maps of {run.name}",
        f"{name}, {run.name}: X-ray and heat maps with {shown}",
    )


def _panels(run: RunArtifacts) -> list[Picture]:
    """Panels of the first validation row: their small print names the image."""
    return [
        Picture(
            f"{safe_name(run.name)}_{safe_name(panel.method)}_{safe_name(panel.label)}.png",
            panel.png,
            f"{panel.method} heat map of {run.name} for {panel.label}",
            f"{panel.label}, {panel.method}, first validation row",
        )
        for panel in run.heat_maps.panels
    ]


# --- localisation and sanity: tables of their own files -----------------------------------------


def _checks(run: RunArtifacts) -> list[Section]:
    blocks: list[Block] = []
    if run.heat_maps.localization is not None:
        blocks += _localization(run.heat_maps.localization)
    if run.heat_maps.sanity is not None:
        blocks += _sanity(run.heat_maps.sanity)
    if not blocks:
        return []
    title = f"Do the maps of {run.name} point at the disease?"
    return [Section(f"checks-{safe_name(run.name)}", title, tuple(blocks), folded=True)]


def _localization(found: Mapping[str, Any]) -> list[Block]:
    rows = [
        cells(
            str(label),
            str(name),
            _count(facts.get("n_images")),
            _count(facts.get("n_patients")),
            *(_estimate(row.get(metric)) for metric in ("pointing", "iou", "energy")),
        )
        for label, facts in _tables(found.get("labels"))
        for name, row in _tables(facts.get("rows"))
    ]
    if not rows:
        return [Text("No region of any label was found to compare with.", "note")]
    runs = _list(found.get("runs"))
    where = f"{found.get('split')}" if len(runs) < 2 else f"out of fold over {len(runs)} folds"
    kind = ", SYNTHETIC phantoms" if found.get("synthetic") else ""
    notes = [
        "Baselines need no trained network; a method that does not beat them shows nothing. "
        "Intervals resample patients.",
        *_ways(_list(found.get("variants"))),
    ]
    return [
        Table(
            f"Localisation on {found.get('dataset')}, {where}{kind}",
            (
                "Label",
                "Method or baseline",
                "Images",
                "Patients",
                "Pointing game",
                "IoU",
                "Energy inside",
            ),
            tuple(rows),
            tuple(notes),
        ),
        Text(_leads(found)),
    ]


def _ways(variants: Sequence[Any]) -> list[str]:
    """Layers that the rows' names do not tell, and that a choice among several flatters."""
    known = [variant for variant in variants if isinstance(variant, dict)]
    notes = [
        f"{variant.get('name')}: maps of layer {variant.get('layer')}."
        for variant in known
        if variant.get("layer") is not None
        and str(variant.get("layer")) not in str(variant.get("name"))
    ]
    if len(known) > 1:
        notes.append(
            f"{len(known)} ways were tried on the same rows: the best one's lead is flattered."
        )
    return notes


def _leads(found: Mapping[str, Any]) -> str:
    """Which labels are hit more often than by every baseline, beyond the interval."""
    shown, not_shown = [], []
    for label, facts in _tables(found.get("labels")):
        by_row: dict[str, list[bool]] = {}
        for entry in _list(facts.get("differences")):
            if isinstance(entry, dict) and entry.get("metric") == "pointing":
                difference = entry.get("difference")
                value = _float(difference.get("value")) if isinstance(difference, dict) else None
                beaten = bool(entry.get("distinguished")) and (value or 0.0) > 0
                by_row.setdefault(str(entry.get("row")), []).append(beaten)
        winners = [row for row, beaten in by_row.items() if all(beaten)]
        if winners:
            shown.append(f"{label} ({', '.join(winners)})")
        else:
            not_shown.append(label)
    words = [
        f"In the pointing game every baseline is beaten beyond the interval for {', '.join(shown)}."
        if shown
        else "In the pointing game no label's maps are shown to beat every baseline."
    ]
    if shown and not_shown:
        words.append(f"Not shown for {', '.join(not_shown)}.")
    return " ".join(words)


def _sanity(found: Mapping[str, Any]) -> list[Block]:
    verdict = "passed" if found.get("passed") else "NOT passed"
    words = (
        f"Sanity check {verdict}: {found.get('statistic')}: {number(_float(found.get('value')))}, "
        f"threshold {number(_float(found.get('threshold')))}, {found.get('n_images')} images."
    )
    rows = tuple(
        cells(
            str(stage.get("stage")),
            number_cell(_float(stage.get("mean"))),
            f"{number(_float(stage.get('low')))} to {number(_float(stage.get('high')))}",
        )
        for stage in _list(found.get("stages"))
        if isinstance(stage, dict)
    )
    table = Table(
        "Rank correlation with the trained network's maps, by depth of randomisation",
        ("Randomised down to", "Mean", "10th to 90th percentile"),
        rows,
    )
    return [Text(words, "paragraph" if found.get("passed") else "warning"), table]


def _estimate(value: Any) -> Cell:
    if not isinstance(value, dict) or _float(value.get("value")) is None:
        return Cell("–")
    middle, low, high = (_float(value.get(key)) for key in ("value", "low", "high"))
    if low is None or high is None:
        return number_cell(middle, 2)
    return Cell(f"{number(middle, 2)} ({number(low, 2)}–{number(high, 2)})", middle)


def _tables(value: Any) -> list[tuple[str, dict[str, Any]]]:
    """The items of a JSON object that are objects themselves: nothing checked the file."""
    if not isinstance(value, dict):
        return []
    return [(str(key), item) for key, item in value.items() if isinstance(item, dict)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _float(value: Any) -> float | None:
    known = isinstance(value, int | float) and abs(value) < 1e300
    return float(value) if known else None


def _count(value: Any) -> Cell:
    return count_cell(value if isinstance(value, int) else None)
