"""Networks of which a part is frozen: which parameters, and that encoder and head are the whole."""

from __future__ import annotations

import copy

import pytest
import torch

from pulmonet.choices import ENCODER
from pulmonet.errors import ConfigError
from pulmonet.models.frozen import encoder_of, freeze, head_of
from pulmonet.models.networks import build_network, classifier_path


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("densenet121", 64),
        ("resnet50", 64),
        ("efficientnet_b0", 64),
        ("timm:test_resnet", 32),
        ("timm:test_convnext", 64),
        ("timm:test_vit", 160),
    ],
)
def test_encoder_and_head_are_the_whole_network(name: str, side: int) -> None:
    torch.manual_seed(0)
    network = build_network(name, 3, dropout=0.5)
    images = torch.randint(0, 256, (2, 1, side, side), dtype=torch.uint8)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # of one pass, so that features are not next to nothing
    with torch.no_grad():
        network(images)
        network.eval()
        expected, features = network(images), encoder_of(network)(images)
        torch.testing.assert_close(head_of(network)(features[:, None, None]), expected)
        assert (expected[0] != expected[1]).all()
        head, ones = head_of(network).train(), torch.ones_like(features)[:, None, None]
        dropped = torch.stack([head(ones.clone()) for _ in range(8)])
    assert dropped.std(dim=0).min() > 0  # the head's dropout is part of it
    freeze(network, name, ENCODER)
    path = classifier_path(network)
    trained = {key for key, one in network.named_parameters() if one.requires_grad}
    assert trained == {f"{path}.weight", f"{path}.bias"}


@pytest.mark.parametrize(
    ("name", "upto", "trained", "frozen"),
    [
        ("resnet50", "layer3", {"layer4", "fc"}, {"conv1", "bn1", "layer1", "layer2", "layer3"}),
        ("timm:test_vit", "blocks.4", {"blocks.5", "norm", "head"}, {"cls_token", "pos_embed"}),
    ],
)
def test_a_stage_is_the_last_that_is_frozen(
    name: str, upto: str, trained: set[str], frozen: set[str]
) -> None:
    network = build_network(name, 2)
    freeze(network, name, upto)
    of = {True: set[str](), False: set[str]()}
    for key, one in network.named_parameters():
        parts = key.split(".")
        of[one.requires_grad].add(".".join(parts[: 1 + (parts[0] == "blocks")]))
    assert of[True] == trained
    assert of[False] >= frozen
    assert not of[True] & of[False]


def test_names_that_the_network_has_not() -> None:
    network = build_network("resnet50", 2)
    before = copy.deepcopy([one.requires_grad for one in network.parameters()])
    with pytest.raises(
        ConfigError, match=r"layr3: no stage of resnet50 \(did you mean 'layer3'\?\)"
    ):
        freeze(network, "resnet50", "layr3")
    with pytest.raises(ConfigError, match=r"encodr: .* \(did you mean 'encoder'\?\)"):
        freeze(network, "resnet50", "encodr")
    with pytest.raises(ConfigError, match=r"head: .*choose from encoder, conv1"):
        freeze(network, "resnet50", "head")
    assert [one.requires_grad for one in network.parameters()] == before
