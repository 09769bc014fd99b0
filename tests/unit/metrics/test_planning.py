"""Planning against the bivariate normal distribution, the published variance, and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtr, ndtri

from pulmonet.metrics import planning
from pulmonet.metrics.ranking.delong import delong


@pytest.mark.parametrize("auroc", [0.6, 0.8, 0.95])
@pytest.mark.parametrize("correlation", [0.0, 0.4, 1.0])
def test_covariance_is_that_of_two_normal_scores(auroc: float, correlation: float) -> None:
    half = correlation / 2
    both = stats.multivariate_normal([0, 0], [[1, half], [half, 1]]).cdf([ndtri(auroc)] * 2)
    assert planning.covariance(auroc, correlation) == pytest.approx(both - auroc**2, abs=1e-5)


@pytest.mark.parametrize("auroc", [0.7, 0.8, 0.9])
def test_variance_is_near_that_of_exponential_scores(auroc: float) -> None:
    """Hanley and McNeil 1982; as many positives as negatives, one image a patient."""
    both = auroc / (2 - auroc) + 2 * auroc**2 / (1 + auroc) - 2 * auroc**2
    assert planning.variance_a_patient(auroc, 0.5) == pytest.approx(2 * both, rel=0.15)


@pytest.mark.parametrize("images", [1, 3])
def test_a_planned_study_has_the_width_and_the_spread(images: int) -> None:
    """Two images of a patient correlate with 0.7, given the class, and two models with 0.6."""
    n = planning.patients_for_width(planning.variance_a_patient(0.8, 0.2, images), 0.1)
    n_positive = round(0.2 * n)
    units = np.repeat(np.arange(n), images)
    targets = (units < n_positive).astype(float)
    widths, differences = [], []
    for dataset in range(150):
        generator = np.random.default_rng(dataset)
        of_models = []
        shared, own = generator.normal(size=(2, n)), generator.normal(size=(2, 2, n * images))
        of_patient = [shared[0], 0.6 * shared[0] + 0.8 * shared[1]]
        of_image = [own[0, 0], 0.6 * own[0, 0] + 0.8 * own[0, 1]]
        for patient, image in zip(of_patient, of_image, strict=True):
            noise = 0.7**0.5 * patient[units] + 0.3**0.5 * image
            of_models.append(ndtr(2**0.5 * ndtri(0.8) * targets + noise))
        test = delong(targets, np.stack(of_models, axis=1), units)
        low, high = test.interval()
        widths.append(high - low)
        differences.append(test.auroc[0] - test.auroc[1])
    assert np.mean(widths) == pytest.approx(0.1, rel=0.05)
    one = planning.variance_a_patient(0.8, 0.2, images)
    if images == 1:
        expected = planning.difference_a_patient(one, 0.8) / n
        assert np.var(differences) == pytest.approx(expected, rel=0.4)


def test_power_is_that_of_the_normal_test() -> None:
    of_difference, difference = 0.9, 0.03
    n = planning.patients_for_power(of_difference, difference, 0.8)
    reached = stats.norm.cdf(difference / np.sqrt(of_difference / n) - 1.959964)
    assert reached == pytest.approx(0.8, abs=0.001)
    assert n < planning.patients_for_power(of_difference, difference, 0.9)
