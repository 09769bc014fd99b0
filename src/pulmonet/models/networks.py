"""The networks. They normalise pixels themselves, so that nobody can forget it.

A network takes grey images (B, 1, S, S), uint8 or float in [0, 255], and returns fp32 logits
(B, n_outputs). Its state_dict has torchvision's (or timm's) own keys, so that the weights load
into the plain architecture without PulmoNet.
"""

import contextlib
import re
from collections.abc import Sequence
from functools import cache
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torchvision import models as torchvision_models

from pulmonet.arrays import Floats32
from pulmonet.errors import ConfigError
from pulmonet.words import did_you_mean

#: Mean and deviation of ImageNet's RGB pixels in [0, 1], torchvision's constants.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

#: A key of an `Ensemble`'s state_dict, with the number of its member.
MEMBER_KEY = re.compile(r"^members\.(\d+)\.")


class Classifier(nn.Linear):
    """The last layer: a linear map with dropout before it, in fp32 even under autocast.

    bf16 logits have eight bits of mantissa and tie by the dozen, which rank statistics punish.
    Dropout lives here rather than in a Sequential so that torchvision's keys stay as they are.
    """

    def __init__(self, in_features: int, out_features: int, dropout: float = 0.0) -> None:
        super().__init__(in_features, out_features)
        self.dropout = dropout

    def forward(self, pooled: Tensor) -> Tensor:
        """Logits (B, out_features) of pooled features (B, in_features), in the weights' float32."""
        with torch.autocast(pooled.device.type, enabled=False):
            kept = F.dropout(pooled.to(self.weight.dtype), self.dropout, self.training)
            return F.linear(kept, self.weight, self.bias)


def build_network(
    name: str, n_outputs: int, dropout: float | None = None, output_stride: int = 32
) -> nn.Module:
    """A network with random weights drawn from torch's global generator.

    `name` is torchvision's or timm:NAME; `dropout` before the classifier, None is its own. An
    `output_stride` of 16 leaves out the last halving, 32 leaves the network as it is.

    Raises:
        ConfigError: unknown name, timm is not installed, or a network that cannot have the stride.
    """
    network: nn.Module
    if name.startswith("timm:"):
        network = _build_timm(name.removeprefix("timm:"), n_outputs)
    else:
        network = getattr(torchvision_models, name)(weights=None)
        if isinstance(network, torchvision_models.EfficientNet) and dropout is not None:
            cast(nn.Dropout, network.classifier[0]).p = dropout
            dropout = 0.0
    path = classifier_path(network)
    old = cast(nn.Linear, network.get_submodule(path))
    network.set_submodule(path, Classifier(old.in_features, n_outputs, dropout or 0.0))
    for buffer, values in (("pixel_mean", IMAGENET_MEAN), ("pixel_std", IMAGENET_STD)):
        pixels = torch.tensor(values).view(1, 3, 1, 1) * 255
        network.register_buffer(buffer, pixels, persistent=False)
    network.__class__ = _class_of_pixels(cast(Any, type(network)))
    if output_stride == 16 and _halve_stride(network.eval()) != 16:
        text = f"model {name}: no network of stride 32 whose last halving can be left out"
        raise ConfigError(f"{text}; set model.output_stride=32, or choose densenet121")
    return network.train()


@torch.no_grad()
def _halve_stride(network: nn.Module) -> int:
    """Leave out the last halving, and dilate what comes behind it, so that it sees as far.

    The weights fit as before (Yu, Koltun and Funkhouser 2017, arXiv:1705.09914). It is found by
    the sizes within an image of 256 pixels. Cells a side of that image's map; 0 if there is none.
    """
    inputs: dict[Any, tuple[int, bool]] = {}  # module -> height of its input, no pool
    blank, cells = torch.zeros(1, 1, 256, 256), 0
    failures = (ConfigError, AssertionError, RuntimeError, TypeError, ValueError)

    def note(one: nn.Module, given: tuple[Any, ...]) -> None:
        if isinstance(one, (nn.Conv2d, nn.AvgPool2d, nn.MaxPool2d)):
            inputs[one] = given[0].shape[2], isinstance(one, nn.Conv2d)

    with register_module_forward_pre_hook(note), contextlib.suppress(*failures):
        forward_features(network, blank)
        for one, (height, is_convolution) in [*inputs.items()]:
            if height == 16 and one.stride not in (1, (1, 1)):
                one.stride = (1, 1)
                if not is_convolution:  # a pool becomes nothing
                    one.kernel_size, one.padding = 1, 0
            elif height == 8 and is_convolution and one.kernel_size != (1, 1):
                one.dilation, one.padding = ((2 * y, 2 * x) for y, x in (one.dilation, one.padding))
        cells = forward_features(network, blank).shape[2]
    return cells


