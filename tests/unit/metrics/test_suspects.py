"""Suspect labels: a plain loop, and errors that were put in."""

from __future__ import annotations

import numpy as np
import pytest

from pulmonet.metrics.suspects import rank_suspects
from pulmonet.run.predictions import Predictions


def _rows(targets: np.ndarray, scores: np.ndarray) -> Predictions:
    n_rows, n_labels = targets.shape
    return Predictions(
        run="all", dataset="d", split="out-of-fold", patients=None, studies=None,
        paths=tuple(f"{row}.png" for row in range(n_rows)),
        labels=tuple("ABCDE"[:n_labels]), targets=targets, scores=scores, columns={},
    )  # fmt: skip


def test_suspects_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(3)
    targets = (rng.random((300, 4)) < (0.5, 0.1, 0.3, 0.0)).astype(float)
    targets[rng.random(targets.shape) < 0.1] = np.nan
    scores = rng.random(targets.shape) * 0.5 + (0.3, 0.2, -0.2, 0.1) * np.nan_to_num(targets) + 0.2
    found = rank_suspects(_rows(targets, scores))
    expected = []
    for column in (0, 1):  # C is ranked the wrong way round, D has one class
        pairs = list(zip(targets[:, column], scores[:, column], strict=True))
        means = [np.mean([score for given, score in pairs if given == one]) for one in (0, 1)]
        for row, (given, score) in enumerate(pairs):
            if (given == 1 and score <= means[0]) or (given == 0 and score >= means[1]):
                far = abs(score - means[int(given)])
                expected.append((f"{row}.png", "AB"[column], int(given), score, far))
    expected.sort(key=lambda one: -one[4])
    assert len(expected) > 20
    assert found["rank"].tolist() == list(range(1, len(expected) + 1))
    assert list(found[["path", "label", "given", "score"]].itertuples(index=False, name=None)) == [
        (path, label, given, pytest.approx(score)) for path, label, given, score, _ in expected
    ]


def test_wrong_labels_stand_at_the_top() -> None:
    rng = np.random.default_rng(4)
    truth = rng.random((2000, 3)) < (0.5, 0.2, 0.05)
    wrong = rng.random(truth.shape) < 0.05
    scores = 1 / (1 + np.exp(-rng.normal(3.0 * truth - (0, 2, 4))))
    found = rank_suspects(_rows((truth ^ wrong).astype(float), scores))
    rows = found["path"].str.removesuffix(".png").astype(int)
    is_wrong = wrong[rows, found["label"].map("ABC".index)]
    assert is_wrong[:60].mean() > 0.7, "of the first 1 % of labels; by chance 5 %"
    assert is_wrong[:300].mean() > 0.5


def test_order_and_suspects_are_those_of_cleanlab() -> None:
    """Its multilabel ranking; it leaves out what lies on the given label's side of 0.5 as well."""
    pytest.importorskip("cleanlab", reason="the reference of confident learning")
    from cleanlab.multilabel_classification import filter as issues
    from cleanlab.multilabel_classification import rank

    rng = np.random.default_rng(3)
    truth = rng.random((500, 3)) < (0.5, 0.2, 0.1)
    given = truth ^ (rng.random(truth.shape) < 0.05)
    scores = 1 / (1 + np.exp(-rng.normal(3.0 * truth - (1, 2, 3))))
    found = rank_suspects(_rows(given.astype(float), scores))
    labels = [np.flatnonzero(row).tolist() for row in given]
    how = {"method": "self_confidence", "adjust_pred_probs": True}
    quality = rank.get_label_quality_scores_per_class(labels, scores, **how)
    theirs = issues.find_multilabel_issues_per_class(
        labels, scores, filter_by="confident_learning", n_jobs=1
    )
    for column in range(3):
        mine = found[found["label"] == "ABC"[column]]
        rows = mine["path"].str.removesuffix(".png").astype(int).to_numpy()
        assert len(rows) > 10 and (np.diff(quality[rows, column]) >= 0).all()
        contradicts = (scores[rows, column] > 0.5) != given[rows, column]
        assert set(rows[contradicts]) == {*np.flatnonzero(theirs[:, column])}


def test_nothing_to_rank_gives_an_empty_table() -> None:
    found = rank_suspects(_rows(np.ones((4, 1)), np.full((4, 1), 0.5)))
    assert found.empty and list(found) == ["path", "label", "given", "score", "rank"]
