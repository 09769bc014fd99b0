"""Each finding is where its box says and looks as it should against the same film without it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from pulmonet.data.phantoms.anatomy import Film
from pulmonet.data.phantoms.film import take_frontal
from pulmonet.data.phantoms.findings import LOBES, PLATES, Box, Finding, box_around
from pulmonet.data.phantoms.lateral import take_lateral
from pulmonet.data.phantoms.patients import imagine_patient

PLACES = {
    "Cardiomegaly": ("",),
    "Edema": ("",),
    "Pleural Effusion": ("right", "left"),
    "Consolidation": tuple(LOBES),
    "Atelectasis": tuple(PLATES),
}
CASES = [(label, place) for label, places in PLACES.items() for place in places]


@cache
def a_film(projection: str, n_skipped: int = 0) -> Film:
    """A planned film with this projection, without devices."""
    for number in range(3, 200):
        for study in imagine_patient(5, number).studies:
            for film in study.films:
                if film.pose.projection == projection:
                    if n_skipped == 0:
                        return replace(film, devices=())
                    n_skipped -= 1
    raise AssertionError(f"no {projection} film")


def take(film: Film, findings: list[Finding]) -> tuple[NDArray[np.float64], list[Box]]:
    draw = take_lateral if film.pose.projection == "LATERAL" else take_frontal
    image, boxes = draw(film, findings)
    return image.astype(np.float64), boxes


@cache
def clear_film(projection: str, n_skipped: int = 0) -> tuple[NDArray[np.float64], list[Box]]:
    """`a_film` as it is taken without any finding."""
    return take(a_film(projection, n_skipped), [])


def inside(boxes: list[Box], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Pixels in any of the boxes."""
    mask = np.zeros(shape, bool)
    for _, left, top, right, bottom in boxes:
        mask[
            round(top * shape[0]) : round(bottom * shape[0]),
            round(left * shape[1]) : round(right * shape[1]),
        ] = True
    return mask


@pytest.mark.parametrize("projection", ["AP", "PA", "LATERAL"])
@pytest.mark.parametrize(("label", "place"), CASES)
def test_the_visible_change_lies_in_the_box(projection: str, label: str, place: str) -> None:
    for n_skipped, severity in ((0, 0.5), (2, 0.9)):
        film = a_film(projection, n_skipped)
        clear, no_boxes = clear_film(projection, n_skipped)
        image, boxes = take(film, [Finding(label, severity, place, seed=3)])
        assert no_boxes == []
        assert {box[0] for box in boxes} == {label}
        for _, left, top, right, bottom in boxes:
            assert 0 <= left < right <= 1
            assert 0 <= top < bottom <= 1
        change = np.abs(image - clear)
        seen = inside(boxes, image.shape)
        assert change[seen].sum() > 0.6 * change.sum()
        assert change[seen].mean() > 4 * change[~seen].mean()
        assert change[seen].mean() > 4  # grey levels: visible
        assert (image - clear)[seen].mean() > 0  # findings are white


@pytest.mark.parametrize(("label", "place"), CASES)
def test_the_change_grows_with_the_severity(label: str, place: str) -> None:
    film = a_film("PA")
    clear, _ = clear_film("PA")
    changes = [
        np.abs(take(film, [Finding(label, severity, place, seed=3)])[0] - clear).sum()
        for severity in (0.1, 0.5, 0.9)
    ]
    assert changes[0] > 0
    assert changes[0] < changes[1] < changes[2]


@pytest.mark.parametrize("label", ["Pleural Effusion", "Consolidation", "Atelectasis"])
def test_sides_are_the_patients_own(label: str) -> None:
    film = a_film("PA")
    for place in PLACES[label]:
        finding = Finding(label, 0.8, place, seed=1)
        _, boxes = take(film, [finding])
        middle = np.mean([(left + right) / 2 for _, left, _, right, _ in boxes])
        # As a radiologist looks at it: the patient's right is on the left of the film.
        assert (middle > 0.5) == (finding.side > 0)
        assert (middle > 0.5) == (place in ("left", "lingula") or place.startswith("left"))


def test_edema_has_a_box_on_either_side_of_the_heart() -> None:
    _, boxes = take(a_film("PA"), [Finding("Edema", 0.6, seed=1)])
    assert len(boxes) == 2
    middles = sorted((left + right) / 2 for _, left, _, right, _ in boxes)
    assert middles[0] < 0.5 < middles[1]


def test_cardiomegaly_is_a_cardiothoracic_ratio_over_a_half() -> None:
    for severity in (0.05, 0.5, 1.0):
        film = a_film("PA", 1)
        _, boxes = take(film, [Finding("Cardiomegaly", severity)])
        width = (boxes[0][3] - boxes[0][1]) * film.width
        chest = 2 * np.hypot(*film.matrix[:, 0])  # two body units
        assert width / chest > 0.5


def test_findings_beside_one_another_keep_their_own_boxes() -> None:
    film = a_film("AP")
    findings = [Finding("Consolidation", 0.8, "right upper", 2), Finding("Edema", 0.4, seed=3)]
    _, both = take(film, findings)
    _, alone = take(film, findings[:1])
    assert [box for box in both if box[0] == "Consolidation"] == alone


def test_same_film_same_pixels() -> None:
    film = a_film("AP")
    findings = [Finding("Edema", 0.7, seed=3)]
    first, _ = take(film, findings)
    second, _ = take(film, findings)
    np.testing.assert_array_equal(first, second)


def test_box_around_is_the_extent_of_the_visible_part() -> None:
    density = np.zeros((20, 40), np.float32)
    density[5:10, 8:12] = 1.0
    density[0, 0] = 0.2  # too faint to count
    assert box_around("Edema", density) == ("Edema", 8 / 40, 5 / 20, 12 / 40, 10 / 20)
    assert box_around("Edema", np.zeros((20, 40), np.float32)) is None
