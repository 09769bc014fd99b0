"""X-rays to scores, heat maps, and the files that show them."""

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pulmonet.arrays import Floats32, Pixels
from pulmonet.data.images.square import placement
from pulmonet.explain.dicom_capture import encode_secondary_capture
from pulmonet.explain.maps.methods import explain_images, to_network_input
from pulmonet.explain.maps.overlay import blend, encode_png, place_map
from pulmonet.explain.results import BadImage, ImageExplanation, LabelExplanation, judge_images
from pulmonet.explain.score_table import ScoreTable
from pulmonet.figures import panels
from pulmonet.flows import console
from pulmonet.flows.explain.images import Source, read_sources
from pulmonet.flows.explain.options import Settled
from pulmonet.metrics.calibration.fit import Calibration
from pulmonet.models.trained import TrainedRun
from pulmonet.run.folder import RunDir


def explain_sources(
    task: Settled,
    trained: TrainedRun,
    calibration: Calibration | None,
    sources: Sequence[Source],
    bad: list[BadImage],
    table: ScoreTable,
    *,
    synthetic: bool,
) -> tuple[list[ImageExplanation], list[str]]:
    """All files of all images, and contact sheets where there are several: records, sheets' names.

    Images that cannot be read are named, added to `bad` and left out; the others' scores are
    added to `table`. DataError: none can be read.
    """
    images: list[ImageExplanation] = []
    sheets: list[str] = []
    rows: list[panels.SheetRow] = []

    def write_sheet() -> None:
        number = f"_{len(sheets) + 1}" if sheets else ""
        kind = "; SYNTHETIC phantoms" if synthetic else ""
        sheet = panels.draw_contact_sheet(rows, title=f"run {task.run_dir.name}, {task.way}{kind}")
        sheets.append(f"contact_sheet{number}.png")
        task.ledger.write(task.folder / sheets[-1], sheet)
        rows.clear()

    with console.steps("Explaining", len(sources)) as progress:
        for source, image in read_sources(sources, bad, progress.advance):
            if len(rows) == panels.ROWS_PER_SHEET:
                write_sheet()
            found, row = _explain_one(
                task, trained, calibration, source, image, synthetic=synthetic
            )
            images.append(found)
            table.add([found], [source.state()])
            rows.append(row)
        if len(sources) > 1:
            write_sheet()
    return images, sheets


def _explain_one(
    task: Settled,
    trained: TrainedRun,
    calibration: Calibration | None,
    source: Source,
    image: Pixels,
    *,
    synthetic: bool,
) -> tuple[ImageExplanation, panels.SheetRow]:
    """All files of one image; its part of explanations.json and its row of the contact sheet."""
    columns = [trained.labels.index(label) for label in task.labels]
    variant = task.variants[0]
    subtitle = f"{'SYNTHETIC phantom, ' if synthetic else ''}{source.name}; run {task.run_dir.name}"
    pixels = to_network_input([image], trained)
    maps = explain_images(
        trained.network, pixels, columns, method=variant.method, layer=variant.layer
    )
    scores = maps.scores[0, columns]
    distance, _ = trained.measure(image, source.name)
    why = trained.why_unlike(distance, synthetic=synthetic)
    height, width = image.shape
    where = placement(height, width, trained.fit)
    folder = task.folder / source.folder
    # what `report` lays the maps over
    task.ledger.write(folder / "xray.png", encode_png(image))
    (judged,) = judge_images(
        [source.name], task.labels, scores[None], calibration, [(distance, why)]
    )
    labels: dict[str, LabelExplanation] = {}
    overlays: dict[str, Pixels | None] = {}
    for position, label in enumerate(task.labels):
        placed = place_map(maps.maps[0, position], height, width, where)
        path = RunDir(folder).heat_map_path(label, variant.method)
        found = _place(task, judged.labels[label], placed, path)
        found = found.model_copy(update={"reference": source.reference.get(label)})
        overlay = None if found.overlay is None else blend(image, placed, task.colour_map)
        panel = panels.draw_panel(
            image, overlay, label, found, task.colour_map, method=task.way, subtitle=subtitle
        )
        task.ledger.write(_panel_path(task, path), panel)
        _write_overlay(overlay, path, f"PulmoNet {variant.method} {label}", task, source)
        labels[label] = found
        overlays[label] = None if overlay is None else panels.thumbnail(overlay)
    buffer = io.BytesIO()
    np.savez_compressed(  # readable without pickle
        buffer,
        labels=np.asarray(task.labels, dtype=np.str_),
        scores=scores.astype(np.float32),
        raw=maps.raw[0].astype(np.float32),
        maps=maps.maps[0].astype(np.float32),
        checkpoint_sha256=np.asarray(trained.sha256, dtype=np.str_),
    )
    task.ledger.write(folder / "maps.npz", buffer.getvalue())
    stored = _relative(folder / "maps.npz", task.folder)
    facts = {"width": width, "height": height, "maps": stored, "labels": labels}
    explanation = judged.model_copy(update=facts)
    return explanation, panels.SheetRow(source.folder, panels.thumbnail(image), labels, overlays)


def _place(
    task: Settled, judged: LabelExplanation, placed: Floats32, path: Path
) -> LabelExplanation:
    """With what is known of its map, `placed` (H, W); `path`, the panel's, names the files."""
    drawn = judged.present is not False or task.show_absent
    values = np.nan_to_num(placed, nan=0.0)
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    empty = not values.any()
    dicom = _relative(path.with_suffix(".dcm"), task.folder) if drawn and task.dicom else None
    facts = {
        "empty": empty,
        "peak_x": None if empty else (float(column) + 0.5) / values.shape[1],
        "peak_y": None if empty else (float(row) + 0.5) / values.shape[0],
        "panel": _relative(_panel_path(task, path), task.folder),
        "overlay": _relative(_overlay_path(path), task.folder) if drawn else None,
        "dicom": dicom,
    }
    return judged.model_copy(update=facts)


def _panel_path(task: Settled, path: Path) -> Path:
    """That of the first validation row lies in the run's folder itself."""
    in_run_folder = task.first_row_only and task.out_dir is None
    return task.run_dir.path / path.name if in_run_folder else path


def _overlay_path(panel: Path) -> Path:
    return panel.with_name(f"{panel.stem}_overlay.png")


def _write_overlay(
    overlay: Pixels | None, path: Path, description: str, task: Settled, source: Source
) -> None:
    """The overlay beside the panel at `path`, as PNG and, where asked for, as DICOM."""
    if overlay is None:
        # a picture of an earlier call must not outlive its verdict
        task.ledger.remove(_overlay_path(path), path.with_suffix(".dcm"))
        return
    task.ledger.write(_overlay_path(path), encode_png(overlay))
    if task.dicom:
        capture = encode_secondary_capture(
            overlay, description, source.path, anonymous=task.anonymous
        )
        task.ledger.write(path.with_suffix(".dcm"), capture)


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()
