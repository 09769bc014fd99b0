"""A network cut at one of its layers, for maps that are read from there (``--layer``)."""

import torch
from torch import Tensor, nn

from pulmonet.errors import ConfigError
from pulmonet.models.networks import Ensemble, feature_layers
from pulmonet.words import did_you_mean, list_first


def forward_at(network: nn.Module, images: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """One pass: logits, and the layer's output as the leaf that they are differentiable in.

    Of a network in eval mode, no ensemble, and (B, 1, S, S) pixels. A layer that is called several
    times counts with its last.

    Returns:
        (B, n_outputs) float32 logits and (B, C, h, w) features that require a gradient.

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
    """Refuse a layer that not every member has.

    Raises:
        ConfigError: the message has those that all have.
    """
    names = [{name for name, _ in member.named_modules()} for member in ensemble.members]
    shared = set.intersection(*names)
    if layer in shared:
        return
    common = [name for name in feature_layers(ensemble.members[0]) if name in shared]
    offer = f"choose from {list_first(common, 12)}" if common else "leave --layer out"
    raise ConfigError(f"--layer {layer}: not every member of the ensemble has it; {offer}")
