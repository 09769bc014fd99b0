"""The classic recipe that PulmoNet is measured against: what most training scripts do.

PIL, torchvision transforms, DataLoader with worker processes, fp32, NCHW, Adam.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from pulmonet.data.manifest import Manifest

NORMALISE = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
TRAIN = transforms.Compose(
    [
        transforms.RandomResizedCrop(224, scale=(0.8, 1.0)),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        NORMALISE,
    ]
)
EVALUATE = transforms.Compose(
    [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), NORMALISE]
)


class Images(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """One JPEG at a time, decoded anew every epoch."""

    def __init__(
        self,
        manifest: Manifest,
        rows: NDArray[np.int64],
        targets: NDArray[np.float32],
        transform: transforms.Compose,
    ) -> None:
        self.paths = [manifest.root / manifest.table["path"].iloc[row] for row in rows]
        self.targets = torch.from_numpy(targets)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.transform(Image.open(self.paths[index]).convert("RGB")), self.targets[index]


def build(name: str, n_labels: int, device: torch.device) -> nn.Module:
    """torchvision's network with a new head."""
    network: nn.Module = getattr(torchvision.models, name)(num_classes=n_labels)
    return network.to(device)


def train_epoch(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    device: torch.device,
) -> float:
    """One epoch; the loss is read at every step, as progress bars do."""
    criterion = nn.BCEWithLogitsLoss()
    network.train()
    total = 0.0
    for images, targets in batches:
        optimiser.zero_grad()
        loss = criterion(network(images.to(device)), targets.to(device))
        loss.backward()
        optimiser.step()
        total += loss.item()
    return total


@torch.no_grad()
def validate(
    network: nn.Module, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], device: torch.device
) -> torch.Tensor:
    """Scores of all rows."""
    network.eval()
    return torch.cat([torch.sigmoid(network(images.to(device))).cpu() for images, _ in batches])


def loader(
    dataset: Images, *, shuffle: bool, num_workers: int, batch_size: int = 32
) -> DataLoader[tuple[torch.Tensor, torch.Tensor]]:
    """A DataLoader with worker processes that live through the epochs."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=shuffle,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
