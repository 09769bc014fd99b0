"""Losses for any logits, targets and masks: what must hold whatever the numbers are."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pulmonet.config.fields import LossConfig
from pulmonet.training.losses import (
    AucMargin,
    balanced_pos_weight,
    count_classes,
    known_count,
    label_loss,
    output_names,
    scores_from_logits,
)

NAMES = st.sampled_from(["bce", "balanced-bce", "focal", "asymmetric", "aucm"])
SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7)


def _draw(data: st.DataObject) -> tuple[torch.Tensor, torch.Tensor]:
    shape = data.draw(SHAPES)
    logits = data.draw(arrays(np.float32, shape, elements=st.floats(-90, 90, width=32)))
    targets = data.draw(
        arrays(np.float32, shape, elements=st.sampled_from([0.0, 1.0, 0.25, 0.7, np.nan]))
    )
    return torch.from_numpy(logits), torch.from_numpy(targets)


@settings(deadline=None, max_examples=80)
@given(name=NAMES, data=st.data())
def test_loss_and_gradient_are_finite_and_masks_are_exact(name: str, data: st.DataObject) -> None:
    logits, targets = _draw(data)
    n_labels = targets.shape[1]
    logits.requires_grad_()
    loss = label_loss(
        logits,
        targets,
        LossConfig.model_validate({"name": name}),
        policies=("ones",) * n_labels,
        class_counts=count_classes(targets),
        auc_margin=AucMargin(n_labels) if name == "aucm" else None,
    )
    loss.backward()
    assert logits.grad is not None
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[torch.isnan(targets)] == 0).all()
    assert loss >= 0
    if known_count(targets) == 0:
        assert loss == 0


@settings(deadline=None, max_examples=40)
@given(policies=st.lists(st.sampled_from(["ones", "multiclass"]), min_size=1, max_size=6))
def test_scores_are_shares_whatever_the_head(policies: list[str]) -> None:
    n_logits = len(output_names(policies, policies))
    logits = torch.randn((5, n_logits), generator=torch.Generator().manual_seed(0)) * 50
    scores = scores_from_logits(logits, policies)
    assert scores.shape == (5, len(policies))
    assert ((scores >= 0) & (scores <= 1)).all()


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_a_balanced_weight_balances(data: st.DataObject) -> None:
    _, targets = _draw(data)
    weights = balanced_pos_weight(targets.numpy(), maximum=1e6)
    values = np.nan_to_num(targets.double().numpy(), nan=0.0)
    positives = values.sum(axis=0)
    negatives = (~torch.isnan(targets)).sum(0).numpy() - positives
    both = (positives > 0) & (negatives > 0)
    np.testing.assert_allclose((weights * positives)[both], negatives[both], rtol=1e-5)
    assert (weights > 0).all()
