"""One entry for all methods: images in, scores and maps out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pulmonet.choices import GRADIENT_METHODS
from pulmonet.data.batches.augment import apply_view
from pulmonet.data.images.square import fit_square
from pulmonet.data.pack.open import pack_side
from pulmonet.explain.maps.cam import (
    RawMaps,
    gradient_maps,
    gradient_maps_of,
    scale_maps,
    score_maps,
)
from pulmonet.explain.maps.pixels import integrated_gradients, occlusion, smooth
from pulmonet.explain.options import Variant, check_method


@dataclass(frozen=True)
class Maps:
    """Scores and heat maps of a batch of images.

    Attributes:
        scores: (B, n_outputs) float32 in [0, 1], all outputs.
        raw: (B, L, h, w) float32: signed, before ReLU and scaling, at the method's resolution.
        maps: (B, L, S, S) float32 in [0, 1]; all zero where nothing speaks for the label.
    """

    scores: NDArray[np.float32]
    raw: NDArray[np.float32]
    maps: NDArray[np.float32]


def to_network_input(
    image: NDArray[np.uint8],
    image_size: int,
    fit: str,
    device: torch.device | str = "cpu",
    view: NDArray[np.float32] | None = None,
) -> Tensor:
    """An X-ray as the network takes it, by the same way as in evaluation: through the pack's size.

    Args:
        image: (H, W) grey.
        image_size: S.
        fit: how it becomes square.
        device: of the result.
        view: one of `augmentation.tta_views`; None is the whole square.

    Returns:
        (1, 1, S, S) pixels, 0-255.
    """
    square = torch.from_numpy(fit_square(image, pack_side(image_size), fit))
    return apply_view(square[None, None], view, image_size).to(device)


def explain_images(
    network: nn.Module,
    images: Tensor,
    columns: Sequence[int],
    *,
    method: str = "gradcam",
    layer: str | None = None,
) -> Maps:
    """Scores and maps of a batch of images; all labels share the passes through the backbone.

    Args:
        network: in eval mode, (B, 1, S, S) pixels -> (B, n_outputs) logits.
        images: (B, 1, S, S), uint8 or float in [0, 255], on the network's device.
        columns: outputs to explain, L of them.
        method: one of `METHODS`.
        layer: dotted name of a module; None is the last feature map.

    Raises:
        ConfigError: unknown method or layer.
    """
    name = check_method(method, layer)
    found = _raw_maps(network, images, columns, name, layer)
    visible = smooth(found.raw) if name == "integrated-gradients" else found.raw
    scores = torch.sigmoid(torch.from_numpy(found.logits)).numpy()
    return Maps(scores, found.raw, scale_maps(visible, images.shape[-1]))


def maps_of_variants(
    network: nn.Module, images: Tensor, columns: Sequence[int], variants: Sequence[Variant]
) -> dict[Variant, NDArray[np.float32]]:
    """Scaled maps (B, L, S, S) of several methods and layers.

    Gradient methods at one layer share their passes, which is nearly all of their cost.

    Raises:
        ConfigError: unknown layer.
    """
    found: dict[Variant, NDArray[np.float32]] = {}
    for layer in dict.fromkeys(variant.layer for variant in variants):
        sharing = [v for v in variants if v.layer == layer and v.method in GRADIENT_METHODS]
        if not sharing:
            continue
        methods = [variant.method for variant in sharing]
        raw = gradient_maps_of(network, images, columns, methods, layer=layer)
        for variant in sharing:
            found[variant] = scale_maps(raw[variant.method].raw, images.shape[-1])
    for variant in variants:
        if variant not in found:
            alone = explain_images(
                network, images, columns, method=variant.method, layer=variant.layer
            )
            found[variant] = alone.maps
    return found


def _raw_maps(
    network: nn.Module, images: Tensor, columns: Sequence[int], method: str, layer: str | None
) -> RawMaps:
    if method == "scorecam":
        return score_maps(network, images, columns, layer=layer)
    if method == "integrated-gradients":
        return integrated_gradients(network, images, columns)
    if method == "occlusion":
        return occlusion(network, images, columns)
    return gradient_maps(network, images, columns, method=method, layer=layer)
