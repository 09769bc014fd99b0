"""The phantoms' drawing tools: coordinates, curves, texture; and that a chest is drawn at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pulmonet.data.phantoms.anatomy import Film, curve, depth, sigmoid
from pulmonet.data.phantoms.film import take_frontal
from pulmonet.data.phantoms.patients import imagine_patient


@pytest.fixture
def frame() -> Film:
    film, matrix = (
        imagine_patient(1, 4).studies[0].films[0],
        np.array([[20.0, -1.5, 40.0], [1.0, 25.0, 10.0]]),
    )
    return replace(film, height=60, width=80, matrix=matrix)


@pytest.fixture(scope="module")
def film() -> Film:
    """A film of a chest that stands straight in the middle."""
    film = imagine_patient(1, 4).studies[0].films[0]
    exposure = replace(film.exposure, grain=0.0, collimated=False)
    pose = replace(film.pose, turn=0.0)
    matrix = np.array([[140.0, 0.0, 195.0], [0.0, 185.0, 52.0]])
    return replace(
        film, height=320, width=390, matrix=matrix, exposure=exposure, pose=pose, devices=()
    )


def test_grid_is_the_inverse_of_to_pixels(frame: Film) -> None:
    x, y = frame.grid
    points = np.column_stack([x.ravel(), y.ravel()])
    rows, columns = np.mgrid[:60, :80]
    expected = np.column_stack([columns.ravel(), rows.ravel()])
    np.testing.assert_allclose(frame.to_pixels(points), expected, atol=1e-3)


def test_a_filled_square_has_its_area(frame: Film) -> None:
    square = [(-0.5, 0.5), (0.5, 0.5), (0.5, 1.5), (-0.5, 1.5)]
    area = frame.fill(square, blur=0).sum()
    # OpenCV fills the border pixels too.
    assert frame.unit**2 < area < (frame.unit + 2) ** 2


@pytest.mark.parametrize("closed", [False, True])
def test_a_curve_passes_through_its_knots(closed: bool) -> None:
    knots = np.random.default_rng(0).normal(size=(6, 2))
    points = curve(*knots.T, closed=closed)
    for knot in knots:
        assert np.hypot(*(points - knot).T).min() < 1e-12


def test_depth_is_0_outside_and_1_deep_inside() -> None:
    mask = np.zeros((40, 40), np.float32)
    mask[5:35, 5:35] = 1
    values = depth(mask, 8)
    assert values[0, 0] == 0
    assert values[20, 20] == 1
    assert 0 < values[20, 6] < values[20, 9] < 1


def test_noise_has_its_grain(frame: Film) -> None:
    wide = replace(frame, height=400, width=400)
    texture = wide.noise(np.random.default_rng(1), 0.5)
    grain = 0.5 * wide.unit
    assert 0.5 < texture.std() < 1.3
    near = np.corrcoef(texture[:, :-1].ravel(), texture[:, 1:].ravel())[0, 1]
    far = np.corrcoef(texture[:, : -int(3 * grain)].ravel(), texture[:, int(3 * grain) :].ravel())
    assert near > 0.97
    assert abs(far[0, 1]) < 0.15


def test_sigmoid_does_not_overflow() -> None:
    np.testing.assert_allclose(sigmoid([-1e6, 0.0, 1e6]), [0, 0.5, 1], atol=1e-12)


def test_what_lets_rays_through_is_dark(film: Film) -> None:
    """Air, lung, soft tissue, heart and spine in the order of any chest X-ray."""
    image, _ = take_frontal(film, [])

    def grey(x: float, y: float) -> float:
        column, row = np.round(film.to_pixels([(x, y)])[0]).astype(int)
        return float(image[row - 5 : row + 6, column - 5 : column + 6].mean())

    lungs = [grey(-0.6, 0.4), grey(0.7, 0.4), grey(-0.65, 0.75)]
    heart, spine, liver, outside = (
        grey(0.25, 0.85),
        grey(0, 0.7),
        grey(-0.4, 1.3),
        grey(-1.3, -0.25),
    )
    assert outside < min(lungs)
    assert max(lungs) < heart
    assert max(lungs) < liver
    assert heart < spine + 40


def test_the_heart_points_to_the_patients_left(film: Film) -> None:
    image, _ = take_frontal(film, [])
    row = round(film.to_pixels([(0, 0.82 * film.pose.inspiration)])[0, 1])
    columns = film.to_pixels([(-0.5, 0), (-0.3, 0), (0.3, 0), (0.5, 0)])[:, 0].round().astype(int)
    right = image[row - 8 : row + 8, columns[0] : columns[1]].mean()
    left = image[row - 8 : row + 8, columns[2] : columns[3]].mean()
    assert left > right + 15
