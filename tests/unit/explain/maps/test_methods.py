"""Class activation maps against pytorch-grad-cam and against plain autograd."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torchvision import models

from pulmonet.choices import GRADIENT_METHODS, METHODS
from pulmonet.errors import ConfigError
from pulmonet.explain.maps.methods import (
    check_common_layer,
    explain_images,
    forward_at,
    forward_to,
    gradient_maps_of,
    maps_of_variants,
    score_maps,
)
from pulmonet.explain.maps.overlay import scale_maps
from pulmonet.explain.maps.variants import choose_variants
from pulmonet.models.networks import (
    Ensemble,
    build_network,
    feature_layers,
    forward_features,
    normalise,
)
from small_networks import NETWORKS

REFERENCES = {
    "gradcam": GradCAM,
    "gradcam++": GradCAMPlusPlus,
    "hirescam": HiResCAM,
    "layercam": LayerCAM,
}
SIDE = 96


def gradient_maps(network, images, columns, *, method="gradcam", layer=None):  # type: ignore[no-untyped-def]
    """Maps of one gradient method."""
    return gradient_maps_of(network, images, columns, [method], layer=layer)[method]


def network_of(name: str) -> nn.Module:
    """A seeded network whose batch statistics fit the images, so that features are not flat."""
    torch.manual_seed(3)
    network = build_network(name, 5, 0.0).eval()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        for _ in range(2):
            network(images_of(8))
    return network.eval()


def images_of(n: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 1, 8, 8, generator=generator) * 255
    smooth = F.interpolate(coarse, size=SIDE, mode="bicubic", align_corners=False)
    return smooth.clamp(0, 255).round().to(torch.uint8)


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    """Of torchvision's classes, the larger two with fewer and narrower layers."""
    found = {"efficientnet_b0": network_of("efficientnet_b0")}
    with pytest.MonkeyPatch.context() as patch:
        for name in ("resnet50", "densenet121"):
            patch.setattr(models, name, NETWORKS[name])
            found[name] = network_of(name)
    return found


def reference_maps(
    network: nn.Module, layer: str, method: str, images: Tensor, columns: list[int]
) -> Any:
    """pytorch-grad-cam's maps (B, L, S, S), one pass through the whole network per label."""
    found = []
    # it takes the size of its map from its input, here the network's own grey pixels
    with REFERENCES[method](model=network, target_layers=[network.get_submodule(layer)]) as cam:
        for column in columns:
            targets = [ClassifierOutputTarget(column)] * len(images)
            found.append(cam(input_tensor=images.float(), targets=targets))
    network.zero_grad(set_to_none=True)
    return np.stack(found, axis=1)


@pytest.mark.parametrize("method", GRADIENT_METHODS)
@pytest.mark.parametrize(
    ("name", "last", "inner"),
    [("resnet50", "layer4", "layer3"), ("efficientnet_b0", "features.8", "features.5")],
)
def test_maps_are_those_of_pytorch_grad_cam(
    networks: dict[str, nn.Module], name: str, last: str, inner: str, method: str
) -> None:
    network, images, columns = networks[name], images_of(1, seed=5), [0, 3]

    at_last = gradient_maps(network, images, columns, method=method)
    expected_last = reference_maps(network, last, method, images, columns)
    at_inner = gradient_maps(network, images, columns, method=method, layer=inner)
    expected_inner = reference_maps(network, inner, method, images, columns)

    np.testing.assert_allclose(scale_maps(at_last.raw, SIDE), expected_last, atol=1e-4)
    np.testing.assert_allclose(scale_maps(at_inner.raw, SIDE), expected_inner, atol=1e-4)
    assert expected_inner.std() > 0.05, "a flat map would agree with anything"


