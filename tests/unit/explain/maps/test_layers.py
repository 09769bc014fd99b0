"""A network cut at one of its layers: which ones there are, and what is wrong with others."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pulmonet.errors import ConfigError
from pulmonet.explain.maps.layers import check_common_layer, feature_layers, forward_at
from pulmonet.models.networks import Ensemble, build_network, forward_features


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(3)
    return build_network("resnet50", 5, 0.0).eval()


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.randint(0, 256, (1, 1, 64, 64), generator=torch.Generator().manual_seed(0))


def test_a_layer_called_several_times_counts_with_its_last_call(
    resnet: nn.Module, image: torch.Tensor
) -> None:
    """ResNet's blocks share one ReLU for three calls."""
    logits, shared = forward_at(resnet, image, "layer4.2.relu")
    with torch.no_grad():
        last, expected = forward_features(resnet, image), resnet(image)
    torch.testing.assert_close(shared.detach(), last, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits.detach(), expected, rtol=1e-4, atol=1e-5)
    assert shared.is_leaf and shared.requires_grad
    assert torch.autograd.grad(logits.sum(), shared)[0].any()


def test_unusable_layers_are_named(resnet: nn.Module, image: torch.Tensor) -> None:
    with pytest.raises(ConfigError, match=r"--layer layr4: .*did you mean 'layer4'"):
        forward_at(resnet, image, "layr4")
    with pytest.raises(ConfigError, match=r"--layer : the network has no such layer"):
        forward_at(resnet, image, "")
    with pytest.raises(ConfigError, match=r"--layer fc: .*no feature map"):
        forward_at(resnet, image, "fc")
    assert not any(module._forward_hooks for module in resnet.modules())


@pytest.mark.parametrize(
    ("name", "position", "layer"),
    [
        ("resnet50", 4, "layer3"),
        ("densenet121", -2, "features.denseblock4"),
        ("efficientnet_b0", -1, "features.8"),
    ],
)
def test_stages_are_offered_as_layers(name: str, position: int, layer: str) -> None:
    with torch.device("meta"):
        assert feature_layers(build_network(name, 2))[position] == layer


def test_a_layer_must_be_in_every_member(resnet: nn.Module) -> None:
    members = [resnet, build_network("efficientnet_b0", 5, 0.0)]
    check_common_layer(Ensemble([resnet, resnet]), "layer3")
    with pytest.raises(ConfigError, match=r"layer3: not every member .*leave --layer out"):
        check_common_layer(Ensemble(members), "layer3")
