"""One X-ray of `pulmonet explain`: its scores, heat maps, and the files that show them."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pulmonet.data.images.square import placement
from pulmonet.explain.dicom_capture import encode_secondary_capture
from pulmonet.explain.maps.methods import Maps, explain_images, to_network_input
from pulmonet.explain.maps.overlay import blend, encode_png, place_map
from pulmonet.explain.results import ImageExplanation, LabelExplanation
from pulmonet.figures.panels import Finding, SheetRow, draw_panel, thumbnail
from pulmonet.files.write import write_atomic
from pulmonet.flows.explain.images import Source
from pulmonet.flows.explain.options import ExplainOptions
from pulmonet.metrics.calibration.fit import Calibration
from pulmonet.models.trained import TrainedRun
from pulmonet.run.folder import RunDir


def explain_one(
    options: ExplainOptions,
    trained: TrainedRun,
    calibration: Calibration | None,
    source: Source,
    image: NDArray[np.uint8],
    *,
    synthetic: bool = False,
) -> tuple[ImageExplanation, SheetRow]:
    """All files of one image; its part of explanations.json and its row of the contact sheet."""
    columns = [trained.labels.index(label) for label in options.labels]
    pixels = to_network_input(image, trained.image_size, trained.fit, trained.device)
    found = explain_images(
        trained.network, pixels, columns, method=options.method, layer=options.layer
    )
    height, width = image.shape
    where = placement(height, width, trained.fit)
    folder = options.folder / source.folder
    write_atomic(folder / "xray.png", encode_png(image))  # what `report` lays the maps over
    labels: dict[str, LabelExplanation] = {}
    cells: list[tuple[NDArray[np.uint8] | None, Finding]] = []
    for position, label in enumerate(options.labels):
        finding = judge(label, float(found.scores[0, columns[position]]), calibration)
        placed = place_map(found.maps[0, position], height, width, where)
        drawn = finding.present is not False or options.show_absent
        overlay = blend(image, placed, options.colour_map) if drawn else None
        kind = "SYNTHETIC phantom, " if synthetic else ""
        panel = draw_panel(
            image,
            overlay,
            finding,
            colour_map=options.colour_map,
            method=options.way,
            subtitle=f"{kind}{source.name}; run {options.run_dir.name}",
            empty=not found.maps[0, position].any(),
        )
        labels[label] = _write_label(options, source, finding, placed, overlay, panel)
        cells.append((None if overlay is None else thumbnail(overlay), finding))
    maps_path = folder / "maps.npz"
    write_atomic(maps_path, encode_maps(options.labels, found.scores[0, columns], found))
    explanation = ImageExplanation(
        image=source.name,
        width=width,
        height=height,
        maps=_relative(maps_path, options.folder),
        labels=labels,
    )
    empty = frozenset(label for label, written in labels.items() if written.empty)
    return explanation, SheetRow(source.folder, thumbnail(image), cells, empty)


def judge(label: str, score: float, calibration: Calibration | None) -> Finding:
    """A score with its calibrated probability and threshold, where the run has them."""
    if calibration is None:
        return Finding(label, score)
    return Finding(
        label, score, calibration.probability(label, score), calibration.threshold(label)
    )


def encode_maps(labels: Sequence[str], scores: NDArray[np.float32], found: Maps) -> bytes:
    """The bytes of maps.npz for the first image of `found`; readable without pickle."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        labels=np.asarray(labels, dtype=np.str_),
        scores=scores.astype(np.float32),
        raw=found.raw[0].astype(np.float32),
        maps=found.maps[0].astype(np.float32),
    )
    return buffer.getvalue()


def _write_label(
    options: ExplainOptions,
    source: Source,
    finding: Finding,
    placed: NDArray[np.float32],
    overlay: NDArray[np.uint8] | None,
    panel: bytes,
) -> LabelExplanation:
    folder = options.folder / source.folder
    name = RunDir(folder).heat_map_path(finding.label, options.method)
    in_run_folder = options.first_row_only and options.out_dir is None
    panel_path = (
        options.run_dir.heat_map_path(finding.label, options.method) if in_run_folder else name
    )
    write_atomic(panel_path, panel)
    overlay_path = name.with_name(f"{name.stem}_overlay.png")
    dicom_path = name.with_suffix(".dcm")
    if overlay is None:
        # a picture of an earlier call must not outlive its verdict
        overlay_path.unlink(missing_ok=True)
        dicom_path.unlink(missing_ok=True)
    else:
        write_atomic(overlay_path, encode_png(overlay))
    if overlay is not None and options.dicom:
        description = f"PulmoNet {options.method} {finding.label}"
        write_atomic(dicom_path, encode_secondary_capture(overlay, description, source.path))
    values = np.nan_to_num(placed, nan=0.0)
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    empty = not values.any()
    return LabelExplanation(
        score=finding.score,
        probability=finding.probability,
        threshold=finding.threshold,
        present=finding.present,
        empty=empty,
        peak_x=None if empty else (float(column) + 0.5) / values.shape[1],
        peak_y=None if empty else (float(row) + 0.5) / values.shape[0],
        panel=_relative(panel_path, options.folder),
        overlay=None if overlay is None else _relative(overlay_path, options.folder),
        dicom=_relative(dicom_path, options.folder) if overlay is not None and options.dicom
        else None,
    )  # fmt: skip


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()