@pytest.mark.parametrize("method", GRADIENT_METHODS)
@pytest.mark.parametrize("layer", [None, "layer3"])
def test_maps_of_an_ensemble_are_those_of_its_members_feature_maps_side_by_side(
    method: str, layer: str | None
) -> None:
    """Plain autograd: the mean score's logit, differentiated in every member's channels."""
    members = []
    for seed in range(2):
        torch.manual_seed(seed)
        members.append(build_network("timm:test_resnet", 3, 0.0).eval())
    images, column = images_of(2, seed=4), 1
    kept: list[Tensor] = []
    handles = [
        member.get_submodule(layer or "layer4").register_forward_hook(
            lambda _module, _inputs, output: kept.append(output)
        )
        for member in members
    ]
    scores = [torch.sigmoid(member(images).double()) for member in members]
    mean = (scores[0] + scores[1]) / 2
    gradients = torch.autograd.grad(torch.logit(mean)[:, column].sum(), kept)
    for handle in handles:
        handle.remove()
    a = np.concatenate([part.detach().numpy() for part in kept], axis=1).astype(np.float64)
    g = np.concatenate([part.numpy() for part in gradients], axis=1).astype(np.float64)
    if method == "gradcam":
        expected = np.einsum("bc,bchw->bhw", g.mean(axis=(2, 3)), a)
    elif method == "hirescam":
        expected = (g * a).sum(axis=1)
    elif method == "layercam":
        expected = (np.maximum(g, 0) * a).sum(axis=1)
    else:
        alpha = g**2 / (2 * g**2 + a.sum(axis=(2, 3), keepdims=True) * g**3 + 1e-6)
        expected = np.einsum("bc,bchw->bhw", (alpha * np.maximum(g, 0)).sum(axis=(2, 3)), a)

    found = gradient_maps(Ensemble(members).eval(), images, [column], method=method, layer=layer)

    scale = np.abs(expected).max()
    np.testing.assert_allclose(found.raw[:, 0] / scale, expected / scale, atol=1e-4)
    assert expected.std() / scale > 0.05, "a flat map would agree with anything"


def test_feature_maps_of_unlike_sizes_make_no_map_of_an_ensemble() -> None:
    members = [build_network("resnet50", 3, 0.0).eval() for _ in range(2)]
    first = members[1].get_submodule("layer3.0")
    first.conv2.stride = first.downsample[0].stride = (1, 1)
    with pytest.raises(ConfigError, match="maps differ in size"):
        gradient_maps(Ensemble(members).eval(), images_of(1, seed=4), [0], layer="layer3")


def test_a_layer_must_be_in_every_member() -> None:
    members = [build_network(name, 3, 0.0).eval() for name in ("resnet50", "timm:test_resnet")]
    ensemble, images = Ensemble(members).eval(), images_of(1, seed=4)
    with pytest.raises(ConfigError, match=r"not every member .* has it; choose from .*layer3"):
        gradient_maps(ensemble, images, [0], layer="layer3.4")
    unlike = Ensemble([members[0], build_network("densenet121", 3, 0.0).eval()]).eval()
    with pytest.raises(ConfigError, match=r"not every member .* leave --layer out"):
        gradient_maps(unlike, images, [0], layer="layer3")


def densenet_reference(
    network: nn.Module, image: Tensor, column: int, layer: str | None, method: str
) -> Any:
    """Plain autograd over torchvision's modules, written out without hooks or in-place ReLU."""
    x = normalise(network, image)
    kept = None
    for name, module in network.features.named_children():  # type: ignore[operator, union-attr]
        x = torch.relu(x) if isinstance(module, nn.ReLU) else module(x)
        if layer == f"features.{name}":
            kept = x
    x = torch.relu(x)
    kept = x if layer is None else kept
    logit = network.classifier(x.mean(dim=(2, 3)))[0, column]  # type: ignore[operator]
    assert kept is not None
    (gradient,) = torch.autograd.grad(logit, kept)
    a, g = kept[0].detach().double().numpy(), gradient[0].double().numpy()
    if method == "gradcam":
        return np.tensordot(g.mean(axis=(1, 2)), a, axes=1)
    if method == "hirescam":
        return (g * a).sum(axis=0)
    if method == "layercam":
        return (np.maximum(g, 0) * a).sum(axis=0)
    total = np.zeros(a.shape[1:])
    for channel in range(len(a)):
        alpha = g[channel] ** 2 / (2 * g[channel] ** 2 + a[channel].sum() * g[channel] ** 3 + 1e-6)
        total += (alpha * np.maximum(g[channel], 0)).sum() * a[channel]
    return total


@pytest.mark.parametrize("method", GRADIENT_METHODS)
@pytest.mark.parametrize("layer", [None, "features.denseblock3", "features.transition2"])
def test_densenet_maps_are_those_of_plain_autograd(
    networks: dict[str, nn.Module], layer: str | None, method: str
) -> None:
    network, image = networks["densenet121"], images_of(1, seed=9)

    found = gradient_maps(network, image, [1, 4], method=method, layer=layer)

    for position, column in enumerate([1, 4]):
        expected = densenet_reference(network, image, column, layer, method)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found.raw[0, position] / scale, expected / scale, atol=1e-4)


