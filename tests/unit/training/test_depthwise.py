"""The fast backward pass of depthwise convolutions, against autograd in double precision."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pulmonet.models.networks import build_network
from pulmonet.training import depthwise
from pulmonet.training.depthwise import fast_depthwise, images_gradient, weight_gradient

CPU = torch.device("cpu")


def bf16_values(generator: np.random.Generator, *shape: int) -> torch.Tensor:
    values = torch.from_numpy(generator.normal(size=shape).astype(np.float32))
    return values.bfloat16()


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("size", [(7, 7), (8, 11), (13, 6)])
def test_gradients_equal_autograd(
    kernel: int, stride: int, padding: int, size: tuple[int, int]
) -> None:
    generator = np.random.default_rng([kernel, stride, padding, *size])
    images = bf16_values(generator, 3, 6, *size).contiguous(memory_format=torch.channels_last)
    weight = bf16_values(generator, 6, 1, kernel, kernel)
    exact_images = images.double().requires_grad_()
    exact_weight = weight.double().requires_grad_()
    output = F.conv2d(exact_images, exact_weight, None, stride, padding, 1, 6)
    gradient = bf16_values(generator, *output.shape).contiguous(memory_format=torch.channels_last)
    output.backward(gradient.double())
    assert exact_images.grad is not None
    assert exact_weight.grad is not None
    of_images = images_gradient(gradient, weight, images.shape, stride, padding)
    of_weight = weight_gradient(gradient, images, kernel, stride, padding)
    # one rounding to bf16 (2^-9) of a sum, relative to the largest
    for found, exact in ((of_images, exact_images.grad), (of_weight, exact_weight.grad)):
        assert found.shape == exact.shape
        assert (found.double() - exact).abs().max() <= 2**-8 * exact.abs().max()


def gradients(network: nn.Module, images: torch.Tensor, *, fast: bool) -> dict[str, torch.Tensor]:
    network = copy.deepcopy(network).train()
    mode = fast_depthwise(CPU, "bf16" if fast else "fp32")
    with torch.autocast("cpu", dtype=torch.bfloat16), mode:
        logits = network(images)
    logits.square().mean().backward()
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ["efficientnet_b0", "timm:tf_efficientnet_lite0"])
def test_a_network_learns_the_same(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    torch.manual_seed(0)
    network = build_network(name, 5, 0.0)
    for module in network.modules():  # stochastic depth off
        if type(module).__name__ == "StochasticDepth":
            module.p = 0.0
    images = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (4, 1, 64, 64), dtype=np.uint8)
    )
    calls: list[int] = []
    of_weight = depthwise.weight_gradient
    monkeypatch.setattr(
        depthwise, "weight_gradient", lambda *args: calls.append(1) or of_weight(*args)
    )
    plain = gradients(network, images, fast=False)
    assert not calls
    fast = gradients(network, images, fast=True)
    assert len(calls) == 16  # every depthwise convolution of the network
    assert plain.keys() == fast.keys()
    one, other = (torch.cat([g.flatten() for g in found.values()]) for found in (plain, fast))
    # two bf16 backward passes that round in other places; measured 0.9998
    assert F.cosine_similarity(one, other, dim=0) > 0.995


def test_others_are_left_alone() -> None:
    images = torch.ones(1, 4, 8, 8, requires_grad=True)
    cases = {
        "grouped, not depthwise": nn.Conv2d(4, 4, 3, groups=2, bias=False),
        "two outputs a channel": nn.Conv2d(4, 8, 3, groups=4, bias=False),
        "with a bias": nn.Conv2d(4, 4, 3, groups=4),
        "dilated": nn.Conv2d(4, 4, 3, groups=4, dilation=2, bias=False),
        "7 x 7": nn.Conv2d(4, 4, 7, groups=4, bias=False),
        "by its name": nn.Conv2d(4, 4, 3, groups=4, padding="same", bias=False),
        "oblong": nn.Conv2d(4, 4, (3, 5), groups=4, bias=False),
    }
    served = nn.Conv2d(4, 4, 3, groups=4, stride=2, padding=1, bias=False)
    with fast_depthwise(CPU, "bf16"), torch.autocast("cpu", dtype=torch.bfloat16):
        assert "_Depthwise" in type(served(images).grad_fn).__name__
        for what, layer in cases.items():
            assert "_Depthwise" not in type(layer(images).grad_fn).__name__, what
    with fast_depthwise(CPU, "bf16"):
        assert "_Depthwise" not in type(served(images).grad_fn).__name__, "no autocast"
