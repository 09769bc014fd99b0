"""Study level: several images of one examination joined to one score."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulmonet.arrays import Ints
from pulmonet.choices import StudyRule
from pulmonet.errors import ConfigError
from pulmonet.metrics.ranking.resamples import number_units
from pulmonet.run.predictions import Predictions


def join_studies(predictions: Predictions, rule: StudyRule = "max") -> Predictions:
    """One row a study: the largest (CheXpert's rule) or the mean score of its images.

    A study is positive where an image is, negative where one is known and none positive. Its
    path is its first image's; further columns keep a value that all its images share and say
    ``mixed`` otherwise (NaN for numbers).

    Raises:
        ConfigError: the rows name no studies.
    """
    if predictions.studies is None:
        raise ConfigError(
            "--level study: these rows name no studies; add a column `study`, or use --level image"
        )
    numbers = number_units(predictions.studies, len(predictions.studies))
    n_studies = int(numbers.max()) + 1
    first = np.unique(numbers, return_index=True)[1]
    shape = (n_studies, len(predictions.labels))
    targets = np.full(shape, -1.0)
    np.maximum.at(targets, numbers, np.nan_to_num(predictions.targets, nan=-1.0))
    scores = np.zeros(shape)
    if rule == "max":
        np.maximum.at(scores, numbers, predictions.scores)
    else:
        np.add.at(scores, numbers, predictions.scores.astype(np.float64))
        scores /= np.bincount(numbers)[:, None]
    return replace(
        predictions.take(first),
        targets=np.where(targets < 0, np.nan, targets).astype(np.float32),
        scores=np.clip(scores, 0, 1).astype(predictions.scores.dtype),
        columns={name: _shared(each, numbers, first) for name, each in predictions.columns.items()},
    )


def _shared(values: NDArray[Any], numbers: Ints, first: Ints) -> NDArray[Any]:
    joined = values[first].copy()
    of_first = joined[numbers]
    if values.dtype.kind == "f":
        differs = ~((values == of_first) | (np.isnan(values) & np.isnan(of_first)))
        joined[numbers[differs]] = np.nan
    else:
        joined[numbers[values != of_first]] = "mixed"
    return joined
