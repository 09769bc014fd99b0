"""Networks of which a part keeps its first weights (``model.freeze``)."""

import copy

from torch import nn

from pulmonet.choices import ENCODER
from pulmonet.errors import ConfigError
from pulmonet.models.networks import classifier_path, feature_layers
from pulmonet.words import unknown


def freeze(network: nn.Module, name: str, upto: str) -> None:
    """Let no gradient into a network up to and with a stage, or all but its last layer (`ENCODER`).

    `name` is the architecture's, for the message. ConfigError: it has no such stage.
    """
    stages, last = feature_layers(network), classifier_path(network)
    if upto not in (known := [ENCODER, *stages]):
        raise ConfigError(unknown(f"model.freeze: {upto}", upto, known, f"no stage of {name}"))
    trained = [last]
    if upto != ENCODER:
        trained = [last.partition(".")[0], *stages[stages.index(upto) + 1 :]]
    prefixes = tuple(f"{stage}." for stage in trained)
    for key, parameter in network.named_parameters():
        parameter.requires_grad_(key.startswith(prefixes))


def encoder_of(network: nn.Module) -> nn.Module:
    """A copy of the network without its classifier: images to that one's input (B, F)."""
    encoder = copy.deepcopy(network).eval()
    encoder.set_submodule(classifier_path(network), nn.Identity())
    return encoder


def head_of(network: nn.Module) -> nn.Module:
    """What a network does with the output of its `encoder_of`, (B, 1, 1, F); the same weights."""
    path = classifier_path(network)
    if not hasattr(network, "forward_head"):  # torchvision's, of EfficientNet with its dropout
        path = path.partition(".")[0]
    return nn.Sequential(nn.Flatten(), network.get_submodule(path))
