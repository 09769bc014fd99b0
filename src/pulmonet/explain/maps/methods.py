"""All methods behind one entry: images in, scores and heat maps out. The class activation maps.

For the gradient methods all labels of an image come from one pass through the backbone: what
lies below the layer runs once, without a graph; only what lies above it is differentiated,
label by label. At the last feature map that is pooling and one linear layer.

There, before global average pooling and a linear head, Grad-CAM and HiResCAM are the same
function: the gradient is constant over the map. Their agreeing says nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pulmonet.arrays import Floats32, Pixels
from pulmonet.choices import GRADIENT_METHODS
from pulmonet.data.batches.augment import apply
from pulmonet.errors import ConfigError
from pulmonet.explain.maps.overlay import scale_maps
from pulmonet.explain.maps.pixels import RawMaps, integrated_gradients, occlusion, smooth
from pulmonet.explain.maps.variants import MapVariant, check_method
from pulmonet.models import networks
from pulmonet.models.inference import in_parts
from pulmonet.models.networks import IMAGENET_MEAN, Ensemble, as_array, feature_layers
from pulmonet.models.trained import TrainedRun
from pulmonet.words import did_you_mean, list_first

#: Grey that the network's normalisation maps close to 0: where a masked pixel says nothing.
NEUTRAL_GREY = 255.0 * sum(IMAGENET_MEAN) / 3

#: Keeps Grad-CAM++'s quotient finite; as in pytorch-grad-cam, whose maps depend on it.
_PLUS_PLUS_EPSILON = 1e-6


@dataclass(frozen=True)
class Maps:
    """Scores and heat maps of a batch of images."""

    scores: Floats32  # (B, n_outputs) in [0, 1], all outputs
    raw: Floats32  # (B, L, h, w): signed, before ReLU and scaling, at the method's resolution
    maps: Floats32  # (B, L, S, S) in [0, 1]; all zero where nothing speaks for the label


def to_network_input(
    images: Sequence[Pixels], run: TrainedRun, view: Floats32 | None = None
) -> Tensor:
    """X-rays as the network takes them, by the same way as in evaluation: through the pack's size.

    (H, W) grey each become (B, 1, S, S) pixels, 0-255, on the run's device; under one of
    `augment.tta_views`, or as the whole square.
    """
    side = run.image_size
    squares = np.stack([run.square(image) for image in images])
    return apply(torch.from_numpy(squares)[:, None], view, side).to(run.device)


def explain_images(
    network: nn.Module,
    images: Tensor,
    columns: Sequence[int],
    *,
    method: str = "gradcam",
    layer: str | None = None,
) -> Maps:
    """Scores and maps of a batch of images; all labels share the passes through the backbone.

    The network is in eval mode: (B, 1, S, S) pixels, uint8 or float in [0, 255] on its device ->
    (B, n_outputs) logits. L `columns` of these are explained by one of `METHODS`; `layer` is the
    dotted name of a module, None the last feature map.

    Raises:
        ConfigError: unknown method or layer.
    """
    variant = MapVariant(name=method, method=check_method(method, layer), layer=layer)
    return maps_of_variants(network, images, columns, [variant])[variant]


def maps_of_variants(
    network: nn.Module, images: Tensor, columns: Sequence[int], variants: Sequence[MapVariant]
) -> dict[MapVariant, Maps]:
    """Scores and maps of several methods and layers, as `explain_images`.

    Gradient methods at one layer share their passes, which is nearly all of their cost.

    Raises:
        ConfigError: unknown layer.
    """
    given, found = (network, images, columns), {}
    for layer in dict.fromkeys(variant.layer for variant in variants):
        here = {one.method: one for one in variants if one.layer == layer}
        alone = {
            "integrated-gradients": (partial(integrated_gradients, *given), 8),
            "occlusion": (partial(occlusion, *given), 32),
            "scorecam": (partial(score_maps, *given, layer=layer), 32),
        }
        maps = {method: in_parts(*alone[method]) for method in here if method in alone}
        if shared := [method for method in here if method not in alone]:
            maps |= gradient_maps_of(*given, shared, layer=layer)
        for method, variant in here.items():
            raw = maps[method].raw
            visible = smooth(raw) if method == "integrated-gradients" else raw
            scores = torch.sigmoid(torch.from_numpy(maps[method].logits)).numpy()
            found[variant] = Maps(scores, raw, scale_maps(visible, images.shape[-1]))
    return found


def gradient_maps_of(
    network: nn.Module,
    images: Tensor,
    columns: Sequence[int],
    methods: Sequence[str],
    *,
    layer: str | None = None,
) -> dict[str, RawMaps]:
    """Maps of several gradient methods at one layer, from the logits; they share its gradients.

    Sources: Grad-CAM, Selvaraju et al. 2017; Grad-CAM++, Chattopadhay et al. 2018, eq. 19;
    HiResCAM, Draelos and Carin 2020; LayerCAM, Jiang et al. 2021.

    `network`, `images` and `columns` are as in `explain_images`; `layer` is the dotted name of a
    module whose output is (B, C, h, w), None the last feature map (DenseNet's after its final
    ReLU). A module called several times counts with its last call.

    Returns:
        By method logits and (B, L, h, w) maps.

    Raises:
        ConfigError: no such layer, or its output is no feature map.
        ValueError: unknown method, or a network in training mode.
    """
    for method in methods:
        if method not in GRADIENT_METHODS:
            raise ValueError(f"method {method!r}: not one of {GRADIENT_METHODS}")

    def of_part(part: Tensor) -> list[Tensor]:
        logits, leaves = forward_to(network, part, layer)
        features = torch.cat([leaf.detach() for leaf in leaves], dim=1)
        maps: list[list[Tensor]] = []
        for position, column in enumerate(columns):
            # images do not mix in eval mode, so the sum's gradient is every image's own
            gradients = torch.autograd.grad(
                logits[:, column].sum(), leaves, retain_graph=position + 1 < len(columns)
            )
            joint = torch.cat(gradients, dim=1)
            maps.append([_combine(method, features, joint) for method in methods])
        return [logits.detach(), *(torch.stack(rows, dim=1) for rows in zip(*maps, strict=True))]

    def of_parts(size: int) -> list[Floats32]:
        parts = zip(*map(of_part, torch.split(images, size)), strict=True)
        return [as_array(torch.cat(part)) for part in parts]

    logits, *maps = in_parts(of_parts, len(images))
    return {method: RawMaps(logits, raw) for method, raw in zip(methods, maps, strict=True)}


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
            check_common_layer(network, layer)
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
            return networks.mean_logits([logits for logits, _ in parts]), leaves
    if layer is None:
        with torch.no_grad():
            features = networks.forward_features(network, images)
        features.requires_grad_()
        with torch.enable_grad():
            return networks.forward_head(network, features), (features,)
    logits, leaf = forward_at(network, images, layer)
    return logits, (leaf,)


def forward_at(network: nn.Module, images: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """As `forward_to`, of a network that is no ensemble; a layer called often counts with its last.

    Raises:
        ConfigError: no such layer, or its output is no feature map.
    """
    modules = dict(network.named_modules())
    if layer not in modules or not layer:
        what = f"--layer {layer}: the network has no such layer{did_you_mean(layer, modules)}"
        raise ConfigError(f"{what}; choose from {list_first(feature_layers(network), 12)}")
    found: list[Tensor] = []

    def cut(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if not isinstance(output, Tensor) or output.ndim != 4:
            return None
        # What lies below ran without a graph; from here on there is one. It ends with the
        # no_grad block around the pass.
        torch.set_grad_enabled(True)
        leaf = output.detach().clone().requires_grad_()
        found[:] = [leaf]
        # A copy goes on, since what follows may change it in place (DenseNet's functional ReLU,
        # EfficientNet's residual sums): the leaf itself stays as it is.
        return leaf.clone()

    handle = modules[layer].register_forward_hook(cut)
    try:
        with torch.no_grad():
            logits = network(images).float()
    finally:
        handle.remove()
    if not found:
        what = f"--layer {layer}: the network never calls it, or gives no feature map (B, C, h, w)"
        named = list_first(feature_layers(network), 12)
        raise ConfigError(f"{what}; choose from {named}, or --method occlusion, which needs none")
    return logits, found[0]


def check_common_layer(ensemble: Ensemble, layer: str) -> None:
    """Refuse a layer that not every member has. ConfigError: with those that all have."""
    names = [{name for name, _ in member.named_modules()} for member in ensemble.members]
    shared = set.intersection(*names)
    if layer in shared:
        return
    common = [name for name in feature_layers(ensemble.members[0]) if name in shared]
    offer = f"choose from {list_first(common, 12)}" if common else "leave --layer out"
    raise ConfigError(f"--layer {layer}: not every member of the ensemble has it; {offer}")


def score_maps(
    network: nn.Module,
    images: Tensor,
    columns: Sequence[int],
    batch_size: int = 32,
    *,
    layer: str | None = None,
) -> RawMaps:
    """Score-CAM: channels weighted by the logit of the image seen through them, no gradients.

    Every channel costs one forward pass (1,024 for DenseNet-121), shared by all labels. A masked
    pixel becomes `NEUTRAL_GREY`. Source: Wang et al. 2020, eq. 8-10.

    `layer` is as in `gradient_maps_of`, the others as in `explain_images`; a pass takes
    `batch_size` masked images.

    Returns:
        Logits and (B, L, h, w) maps, none of them negative where the features are not.
    """
    logits, leaves = forward_to(network, images, layer)
    features = torch.cat([leaf.detach() for leaf in leaves], dim=1).float()
    rows: list[Tensor] = []
    with torch.no_grad():
        for image, channels in zip(images.float(), features, strict=True):
            scores = _masked_logits(network, image, channels, columns, batch_size)
            rows.append(torch.einsum("cl,chw->lhw", torch.softmax(scores, dim=0), channels))
    return RawMaps(as_array(logits), as_array(torch.stack(rows)))


def _masked_logits(
    network: nn.Module, image: Tensor, channels: Tensor, columns: Sequence[int], batch_size: int
) -> Tensor:
    """(1, S, S) image seen through each of (C, h, w) channels -> (C, L) logits."""
    found: list[Tensor] = []
    for part in torch.split(channels, batch_size):
        masks = F.interpolate(part[:, None], image.shape[-2:], mode="bilinear")
        low, high = masks.amin(dim=(2, 3), keepdim=True), masks.amax(dim=(2, 3), keepdim=True)
        masks = (masks - low) / (high - low + 1e-8)
        seen = NEUTRAL_GREY + masks * (image - NEUTRAL_GREY)
        found.append(network(seen).float()[:, list(columns)])
    return torch.cat(found)
