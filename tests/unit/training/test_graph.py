"""A step on tensors that stay where they are: what a CPU can show of `runtime.cuda_graph`."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from pulmonet.config.load import parse_config
from pulmonet.data.batches.load import Batch
from pulmonet.errors import TrainingError
from pulmonet.models.device import place
from pulmonet.models.networks import build_network
from pulmonet.training.distributed import Processes
from pulmonet.training.engine import Engine
from pulmonet.training.graph import StepGraph
from pulmonet.training.step import train_step

CPU = torch.device("cpu")
#: Exact in float32, as the tensor of the learning rate has it.
RATE = 2.0**-9


def batch_of(n: int, side: int, seed: int) -> Batch:
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (n, 1, side, side), dtype=np.uint8)
    targets = random.integers(0, 2, (n, 2)).astype(np.float32)
    targets[random.random((n, 2)) < 0.2] = np.nan
    return Batch(torch.from_numpy(images), torch.from_numpy(targets), np.arange(n))


#: Two image sizes, a short batch in the midst of each, and back to a whole one.
SIZES = [(6, 32)] * 3 + [(2, 32)] + [(6, 32)] + [(6, 48)] * 2 + [(3, 48), (6, 48)]
BATCHES = [batch_of(n, side, seed) for seed, (n, side) in enumerate(SIZES)]


def make_engine(graph: bool, **optim: Any) -> Engine:
    torch.manual_seed(0)
    settings = {"name": "adamw", "lr": RATE, "batch_size": 6, "ema_decay": 0.9, **optim}
    model = {"name": "timm:test_resnet", "weights": "none"}
    engine = Engine(
        place(build_network("timm:test_resnet", 2, 0.3), CPU),
        parse_config({"model": model, "optim": settings, "runtime": {"cuda_graph": graph}}),
        device=CPU,
        precision="fp32",
        processes=Processes(),
        policies=("ones", "ones"),
        notify=lambda _: None,
    )
    engine.network.train()
    return engine


def state_of(engine: Engine) -> dict[str, Tensor]:
    assert engine.average is not None
    both = (engine.network, engine.average.module)
    found = {f"{i}.{k}": v for i, one in enumerate(both) for k, v in one.state_dict().items()}
    return found | {"n": torch.tensor(engine.average.n_updates)}


def take(engine: Engine, batches: list[Batch]) -> list[float]:
    rates = (RATE / 2**number for number in range(9))  # another in every step
    steps = [
        train_step(engine, batch, learning_rate=rate, seed=int(batch.targets.nan_to_num().sum()))
        for batch, rate in zip(batches, rates, strict=False)
    ]
    return [float(loss / known) for loss, known in steps]


@pytest.mark.parametrize(
    "optim",
    [
        {},
        {"micro_batch_size": 4, "clip_norm": 0.5},
        {"name": "sgd", "momentum": 0.9},
        {"name": "adam", "weight_decay": 0.01},
    ],
)
def test_steps_on_tensors_that_stay_are_those_on_new_ones_to_the_bit(optim: dict[str, Any]) -> None:
    """With growing sizes, short batches, dropout, another learning rate each time, an average."""
    plain, recorded = make_engine(False, **optim), make_engine(True, **optim)
    assert take(recorded, BATCHES) == take(plain, BATCHES)
    expected = state_of(plain)
    for key, value in state_of(recorded).items():
        assert torch.equal(value, expected[key]), key


def test_a_whole_batch_is_copied_and_a_short_one_given_as_it_is() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    optimiser = torch.optim.SGD([parameter], lr=1.0)
    graph, places, rates = StepGraph(optimiser, CPU), [], []

    def work(images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        places.append((images.data_ptr(), targets.data_ptr()))
        rates.append(float(optimiser.param_groups[0]["lr"]))
        return images.sum(), targets.sum()

    batches = [
        (torch.full((n, 2), float(i)), torch.full((n,), i + 0.5))
        for i, n in enumerate((4, 4, 3, 4, 5, 5, 4))
    ]
    for number, (images, targets) in enumerate(batches):
        whole = len(images) != 3
        found = graph.run(work, images, targets, rate=2.0**-number, whole=whole)
        assert [float(one) for one in found] == [float(images.sum()), float(targets.sum())]
        given = (images.data_ptr(), targets.data_ptr())
        assert (places[-1] == given) is not whole
    assert places[0] == places[1] == places[3], "a short batch moves nothing"
    assert places[4] == places[5] != places[3]
    assert rates == [2.0**-number for number in range(7)]


def test_out_of_memory_records_anew_and_takes_the_same_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain, recorded = make_engine(False), make_engine(True)
    forgotten, forward = [], recorded.forward
    graph = recorded.graph
    assert graph is not None
    forget = graph.forget
    monkeypatch.setattr(graph, "forget", lambda: forgotten.append(True) or forget())

    def limited(images: Tensor) -> Tensor:
        if len(images) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(images)

    plain.micro_batch_size, recorded.forward = 3, limited
    assert take(recorded, BATCHES[:2]) == take(plain, BATCHES[:2])
    assert (recorded.micro_batch_size, recorded.is_halved) == (3, True)
    assert forgotten


def test_a_checkpoint_goes_on_with_and_without(tmp_path: Path) -> None:
    """Its optimiser brings a learning rate and flags of its own."""
    first = make_engine(True)
    take(first, BATCHES[:2])
    path = tmp_path / "state.pth"
    torch.save([first.network.state_dict(), first.optimiser.state_dict()], path)
    network, optimiser = torch.load(path, weights_only=True)
    losses = []
    for graph in (True, False):
        engine = make_engine(graph)
        engine.network.load_state_dict(copy.deepcopy(network))
        engine.optimiser.load_state_dict(copy.deepcopy(optimiser))
        losses.append(take(engine, BATCHES[2:5]))
    assert losses[0] == losses[1] == take(first, BATCHES[2:5])


def test_a_run_that_goes_on_without_has_an_optimiser_as_without() -> None:
    """On a GPU torch would warn of one that is made for recording, and is not recorded."""
    recorded = make_engine(True)
    take(recorded, BATCHES[:2])
    engine = make_engine(False)
    engine.optimiser.load_state_dict(copy.deepcopy(recorded.optimiser.state_dict()))
    assert engine.optimiser.param_groups[0]["capturable"]
    take(engine, BATCHES[:1])
    for group in engine.optimiser.param_groups:
        assert (group["capturable"], group["lr"]) == (False, RATE)


@pytest.mark.parametrize(
    "config",
    [
        {"optim": {"name": "adamw", "micro_batch_size": 4, "clip_norm": 0.5}},
        {"optim": {"name": "sgd", "momentum": 0.9}, "loss": {"name": "focal"}},
        {"optim": {"name": "adam"}, "loss": {"name": "asymmetric"}},
        {"loss": {"name": "balanced-bce"}},
        {"targets": {"uncertain_policy": "multiclass"}},
    ],
    ids=str,
)
def test_a_step_reads_no_value_back(config: dict[str, Any]) -> None:
    """Which would end a recording: here tensors have no values, so it is an error."""
    policies = ("ones", config.get("targets", {}).get("uncertain_policy", "ones"))
    model = {"name": "timm:test_resnet", "weights": "none"}
    with FakeTensorMode():
        with pytest.raises(DataDependentOutputException):
            float(torch.ones(()))  # this is how it is seen
        engine = Engine(
            build_network("timm:test_resnet", 4 if "multiclass" in policies else 2, 0.3).train(),
            parse_config({"model": model, **config}),
            device=CPU,
            precision="bf16",
            processes=Processes(),
            policies=policies,
            notify=print,
        )
        if engine.config.loss.name == "balanced-bce":
            engine.class_counts = torch.ones((2, 2))
        batch = Batch(torch.zeros(6, 1, 32, 32), torch.zeros(6, 2), np.arange(6))
        for seed in range(2):
            found = train_step(engine, batch, learning_rate=RATE, seed=seed)
    assert [one.shape for one in found] == [(), ()]


def test_what_cannot_be_recorded_is_said_before_the_first_step(tmp_path: Path) -> None:
    config = parse_config({"runtime": {"cuda_graph": True}})

    def make(**how: Any) -> None:
        settings = {"precision": "bf16", "processes": Processes(), **how}
        given = {"device": CPU, "policies": ("ones", "ones"), "notify": print}
        Engine(nn.Linear(2, 2), config, **given, **settings)

    make()
    with pytest.raises(TrainingError, match=r"runtime.cuda_graph: takes one process, in bf16"):
        make(precision="fp16")
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/x", rank=0, world_size=1)
    try:
        with pytest.raises(TrainingError, match=r"runtime.cuda_graph: takes one process"):
            make(processes=Processes(0, 0, 2))
    finally:
        dist.destroy_process_group()
