"""Losses against independent references: numpy, torchvision, published formulas, LibAUC."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pulmonet.config.fields import LossConfig
from pulmonet.config.load import parse_config
from pulmonet.errors import ConfigError
from pulmonet.training import losses
from pulmonet.training.losses import AucMargin, label_loss, pointing_loss

LABELS = 4
PLAIN = ("ones",) * LABELS
BINARY_LOSSES = ("bce", "balanced-bce", "focal", "asymmetric")
COUNTS = torch.tensor([[900, 50, 10, 700], [100, 950, 10, 3]])


def _draw(seed: int, n_rows: int = 37, soft: bool = False) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((n_rows, LABELS), generator=generator, dtype=torch.float64) * 3
    targets = torch.rand((n_rows, LABELS), generator=generator)
    return logits, targets if soft else (targets > 0.6).float()


def _loss(name: str, logits: Tensor, targets: Tensor, **settings: object) -> Tensor:
    """The sum, with whatever the loss of that name needs beside logits and targets."""
    pos_weight = settings.pop("pos_weight", None)
    config = LossConfig.model_validate({"name": name, **settings})
    return label_loss(
        logits,
        targets,
        config,
        policies=PLAIN,
        pos_weight=pos_weight,
        class_counts=COUNTS if name == "balanced-bce" else None,
        auc_margin=AucMargin(LABELS) if name == "aucm" else None,
    )


def _log_sigmoid(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return -np.logaddexp(0.0, -z)


# --- each loss against its formula, in float64 numpy -------------------------------------


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_bce_is_the_textbook_sum(soft: bool, weighted: bool) -> None:
    logits, targets = _draw(0, soft=soft)
    weight = torch.tensor([1.0, 3.0, 0.5, 20.0]) if weighted else None
    z, t = logits.numpy(), targets.numpy()
    w = weight.numpy() if weight is not None else 1.0
    expected = -(w * t * _log_sigmoid(z) + (1 - t) * _log_sigmoid(-z)).sum()

    actual = _loss("bce", logits, targets, pos_weight=weight)

    assert actual.dtype == torch.float32
    assert actual.item() == pytest.approx(expected, rel=1e-5)


def test_bce_equals_torchs_own() -> None:
    logits, targets = _draw(1)
    weight = torch.tensor([1.0, 3.0, 0.5, 20.0])
    reference = nn.BCEWithLogitsLoss(reduction="sum", pos_weight=weight)(logits.float(), targets)
    torch.testing.assert_close(_loss("bce", logits, targets, pos_weight=weight), reference)


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.999])
def test_balanced_bce_weighs_by_the_effective_number_of_samples(beta: float) -> None:
    logits, targets = _draw(2)
    expected = 0.0
    for column in range(LABELS):
        effective = [(1 - beta**n) / (1 - beta) for n in COUNTS[:, column].tolist()]
        inverse = [1 / n for n in effective]
        weights = [2 * w / sum(inverse) for w in inverse]
        for z, t in zip(logits[:, column].tolist(), targets[:, column].tolist(), strict=True):
            expected += weights[int(t)] * float(np.logaddexp(0.0, -z if t else z))

    actual = _loss("balanced-bce", logits, targets, class_balanced_beta=beta)

    assert actual.item() == pytest.approx(expected, rel=1e-5)


def test_balanced_bce_leaves_a_label_with_one_class_unweighted() -> None:
    weights = losses.class_weights(torch.tensor([[10, 0, 5], [0, 10, 5]]), 0.999)
    torch.testing.assert_close(weights, torch.ones(2, 3))


@pytest.mark.parametrize("alpha", [None, 0.25, 0.8])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 3.0])
def test_focal_equals_torchvisions_for_hard_targets(gamma: float, alpha: float | None) -> None:
    from torchvision.ops import sigmoid_focal_loss

    logits, targets = _draw(3)
    here = logits.clone().requires_grad_()
    there = logits.clone().requires_grad_()
    reference = sigmoid_focal_loss(
        there, targets.double(), alpha=-1 if alpha is None else alpha, gamma=gamma, reduction="sum"
    )
    actual = _loss("focal", here, targets, focal_gamma=gamma, focal_alpha=alpha)
    reference.backward()
    actual.backward()

    assert actual.item() == pytest.approx(reference.item(), rel=1e-5)
    torch.testing.assert_close(here.grad, there.grad, rtol=1e-4, atol=1e-6)


def test_focal_of_soft_targets_is_the_quality_focal_loss() -> None:
    logits, targets = _draw(4, soft=True)
    z, t = logits.numpy(), targets.numpy().astype(np.float64)
    p = 1 / (1 + np.exp(-z))
    cross_entropy = -(t * np.log(p) + (1 - t) * np.log1p(-p))
    expected = (np.abs(t - p) ** 2 * cross_entropy).sum()
    assert _loss("focal", logits, targets).item() == pytest.approx(expected, rel=1e-4)


def test_focal_of_a_soft_target_is_least_where_the_score_is_the_target() -> None:
    scores = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    values = [
        _loss("focal", torch.logit(p).repeat(1, LABELS), torch.full((1, LABELS), 0.7)).item()
        for p in scores
    ]
    assert scores[int(np.argmin(values))].item() == pytest.approx(0.7)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(
    ("negative", "positive", "clip"), [(4.0, 1.0, 0.05), (2.0, 0.0, 0.0), (0.0, 0.0, 0.0)]
)
def test_asymmetric_is_the_published_formula(
    negative: float, positive: float, clip: float, soft: bool
) -> None:
    logits, targets = _draw(5, soft=soft)
    z, t = logits.numpy(), targets.numpy().astype(np.float64)
    p = 1 / (1 + np.exp(-z))
    p_m = np.maximum(p - clip, 0)
    loss_positive = (1 - p) ** positive * np.log(p)
    loss_negative = p_m**negative * np.log(1 - p_m)
    expected = -(t * loss_positive + (1 - t) * loss_negative).sum()

    actual = _loss(
        "asymmetric",
        logits,
        targets,
        asl_gamma_negative=negative,
        asl_gamma_positive=positive,
        asl_clip=clip,
    )

    assert actual.item() == pytest.approx(expected, rel=1e-4)


def test_asymmetric_and_focal_without_focusing_are_bce() -> None:
    logits, targets = _draw(6)
    bce = _loss("bce", logits, targets)
    focal = _loss("focal", logits, targets, focal_gamma=0.0)
    asymmetric = _loss(
        "asymmetric", logits, targets, asl_gamma_negative=0.0, asl_gamma_positive=0.0, asl_clip=0.0
    )
    torch.testing.assert_close(focal, bce)
    torch.testing.assert_close(asymmetric, bce)


@pytest.mark.parametrize("name", ["focal", "asymmetric"])
def test_pos_weight_weighs_the_positive_part(name: str) -> None:
    logits, _ = _draw(7)
    ones, zeros = torch.ones_like(logits), torch.zeros_like(logits)
    weight = torch.full((LABELS,), 3.0)
    torch.testing.assert_close(
        _loss(name, logits, ones, pos_weight=weight), 3 * _loss(name, logits, ones)
    )
    torch.testing.assert_close(
        _loss(name, logits, zeros, pos_weight=weight), _loss(name, logits, zeros)
    )


# --- masks --------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [0.0, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("name", [*BINARY_LOSSES, "aucm"])
def test_masked_labels_have_exactly_zero_gradient(name: str, bad: float) -> None:
    logits, targets = _draw(8)
    masked = torch.rand(targets.shape, generator=torch.Generator().manual_seed(1)) < 0.4
    hidden = torch.where(masked, torch.nan, targets)
    here = torch.where(masked, bad, logits).requires_grad_()

    loss = _loss(name, here, hidden)
    loss.backward()

    assert torch.isfinite(loss)
    assert here.grad is not None
    assert (here.grad[masked] == 0).all()
    assert (here.grad[~masked] != 0).any()


@pytest.mark.parametrize("name", [*BINARY_LOSSES, "aucm"])
def test_masking_is_the_same_as_leaving_the_rows_out(name: str) -> None:
    logits, targets = _draw(9)
    targets[torch.rand(targets.shape, generator=torch.Generator().manual_seed(3)) < 0.5] = torch.nan
    config = LossConfig.model_validate({"name": name})
    expected = torch.zeros(())
    for column in range(LABELS):
        known = ~torch.isnan(targets[:, column])
        expected += label_loss(
            logits[known, column : column + 1],
            targets[known, column : column + 1],
            config,
            policies=("ones",),
            class_counts=COUNTS[:, column : column + 1] if name == "balanced-bce" else None,
            auc_margin=AucMargin(1) if name == "aucm" else None,
        )
    torch.testing.assert_close(_loss(name, logits, targets), expected)


@pytest.mark.parametrize("name", [*BINARY_LOSSES, "aucm"])
def test_everything_masked_gives_zero(name: str) -> None:
    logits, targets = _draw(10)
    logits.requires_grad_()
    loss = _loss(name, logits, torch.full_like(targets, torch.nan))
    loss.backward()
    assert loss.item() == 0.0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("name", BINARY_LOSSES)
@pytest.mark.parametrize("size", [50.0, 1e4])
def test_large_logits_keep_loss_and_gradient_finite(name: str, size: float) -> None:
    logits = torch.tensor([[size, -size, size, -size]], requires_grad=True)
    loss = _loss(name, logits, torch.tensor([[1.0, 1.0, 0.0, 0.0]]), focal_gamma=0.5)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", BINARY_LOSSES)
def test_a_non_finite_logit_of_a_known_target_is_not_hidden(name: str) -> None:
    logits, targets = _draw(11)
    logits[3, 1] = torch.nan
    assert torch.isnan(_loss(name, logits, targets))


@pytest.mark.parametrize("name", [*BINARY_LOSSES, "aucm"])
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    _, targets = _draw(12, n_rows=5, soft=name not in ("aucm",))
    targets[0, 0] = torch.nan
    logits = torch.linspace(-2, 2, 20).reshape(5, LABELS).requires_grad_()
    _loss(name, logits, targets).backward()
    step = 1e-2
    for row, column in ((0, 1), (2, 3), (4, 0)):
        nudge = torch.zeros_like(logits)
        nudge[row, column] = step
        difference = _loss(name, logits + nudge, targets) - _loss(name, logits - nudge, targets)
        assert logits.grad is not None
        assert difference.item() / (2 * step) == pytest.approx(
            logits.grad[row, column].item(), rel=2e-2, abs=2e-4
        )


# --- sums and counts: accumulation, processes ------------------------------------------------


@pytest.mark.parametrize("name", [*BINARY_LOSSES, "aucm"])
def test_parts_of_a_batch_add_up_to_the_whole(name: str) -> None:
    """Micro-batches and processes: sums of the loss and of the count, gradients included."""
    logits, targets = _draw(13, soft=True)
    targets[torch.rand(targets.shape, generator=torch.Generator().manual_seed(2)) < 0.3] = torch.nan
    config = LossConfig.model_validate({"name": name})
    state = AucMargin(LABELS) if name == "aucm" else None
    counts = COUNTS if name == "balanced-bce" else losses.count_classes(targets)

    def run(parts: list[slice]) -> tuple[Tensor, Tensor, list[Tensor]]:
        here = logits.clone().requires_grad_()
        count = sum(losses.known_count(targets[part]) for part in parts)
        total = torch.zeros(())
        if state is not None:
            state.zero_grad()
        for part in parts:
            loss = label_loss(
                here[part],
                targets[part],
                config,
                policies=PLAIN,
                class_counts=counts,
                auc_margin=state,
            )
            (loss / count).backward()
            total = total + loss.detach()
        grads = [here.grad] + ([p.grad for p in state.parameters()] if state is not None else [])
        return total, torch.as_tensor(count), [g.clone() for g in grads if g is not None]

    whole = run([slice(None)])
    parts = run([slice(0, 1), slice(1, 20), slice(20, None)])
    assert whole[1] == parts[1] == int((~targets.isnan()).sum())
    torch.testing.assert_close(whole[0], parts[0])
    torch.testing.assert_close(whole[2], parts[2])


def test_known_count_is_a_whole_number() -> None:
    targets = torch.tensor([[1.0, torch.nan], [0.3, 2.0], [torch.nan, torch.nan]])
    count = losses.known_count(targets)
    assert count.dtype == torch.int64
    assert count.item() == 3


# --- three-way labels ------------------------------------------------------------------------

MIXED = ("multiclass", "zeros", "multiclass", "ignore")


def test_three_way_labels_take_three_outputs_in_label_order() -> None:
    names = ("A = 0", "A = 1", "A = 2", "B", "C = 0", "C = 1", "C = 2", "D")
    assert losses.output_names("ABCD", MIXED) == names
    assert losses.output_slices(MIXED) == [slice(0, 3), slice(3, 4), slice(4, 7), slice(7, 8)]
    assert losses.output_names("ABCD", PLAIN) == tuple("ABCD")


def test_multiclass_is_the_softmax_cross_entropy() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(23, 8))
    t = np.stack([rng.choice([0, 1, high, np.nan], size=23) for high in (2, 1, 2, 1)], axis=1)
    weight = np.array([1.0, 2.0, 3.0, 4.0])
    expected = 0.0
    for row in range(23):
        for column, start, width in ((0, 0, 3), (1, 3, 1), (2, 4, 3), (3, 7, 1)):
            target = t[row, column]
            if np.isnan(target):
                continue
            factor = weight[column] if target == 1 else 1.0
            if width == 3:
                p = np.exp(z[row, start : start + 3])
                expected -= factor * np.log(p[int(target)] / p.sum())
            else:
                p = 1 / (1 + np.exp(-z[row, start]))
                expected -= factor * np.log(p if target == 1 else 1 - p)

    logits = torch.tensor(z, requires_grad=True)
    loss = label_loss(
        logits,
        torch.tensor(t, dtype=torch.float32),
        LossConfig(),
        policies=MIXED,
        pos_weight=torch.tensor(weight, dtype=torch.float32),
    )
    loss.backward()

    assert loss.item() == pytest.approx(expected, rel=1e-5)
    grad = logits.grad
    assert grad is not None
    for column, part in enumerate(losses.output_slices(MIXED)):
        assert (grad[np.isnan(t[:, column]), part] == 0).all()
        assert (grad[~np.isnan(t[:, column]), part] != 0).all()


def test_multiclass_masks_survive_infinite_logits() -> None:
    logits = torch.full((2, 8), torch.inf)
    logits[1] = 0.5
    logits.requires_grad_()
    targets = torch.tensor([[torch.nan] * 4, [2.0, 1.0, 0.0, 0.0]])
    loss = label_loss(logits, targets, LossConfig(), policies=MIXED)
    loss.backward()
    assert torch.isfinite(loss)
    assert (logits.grad[0] == 0).all()


def test_multiclass_scores_leave_the_uncertain_class_out() -> None:
    logits = torch.randn((11, 8), generator=torch.Generator().manual_seed(0)) * 4
    scores = losses.scores_from_logits(logits.to(torch.bfloat16), MIXED)
    z = logits.to(torch.bfloat16).double()
    for column, start in ((0, 0), (2, 4)):
        p = torch.softmax(z[:, start : start + 3], dim=1)
        expected = p[:, 1] / (p[:, 0] + p[:, 1])
        torch.testing.assert_close(scores[:, column].double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(scores[:, 3].double(), torch.sigmoid(z[:, 7]), rtol=1e-5, atol=1e-6)
    assert scores.dtype == torch.float32
    assert scores.shape == (11, 4)


def test_an_exported_head_gives_the_same_scores() -> None:
    torch.manual_seed(0)
    head = nn.Linear(6, 8)
    features = torch.randn(9, 6)
    weight, bias = losses.binary_head(head.weight.detach(), head.bias.detach(), MIXED)
    exported = nn.Linear(6, 4)
    exported.load_state_dict({"weight": weight, "bias": bias})

    torch.testing.assert_close(
        torch.sigmoid(exported(features)), losses.scores_from_logits(head(features), MIXED)
    )
    same = losses.binary_head(exported.weight, exported.bias, PLAIN)
    torch.testing.assert_close(same[0], exported.weight)


# --- weights from the training rows -----------------------------------------------------------


def test_balanced_pos_weight_is_negatives_over_positives() -> None:
    nan = np.nan
    targets = np.array(
        [
            [1, 0, 1.0, nan, 0.75, 0],
            [0, 0, 1.0, nan, 0.0, 2],
            [0, 0, nan, nan, nan, 1],
            [0, nan, 1.0, nan, 0.0, 0],
        ]
    )
    weights = losses.balanced_pos_weight(targets, 10.0)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, [3.0, 10.0, 1.0, 1.0, 2.25 / 0.75, 2.0])
    assert losses.balanced_pos_weight(targets, 2.5)[0] == 2.5


def test_class_counts_leave_out_unknown_and_third_class() -> None:
    targets = torch.tensor([[1.0, torch.nan], [0.3, 2.0], [0.55, 0.5]])
    assert losses.count_classes(targets).tolist() == [[1, 1], [2, 0]]


def test_combinations_that_mean_nothing_are_refused() -> None:
    logits, targets = _draw(14)
    with pytest.raises(ValueError, match="aucm and with no other"):
        label_loss(logits, targets, LossConfig(), policies=PLAIN, auc_margin=AucMargin(LABELS))
    with pytest.raises(ValueError, match="aucm and with no other"):
        label_loss(logits, targets, LossConfig(name="aucm"), policies=PLAIN)
    with pytest.raises(ValueError, match="takes no pos_weight"):
        _loss("balanced-bce", logits, targets, pos_weight=torch.ones(LABELS))
    with pytest.raises(ValueError, match="needs class_counts"):
        label_loss(logits, targets, LossConfig(name="balanced-bce"), policies=PLAIN)
    with pytest.raises(ValueError, match="take the loss bce"):
        label_loss(logits, targets, LossConfig(name="focal"), policies=MIXED)


# --- AUC margin --------------------------------------------------------------------------------


def _libauc_loss(margin: float) -> nn.Module:
    pytest.importorskip("libauc", reason="the reference of the AUC margin loss")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from libauc.losses import MultiLabelAUCMLoss
    return MultiLabelAUCMLoss(margin=margin, version="v1", num_labels=LABELS, device="cpu")


def test_auc_margin_equals_libaucs() -> None:
    logits, targets = _draw(15)
    reference = _libauc_loss(1.0)
    state = AucMargin(LABELS)
    values = torch.rand(3, LABELS, generator=torch.Generator().manual_seed(5))
    for name, value in zip("ab", values, strict=False):
        getattr(reference, name).data.copy_(value)
        getattr(state, name).data.copy_(value)
    reference.alpha.data.copy_(values[2])
    state.alpha.data.copy_(values[2])
    here, there = (logits.float().clone().requires_grad_() for _ in range(2))

    actual = state(here, targets) / losses.known_count(targets)
    expected = reference(torch.sigmoid(there), targets)
    actual.backward()
    expected.backward()

    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(here.grad, there.grad)
    for name in ("a", "b", "alpha"):
        torch.testing.assert_close(getattr(state, name).grad, getattr(reference, name).grad)


def test_auc_margin_of_one_label_equals_libaucs_with_any_margin() -> None:
    pytest.importorskip("libauc", reason="the reference of the AUC margin loss")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from libauc.losses import AUCMLoss
    logits, targets = _draw(16)
    reference = AUCMLoss(margin=0.6, device="cpu")
    state = AucMargin(1, margin=0.6)
    with torch.no_grad():
        reference.alpha.fill_(0.7)
        state.alpha.fill_(0.7)
    actual = state(logits[:, :1].float(), targets[:, :1]) / len(targets)
    expected = reference(torch.sigmoid(logits[:, :1].float()), targets[:, :1])
    torch.testing.assert_close(actual, expected[0])


def test_auc_margin_is_the_squared_margin_over_pairs_at_its_saddle() -> None:
    """At the best a, b, alpha the loss is p (1 - p) E[(m - h(x+) + h(x-))^2], over all pairs."""
    logits, targets = _draw(17, n_rows=60)
    h, t = torch.sigmoid(logits), targets.bool()
    state = AucMargin(LABELS, margin=1.0).double()
    expected = 0.0
    for column in range(LABELS):
        positive, negative = h[t[:, column], column], h[~t[:, column], column]
        p = len(positive) / len(h)
        pairs = (1.0 - positive[:, None] + negative[None, :]) ** 2
        expected += p * (1 - p) * pairs.mean().item()
        with torch.no_grad():
            state.a[column], state.b[column] = positive.mean(), negative.mean()
            state.alpha[column] = 1.0 + negative.mean() - positive.mean()
    assert state(logits, targets).item() / len(h) == pytest.approx(expected, rel=1e-5)


def test_a_label_with_one_class_in_the_step_adds_nothing_to_the_auc_margin() -> None:
    logits, _ = _draw(18)
    logits.requires_grad_()
    loss = AucMargin(LABELS)(logits, torch.zeros(len(logits), LABELS))
    loss.backward()
    assert loss.item() == 0.0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("name", ["balanced-bce", "aucm"])
def test_balancing_twice_is_a_config_error(name: str) -> None:
    with pytest.raises(ConfigError, match="balances the classes itself; set loss"):
        parse_config({"loss": {"name": name, "pos_weight": "balanced"}, "optim": {"name": "pesg"}})


# --- pointing -------------------------------------------------------------------------------


FORMS = ("mass", "cells", "lse", "pcam")


def maps_and_cover() -> tuple[Tensor, Tensor]:
    """Three pairs of 3 x 4 cells: parts of cells covered, whole ones, nothing at all."""
    rng = np.random.default_rng(5)
    cover = np.zeros((3, 3, 4))
    cover[0, 1:, 1:3] = rng.random((2, 2))
    cover[1, 0, 0] = 1.0
    return torch.from_numpy(rng.normal(0, 2, (3, 3, 4))), torch.from_numpy(cover)


def plain_pointing(maps: Any, cover: Any, form: str, temperature: float) -> float:
    """One map (h, w), cell by cell."""
    cells = [
        (float(m) / temperature, float(c))
        for m, c in zip(np.ravel(maps), np.ravel(cover), strict=True)
    ]
    if not any(c for _, c in cells):
        return 0.0
    if form == "mass":
        total = sum(math.exp(m) for m, _ in cells)
        return -math.log(sum(math.exp(m) / total * c for m, c in cells))
    if form == "cells":
        terms = [c * math.log1p(math.exp(-m)) + (1 - c) * math.log1p(math.exp(m)) for m, c in cells]
        return sum(terms) / len(cells)
    if form == "pcam":
        weights = [(c / (1 + math.exp(-m)), (1 - c) / (1 + math.exp(-m)), m) for m, c in cells]
        inside = sum(w * m for w, _, m in weights) / sum(w for w, _, _ in weights)
        outside = sum(w * m for _, w, m in weights) / sum(w for _, w, _ in weights)
        return math.log1p(math.exp(-inside)) + math.log1p(math.exp(outside))
    inside = math.log(sum(c * math.exp(m) for m, c in cells) / sum(c for _, c in cells))
    outside = math.log(sum((1 - c) * math.exp(m) for m, c in cells) / sum(1 - c for _, c in cells))
    return math.log1p(math.exp(-inside)) + math.log1p(math.exp(outside))


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("form", FORMS)
def test_the_pointing_loss_is_that_of_a_plain_loop(form: str, temperature: float) -> None:
    maps, cover = maps_and_cover()
    config = parse_config({"pointing": {"form": form, "temperature": temperature}}).pointing
    found = pointing_loss(maps, cover, config)
    pairs = zip(maps.numpy(), cover.numpy(), strict=True)
    expected = [plain_pointing(m, c, form, temperature) for m, c in pairs]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)
    assert expected[2] == 0.0, "nothing covered"


@pytest.mark.parametrize("form", FORMS)
def test_its_gradient_is_that_of_finite_differences(form: str) -> None:
    maps, cover = maps_and_cover()
    config = parse_config({"pointing": {"form": form, "temperature": 0.7}}).pointing
    maps.requires_grad_()
    pointing_loss(maps, cover, config).sum().backward()  # type: ignore[no-untyped-call]
    assert maps.grad is not None
    step = 1e-6
    for place in np.ndindex(*maps.shape):
        moved = maps.detach().clone()
        moved[place] += step
        above = float(pointing_loss(moved, cover, config).sum())
        moved[place] -= 2 * step
        below = float(pointing_loss(moved, cover, config).sum())
        assert float(maps.grad[place]) == pytest.approx((above - below) / (2 * step), abs=1e-6)
    assert not maps.grad[2].any(), "a box outside the image teaches nothing"


def test_a_box_around_the_whole_image_is_finite_in_every_form() -> None:
    for form in FORMS:
        config = parse_config({"pointing": {"form": form}}).pointing
        maps = torch.randn(1, 2, 2, requires_grad=True)
        loss = pointing_loss(maps, torch.ones(1, 2, 2), config).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        assert maps.grad is not None and torch.isfinite(maps.grad).all()
        assert torch.isfinite(loss)


def test_half_is_no_positive_for_the_auc_margin() -> None:
    logits = torch.tensor([[0.3], [-0.2], [1.1]])
    counts = torch.tensor([[2], [1]])
    half, zero = (torch.tensor([[value], [1.0], [0.0]]) for value in (0.5, 0.0))
    losses = [AucMargin(1)(logits, targets, counts) for targets in (half, zero)]
    assert losses[0] == losses[1]