@pytest.mark.parametrize(
    "layer", ["features", "features.norm5", "features.norm0", "features.relu0"]
)
def test_densenets_in_place_relu_neither_fails_nor_leaks_into_the_map(
    networks: dict[str, nn.Module], layer: str
) -> None:
    """The layer's output is kept as it was before the functional ReLU changed it in place."""
    network, image = networks["densenet121"], images_of(1, seed=2)
    with torch.no_grad():
        before_relu = network.features(normalise(network, image))  # type: ignore[operator]

    _, (features,) = forward_to(network, image, layer)
    found = gradient_maps(network, image, [0], layer=layer)

    assert np.isfinite(found.raw).all()
    if layer in {"features", "features.norm5"}:
        torch.testing.assert_close(features.detach(), before_relu, rtol=1e-4, atol=1e-4)
        assert (features < 0).any()


def test_pytorch_grad_cams_own_full_hook_fails_there(networks: dict[str, nn.Module]) -> None:
    """Why this needs care: a full backward hook makes a view, which the ReLU then modifies."""
    network = networks["densenet121"]
    handle = network.features.register_full_backward_hook(  # type: ignore[union-attr, operator]
        lambda *_: None
    )
    try:
        with pytest.raises(RuntimeError, match=r"is a view and is being modified inplace"):
            network(images_of(1))
    finally:
        handle.remove()


def test_all_labels_come_from_one_pass_through_the_backbone(networks: dict[str, nn.Module]) -> None:
    network = networks["densenet121"]
    calls = {"backbone": 0, "layer": 0}
    handles = [
        network.get_submodule(name).register_forward_hook(
            lambda *_, key=key: calls.__setitem__(key, calls[key] + 1)
        )
        for name, key in (("features.conv0", "backbone"), ("features.denseblock4", "layer"))
    ]
    try:
        gradient_maps(network, images_of(3), [0, 1, 2, 3, 4])
        assert calls == {"backbone": 1, "layer": 1}
        gradient_maps(network, images_of(3), [0, 1, 2, 3, 4], layer="features.denseblock3")
        assert calls == {"backbone": 2, "layer": 2}
    finally:
        for handle in handles:
            handle.remove()


def test_a_batch_gives_every_images_own_map(networks: dict[str, nn.Module]) -> None:
    network, images = networks["resnet50"], images_of(3, seed=1)
    for layer in (None, "layer3"):
        together = gradient_maps(network, images, [2, 4], method="layercam", layer=layer)
        for row in range(3):
            alone = gradient_maps(network, images[row : row + 1], [2, 4], method="layercam",
                                  layer=layer)  # fmt: skip
            scale = np.abs(alone.raw).max()
            # other batch sizes take other kernels, and a rounding may switch a ReLU above layer3
            np.testing.assert_allclose(together.raw[row] / scale, alone.raw[0] / scale, atol=0.01)


def test_several_methods_and_layers_give_what_each_gives_alone(
    networks: dict[str, nn.Module],
) -> None:
    images = images_of(2, seed=4)[..., :64, :64]
    small = build_network("timm:test_resnet", 3).eval()  # occlusion takes 400 passes
    layers = "last,layer3", "last,layer1"
    for network, layer in zip((networks["resnet50"], small), layers, strict=True):
        occlusion = ",occlusion" * (network is small)
        variants = choose_variants(f"gradcam,layercam,gradcam++{occlusion}", layer)
        calls: list[int] = []
        first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
        handle = first.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        try:
            maps_of_variants(network, images, [0, 2], variants[:6])
            assert len(calls) == 2, "one pass a layer"
        finally:
            handle.remove()
        together = maps_of_variants(network, images, [0, 2], variants)
        assert set(together) == set(variants)
        for one in variants:
            alone = explain_images(network, images, [0, 2], method=one.method, layer=one.layer)
            np.testing.assert_allclose(together[one].maps, alone.maps, atol=1e-5)


def test_grad_cam_and_hirescam_are_one_function_at_the_last_map_and_two_further_down(
    networks: dict[str, nn.Module],
) -> None:
    """As the documentation says; their agreeing at the last map is no evidence of anything."""
    network, image = networks["resnet50"], images_of(1, seed=8)

    def difference(layer: str | None) -> float:
        a, b = (
            gradient_maps(network, image, [1], method=method, layer=layer).raw
            for method in ("gradcam", "hirescam")
        )
        return float(np.abs(a - b).max() / np.abs(a).max())

    assert difference(None) < 1e-4
    assert difference("layer3") > 0.1


def test_logits_are_the_networks_own(networks: dict[str, nn.Module]) -> None:
    images = images_of(2)
    for network, layer in (
        (networks["efficientnet_b0"], "features.4"),
        (networks["resnet50"], None),
    ):
        with torch.no_grad():
            expected = network(images).numpy()
        found = gradient_maps(network, images, [0], layer=layer)
        np.testing.assert_allclose(found.logits, expected, rtol=1e-4, atol=1e-5)