class _OfPixels(nn.Module):
    """Before an architecture's own class: its forward takes (B, 1, S, S) pixels."""

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = super().forward(normalise(self, images))
        return logits

    def __reduce__(self) -> Any:
        """Its class lies in no module, where pickle would look for it."""
        return _blank, (type(self).__bases__[1],), self.__dict__


@cache
def _class_of_pixels(kind: type[nn.Module]) -> type[nn.Module]:
    return type(kind.__name__, (_OfPixels, kind), {})


def _blank(kind: Any) -> nn.Module:
    """A network that unpickling fills."""
    made = _class_of_pixels(kind)
    return made.__new__(made)


def _build_timm(name: str, n_outputs: int) -> nn.Module:
    try:
        import timm
    except ImportError:
        text = f"model timm:{name}: timm is not installed; pip install 'pulmonet[timm]'"
        raise ConfigError(text) from None
    bare, _, tag = name.partition(".")
    known = timm.list_models()
    if bare in known and tag:
        known = [bare, *timm.list_pretrained(f"{bare}.*")]
    if name not in known:
        text = f"model timm:{name[:100]}: timm has no such model{did_you_mean(name[:100], known)}"
        raise ConfigError(text)
    return timm.create_model(name, pretrained=False, num_classes=n_outputs)


def with_own_pixels(network: nn.Module) -> nn.Module:
    """The network with one input channel, and a pixel scale that is part of its state_dict."""
    for name in ("pixel_mean", "pixel_std"):
        network.register_buffer(name, torch.ones(1, 1, 1, 1))
    stem = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    stem.in_channels, stem.weight = 1, nn.Parameter(stem.weight.detach()[:, :1].clone())
    return network


def normalise(network: nn.Module, images: Tensor) -> Tensor:
    """(B, 1, S, S) pixels 0–255 to the network's (B, 3, S, S) input, float32.

    (B, 1, S, S) of a network `with_own_pixels`.
    """
    if images.ndim != 4 or images.shape[1] != 1:
        raise ValueError(f"images {tuple(images.shape)}: expected (B, 1, S, S) grey pixels")
    mean, std = cast(Tensor, network.pixel_mean), cast(Tensor, network.pixel_std)
    return ((images.float() - mean) / std).contiguous(memory_format=torch.channels_last)


def forward_features(network: nn.Module, images: Tensor) -> Tensor:
    """The last feature map (B, C, h, w); DenseNet's after its final ReLU."""
    pixels = normalise(network, images)
    if isinstance(network, torchvision_models.DenseNet):
        # not in place, as torchvision's own forward is: hooks and heat maps need the input
        return F.relu(cast(Tensor, network.features(pixels)))
    if isinstance(network, torchvision_models.ResNet):
        stem = network.maxpool(network.relu(network.bn1(network.conv1(pixels))))
        return cast(Tensor, network.layer4(network.layer3(network.layer2(network.layer1(stem)))))
    if isinstance(network, torchvision_models.EfficientNet):
        return cast(Tensor, network.features(pixels))
    features = cast(Any, network).forward_features(pixels)
    if features.ndim != 4:
        what = f"{type(network).__name__}: its features {tuple(features.shape)} are no feature map"
        raise ConfigError(f"{what}; choose --method occlusion or integrated-gradients")
    return cast(Tensor, features)


