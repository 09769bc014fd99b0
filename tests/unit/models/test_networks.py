"""Networks: their input, their keys, their features and head."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from pulmonet.errors import ConfigError
from pulmonet.models.networks import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Ensemble,
    WithClassMaps,
    build_network,
    check_class_maps,
    classifier_path,
    forward_features,
    forward_head,
    mean_logits,
)

MODELS = ("densenet121", "resnet50", "efficientnet_b0")


def pixels(n: int = 2, side: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (n, 1, side, side), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("name", MODELS)
def test_weights_load_into_plain_torchvision_and_give_the_same_logits(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(name, 5, dropout=0.3).eval()
    plain = getattr(torchvision.models, name)(num_classes=5)
    plain.load_state_dict(network.state_dict(), strict=True)
    rgb = pixels().float().div(255).expand(-1, 3, -1, -1)
    mean = torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
    std = torch.tensor(IMAGENET_STD).view(3, 1, 1)
    with torch.inference_mode():
        expected = plain.eval()((rgb - mean) / std)
        found = network(pixels())
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert found.dtype == torch.float32


@pytest.mark.parametrize("name", [*MODELS, "timm:tf_efficientnet_lite0", "timm:convnext_atto"])
def test_head_of_features_is_the_forward_pass(name: str) -> None:
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    network = build_network(name, 3).eval()
    with torch.inference_mode():
        features = forward_features(network, pixels())
        logits = forward_head(network, features)
        torch.testing.assert_close(logits, network(pixels()))
    assert features.shape[2:] == (2, 2)


def by_hand(name: str) -> nn.Module:
    """torchvision's or timm's own network of stride 16; DenseNet changed module by module."""
    if name.startswith("timm:"):
        own: nn.Module = pytest.importorskip("timm").create_model(
            name.removeprefix("timm:"), num_classes=3, output_stride=16
        )
        return own
    if name == "resnet50":
        dilate = [False, False, True]
        return torchvision.models.resnet50(num_classes=3, replace_stride_with_dilation=dilate)
    network = torchvision.models.densenet121(num_classes=3)
    network.features.transition3.pool = nn.Identity()
    for number in range(16):
        layer = network.features.denseblock4.get_submodule(f"denselayer{number + 1}")
        layer.conv2.dilation = layer.conv2.padding = (2, 2)
    return network


@pytest.mark.parametrize("name", ["resnet50", "densenet121", "timm:test_efficientnet"])
def test_stride_16_is_that_of_the_authors_with_the_same_weights(name: str) -> None:
    expected = by_hand(name)
    network, plain = build_network(name, 3, 0.0, 16), build_network(name, 3)
    assert network.training
    network.load_state_dict(plain.state_dict(), strict=True)
    expected.load_state_dict(plain.state_dict(), strict=True)
    images = pixels(1, 96)
    with torch.inference_mode():
        found = network.eval()(images)
        rgb = network.get_buffer("pixel_mean"), network.get_buffer("pixel_std")
        torch.testing.assert_close(found, expected.eval()((images - rgb[0]) / rgb[1]))
        assert forward_features(network, images).shape[2:] == (6, 6)
        assert forward_features(plain.eval(), images).shape[2:] == (3, 3)
    check_class_maps(network, name, 96)


@pytest.mark.parametrize(
    "name", ["timm:convnext_atto", "timm:test_vit", "timm:vit_tiny_patch16_224"]
)
def test_stride_16_of_a_network_that_cannot_have_it_is_refused(name: str) -> None:
    pytest.importorskip("timm")
    with pytest.raises(ConfigError, match=r"no network of stride 32 .* set model.output_stride"):
        build_network(name, 3, 0.0, 16)


def test_an_ensembles_score_is_the_mean_of_its_members_scores() -> None:
    members = []
    for seed in range(3):
        torch.manual_seed(seed)
        members.append(build_network("timm:test_resnet", 4).eval())
    with torch.inference_mode():
        scores = [torch.sigmoid(member(pixels()).double()) for member in members]
        found = Ensemble(members)(pixels())
    torch.testing.assert_close(torch.sigmoid(found.double()), sum(scores) / 3, atol=1e-6, rtol=0)
    assert found.dtype == torch.float32


def test_mean_logits_stay_finite_and_in_order() -> None:
    """Where every score rounds to 1 or 0 in float32, logits still tell rows apart."""
    of_members = torch.tensor([[[-60.0], [-50.0], [0.0], [50.0], [60.0]]]).expand(2, 5, 1)
    found = mean_logits([*of_members, of_members[0] + 1.0])
    assert torch.isfinite(found).all()
    assert (found.diff(dim=0) > 1.0).all()
    torch.testing.assert_close(mean_logits([of_members[0]]), of_members[0])


def test_uint8_and_float_pixels_are_the_same_input() -> None:
    network = build_network("resnet50", 2).eval()
    with torch.inference_mode():
        torch.testing.assert_close(network(pixels()), network(pixels().float()))


@pytest.mark.parametrize("shape", [(2, 3, 64, 64), (1, 64, 64)])
def test_anything_but_grey_batches_is_refused(shape: tuple[int, ...]) -> None:
    network = build_network("resnet50", 2).eval()
    with pytest.raises(ValueError, match=r"expected \(B, 1, S, S\)"):
        network(torch.zeros(shape))


def test_logits_stay_fp32_and_distinct_under_bf16() -> None:
    network = build_network("resnet50", 2).eval()
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(pixels(8))
    assert logits.dtype == torch.float32
    assert (logits != logits.bfloat16().float()).any()


@pytest.mark.parametrize("name", MODELS)
def test_dropout_acts_in_training_only(name: str) -> None:
    network = build_network(name, 2, dropout=0.9)
    last = network.get_submodule(classifier_path(network))
    pooled = torch.ones(4, last.in_features)
    head = network.classifier if name == "efficientnet_b0" else last
    assert isinstance(head, nn.Module)
    network.train()
    torch.manual_seed(0)
    assert not torch.equal(head(pooled.clone())[0], head(pooled.clone())[1])
    network.eval()
    assert torch.equal(head(pooled.clone())[0], head(pooled.clone())[1])


def test_unknown_timm_model_has_a_near_miss() -> None:
    pytest.importorskip("timm")
    with pytest.raises(ConfigError, match="did you mean 'convnext_atto'"):
        build_network("timm:convnext_ato", 2)


@pytest.mark.parametrize("name", [*MODELS, "timm:test_resnet", "timm:mobilenetv2_035"])
def test_the_mean_of_a_class_map_is_the_logit(name: str) -> None:
    """Which is what the maps of `explain` are of, before their ReLU."""
    torch.manual_seed(0)
    network = build_network(name, 5).eval()
    check_class_maps(network, name, 64)
    with torch.inference_mode():
        logits, maps = WithClassMaps(network)(pixels())
        torch.testing.assert_close(logits, network(pixels()), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(maps.mean(dim=(2, 3)), logits, rtol=1e-4, atol=1e-4)
        cell = forward_features(network, pixels())[1, :, 1, 0]
        head = network.get_submodule(classifier_path(network))
        torch.testing.assert_close(maps[1, :, 1, 0], head(cell), rtol=1e-4, atol=1e-4)
    assert maps.shape == (2, 5, 2, 2)


@pytest.mark.parametrize(
    "name", ["timm:test_vit", "timm:test_convnext", "timm:mobilenetv3_small_050"]
)
def test_heads_that_are_more_than_pooling_and_a_linear_layer_have_no_class_maps(name: str) -> None:
    """A transformer has no map; others normalise, or have another layer, behind the pooling."""
    torch.manual_seed(0)
    side = 160 if name == "timm:test_vit" else 64
    with pytest.raises(ConfigError, match="its head is not pooling by the mean and one linear"):
        check_class_maps(build_network(name, 5), name, side)
