"""Optimisers against torch's and LibAUC's; schedules against torch's."""

from __future__ import annotations

import copy
import io
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR

from pulmonet.config.fields import OptimConfig
from pulmonet.training.losses import AucMargin, known_count
from pulmonet.training.optimisers import PESG, build_optimiser, finish_epoch, learning_rate


def _network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def _batch(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn((16, 6), generator=generator)
    return x, (x[:, :3] + torch.randn((16, 3), generator=generator) > 0.5).float()


def _take_steps(
    network: nn.Module, optimiser: torch.optim.Optimizer, steps: range, auc: Any = None
) -> None:
    for step in steps:
        x, t = _batch(step)
        optimiser.zero_grad()
        logits = network(x)
        loss = (
            nn.functional.binary_cross_entropy_with_logits(logits, t)
            if auc is None
            else auc(logits, t) / known_count(t)
        )
        loss.backward()
        optimiser.step()


# --- which optimiser ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("adam", lambda p: torch.optim.Adam(p, lr=0.01, foreach=False)),
        ("adamw", lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.0, foreach=False)),
        ("sgd", lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.8, foreach=False)),
    ],
)
def test_steps_are_those_of_torchs_plain_optimisers(name: str, reference: Any) -> None:
    config = OptimConfig.model_validate({"name": name, "lr": 0.01, "momentum": 0.8})
    here, there = _network(), _network()
    _take_steps(here, build_optimiser(here, config), range(10))
    _take_steps(there, reference(there.parameters()), range(10))
    compared = dict(here.named_parameters())
    # BatchNorm takes any bias before it away: its gradient is rounding noise, which Adam scales
    # up to full steps
    del compared["0.bias"]
    for key, mine in compared.items():
        torch.testing.assert_close(mine, there.get_parameter(key))


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_the_fused_kernel_is_used_where_there_is_one(name: str) -> None:
    config = OptimConfig.model_validate({"name": name})
    assert build_optimiser(_network(), config).defaults["fused"]


def test_weight_decay_spares_biases_and_normalisation() -> None:
    network = _network()
    optimiser = build_optimiser(network, OptimConfig(name="adamw", weight_decay=0.1))
    decayed, spared = optimiser.param_groups
    assert decayed["weight_decay"] == 0.1
    assert spared["weight_decay"] == 0.0
    assert {id(p) for p in decayed["params"]} == {id(network[0].weight), id(network[3].weight)}
    assert len(spared["params"]) == 4


def test_frozen_parameters_are_left_out() -> None:
    network = _network()
    network[0].requires_grad_(False)
    optimiser = build_optimiser(network, OptimConfig())
    assert sum(len(group["params"]) for group in optimiser.param_groups) == 4


# --- PESG -------------------------------------------------------------------------------------


def _libauc(network: nn.Module, **settings: Any) -> tuple[nn.Module, Any]:
    pytest.importorskip("libauc", reason="the reference of PESG")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from libauc.losses import MultiLabelAUCMLoss
        from libauc.optimizers import PESG as Theirs  # noqa: N811
    loss = MultiLabelAUCMLoss(margin=1.0, version="v1", num_labels=3, device="cpu")
    optimiser = Theirs(
        list(network.parameters()), loss_fn=loss, device="cpu", verbose=False, **settings
    )
    # LibAUC's reference starts at random numbers; the paper's, and ours, at the weights.
    starts = [*network.parameters(), loss.a, loss.b]
    for reference, start in zip(optimiser.model_ref or [], starts, strict=False):
        reference.copy_(start.detach())
    return loss, optimiser


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-2, "epoch_decay": 2e-3},
        {"lr": 0.5, "momentum": 0.0, "weight_decay": 0.0, "epoch_decay": 0.1},
    ],
)
def test_pesg_takes_libaucs_steps(settings: dict[str, float]) -> None:
    here, there = _network(), _network()
    auc = AucMargin(3)
    mine = PESG(here.parameters(), auc, **settings)
    loss, theirs = _libauc(there, **settings)
    for epoch in range(3):
        steps = range(10 * epoch, 10 * (epoch + 1))
        _take_steps(here, mine, steps, auc)
        _take_steps(there, theirs, steps, lambda z, t: loss(z.sigmoid(), t) * known_count(t))
        finish_epoch(mine)
        theirs.update_regularizer()

    for mine_p, theirs_p in zip(here.parameters(), there.parameters(), strict=True):
        torch.testing.assert_close(mine_p, theirs_p)
    for name in ("a", "b", "alpha"):
        value = getattr(auc, name).detach()
        torch.testing.assert_close(value, getattr(loss, name).detach())
        assert (value != 0).all()


