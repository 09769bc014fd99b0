"""Files like those that torchxrayvision publishes: whole modules, pickled under its names.

`networks` gives the package's own classes, or stand-ins of the same names and layers, so that the
files can also be made where it is not installed.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import sys
import threading
import types
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from small_networks import NETWORKS

ALL = "xrv:densenet121-res224-all"


class _DenseLayer(nn.Sequential):
    def __init__(self, n_in: int, growth: int) -> None:
        n = 4 * growth
        parts: list[tuple[str, nn.Module]] = [("norm1", nn.BatchNorm2d(n_in))]
        parts += [("relu1", nn.ReLU()), ("conv1", nn.Conv2d(n_in, n, 1, bias=False))]
        parts += [("norm2", nn.BatchNorm2d(n)), ("relu2", nn.ReLU())]
        parts += [("conv2", nn.Conv2d(n, growth, 3, padding=1, bias=False))]
        super().__init__(OrderedDict(parts))
        self.drop_rate = 0

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, super().forward(x)], 1)


class _DenseBlock(nn.Sequential):
    pass


class _Transition(nn.Sequential):
    pass


class DenseNet(nn.Module):
    """DenseNet-121 with one input channel; `op_threshs` may be None, as in the package."""

    growth, blocks, n_first = 32, (6, 12, 24, 16), 64

    def __init__(self) -> None:
        super().__init__()
        n, growth = self.n_first, self.growth
        self.apply_sigmoid, self.weights = False, None
        parts: list[tuple[str, nn.Module]] = [
            ("conv0", nn.Conv2d(1, n, 7, 2, 3, bias=False)),
            *[("norm0", nn.BatchNorm2d(n)), ("relu0", nn.ReLU())],
            ("pool0", nn.MaxPool2d(3, 2, 1)),
        ]
        for number, n_layers in enumerate(self.blocks, start=1):
            each = (_DenseLayer(n + growth * k, growth) for k in range(n_layers))
            layers = [(f"denselayer{k}", layer) for k, layer in enumerate(each, start=1)]
            parts.append((f"denseblock{number}", _DenseBlock(OrderedDict(layers))))
            n += growth * n_layers
            if number < 4:
                names = ("norm", "relu", "conv", "pool")
                kinds = (nn.BatchNorm2d(n), nn.ReLU(), nn.Conv2d(n, n // 2, 1, bias=False))
                pairs = zip(names, (*kinds, nn.AvgPool2d(2, 2)), strict=True)
                parts.append((f"transition{number}", _Transition(OrderedDict(pairs))))
                n //= 2
        parts.append(("norm5", nn.BatchNorm2d(n)))
        self.features = nn.Sequential(OrderedDict(parts))
        self.classifier = nn.Linear(n, 18)
        self.register_buffer("op_threshs", None)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(F.relu(self.features(x)), (1, 1)).flatten(1)
        return torch.as_tensor(self.classifier(pooled))


@contextlib.contextmanager
def small() -> Iterator[None]:
    """Stand-ins of the size of `small_networks`, and that network in torchvision's place."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("growth", 8), ("blocks", (1, 1, 2, 1)), ("n_first", 16)):
            patch.setattr(DenseNet, name, value)
        for model, build in NETWORKS.items():
            patch.setattr(torchvision.models, model, build)
        yield


@contextlib.contextmanager
def package(*further: type) -> Iterator[types.ModuleType]:
    """`torchxrayvision.models` made of the classes above, and `further` ones, for a while."""
    module = types.ModuleType("torchxrayvision.models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torchxrayvision", types.ModuleType("torchxrayvision"))
        patch.setitem(sys.modules, "torchxrayvision.models", module)
        for kind in (_DenseLayer, _DenseBlock, _Transition, DenseNet, *further):
            patch.setattr(kind, "__module__", module.__name__)
            setattr(module, kind.__name__, kind)
        yield module


def make(kind: Any = DenseNet) -> Any:
    """A seeded network of that class, whose scores differ between X-rays and labels."""
    torch.manual_seed(0)
    network = kind()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.3)  # type: ignore[arg-type]
            torch.nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
        elif isinstance(module, nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
    torch.nn.init.normal_(network.features.conv0.weight, std=0.0005)
    torch.nn.init.normal_(network.classifier.weight, std=0.3)
    network.targets = network.pathologies = ["Atelectasis", "and", "others"]
    return network.eval()


def save(content: Any, path: Path, *, new_format: bool = True) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no source code of the stand-ins
        torch.save(content, path, _use_new_zipfile_serialization=new_format)
    return path


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder over HTTP on this machine, in the place of the release page."""
    handler = functools.partial(QuietHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()
