"""Panels and contact sheets: what they say and how large they are."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from pulmonet.data.images.square import shrink
from pulmonet.explain.maps.overlay import blend
from pulmonet.explain.results import LabelExplanation
from pulmonet.figures.panels import (
    SHEET_CELL,
    SheetRow,
    draw_contact_sheet,
    draw_heat_map_strip,
    draw_panel,
)
from pulmonet.metrics.estimate import Estimate


def decode(png: bytes) -> Any:
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


def x_ray(height: int, width: int) -> Any:
    return np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))


def found(
    score: float, threshold: float | None, probability: float | None = None
) -> LabelExplanation:
    present = None if threshold is None else score >= threshold
    return LabelExplanation(
        score=score,
        probability=probability,
        threshold=threshold,
        present=present,
        reason="only 3 positive patients" if present is None else None,
        auroc=Estimate(value=0.8, low=0.7, high=0.9),
        reference=True,
        panel="a.png",
    )


@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (64, 64), (2000, 1500)])
def test_a_panel_keeps_the_aspect_and_shows_both_pictures(shape: tuple[int, int]) -> None:
    image = x_ray(*shape)
    overlay = blend(image, np.ones(shape, np.float32))
    panel = decode(draw_panel(image, overlay, "Edema", found(0.8, 0.5)))
    coloured = panel.max(axis=2).astype(int) - panel.min(axis=2) > 60
    rows, columns = np.flatnonzero(coloured.sum(axis=1) > 60), np.flatnonzero(coloured.any(axis=0))
    assert columns[0] > panel.shape[1] * 0.4, "the X-ray on the left stays grey"
    # the block of colour: the overlay, without the thin colour bar at its right
    widest = coloured[(rows[0] + rows[-1]) // 2]
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], widest.astype(int), [0]]))))
    assert runs.max() / len(rows) == pytest.approx(shape[1] / shape[0], rel=0.08)
    assert panel.shape[0] < 800


@pytest.mark.parametrize(
    ("score", "threshold", "probability", "headline", "numbers"),
    [
        (0.5, 0.5, None, "Edema: above the threshold (Youden's)", "threshold 0.500\nAUROC 0.80 (0"),
        (0.49, 0.5, 0.123, "Edema: below the threshold (Youden's)", "calibrated probability 0.12"),
        (0.5, None, None, "Edema: no verdict", "score 0.500\nonly 3 positive patients; ref"),
    ],
)
def test_a_panel_says_the_verdict_and_its_numbers(
    score: float,
    threshold: float | None,
    probability: float | None,
    headline: str,
    numbers: str,
    drawn: list[Figure],
) -> None:
    draw_panel(x_ray(64, 64), None, "Edema", found(score, threshold, probability))
    said = [text.get_text() for text in drawn[0].texts]
    assert said[0] == headline
    assert said[1].startswith(f"score {score:.3f}") and numbers in said[1]
    assert said[1].replace("\n", " ").endswith("; reference standard: positive")
    assert "not a medical device" in said[2]


def test_pictures_say_what_the_guarantee_allows(drawn: list[Figure]) -> None:
    one = found(0.3, 0.5).model_copy(update={"conformal": "undecided"})
    image, words = x_ray(64, 64), "undecided (90 % coverage)"
    draw_panel(image, None, "Edema", one)
    assert f"\n{words}; AUROC 0.80 (0" in drawn[0].texts[1].get_text()
    draw_contact_sheet([SheetRow("a", image, {"Edema": one}, {"Edema": None})])
    lines = drawn[1].axes[1].get_title().split("\n")
    assert lines[1:] == ["below the threshold (Youden's)", words, "AUROC 0.80 (0.70–0.90)"]


def test_a_contact_sheet_holds_every_image_and_label(drawn: list[Figure]) -> None:
    image = shrink(x_ray(400, 300), SHEET_CELL)
    assert max(image.shape) == 180
    overlay = blend(image, np.ones(image.shape, np.float32))
    labels = {"Edema": found(0.8, None), "Pneumonia": found(0.1, 0.5)}
    overlays = {"Edema": overlay, "Pneumonia": None}
    one = decode(draw_contact_sheet([SheetRow("a", image, labels, overlays)]))
    three = decode(draw_contact_sheet([SheetRow(name, image, labels, overlays) for name in "abc"]))
    words = [axes.get_title() for axes in drawn[0].axes]
    below = "Pneumonia 0.10\nbelow the threshold (Youden's)\nAUROC 0.80 (0.70–0.90)"
    assert words == ["a", "Edema 0.80\nno verdict", below]
    assert three.shape[1] == one.shape[1]
    assert three.shape[0] > 2 * one.shape[0]


@pytest.mark.parametrize("size", [(165, 200), (320, 260)])
def test_four_lines_above_a_map_are_not_cut_off(size: tuple[int, int]) -> None:
    words = "Edema 0.31\nabove the threshold (Youden's)\nundecided (90 % coverage)\nempty map"
    strip = decode(draw_heat_map_strip("X-ray", x_ray(*size), [(words, x_ray(*size))] * 2))
    assert (strip[:4] == 255).all() and (strip[4:40] < 128).any()


def test_words_above_a_contact_sheet_touch_no_neighbour(drawn: list[Figure]) -> None:
    """Five lines, names that are cut, and the image above: everything apart."""
    image = x_ray(180, 180)
    one = found(0.11, 0.05).model_copy(update={"conformal": "undecided", "empty": True})
    labels = {"Enlarged Cardiomediastinum": one, "Pleural Effusion": one}
    row = SheetRow("patient00002_study000_view1_frontal", image, labels, dict.fromkeys(labels))
    draw_contact_sheet([row, row], title="run a")
    titles = [axes.title for axes in drawn[0].axes]
    assert {len(title.get_text().split("\n")) for title in titles} == {1, 5}
    texts = [*titles, *drawn[0].texts]
    boxes = [text.get_window_extent() for text in texts] + [one.bbox for one in drawn[0].axes]
    for first, second in combinations(boxes, 2):
        across = min(first.x1, second.x1) - max(first.x0, second.x0)
        assert across <= 1 or min(first.y1, second.y1) - max(first.y0, second.y0) <= 1
    assert all(box.x0 >= 0 for box in boxes)
