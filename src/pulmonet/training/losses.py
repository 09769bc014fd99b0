"""Losses of multi-label classification with unknown, soft and three-way targets.

Every loss is a SUM over the known targets. The caller divides by the number of known targets of
the whole step (`known_count`, added up over micro-batches and processes), so that neither
accumulation nor the number of processes changes what one target weighs.

Head layout: a label takes one output, its logit, or under the policy ``multiclass`` three
consecutive ones (negative, positive, uncertain). Labels keep their order.
"""

import math
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pulmonet.arrays import Floats, Floats32
from pulmonet.config.fields import LossConfig, PointingConfig
from pulmonet.labels import UNCERTAIN_CLASS

#: Floor of the base of a focusing power: keeps x**gamma differentiable at 0 for gamma < 1.
SMALLEST_FOCUS = 1e-8


def label_loss(
    logits: Tensor,
    targets: Tensor,
    config: LossConfig,
    *,
    policies: Sequence[str],
    pos_weight: Tensor | None = None,
    class_counts: Tensor | None = None,
    auc_margin: "AucMargin | None" = None,
) -> Tensor:
    """Sum of the configured loss over the known targets; unknown ones get exactly zero gradient.

    Args:
        logits: (B, n_outputs), any float type; computed in float32.
        targets: (B, L) of values in [0, 1], NaN = unknown; `UNCERTAIN_CLASS` is the third class
            of a ``multiclass`` label.
        config: the loss and its constants.
        policies: L uncertainty policies; they decide the layout of `logits`.
        pos_weight: (L,) weight of the positive part (bce, focal, asymmetric), or of the positive
            class of a ``multiclass`` label. None is 1.
        class_counts: (2, L) numbers of negatives and positives: for balanced-bce those of the
            training rows; for aucm those of the whole step, counted in `targets` when None.
        auc_margin: the state of aucm, needed by that loss alone.

    Raises:
        ValueError: a part that the loss needs is missing, or one that it does not take.
    """
    if (auc_margin is not None) != (config.name == "aucm"):
        raise ValueError("auc_margin goes with the loss aucm and with no other")
    if pos_weight is not None and config.name in ("aucm", "balanced-bce"):
        raise ValueError(f"{config.name} balances the classes itself and takes no pos_weight")
    if "multiclass" in policies and config.name != "bce":
        raise ValueError("multiclass labels take the loss bce")
    logits = logits.float()
    if auc_margin is not None:
        total: Tensor = auc_margin(logits, targets, class_counts)
        return total
    if "multiclass" not in policies:
        return _binary_sum(logits, targets, config, pos_weight, class_counts)
    total = logits.new_zeros(())
    for column, outputs in enumerate(output_slices(policies)):
        here = slice(column, column + 1)
        weight = None if pos_weight is None else pos_weight[here]
        if policies[column] == "multiclass":
            total = total + _three_way_sum(logits[:, outputs], targets[:, column], weight)
        else:
            total = total + _binary_sum(logits[:, outputs], targets[:, here], config, weight, None)
    return total


def pointing_loss(maps: Tensor, cover: Tensor, config: PointingConfig) -> Tensor:
    """Loss (K,) of class maps that should be high where boxes lie; 0 where no cell is covered.

    With m a map over the temperature, c the cover and p = softmax(m) over the cells:

        mass:  -log sum(p c)
        cells: mean over cells of the cross-entropy of sigmoid(m) and c
        lse:   softplus(-inside) + softplus(outside), each the log of the mean of exp(m), by cover;
               pooling as in Pinheiro and Collobert 2015 (arXiv:1411.6228)
        pcam:  the same of means of m weighted by sigmoid(m) and cover, the pooling of Ye et al.
               2020 (arXiv:2005.14480)

    Args:
        maps: (K, h, w) float32, the maps of K labels on their images.
        cover: (K, h, w) share of each cell that the label's boxes cover, in [0, 1].
        config: form and temperature.
    """
    m, c = maps.flatten(1) / config.temperature, cover.flatten(1)
    is_there = c.sum(dim=1) > 0
    c = torch.where(is_there[:, None], c, 1.0)
    if config.form == "cells":
        terms = F.binary_cross_entropy_with_logits(m, c, reduction="none").mean(dim=1)
    elif config.form == "pcam":
        masses = [torch.sigmoid(m) * share for share in (c, 1 - c)]
        inside, outside = ((w * m).sum(1) / w.sum(1).clamp_min(1e-12) for w in masses)
        terms = F.softplus(-inside) + F.softplus(outside)
    else:
        inside = torch.logsumexp(m + c.log(), dim=1)
        terms = torch.logsumexp(m, dim=1) - inside
    if config.form == "lse":
        rest = (1 - c).clamp_min(torch.finfo(c.dtype).tiny)  # boxes may cover the whole image
        outside = torch.logsumexp(m + rest.log(), dim=1) - rest.sum(dim=1).clamp_min(1e-3).log()
        terms = F.softplus(c.sum(dim=1).log() - inside) + F.softplus(outside)
    return torch.where(is_there, terms, 0.0)


