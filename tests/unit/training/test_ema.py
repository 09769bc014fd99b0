"""The exponential moving average of the weights."""

from __future__ import annotations

import copy
import io
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from pulmonet.models.networks import build_network
from pulmonet.training.ema import WeightAverage


def _network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 2))


def _walk(network: nn.Module, average: WeightAverage, n_steps: int, seed: int) -> list[np.ndarray]:
    """Random steps; returns the second convolution weight's history."""
    generator = torch.Generator().manual_seed(seed)
    history = []
    for _ in range(n_steps):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator))
        network.train()(torch.randn((4, 1, 8, 8), generator=generator))
        average.update()
        history.append(network[0].weight.detach().double().numpy().copy())
    return history


@pytest.mark.parametrize("decay", [0.3, 0.999])
def test_the_average_is_the_plain_recursion(decay: float) -> None:
    torch.manual_seed(0)
    network = _network()
    average = WeightAverage(network, decay)
    expected = network[0].weight.detach().double().numpy().copy()
    for n, weights in enumerate(_walk(network, average, 12, seed=1)):
        d = min(decay, (1 + n) / (10 + n))
        expected = d * expected + (1 - d) * weights
    np.testing.assert_allclose(average.module[0].weight.numpy(), expected, rtol=1e-5, atol=1e-6)


class Normed(nn.Module):
    """Has no counter of batches, as no batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(5)
        self.register_buffer("scale", torch.ones(3))


@pytest.mark.parametrize("make", [_network, Normed, partial(build_network, "timm:test_resnet", 2)])
def test_the_average_is_to_the_bit_that_of_torchs_function_on_new_lists(make: Any) -> None:
    """As it was computed until its lists of tensors were built once."""
    torch.manual_seed(0)
    network = make()
    average, expected = WeightAverage(network, 0.99), copy.deepcopy(network)
    for n in range(12):
        with torch.no_grad():
            for tensor in (*network.parameters(), *network.buffers()):
                tensor.copy_((tensor + torch.randn(tensor.shape)).to(tensor.dtype))
        average.update()
        pairs = [
            [tensor.detach() for tensor in (*each.parameters(), *each.buffers())]
            for each in (expected, network)
        ]
        for old, new in zip(*pairs, strict=True):
            if old.is_floating_point():
                get_ema_multi_avg_fn(min(0.99, (1 + n) / (10 + n)))([old], [new], 0)  # type: ignore[no-untyped-call]
            else:
                old.copy_(new)
    for key, value in expected.state_dict().items():
        assert torch.equal(average.module.state_dict()[key], value), key
    for one, other in zip(average.module.buffers(), expected.buffers(), strict=True):
        assert torch.equal(one, other)


def test_running_statistics_are_averaged_and_the_counter_copied() -> None:
    torch.manual_seed(0)
    network = _network()
    average = WeightAverage(network, 0.5)
    expected = torch.zeros(2)
    for n in range(5):
        _walk(network, average, 1, seed=n)
        d = min(0.5, (1 + n) / (10 + n))
        expected = d * expected + (1 - d) * network[1].running_mean
    torch.testing.assert_close(average.module[1].running_mean, expected)
    assert average.module[1].num_batches_tracked == 5


def test_the_average_has_weights_of_its_own_and_no_gradient() -> None:
    network = _network()
    average = WeightAverage(network, 0.9)
    assert not average.module.training
    assert not any(p.requires_grad for p in average.module.parameters())
    assert all(p.requires_grad for p in network.parameters())
    with torch.no_grad():
        network[0].weight.add_(1.0)
    assert not torch.equal(average.module[0].weight, network[0].weight)


def test_a_resumed_average_agrees_to_the_bit() -> None:
    torch.manual_seed(0)
    network = _network()
    average = WeightAverage(network, 0.99)
    _walk(network, average, 4, seed=0)
    buffer = io.BytesIO()
    torch.save([average.state_dict(), network.state_dict()], buffer)
    _walk(network, average, 4, seed=1)

    buffer.seek(0)
    state, weights = torch.load(buffer, weights_only=True)
    other = _network()
    resumed = WeightAverage(other, 0.99)
    other.load_state_dict(weights)
    resumed.load_state_dict(state)
    _walk(other, resumed, 4, seed=1)
    assert resumed.n_updates == 8
    for key, value in resumed.module.state_dict().items():
        assert torch.equal(value, average.module.state_dict()[key]), key
