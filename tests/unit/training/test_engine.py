"""What is put around a network: its share of the memory, batch norm over processes, weights."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from pulmonet.config.load import parse_config
from pulmonet.models.networks import build_network
from pulmonet.training.distributed import Processes
from pulmonet.training.engine import Engine, micro_batch_share, with_shared_batch_norm


@pytest.mark.parametrize(("world_size", "share"), [(1, 16), (4, 4), (32, 1)])
def test_micro_batch_counts_the_images_of_all_processes(world_size: int, share: int) -> None:
    processes = Processes(0, 0, world_size)
    config = parse_config({"optim": {"micro_batch_size": 16}})
    assert micro_batch_share(config.optim, processes) == share
    assert micro_batch_share(parse_config({}).optim, processes) == 0


@pytest.mark.parametrize("name", ["resnet50", "timm:test_efficientnet", "timm:test_resnet"])
def test_shared_batch_norm_keeps_what_a_network_computes(name: str) -> None:
    """timm's layers hold the activation, which torch's own conversion drops."""
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    torch.manual_seed(0)
    network = build_network(name, 2).eval()
    images = torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        expected = network(images)
    keys = list(network.state_dict())
    converted = with_shared_batch_norm(network).eval()
    assert converted is network
    assert list(network.state_dict()) == keys
    assert any(isinstance(module, nn.SyncBatchNorm) for module in network.modules())
    with torch.no_grad():
        torch.testing.assert_close(converted(images), expected)


def test_the_compiler_gets_what_is_wrapped_for_several_processes(tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/x", rank=0, world_size=1)
    try:
        network = nn.Linear(2, 2)
        engine = Engine(
            network,
            parse_config({"runtime": {"compile": True}}),
            device=torch.device("cpu"),
            precision="fp32",
            processes=Processes(0, 0, 2),
            policies=("ones", "ones"),
            notify=print,
        )
        assert engine.parallel is not None and engine.parallel.module is network
        assert engine.forward._orig_mod is engine.parallel  # type: ignore[attr-defined]
    finally:
        dist.destroy_process_group()


def test_the_share_of_a_process_of_a_whole_batch() -> None:
    for size, n in ((8, 3), (9, 3), (5, 8)):
        parts = np.array_split(np.arange(size), n)
        for rank, part in enumerate(parts):
            engine = SimpleNamespace(
                config=parse_config({"optim": {"batch_size": size}}),
                processes=Processes(rank, 0, n),
            )
            assert Engine.batch_size.fget(engine) == len(part)  # type: ignore[attr-defined]


def test_losses_that_weigh_classes_get_them_from_the_training_rows() -> None:
    targets = np.array([[1, 0], [0, 0], [0, np.nan], [0, 1]], np.float32)

    def engine_with(**loss: object) -> Engine:
        return Engine(
            nn.Linear(2, 2),
            parse_config({"loss": loss}),
            device=torch.device("cpu"),
            precision="fp32",
            processes=Processes(),
            policies=("ones", "ones"),
            notify=print,
            targets=targets,
        )

    balanced = engine_with(pos_weight="balanced", pos_weight_max=2.5)
    assert balanced.pos_weight is not None
    assert balanced.pos_weight.tolist() == [2.5, 2.0]
    counted = engine_with(name="balanced-bce")
    assert counted.class_counts is not None
    assert counted.class_counts.tolist() == [[3, 2], [1, 1]]
    assert counted.pos_weight is None