def known_count(targets: Tensor) -> Tensor:
    """How many of the targets (B, L) are known: int64 scalar on their device."""
    return (~torch.isnan(targets)).sum()


def count_classes(targets: Tensor) -> Tensor:
    """Numbers of negatives and positives per label: (2, L) int64, from targets (B, L).

    A soft target counts as positive above 0.5; unknown and third-class ones count as neither.
    """
    return torch.stack([(targets <= 0.5).sum(0), ((targets > 0.5) & (targets <= 1.0)).sum(0)])


def output_names(labels: Sequence[str], policies: Sequence[str]) -> tuple[str, ...]:
    """The name of each output of the head: its label, ``Edema = 0`` and so on if multiclass."""
    return tuple(
        name
        for label, policy in zip(labels, policies, strict=True)
        for name in ([f"{label} = {n}" for n in range(3)] if policy == "multiclass" else [label])
    )


def output_slices(policies: Sequence[str]) -> list[slice]:
    """For each label, its columns among the head's outputs."""
    sizes = [3 if policy == "multiclass" else 1 for policy in policies]
    return [slice(end - size, end) for size, end in zip(sizes, accumulate(sizes), strict=True)]


def binary_logits(logits: Tensor, policies: Sequence[str]) -> Tensor:
    """One logit per label (B, L, ...) from the head's outputs (B, n_outputs, ...).

    A ``multiclass`` label's is z1 - z0: its sigmoid is p(1) / (p(0) + p(1)), the score of
    Irvin et al. 2019 (CheXpert, section 3.3), with the uncertain class left out.
    """
    if "multiclass" not in policies:
        return logits
    columns = [logits[:, part] for part in output_slices(policies)]
    return torch.stack([z[:, 1] - z[:, 0] if z.shape[1] > 1 else z[:, 0] for z in columns], dim=1)


def scores_from_logits(logits: Tensor, policies: Sequence[str]) -> Tensor:
    """Scores (B, L) in [0, 1], float32, from the head's outputs (B, n_outputs)."""
    return torch.sigmoid(binary_logits(logits.float(), policies))


def binary_head(weight: Tensor, bias: Tensor, policies: Sequence[str]) -> tuple[Tensor, Tensor]:
    """The L-way head that gives the same scores as a head with three-way labels.

    From weight (n_outputs, C) and bias (n_outputs,) to (L, C) and (L,).
    """
    of_weight, of_bias = binary_logits(weight.T, policies), binary_logits(bias[None], policies)
    return of_weight.T.contiguous(), of_bias[0].contiguous()


def balanced_pos_weight(targets: Floats, maximum: float) -> Floats32:
    """Negatives / positives (L,) of the known training targets (N, L), capped at `maximum`.

    A soft target counts as that share of a positive; unknown and third-class ones do not count.
    The cap is also the weight of a label without positives; 1 is that of one without negatives.
    """
    values = np.asarray(targets, dtype=np.float64)
    two_way = ~np.isnan(values) & (values <= 1.0)
    positives = np.where(two_way, values, 0.0).sum(axis=0)
    negatives = two_way.sum(axis=0) - positives
    weights = np.where(positives > 0, negatives / np.maximum(positives, 1e-12), maximum)
    return np.where(negatives > 0, np.minimum(weights, maximum), 1.0).astype(np.float32)


def class_weights(class_counts: Tensor, beta: float) -> Tensor:
    """Class-balanced weights by the effective number of samples (Cui et al. 2019, eq. 2 and 4).

    w = (1 - beta) / (1 - beta**n), scaled so that a label's two weights add up to 2, as published:
    at beta 0 both classes weigh alike, towards 1 they weigh 1 / n. From (2, L) numbers of
    negatives and positives to (2, L) float32; 1 and 1 where one class is absent.
    """
    counts = class_counts.float()
    if beta == 0.0:
        return torch.ones_like(counts)
    weights = -1.0 / torch.expm1(counts.clamp_min(1.0) * math.log(beta))  # exact where beta ~ 1
    weights = 2.0 * weights / weights.sum(dim=0)
    return torch.where((counts > 0).all(dim=0), weights, 1.0)


