"""Panels and contact sheets: what they say and how large they are."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from pulmonet.explain.maps.overlay import blend
from pulmonet.figures.panels import Finding, SheetRow, draw_contact_sheet, draw_panel, thumbnail


def decode(png: bytes) -> Any:
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


def x_ray(height: int, width: int) -> Any:
    return np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))


@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (64, 64), (2000, 1500)])
def test_a_panel_keeps_the_aspect_and_shows_both_pictures(shape: tuple[int, int]) -> None:
    image = x_ray(*shape)
    overlay = blend(image, np.ones(shape, np.float32))
    panel = decode(draw_panel(image, overlay, Finding("Edema", 0.8, 0.7, 0.5)))
    coloured = panel.max(axis=2).astype(int) - panel.min(axis=2) > 60
    rows, columns = np.flatnonzero(coloured.sum(axis=1) > 60), np.flatnonzero(coloured.any(axis=0))
    assert columns[0] > panel.shape[1] * 0.4, "the X-ray on the left stays grey"
    # the block of colour: the overlay, without the thin colour bar at its right
    widest = coloured[(rows[0] + rows[-1]) // 2]
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], widest.astype(int), [0]]))))
    assert runs.max() / len(rows) == pytest.approx(shape[1] / shape[0], rel=0.08)
    assert panel.shape[0] < 800


def test_verdicts() -> None:
    assert Finding("a", 0.5, None, 0.5).present is True
    assert Finding("a", 0.49, None, 0.5).verdict == "absent (score below threshold)"
    assert Finding("a", 0.5).present is None
    assert "pulmonet evaluate" in Finding("a", 0.5).numbers()
    assert "calibrated probability 0.12" in Finding("a", 0.5, 0.123, 0.5).numbers()


def test_a_contact_sheet_holds_every_image_and_label() -> None:
    image = thumbnail(x_ray(400, 300))
    assert max(image.shape) == 180
    overlay = blend(image, np.ones(image.shape, np.float32))
    cells = [(overlay, Finding("Edema", 0.8)), (None, Finding("Pneumonia", 0.1, None, 0.5))]
    one = decode(draw_contact_sheet([SheetRow("a", image, cells)]))
    three = decode(draw_contact_sheet([SheetRow(name, image, cells) for name in "abc"]))
    assert three.shape[1] == one.shape[1]
    assert three.shape[0] > 2 * one.shape[0]