def test_pesg_goes_on_from_its_state_dict_to_the_bit() -> None:
    config = OptimConfig(name="pesg", lr=0.1, weight_decay=1e-3)
    straight, auc = _network(), AucMargin(3)
    optimiser = build_optimiser(straight, config, auc)
    _take_steps(straight, optimiser, range(7), auc)
    finish_epoch(optimiser)
    _take_steps(straight, optimiser, range(7, 11), auc)
    buffer = io.BytesIO()
    torch.save([straight.state_dict(), auc.state_dict(), optimiser.state_dict()], buffer)
    _take_steps(straight, optimiser, range(11, 15), auc)
    finish_epoch(optimiser)
    _take_steps(straight, optimiser, range(15, 18), auc)

    buffer.seek(0)
    states = torch.load(buffer, weights_only=True)
    resumed, other = _network(seed=9), AucMargin(3)
    again = build_optimiser(resumed, config, other)
    for part, state in zip((resumed, other, again), states, strict=True):
        part.load_state_dict(state)
    _take_steps(resumed, again, range(11, 15), other)
    finish_epoch(again)
    _take_steps(resumed, again, range(15, 18), other)

    for mine, theirs in zip(resumed.parameters(), straight.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    for mine, theirs in zip(other.parameters(), auc.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_pesg_raises_the_auroc_of_a_linear_problem() -> None:
    from sklearn.metrics import roc_auc_score

    network, auc = _network(), AucMargin(3)
    optimiser = build_optimiser(network, OptimConfig(name="pesg", lr=0.1), auc)
    x, t = (torch.cat(parts) for parts in zip(*(_batch(s) for s in range(900, 930)), strict=True))

    def auroc() -> float:
        with torch.no_grad():
            return float(roc_auc_score(t.numpy(), network.eval()(x).numpy()))

    before = auroc()
    network.train()
    _take_steps(network, optimiser, range(150), auc)
    assert before < 0.65
    assert auroc() > 0.75


def test_pesg_needs_the_state_of_its_loss() -> None:
    with pytest.raises(ValueError, match="needs loss_parameters"):
        build_optimiser(_network(), OptimConfig(name="pesg"))


def test_the_end_of_an_epoch_means_nothing_to_other_optimisers() -> None:
    network = _network()
    optimiser = build_optimiser(network, OptimConfig())
    before = copy.deepcopy(optimiser.state_dict())
    finish_epoch(optimiser)
    assert optimiser.state_dict() == before


# --- learning rate -------------------------------------------------------------------------


def _rates(schedule: LRScheduler, n_steps: int) -> list[float]:
    rates = []
    for _ in range(n_steps):
        rates.append(schedule.get_last_lr()[0])
        schedule.optimizer.step()
        if len(rates) < n_steps:
            schedule.step()
    return rates


def _plain_optimiser(lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)


@pytest.mark.parametrize("n_steps", [7, 40, 1003])
@pytest.mark.parametrize("warmup", [0.0, 0.2, 0.5])
def test_one_cycle_is_torchs(n_steps: int, warmup: float) -> None:
    config = OptimConfig(lr=3e-4, schedule="one-cycle", warmup_fraction=warmup)
    reference = OneCycleLR(
        _plain_optimiser(1.0),
        max_lr=3e-4,
        total_steps=n_steps,
        pct_start=warmup or 0.3,
        cycle_momentum=False,
        final_div_factor=1 / (25 * config.min_lr_fraction),
    )
    mine = [learning_rate(config, step, n_steps) for step in range(n_steps)]
    assert mine == pytest.approx(_rates(reference, n_steps), rel=1e-9)


@pytest.mark.parametrize("n_steps", [2, 7, 400])
def test_cosine_is_torchs(n_steps: int) -> None:
    config = OptimConfig(lr=3e-4, schedule="cosine", min_lr_fraction=0.1)
    reference = CosineAnnealingLR(_plain_optimiser(3e-4), T_max=n_steps - 1, eta_min=3e-5)
    mine = [learning_rate(config, step, n_steps) for step in range(n_steps)]
    assert mine == pytest.approx(_rates(reference, n_steps), rel=1e-9)


def test_cosine_rises_in_a_line_first() -> None:
    config = OptimConfig(lr=1.0, schedule="cosine", warmup_fraction=0.25, min_lr_fraction=0.0)
    rates = [learning_rate(config, step, 20) for step in range(20)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[5] == 1.0
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[-1] == pytest.approx(0.0, abs=1e-12)


def test_constant_stays() -> None:
    assert {learning_rate(OptimConfig(lr=2e-4), step, 9) for step in range(9)} == {2e-4}


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one-cycle"])
@pytest.mark.parametrize("n_steps", [1, 2, 3, 4])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 0.99])
def test_short_runs_have_a_rate_at_every_step(schedule: str, n_steps: int, warmup: float) -> None:
    config = OptimConfig.model_validate(
        {"lr": 1.0, "schedule": schedule, "warmup_fraction": warmup, "min_lr_fraction": 0.01}
    )
    rates = [learning_rate(config, step, n_steps) for step in range(n_steps + 2)]
    assert all(0.0 < rate <= 1.0 for rate in rates)
    assert rates[n_steps - 1] == rates[n_steps] == rates[n_steps + 1]


def test_a_step_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="neither may be negative"):
        learning_rate(OptimConfig(), -1, 10)
    with pytest.raises(ValueError, match="neither may be negative"):
        learning_rate(OptimConfig(), 0, 0)