class AucMargin(nn.Module):
    """AUC margin loss (Yuan et al. 2021, arXiv 2012.03173, eq. 7), one min-max problem per label.

    With h = sigmoid(logit) and p the share of positives of the step, a known target adds

        positive: (1 - p) (h - a)^2 - 2 alpha (1 - p) h
        negative: p (h - b)^2 + 2 alpha p h
        either:   2 alpha p (1 - p) margin - p (1 - p) alpha^2

    This is ``version="v1"`` of LibAUC's `MultiLabelAUCMLoss` with its batch-wise p, except that
    the margin is honoured (LibAUC 2.0 leaves it out of the multi-label form, as if it were 1) and
    that a label without positives or without negatives in the step adds 0 without a warning. A
    soft target counts as positive above 0.5; LibAUC compares with 1 and 0, and would let it count
    as neither. a and b descend with the network's weights, alpha ascends: see `PESG`. Under
    several processes their gradients have to be summed like the network's.
    """

    def __init__(self, n_labels: int, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = margin
        self.a, self.b, self.alpha = (nn.Parameter(torch.zeros(n_labels)) for _ in range(3))

    def forward(self, logits: Tensor, targets: Tensor, counts: Tensor | None = None) -> Tensor:
        """Sum over the known targets; the arguments are those of `label_loss`."""
        known = ~torch.isnan(targets)
        counts = (count_classes(targets) if counts is None else counts).float()
        p = counts[1] / counts.sum(dim=0).clamp_min(1.0)
        score = torch.sigmoid(torch.where(known, logits, 0.0))
        positive = (1.0 - p) * ((score - self.a) ** 2 - 2.0 * self.alpha * score)
        negative = p * ((score - self.b) ** 2 + 2.0 * self.alpha * score)
        either = p * (1.0 - p) * (2.0 * self.alpha * self.margin - self.alpha**2)
        terms = torch.where(targets > 0.5, positive, negative) + either
        return torch.where(known, terms, 0.0).sum()


def _binary_sum(
    logits: Tensor,
    targets: Tensor,
    config: LossConfig,
    pos_weight: Tensor | None,
    class_counts: Tensor | None,
) -> Tensor:
    known = ~torch.isnan(targets)
    # Both sides are made safe before the formula: inf * 0 in a backward pass would be NaN.
    z = torch.where(known, logits, 0.0)
    t = torch.where(known, targets, 0.0).float()
    positive = -t * F.logsigmoid(z)
    negative = -(1.0 - t) * F.logsigmoid(-z)
    if config.name == "focal":
        positive, negative = _focal(z, t, positive, negative, config)
    elif config.name == "asymmetric":
        positive, negative = _asymmetric(z, t, positive, config)
    elif config.name == "balanced-bce":
        if class_counts is None:
            raise ValueError("balanced-bce needs class_counts of the training rows")
        weights = class_weights(class_counts, config.class_balanced_beta)
        positive, negative = weights[1] * positive, weights[0] * negative
    if pos_weight is not None:
        positive = pos_weight * positive
    return torch.where(known, positive + negative, 0.0).sum()


def _focal(
    z: Tensor, t: Tensor, positive: Tensor, negative: Tensor, config: LossConfig
) -> tuple[Tensor, Tensor]:
    """Cross-entropy times |t - p|**gamma, which for a hard target is (1 - p_t)**gamma.

    Lin et al. 2017 for hard targets; for soft ones the quality focal loss of Li et al. 2020
    (arXiv 2006.04388, eq. 6), whose minimum lies at p = t, where the plain formula's does not.
    """
    distance = (t * torch.sigmoid(-z) - (1.0 - t) * torch.sigmoid(z)).abs()
    focus = distance.clamp_min(SMALLEST_FOCUS) ** config.focal_gamma
    if config.focal_alpha is None:
        return focus * positive, focus * negative
    return config.focal_alpha * focus * positive, (1.0 - config.focal_alpha) * focus * negative


def _asymmetric(
    z: Tensor, t: Tensor, positive: Tensor, config: LossConfig
) -> tuple[Tensor, Tensor]:
    """ASL (Ridnik et al. 2021, arXiv 2009.14119, eq. 7), linear in a soft target.

    Gradients flow through the focusing powers, as in the paper; its released code can stop them.
    """
    missed = torch.sigmoid(-z).clamp_min(SMALLEST_FOCUS)
    shifted = (torch.sigmoid(z) - config.asl_clip).clamp_min(SMALLEST_FOCUS)
    log_negative = torch.log1p(-shifted) if config.asl_clip > 0 else F.logsigmoid(-z)
    negative = -(1.0 - t) * log_negative * shifted**config.asl_gamma_negative
    return positive * missed**config.asl_gamma_positive, negative


def _three_way_sum(logits: Tensor, targets: Tensor, positive_weight: Tensor | None) -> Tensor:
    """Cross-entropy over negative, positive, uncertain: logits (B, 3), targets (B,)."""
    known = ~torch.isnan(targets)
    log_p = F.log_softmax(torch.where(known[:, None], logits, 0.0), dim=1)
    classes = torch.where(known, targets, 0.0).clamp(0, UNCERTAIN_CLASS).round().long()
    terms = -log_p.gather(1, classes[:, None])[:, 0]
    if positive_weight is not None:
        terms = torch.where(classes == 1, positive_weight * terms, terms)
    return torch.where(known, terms, 0.0).sum()
