"""Class activation maps: raw, signed, at the resolution of the layer they are read from.

For the gradient methods all labels of an image come from one pass through the backbone: what
lies below the layer runs once, without a graph; only what lies above it is differentiated,
label by label. At the last feature map that is pooling and one linear layer.

There, before global average pooling and a linear head, Grad-CAM and HiResCAM are the same
function: the gradient is constant over the map. Their agreeing says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pulmonet.choices import GRADIENT_METHODS
from pulmonet.errors import ConfigError
from pulmonet.models.ensemble import Ensemble, mean_logits
from pulmonet.models.networks import IMAGENET_MEAN, classifier_path, forward_features, forward_head
from pulmonet.words import did_you_mean, list_first

#: Grey that the network's normalisation maps close to 0: where a masked pixel says nothing.
NEUTRAL_GREY = 255.0 * sum(IMAGENET_MEAN) / 3

#: Keeps Grad-CAM++'s quotient finite; as in pytorch-grad-cam, whose maps depend on it.
_PLUS_PLUS_EPSILON = 1e-6


@dataclass(frozen=True)
class RawMaps:
    """What a method gives for a batch of images.

    Attributes:
        logits: (B, n_outputs) float32, of the unchanged images.
        raw: (B, L, h, w) float32, signed: before ReLU, at the method's own resolution.
    """

    logits: NDArray[np.float32]
    raw: NDArray[np.float32]


@dataclass
class _Tap:
    """A layer's output, cut off from what lies below it."""

    features: Tensor | None = field(default=None)


def gradient_maps(
    network: nn.Module,
    images: Tensor,
    columns: Sequence[int],
    *,
    method: str = "gradcam",
    layer: str | None = None,
) -> RawMaps:
    """Maps of a gradient method, from the logits.

    Sources: Grad-CAM, Selvaraju et al. 2017; Grad-CAM++, Chattopadhay et al. 2018, eq. 19;
    HiResCAM, Draelos and Carin 2020; LayerCAM, Jiang et al. 2021.

    Args:
        network: in eval mode, (B, 1, S, S) pixels -> (B, n_outputs) logits.
        images: (B, 1, S, S), uint8 or float in [0, 255], on the network's device.
        columns: outputs to explain, L of them.
        method: one of `GRADIENT_METHODS`.
        layer: dotted name of a module whose output is (B, C, h, w); None is the last feature
            map (DenseNet's after its final ReLU). A module called several times counts with
            its last call.

    Returns:
        Logits and (B, L, h, w) maps.

    Raises:
        ConfigError: no such layer, or its output is no feature map.
        ValueError: unknown method, or a network in training mode.
    """
    return gradient_maps_of(network, images, columns, [method], layer=layer)[method]


def gradient_maps_of(
    network: nn.Module,
    images: Tensor,
    columns: Sequence[int],
    methods: Sequence[str],
    *,
    layer: str | None = None,
) -> dict[str, RawMaps]:
    """As `gradient_maps`, for several methods at one layer: they share its gradients."""
    for method in methods:
        if method not in GRADIENT_METHODS:
            raise ValueError(f"method {method!r}: not one of {GRADIENT_METHODS}")
    logits, leaves = forward_to(network, images, layer)
    features = torch.cat([leaf.detach() for leaf in leaves], dim=1)
    maps: dict[str, list[Tensor]] = {method: [] for method in methods}
    for position, column in enumerate(columns):
        # images do not mix in eval mode, so the sum's gradient is every image's own
        gradients = torch.autograd.grad(
            logits[:, column].sum(), leaves, retain_graph=position + 1 < len(columns)
        )
        for method, found in maps.items():
            found.append(_combine(method, features, torch.cat(gradients, dim=1)))
    return {
        method: RawMaps(_array(logits), _array(torch.stack(found, dim=1)))
        for method, found in maps.items()
    }


def _combine(method: str, features: Tensor, gradients: Tensor) -> Tensor:
    """(B, C, h, w) features and gradients -> signed (B, h, w) map, float32."""
    features, gradients = features.float(), gradients.float()
    if method == "hirescam":
        return (gradients * features).sum(dim=1)
    if method == "layercam":
        return (gradients.clamp(min=0) * features).sum(dim=1)
    if method == "gradcam++":
        squares = gradients**2
        sums = features.sum(dim=(2, 3), keepdim=True)
        quotient = squares / (2 * squares + sums * squares * gradients + _PLUS_PLUS_EPSILON)
        weights = (gradients.clamp(min=0) * quotient).sum(dim=(2, 3))
    else:
        weights = gradients.mean(dim=(2, 3))
    return torch.einsum("bc,bchw->bhw", weights, features)


