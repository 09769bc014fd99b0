"""The baseline: what view, age and sex alone predict, to show what the image adds."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulmonet.arrays import Array, Flags, Floats, Ints, Strings
from pulmonet.metrics.calibration.fit import patient_folds
from pulmonet.metrics.calibration.logistic import fit_logistic, sigmoid
from pulmonet.metrics.options import EvaluationOptions
from pulmonet.metrics.ranking.intervals import rank_all
from pulmonet.metrics.ranking.resamples import number_units
from pulmonet.metrics.results import Baseline
from pulmonet.metrics.studies import join_studies
from pulmonet.run.predictions import Predictions, texts_of


@dataclass(frozen=True)
class Covariates:
    """What is known of the rows without looking at the image."""

    view: Strings  # (N,) AP, PA, LATERAL, ...; empty = unknown
    sex: Strings  # (N,) Male, Female; empty = unknown
    age_years: Array  # (N,) NaN = unknown
    collection: Strings  # (N,) which of several; empty where there is one

    @classmethod
    def of(cls, columns: Mapping[str, NDArray[Any]], n_rows: int, names: str = "") -> "Covariates":
        """From the columns of N rows, unknown where one is not there, or not among `names`."""
        columns = {name: columns[name] for name in names.split() or columns if name in columns}
        unknown, kinds = np.full(n_rows, "", dtype=object), ("view", "sex", "collection")
        text = {name: texts_of(columns.get(name, unknown)) for name in kinds}
        ages = np.full(n_rows, np.nan)
        with suppress(KeyError, ValueError):
            ages = np.asarray(columns["age_years"], np.float64)
        return cls(**text, age_years=ages)

    def __getitem__(self, rows: Flags | Ints) -> "Covariates":
        return Covariates(*(column[rows] for column in vars(self).values()))

    @property
    def informative(self) -> list[str]:
        """The columns that vary, by name."""
        known = {"view": self.view, "age": self.age_years[np.isfinite(self.age_years)]}
        known |= {"sex": self.sex, "collection": self.collection}
        return [name for name, values in known.items() if len(set(values.tolist())) > 1]


@dataclass(frozen=True)
class KnownRows:
    """What is known of some rows without their images."""

    covariates: Covariates  # view, sex and age of N rows
    targets: Floats  # (N, L) 1, 0 or NaN


def _design(fitted_on: Covariates, rows: Covariates) -> Array:
    """(N, K): intercept, age and its square, unknown age, one column a view and a sex of the rows.

    Levels and scaling come from the rows that are `fitted_on`.
    """
    ages = fitted_on.age_years[np.isfinite(fitted_on.age_years)]
    mean, spread = (ages.mean(), max(ages.std(), 1e-6)) if len(ages) else (0.0, 1.0)
    age = (rows.age_years - mean) / spread
    unknown = ~np.isfinite(age)
    age = np.where(unknown, 0.0, np.clip(age, -5, 5))
    columns = [np.ones(len(age)), age, age**2, unknown]
    columns += [rows.view == view for view in sorted(set(map(str, fitted_on.view)))]
    columns += [rows.sex == sex for sex in sorted(set(map(str, fitted_on.sex)))]
    if len(names := sorted(set(map(str, fitted_on.collection)))) > 1:
        columns += [rows.collection == name for name in names]
    return np.stack(columns, axis=1).astype(np.float64)


def fit_baseline(covariates: Covariates, targets: Floats, applied_to: Covariates) -> Array:
    """Scores (M, L) of a logistic model on view, age, age squared and sex, one a label.

    Fitted on `covariates` and `targets` (N, L) of 1, 0 or NaN, applied to M rows; a label with one
    class among the fitting rows gets its prevalence.
    """
    fitting, applying = _design(covariates, covariates), _design(covariates, applied_to)
    ridge = np.full(fitting.shape[1], 1.0)
    ridge[0] = 1e-6  # the intercept is free; one-hot columns need the penalty
    scores = np.empty((len(applying), targets.shape[1]))
    for column in range(targets.shape[1]):
        known = np.isfinite(targets[:, column])
        values = np.asarray(targets[known, column], np.float64)
        if len(np.unique(values)) < 2:
            scores[:, column] = values.mean() if len(values) else 0.5
            continue
        fit = fit_logistic(fitting[known], values, ridge=ridge)
        scores[:, column] = sigmoid(applying @ fit.coefficients)
    return scores


def cross_fit_baseline(
    covariates: Covariates, targets: Floats, units: Ints, *, seed: int = 0
) -> Array:
    """As `fit_baseline`, each patient scored by a model fitted on other patients.

    Of N rows, `targets` (N, L) and patient numbers `units` (N,); `seed` is of the folds.
    """
    folds = patient_folds(np.nanmax(np.nan_to_num(targets), axis=1), units, seed=seed)[units]
    scores = np.empty(targets.shape)
    for fold in np.unique(folds):
        fitting = folds != fold
        scores[~fitting] = fit_baseline(covariates[fitting], targets[fitting], covariates[~fitting])
    return scores


def evaluate_baseline(
    predictions: Predictions,
    training: KnownRows | None,
    options: EvaluationOptions,
    names: str = "view sex age_years",
) -> Baseline | None:
    """How well view, age and sex alone (`names`) rank the rows; None where none of them varies.

    It is fitted on `training`; where that is None or all the same, on the rows themselves,
    cross-fitted by patient. The collection always ranks by its share of positives in the rows
    themselves, which is the most that can be had of it.
    """
    if options.level == "study":
        predictions = join_studies(predictions, options.study_rule)
    here = Covariates.of(predictions.columns, len(predictions.paths), names)
    if not here.informative:
        return None
    rows = training and Covariates.of(vars(training.covariates), len(training.targets), names)
    if names == "collection":
        scores = fit_baseline(here, predictions.targets, here)
        fitted_on = "these rows"
    elif training and rows and rows.informative:
        scores = fit_baseline(rows, training.targets, here)
        fitted_on = "the training rows"
    else:
        order = np.argsort(np.asarray(predictions.paths, dtype=object), kind="stable")
        patients = predictions.patients or predictions.paths
        units = number_units([patients[row] for row in order], len(order))
        scores = np.empty(predictions.targets.shape)  # the same whatever the order of the rows
        scores[order] = cross_fit_baseline(
            here[order], predictions.targets[order], units, seed=options.seed
        )
        fitted_on = "these rows, cross-fitted by patient"
    of_baseline = replace(predictions, scores=scores.astype(np.float32))
    ranked = rank_all(of_baseline, options)
    return Baseline(
        features=here.informative,
        fitted_on=fitted_on,
        labels=ranked.by_label(of_baseline),
        macro=ranked.macro,
    )
