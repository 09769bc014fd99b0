"""How many patients a study needs: for an interval of some width, to tell two models apart.

DeLong's variance, clustered by patient after Obuchowski 1997, times the patients, is what one
patient adds; it is taken from scores, or in closed form from binormal ones (of equal variances).
"""

import numpy as np
from scipy.special import ndtri, owens_t


def covariance(auroc: float, correlation: float = 1.0) -> float:
    """Of the placements of two scores of one class that correlate, given the class.

    P(both above a score of the other class) less AUROC²: the bivariate normal distribution at
    equal limits by Owen's T (1956). `correlation` 1 gives the variance.
    """
    half = correlation / 2  # what both share is the score of the other class
    return float(auroc - 2 * owens_t(ndtri(auroc), np.sqrt((1 - half) / (1 + half))) - auroc**2)


def variance_a_patient(
    auroc: float, prevalence: float, images: float = 1, alike: float = 0.7
) -> float:
    """Variance of an AUROC times the patients, each with `images` of one class.

    `alike` is the correlation of the scores of two images of a patient, given the class.
    """
    of_patient = covariance(auroc) + (images - 1) * covariance(auroc, alike)
    return of_patient / images / (prevalence * (1 - prevalence))


def difference_a_patient(of_one: float, auroc: float, models: float = 0.6) -> float:
    """Variance of the difference of two models of one AUROC, from that `of_one`, a patient.

    `models` is the correlation of their scores, given the class.
    """
    return 2 * of_one * (1 - covariance(auroc, models) / covariance(auroc))


def patients_for_width(of_one: float, width: float) -> int:
    """Patients for a 95 % interval of this width, end to end."""
    return int(np.ceil(of_one * (2 * ndtri(0.975) / width) ** 2))


def patients_for_power(of_difference: float, difference: float, power: float = 0.8) -> int:
    """Patients for a two-sided test at 5 % to find a difference with this power."""
    return int(np.ceil(of_difference * ((ndtri(0.975) + ndtri(power)) / difference) ** 2))