def forward_to(
    network: nn.Module, images: Tensor, layer: str | None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One pass: logits, and the layer's output as the leaf that they are differentiable in.

    Returns:
        (B, n_outputs) float32 logits and (B, C, h, w) features that require a gradient: of an
        ensemble those of every member, whose channels together are its feature map.

    Raises:
        ConfigError: no such layer, its output is no feature map, or the members of an ensemble
            have maps of different sizes.
        ValueError: a network in training mode.
    """
    if network.training:
        raise ValueError("the network is in training mode; call network.eval() first")
    if isinstance(network, Ensemble):
        if layer is not None:
            _check_common_layer(network, layer)
        parts = [forward_to(member, images, layer) for member in network.members]
        leaves = tuple(leaf for _, of_member in parts for leaf in of_member)
        sizes = list(dict.fromkeys(f"{leaf.shape[-2]} × {leaf.shape[-1]}" for leaf in leaves))
        if len(sizes) > 1:
            raise ConfigError(
                f"--layer {layer or 'last'}: the members' feature maps differ in size "
                f"({', '.join(sizes)}) and make no common map; choose another layer, or --method "
                "occlusion or integrated-gradients, which need none"
            )
        with torch.enable_grad():
            return mean_logits([logits for logits, _ in parts]), leaves
    if layer is None:
        with torch.no_grad():
            features = forward_features(network, images)
        features.requires_grad_()
        with torch.enable_grad():
            return forward_head(network, features), (features,)
    with _tapped(network, layer) as tap, torch.no_grad():
        logits = network(images).float()
    if tap.features is None:
        raise ConfigError(
            f"--layer {layer}: the network never calls it, or it gives no feature map "
            f"(B, C, h, w); choose from {list_first(feature_layers(network), 12)}"
        )
    return logits, (tap.features,)


def _check_common_layer(ensemble: Ensemble, layer: str) -> None:
    names = [{name for name, _ in member.named_modules()} for member in ensemble.members]
    shared = set.intersection(*names)
    if layer in shared:
        return
    common = [name for name in feature_layers(ensemble.members[0]) if name in shared]
    offer = f"choose from {list_first(common, 12)}" if common else "leave --layer out"
    raise ConfigError(f"--layer {layer}: not every member of the ensemble has it; {offer}")


@contextmanager
def _tapped(network: nn.Module, layer: str) -> Iterator[_Tap]:
    """Cut the network at a layer for the time of one forward pass; the hook goes with it."""
    modules = dict(network.named_modules())
    if layer not in modules or not layer:
        choices = feature_layers(network)
        raise ConfigError(
            f"--layer {layer}: the network has no such layer{did_you_mean(layer, modules)}; "
            f"choose from {list_first(choices, 12)}"
        )
    tap = _Tap()

    def cut(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if not isinstance(output, Tensor) or output.ndim != 4:
            return None
        # What lies below ran without a graph; from here on there is one. It ends with the
        # no_grad block around the pass.
        torch.set_grad_enabled(True)
        tap.features = output.detach().clone().requires_grad_()
        # A copy goes on, since what follows may change it in place (DenseNet's functional ReLU,
        # EfficientNet's residual sums): the leaf itself stays as it is.
        return tap.features.clone()

    handle = modules[layer].register_forward_hook(cut)
    try:
        yield tap
    finally:
        handle.remove()


def feature_layers(network: nn.Module) -> list[str]:
    """Names worth giving to ``--layer``: the stages of the backbone, in order."""
    head = classifier_path(network).partition(".")[0]
    stages: list[str] = []
    for name, module in network.named_children():
        if name == head or not any(True for _ in module.parameters()):
            continue
        parts = [part for part, _ in module.named_children()]
        nested = name in {"features", "blocks", "stages"}
        stages += [f"{name}.{part}" for part in parts] if nested else [name]
    return stages


def score_maps(
    network: nn.Module,
    images: Tensor,
    columns: Sequence[int],
    *,
    layer: str | None = None,
    batch_size: int = 32,
) -> RawMaps:
    """Score-CAM: channels weighted by the logit of the image seen through them, no gradients.

    Every channel costs one forward pass (1,024 for DenseNet-121), shared by all labels. A masked
    pixel becomes `NEUTRAL_GREY`. Source: Wang et al. 2020, eq. 8-10.

    Args:
        network: in eval mode.
        images: (B, 1, S, S) pixels.
        columns: outputs to explain.
        layer: as in `gradient_maps`.
        batch_size: masked images per forward pass.

    Returns:
        Logits and (B, L, h, w) maps, none of them negative where the features are not.
    """
    logits, leaves = forward_to(network, images, layer)
    features = torch.cat([leaf.detach() for leaf in leaves], dim=1).float()
    rows: list[Tensor] = []
    with torch.no_grad():
        for image, channels in zip(images.float(), features, strict=True):
            scores = _masked_logits(network, image, channels, columns, batch_size)
            weights = torch.softmax(scores, dim=0)
            rows.append(torch.einsum("cl,chw->lhw", weights, channels))
    return RawMaps(_array(logits), _array(torch.stack(rows)))


def _masked_logits(
    network: nn.Module, image: Tensor, channels: Tensor, columns: Sequence[int], batch_size: int
) -> Tensor:
    """(1, S, S) image seen through each of (C, h, w) channels -> (C, L) logits."""
    found: list[Tensor] = []
    for part in torch.split(channels, batch_size):
        masks = F.interpolate(
            part[:, None], size=image.shape[-2:], mode="bilinear", align_corners=False
        )
        low = masks.amin(dim=(2, 3), keepdim=True)
        high = masks.amax(dim=(2, 3), keepdim=True)
        masks = (masks - low) / (high - low + 1e-8)
        seen = NEUTRAL_GREY + masks * (image - NEUTRAL_GREY)
        found.append(network(seen).float()[:, list(columns)])
    return torch.cat(found)


def scale_maps(raw: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Raw maps to [0, 1] at the size of the square: ReLU, bilinear, then min to 0 and max to 1.

    A map without any positive value, or constant, becomes all zero: it points nowhere.

    Args:
        raw: (..., h, w) signed.
        side: S, pixels.

    Returns:
        (..., S, S) float32 in [0, 1].
    """
    flat = np.maximum(raw, 0).reshape(-1, *raw.shape[-2:])
    scaled = np.zeros((len(flat), side, side), dtype=np.float32)
    for position, positive in enumerate(flat):
        if positive.shape == (side, side):
            large = positive
        else:
            large = cv2.resize(positive, (side, side), interpolation=cv2.INTER_LINEAR)
        low, high = float(large.min()), float(large.max())
        if high > low and np.isfinite(high):
            scaled[position] = (large - low) / (high - low)
    return scaled.reshape(*raw.shape[:-2], side, side)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return cast(NDArray[np.float32], tensor.detach().float().cpu().numpy())
