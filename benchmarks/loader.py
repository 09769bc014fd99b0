"""How many images a core loads from the pack against the classic per-image pipeline: target 10×.

    python benchmarks/loader.py --images ../shared/data/nih-cxr --json loader.json

Classic: PIL decode, torchvision RandomResizedCrop, flip, ToTensor, Normalize, one image at a time.
Packed: read, checksum, augmentation, (B, 1, 224, 224) tensor. One thread each, in turns in one run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from benchmark_images import write_images
from PIL import Image
from torchvision import transforms

from pulmonet.config.fields import AugmentConfig
from pulmonet.data.batches.load import TrainingBatches
from pulmonet.data.manifest import Manifest
from pulmonet.data.pack.open import Pack, open_pack

TARGET = 10.0
BATCH_SIZE = 32
GEOMETRIES = {"jitter": AugmentConfig(), "original": AugmentConfig(geometry="original", flip=0.5)}


def classic(manifest: Manifest) -> Callable[[], None]:
    """The pipeline of most training scripts, batches collated, without worker processes."""
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(224, scale=(0.8, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    paths = [manifest.root / path for path in manifest.table["path"]]

    def epoch() -> None:
        for start in range(0, len(paths), BATCH_SIZE):
            part = paths[start : start + BATCH_SIZE]
            torch.stack([transform(Image.open(path).convert("RGB")) for path in part])

    return epoch


def packed(pack: Pack, augment: AugmentConfig) -> Callable[[], None]:
    """TrainingBatches without threads."""
    rows = np.arange(pack.n_rows)
    batches = TrainingBatches(
        pack,
        rows,
        np.zeros((len(rows), 5), np.float32),
        augment,
        image_size=224,
        batch_size=BATCH_SIZE,
        seed=42,
        num_workers=0,
    )

    def epoch() -> None:
        for _ in batches.epoch(0):
            pass

    return epoch


def rate(epoch: Callable[[], None], n_images: int, repeats: int) -> float:
    """Images/s over `repeats` epochs."""
    started = time.perf_counter()
    for _ in range(repeats):
        epoch()
    return repeats * n_images / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="folder of X-rays (default: noise)")
    parser.add_argument("--n-images", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the result here, too")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    n = options.n_images
    rounds: dict[str, list[float]] = {"classic": [], **{name: [] for name in GEOMETRIES}}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PULMONET_CACHE_DIR"] = f"{folder}/cache"
        manifest = write_images(Path(folder) / "images", n, options.images)
        pack = open_pack(manifest, range(n))
        epochs = {name: packed(pack, augment) for name, augment in GEOMETRIES.items()}
        for epoch in epochs.values():
            epoch()  # warm
        old = classic(manifest)
        for _ in range(options.repeats):
            rounds["classic"].append(rate(old, n, 1))
            for name, epoch in epochs.items():
                rounds[name].append(rate(epoch, n, 4))
    result = {
        "benchmark": "loader",
        "n_images": n,
        "images_per_second_per_core": {
            name: statistics.median(rates) for name, rates in rounds.items()
        },
        "ratio": {
            name: statistics.median(
                new / old for new, old in zip(rounds[name], rounds["classic"], strict=True)
            )
            for name in GEOMETRIES
        },
        "target": TARGET,
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    for name, value in result["images_per_second_per_core"].items():
        ratio = result["ratio"].get(name)
        shown = f"{ratio:6.1f} × classic (target {TARGET:g})" if ratio else ""
        print(f"{name:10}{value:8.0f} images/s per core {shown}".rstrip())


if __name__ == "__main__":
    main()
