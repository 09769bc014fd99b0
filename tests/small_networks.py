"""Small networks of torchvision's own classes, with its names of tensors: for what takes long."""

from __future__ import annotations

from torchvision import models
from torchvision.models.efficientnet import MBConvConfig
from torchvision.models.resnet import Bottleneck


def small_densenet121(weights: None = None, num_classes: int = 1000) -> models.DenseNet:
    return models.DenseNet(8, (1, 1, 2, 1), 16, num_classes=num_classes)


def small_resnet50(weights: None = None, num_classes: int = 1000) -> models.ResNet:
    return models.ResNet(Bottleneck, [1, 1, 1, 1], num_classes=num_classes, width_per_group=8)


def small_efficientnet_b0(weights: None = None, num_classes: int = 1000) -> models.EfficientNet:
    stages = [MBConvConfig(1, 3, 2, 8, 8, 1), MBConvConfig(4, 3, 2, 8, 16, 1)]
    return models.EfficientNet(stages, 0.2, num_classes=num_classes)


#: In the place of torchvision's: the same classes and names of tensors, fewer of them.
NETWORKS = {
    "densenet121": small_densenet121,
    "resnet50": small_resnet50,
    "efficientnet_b0": small_efficientnet_b0,
}