def forward_head(network: nn.Module, features: Tensor) -> Tensor:
    """Logits (B, n_outputs), float32, of a last feature map: pooling, dropout, classifier."""
    if hasattr(network, "forward_head"):  # timm's
        return cast(Tensor, cast(Any, network).forward_head(features))
    head = network.get_submodule(classifier_path(network).partition(".")[0])
    return cast(Tensor, head(F.adaptive_avg_pool2d(features, 1).flatten(1)))


class WithClassMaps(nn.Module):
    """A network that gives the class maps of its labels beside the logits.

    A map is the classifier applied to each cell before the pooling (Zhou et al. 2016,
    arXiv:1512.04150), in float32, without dropout: its mean is the logit.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, n_outputs) and maps (B, n_outputs, h, w) of (B, 1, S, S) pixels."""
        features = forward_features(self.network, images)
        head = cast(nn.Linear, self.network.get_submodule(classifier_path(self.network)))
        with torch.autocast(images.device.type, enabled=False):
            maps = F.conv2d(features.float(), head.weight[:, :, None, None], head.bias)
        return forward_head(self.network, features), maps


@torch.no_grad()
def check_class_maps(network: nn.Module, name: str, side: int) -> None:
    """That the means of the class maps are the logits, of noise (1, 1, `side`, `side`).

    Leaves the network in eval mode. ConfigError: the head is more than pooling and one linear
    layer, or the features are no map.
    """
    noise = torch.rand(1, 1, side, side, device=next(network.parameters()).device) * 255
    is_mean = False
    with contextlib.suppress(ConfigError, RuntimeError, TypeError):
        logits, maps = WithClassMaps(network.eval())(noise)
        is_mean = torch.allclose(maps.mean(dim=(2, 3)), logits, rtol=1e-3, atol=1e-3)
    if not is_mean:
        raise ConfigError(
            f"model {name}: --boxes teaches class maps, and its head is not pooling by the mean "
            "and one linear layer; choose another --model, for instance densenet121"
        )


def classifier_path(network: nn.Module) -> str:
    """The dotted name of the last linear layer, as in the state_dict.

    Raises:
        ConfigError: a timm network whose classifier is not a single linear layer.
    """
    linear = {one: str(path) for path, one in network.named_modules() if isinstance(one, nn.Linear)}
    of_timm = getattr(network, "get_classifier", None)  # torchvision's is the last one
    if path := linear.get(of_timm() if of_timm else [*linear][-1]):
        return path
    text = f"{type(network).__name__}: its classifier is not one linear layer; choose another model"
    raise ConfigError(text)


def feature_layers(network: nn.Module) -> list[str]:
    """Names of the stages of the backbone, in order: what ``--layer`` and freezing take."""
    head = classifier_path(network).partition(".")[0]
    stages: list[str] = []
    for name, module in network.named_children():
        if name == head or not any(True for _ in module.parameters()):
            continue
        parts = [part for part, _ in module.named_children()]
        nested = name in {"features", "blocks", "stages"}
        stages += [f"{name}.{part}" for part in parts] if nested else [name]
    return stages


def as_array(tensor: Tensor) -> Floats32:
    """float32 on the CPU, without its graph."""
    return np.asarray(tensor.detach().float().cpu().numpy(), np.float32)


class Ensemble(nn.Module):
    """A deep ensemble (Lakshminarayanan et al. 2017), whose score is the mean of its members'.

    The keys of its state_dict are theirs behind ``members.0.``, ``members.1.``, ...
    """

    def __init__(self, members: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, n_outputs), float32, of (B, 1, S, S) pixels."""
        return mean_logits([member(images) for member in self.members])


def mean_logits(of_members: Sequence[Tensor]) -> Tensor:
    """float32 logits (B, n_outputs) whose sigmoid is the mean of the members'; always finite."""
    logits = torch.stack([member.float() for member in of_members])
    return F.logsigmoid(logits).logsumexp(dim=0) - F.logsigmoid(-logits).logsumexp(dim=0)