def test_no_hook_and_no_gradient_outlives_a_call(networks: dict[str, nn.Module]) -> None:
    network = networks["densenet121"]
    before = [len(module._forward_hooks) for module in network.modules()]
    gradient_maps(network, images_of(1), [0], layer="features.denseblock2")
    with pytest.raises(IndexError):
        gradient_maps(network, images_of(1), [99], layer="features.denseblock2")
    with pytest.raises(ValueError, match=r"expected \(B, 1, S, S\)"):
        gradient_maps(network, torch.zeros(1, 3, 96, 96), [0], layer="features.denseblock2")

    assert [len(module._forward_hooks) for module in network.modules()] == before
    assert all(not module._backward_hooks for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.is_grad_enabled()


def test_memory_stays_flat_over_many_images(networks: dict[str, nn.Module]) -> None:
    """No tensor of one call is alive after the next; benchmarks/heat_maps.py runs 1,000."""

    def n_tensors() -> int:
        gc.collect()
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    network = networks["efficientnet_b0"]
    image = images_of(1)
    for layer in (None, "features.6"):
        gradient_maps(network, image, [0, 1], layer=layer)
    before = n_tensors()
    for _ in range(5):
        gradient_maps(network, image, [0, 1])
        gradient_maps(network, image, [0, 1], layer="features.6")
    assert n_tensors() == before


def test_an_unknown_gradient_method_is_refused(networks: dict[str, nn.Module]) -> None:
    with pytest.raises(ValueError, match="not one of"):
        gradient_maps(networks["resnet50"], images_of(1), [0], method="gradcamm")


def test_a_network_in_training_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="training mode"):
        gradient_maps(build_network("resnet50", 2), images_of(1), [0])


def test_timm_backbones_are_explained() -> None:
    pytest.importorskip("timm")
    torch.manual_seed(0)
    network = build_network("timm:resnet10t", 3).eval()
    images = images_of(1)
    found = gradient_maps(network, images, [0, 2])
    inner = gradient_maps(network, images, [0, 2], layer="layer3")
    assert found.raw.shape == (1, 2, 3, 3)
    assert inner.raw.shape == (1, 2, 6, 6)


@pytest.mark.parametrize("method", METHODS)
def test_too_little_memory_halves_the_passes(method: str) -> None:
    network = build_network("timm:test_resnet", 3).eval()
    images = images_of(3)
    expected = explain_images(network, images, [0, 2], method=method)

    def refuse(_: nn.Module, given: tuple[Tensor]) -> None:
        if len(given[0]) > (1 if method in GRADIENT_METHODS else 7):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    layer = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    layer.register_forward_pre_hook(refuse)
    found = explain_images(network, images, [0, 2], method=method)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
    np.testing.assert_allclose(found.raw, expected.raw, atol=1e-5)


def test_score_cam_is_the_softmax_of_masked_logits() -> None:
    class Tiny(nn.Module):
        """Two channels, two outputs, small enough for a loop."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3, padding=1, stride=4)
            self.head = nn.Linear(2, 2)

        def forward(self, images: Tensor) -> Tensor:
            return self.head(self.conv(images.float() / 255).mean(dim=(2, 3)))  # type: ignore[no-any-return]

    torch.manual_seed(1)
    network = Tiny().eval()
    image = images_of(1, seed=4)[:, :, :16, :16]
    found = score_maps(network, image, [1], layer="conv", batch_size=1)

    with torch.no_grad():
        channels = network.conv(image.float() / 255)[0].numpy()
        logits = []
        for channel in channels:
            mask = F.interpolate(torch.tensor(channel)[None, None], size=(16, 16), mode="bilinear")
            mask = (mask - mask.min()) / (mask.max() - mask.min() + 1e-8)
            grey = 255 * (0.485 + 0.456 + 0.406) / 3
            logits.append(network(grey + mask * (image.float() - grey))[0, 1].item())
    weights = np.exp(logits) / np.exp(logits).sum()
    expected = weights[0] * channels[0] + weights[1] * channels[1]
    np.testing.assert_allclose(found.raw[0, 0], expected, atol=1e-5)


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


def test_members_without_the_layer_are_refused_before_a_pass(resnet: nn.Module) -> None:
    members = [resnet, build_network("efficientnet_b0", 5, 0.0)]
    check_common_layer(Ensemble([resnet, resnet]), "layer3")
    with pytest.raises(ConfigError, match=r"layer3: not every member .*leave --layer out"):
        check_common_layer(Ensemble(members), "layer3")
