"""Labels that may be wrong, by scores of networks that did not learn them: confident learning."""

import numpy as np
import pandas as pd

from pulmonet.metrics.ranking.auc import why_not_scored
from pulmonet.run.predictions import Predictions


def rank_suspects(predictions: Predictions) -> pd.DataFrame:
    """Path, label, given (1 or 0), score and rank of suspects, the likeliest error first.

    A label is a suspect where its row's score reaches the mean score of the other class, which is
    the threshold of Northcutt et al. (2021, https://doi.org/10.1613/jair.1.12125). The rank is by
    how far the score lies from its own class's mean, so that rare labels do not stand first.
    Labels ranked the wrong way round are left out.
    """
    columns = ["path", "label", "given", "score", "rank"]
    tables = [pd.DataFrame(columns=columns)]
    for label, given, scores in zip(
        predictions.labels, predictions.targets.T, predictions.scores.T.astype(float), strict=True
    ):
        if why_not_scored(given) is None:
            negative, positive = (scores[given == one].mean() for one in (0, 1))
            away = np.where(given == 1, positive - scores, scores - negative)
            cells = (predictions.paths, label, given, scores, away)
            table = pd.DataFrame(dict(zip(columns, cells, strict=True)))
            is_suspect = np.isfinite(given) & (away >= positive - negative)
            tables.append(table[is_suspect & (positive > negative)])
    found = pd.concat(tables[1:] or tables).sort_values("rank", ascending=False, kind="stable")
    return found.assign(given=found["given"].astype(int), rank=range(1, len(found) + 1))
