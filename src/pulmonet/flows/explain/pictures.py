"""X-rays to scores, heat maps, and the files that show them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pulmonet.arrays import Floats32, Pixels
from pulmonet.choices import METHODS
from pulmonet.data.images.decoding import Remark
from pulmonet.data.images.square import placement, shrink
from pulmonet.explain.dicom_capture import encode_secondary_capture
from pulmonet.explain.maps.methods import explain_images, to_network_input
from pulmonet.explain.maps.overlay import blend, boxes_above, encode_png, place_map
from pulmonet.explain.results import BadImage, ImageExplanation, LabelExplanation
from pulmonet.explain.score_table import ScoreTable
from pulmonet.explain.verdicts import judge_images
from pulmonet.figures import panels
from pulmonet.files.write import bytes_of
from pulmonet.flows import console
from pulmonet.flows.explain.images import Source, read_sources
from pulmonet.flows.explain.options import Settled
from pulmonet.labels import file_name_of
from pulmonet.models.trained import TrainedRun


def explain_sources(
    task: Settled,
    trained: TrainedRun,
    sources: Sequence[Source],
    bad: list[BadImage],
    table: ScoreTable,
) -> dict[str, object]:
    """All files of all images, and contact sheets where there are several: their part of the JSON.

    Images that cannot be read are named, added to `bad` and left out; the others' scores are
    added to `table`. DataError: none can be read.
    """
    images: list[ImageExplanation] = []
    sheets: list[str] = []
    rows: list[panels.SheetRow] = []

    def write_sheet() -> None:
        number = f"_{len(sheets) + 1}" if sheets else ""
        kind = "; SYNTHETIC phantoms" if any(one.phantom for one in images) else ""
        sheet = panels.draw_contact_sheet(rows, title=f"run {task.run_dir.name}, {task.way}{kind}")
        sheets.append(f"contact_sheet{number}.png")
        task.ledger.write(task.folder / sheets[-1], sheet)
        rows.clear()

    with console.steps("Explaining", len(sources)) as progress:
        for source, (image, remark) in read_sources(sources, bad, progress.advance):
            if len(rows) == panels.ROWS_PER_SHEET:
                write_sheet()
            found, row = _explain_one(task, trained, source, image, remark)
            images.append(found)
            table.add([found], [source.state()])
            rows.append(row)
        if len(sources) > 1:
            write_sheet()
    return {"images": images, "contact_sheets": sheets}


def _explain_one(
    task: Settled, trained: TrainedRun, source: Source, image: Pixels, remark: Remark
) -> tuple[ImageExplanation, panels.SheetRow]:
    """All files of one image; its part of explanations.json and its row of the contact sheet."""
    columns = [trained.labels.index(label) for label in task.labels]
    way, square = task.variants[0], trained.square(image)
    pixels = to_network_input([square], trained)
    maps = explain_images(trained.network, pixels, columns, method=way.method, layer=way.layer)
    scores = maps.scores[0, columns]
    sight, _ = trained.measure(square, source.name, remark)
    kind = "SYNTHETIC phantom, " if remark & Remark.PHANTOM else ""
    subtitle = f"{kind}{source.name}; run {task.run_dir.name}"
    height, width = image.shape
    where = placement(height, width, trained.fit)
    folder = task.folder / source.folder
    # what `report` lays the maps over
    xray, picture = folder / "xray.png", encode_png(image)
    if task.ledger.owns(xray) and xray.read_bytes() != picture:  # another image of that name
        task.ledger.remove(*folder.iterdir())
    task.ledger.write(xray, picture)
    (judged,) = judge_images(trained, [source.name], task.labels, scores[None], [sight])
    labels: dict[str, LabelExplanation] = {}
    overlays: dict[str, Pixels | None] = {}
    for heat, (label, found) in zip(maps.maps[0], judged.labels.items(), strict=True):
        placed = place_map(heat, height, width, where)
        labels[label], overlay = _explain_label(task, source, image, label, found, placed, subtitle)
        overlays[label] = None if overlay is None else shrink(overlay, panels.SHEET_CELL)
    arrays: dict[str, Any] = {  # readable without pickle
        "labels": np.asarray(task.labels, dtype=np.str_),
        "scores": scores.astype(np.float32),
        "raw": maps.raw[0].astype(np.float32),
        "maps": maps.maps[0].astype(np.float32),
        "checkpoint_sha256": np.asarray(trained.sha256, dtype=np.str_),
        "method": np.asarray(way.method, dtype=np.str_),
    }
    content = bytes_of(lambda file: np.savez_compressed(file, **arrays))
    # those of another method stay, to be compared
    path = folder / ("maps.npz" if way.method == METHODS[0] else f"maps_{way.method}.npz")
    task.ledger.write(path, content)
    stored = _relative(path, task.folder)
    facts = {"width": width, "height": height, "maps": stored, "labels": labels}
    explanation = judged.model_copy(update=facts)
    small = shrink(image, panels.SHEET_CELL)
    return explanation, panels.SheetRow(source.folder, small, labels, overlays)


def _explain_label(
    task: Settled,
    source: Source,
    image: Pixels,
    label: str,
    judged: LabelExplanation,
    placed: Floats32,
    subtitle: str,
) -> tuple[LabelExplanation, Pixels | None]:
    """The files of one label's map, `placed` (H, W); what is known of it, and its overlay."""
    method = task.variants[0].method
    name = f"{file_name_of(method)}_{file_name_of(label)}.png"
    path = task.folder / source.folder / name
    overlay_path = path.with_name(f"{path.stem}_overlay.png")
    files = {"overlay": overlay_path, "dicom": path.with_suffix(".dcm")}
    # the panel of the first validation row lies in the run's folder itself
    in_run_folder = task.first_row_only and task.out_dir is None
    panel = task.run_dir.path / path.name if in_run_folder else path
    facts: dict[str, Any] = {"reference": source.reference.get(label)}
    facts["panel"] = _relative(panel, task.folder)
    overlay = None
    if judged.present is not False or task.show_absent:
        overlay = blend(image, placed, task.colour_map)
        shown = {name: _relative(file, task.folder) for name, file in files.items()}
        facts |= shown if task.dicom else {"overlay": shown["overlay"]}
        if task.boxes_out and label in task.tuned_shares:
            facts["boxes"] = boxes_above(placed, task.tuned_shares[label])
    found = judged.model_copy(update=facts | _peak(placed))
    drawn = panels.draw_panel(
        image, overlay, label, found, task.colour_map, method=task.way, subtitle=subtitle
    )
    task.ledger.write(panel, drawn)
    if overlay is None:  # a picture of an earlier call must not outlive its verdict
        task.ledger.remove(*files.values())
        return found, None
    task.ledger.write(overlay_path, encode_png(overlay))
    if task.dicom:
        what = f"PulmoNet {method} {label}"
        capture = encode_secondary_capture(overlay, what, source.path, anonymous=task.anonymous)
        task.ledger.write(files["dicom"], capture)
    return found, overlay


def _peak(placed: Floats32) -> dict[str, object]:
    """Where a map (H, W) is highest, or that it is empty."""
    values = np.nan_to_num(placed, nan=0.0)
    if not values.any():
        return {"empty": True}
    place = np.unravel_index(int(values.argmax()), values.shape)
    row, column = ((float(i) + 0.5) / n for i, n in zip(place, values.shape, strict=True))
    return {"peak_x": column, "peak_y": row}


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()
