"""The baseline against scikit-learn."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from pulmonet.metrics.baseline import Covariates, cross_fit_baseline, fit_baseline


def test_baseline_equals_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    ages = generator.uniform(20, 90, 500)
    covariates = Covariates.of({"age_years": ages}, 500)
    targets = (generator.random(500) < 1 / (1 + np.exp(-(ages - 55) / 10))).astype(float)
    found = fit_baseline(covariates, targets[:, None], covariates)[:, 0]
    z = (ages - ages.mean()) / ages.std()
    features = np.column_stack([z, z**2])
    reference = LogisticRegression(C=1.0).fit(features, targets)
    np.testing.assert_allclose(found, reference.predict_proba(features)[:, 1], atol=2e-3)
    assert covariates.informative == ["age"]
    crossed = cross_fit_baseline(covariates, targets[:, None], np.arange(500))[:, 0]
    assert roc_auc_score(targets, crossed) > 0.85
    assert (crossed != found).any()


def test_baseline_meets_what_it_never_saw() -> None:
    views, collections = np.asarray(["AP", "PA"], object), np.asarray(["a", "b"], object)
    seen = Covariates.of(
        {"view": views, "collection": collections, "age_years": np.ones(2)}, n_rows=2
    )
    one = {"view": "LATERAL", "sex": "Male", "collection": "c"}
    new = Covariates.of({name: np.asarray([value], object) for name, value in one.items()}, 1)
    scores = fit_baseline(seen, np.asarray([[0, 1.0], [1, 1.0]]), new)
    assert np.isfinite(scores).all()
    assert scores[0, 1] == 1.0  # one class: the prevalence


def test_numbers_and_words_for_a_sex_or_view_serve_alike() -> None:
    codes = np.tile([0.0, 0.0, 1.0, 1.0], 20)
    targets = np.tile([0.0, 1.0, 1.0, 1.0], 20)[:, None]
    found = []
    for values in (codes, np.where(codes == 1, "M", "F").astype(object)):
        covariates = Covariates.of({"sex": values, "view": values}, 80)
        found.append(fit_baseline(covariates, targets, covariates)[:, 0])
    np.testing.assert_allclose(found[0], found[1])
    assert found[0][2] > found[0][0] + 0.2
