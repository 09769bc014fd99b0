"""One step: micro-batches weigh targets alike, memory, fp16, several processes, seeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

from pulmonet.config.fields import RunConfig
from pulmonet.config.load import parse_config
from pulmonet.data.batches.load import Batch
from pulmonet.errors import TrainingError
from pulmonet.models.device import cpu_has_bf16, place
from pulmonet.models.networks import build_network, classifier_path, forward_features
from pulmonet.training import step as step_module
from pulmonet.training.distributed import Processes
from pulmonet.training.engine import Engine
from pulmonet.training.step import step_seed, train_step

CPU = torch.device("cpu")


class WithoutBatchNorm(nn.Module):
    """(B, 1, S, S) pixels to 2 logits, each image by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 2)
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.body(images.float() / 255)
        return logits


class WithBatchNorm(WithoutBatchNorm):
    def __init__(self) -> None:
        super().__init__()
        self.body.insert(1, nn.BatchNorm2d(4))


def make_engine(network: nn.Module, config: RunConfig, **changes: Any) -> Engine:
    settings: dict[str, Any] = {
        "device": CPU,
        "precision": "fp32",
        "processes": Processes(),
        "policies": ("ones", "ones"),
        "notify": lambda _: None,
    }
    engine = Engine(network, config, **(settings | changes))
    engine.network.train()
    return engine


def make_config(**optim: Any) -> RunConfig:
    return parse_config({"optim": {"name": "sgd", "lr": 0.1, "momentum": 0.0} | optim})


def make_batch(n: int = 10, side: int = 16, unknown: float = 0.4) -> Batch:
    rng = np.random.default_rng(n)
    targets = rng.integers(0, 2, (n, 2)).astype(np.float32)
    targets[rng.random((n, 2)) < unknown] = np.nan
    targets[:3] = np.nan  # whole rows, so that micro-batches differ in what they know
    pixels = rng.integers(0, 256, (n, 1, side, side), dtype=np.uint8)
    return Batch(torch.from_numpy(pixels), torch.from_numpy(targets), np.arange(n))


def weights_after(config: RunConfig, batch: Batch, **changes: Any) -> tuple[list[Tensor], float]:
    torch.manual_seed(3)
    engine = make_engine(WithoutBatchNorm(), config, **changes)
    loss_sum, known = train_step(engine, batch, learning_rate=0.1, seed=1)
    assert int(known) == int((~torch.isnan(batch.targets)).sum())
    return [p.detach().clone() for p in engine.network.parameters()], float(loss_sum / known)


# --- accumulation ---------------------------------------------------------------------------


@pytest.mark.parametrize("micro", [1, 3, 4, 10, 64])
def test_micro_batches_give_the_step_of_the_whole_batch(micro: int) -> None:
    """Rows with few known targets weigh no more than others: nothing is a mean of means."""
    batch = make_batch()
    whole, loss_of_whole = weights_after(make_config(), batch)
    parts, loss_of_parts = weights_after(make_config(micro_batch_size=micro), batch)
    assert loss_of_parts == pytest.approx(loss_of_whole, rel=1e-6)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_the_step_is_that_of_the_mean_over_known_targets() -> None:
    batch = make_batch()
    torch.manual_seed(3)
    network = WithoutBatchNorm()
    known = ~torch.isnan(batch.targets)
    loss = nn.functional.binary_cross_entropy_with_logits(
        network(batch.images)[known], batch.targets[known]
    )
    loss.backward()  # type: ignore[no-untyped-call]
    expected = [p.detach() - 0.1 * p.grad for p in network.parameters() if p.grad is not None]
    found, mean_loss = weights_after(make_config(), batch)
    assert mean_loss == pytest.approx(float(loss.detach()), rel=1e-6)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_a_batch_without_known_targets_changes_nothing() -> None:
    batch = make_batch(unknown=1.0)
    torch.manual_seed(3)
    before = [p.detach().clone() for p in WithoutBatchNorm().parameters()]
    engine = make_engine(network := WithoutBatchNorm(), make_config())
    network.load_state_dict(dict(zip(network.state_dict(), before, strict=True)))
    loss_sum, known = train_step(engine, batch, learning_rate=0.1, seed=1)
    assert (float(loss_sum), float(known)) == (0.0, 0.0)
    for one, other in zip(before, network.parameters(), strict=True):
        assert torch.equal(one, other)


# --- out of memory --------------------------------------------------------------------------


def out_of_memory_above(limit: int, error: type[Exception], text: str) -> Callable[[Tensor], None]:
    def check(images: Tensor) -> None:
        if len(images) > limit:
            raise error(text)

    return check


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (torch.OutOfMemoryError, "CUDA out of memory. Tried to allocate 2.00 GiB"),
        (RuntimeError, "DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
        (RuntimeError, "MPS backend out of memory (MPS allocated: 18.13 GB)"),
        (RuntimeError, "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        (RuntimeError, "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        (RuntimeError, "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
        (RuntimeError, "CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
        (RuntimeError, "GET was unable to find an engine to execute this computation"),
        (RuntimeError, "Unable to find a valid cuDNN algorithm to run convolution"),
        (RuntimeError, "[enforce fail at alloc_cpu.cpp:75] err == 0. DefaultCPUAllocator: can't"),
        (RuntimeError, "could not create a primitive"),
        (MemoryError, ""),
    ],
)
def test_out_of_memory_halves_the_micro_batch_and_takes_the_same_step(
    error: type[Exception], text: str
) -> None:
    batch, config, said = make_batch(), make_config(), []
    whole, loss_of_whole = weights_after(config, batch)
    torch.manual_seed(3)
    engine = make_engine(WithoutBatchNorm(), config, notify=said.append)
    forward, check = engine.forward, out_of_memory_above(3, error, text)

    def limited(images: Tensor) -> Tensor:
        check(images)
        return forward(images)

    engine.forward = limited
    loss_sum, known = train_step(engine, batch, learning_rate=0.1, seed=1)
    assert float(loss_sum / known) == pytest.approx(loss_of_whole, rel=1e-6)
    for one, other in zip(whole, engine.network.parameters(), strict=True):
        torch.testing.assert_close(one, other.detach(), rtol=1e-5, atol=1e-7)
    assert (engine.micro_batch_size, engine.is_halved) == (2, True)  # 10 -> 5 -> 2
    assert len(said) == 2
    assert "micro-batches of 2 images (same effective batch" in said[-1]


def test_out_of_memory_with_one_image_ends_the_run() -> None:
    engine = make_engine(WithoutBatchNorm(), make_config())
    text = "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"  # perhaps of something else, after all
    engine.forward = out_of_memory_above(0, RuntimeError, text)  # type: ignore[assignment]
    with pytest.raises(TrainingError, match=rf"out of memory with 1 images at a time \({text}\); "):
        train_step(engine, make_batch(), learning_rate=0.1, seed=1)


@pytest.mark.parametrize(
    "text", ["shapes cannot be multiplied", "could not create a primitive descriptor for matmul"]
)
def test_other_errors_are_not_taken_for_want_of_memory(text: str) -> None:
    engine = make_engine(WithoutBatchNorm(), make_config())
    engine.forward = out_of_memory_above(0, RuntimeError, text)  # type: ignore[assignment]
    with pytest.raises(RuntimeError, match=text):
        train_step(engine, make_batch(), learning_rate=0.1, seed=1)


# --- one image ------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [32, 48, 64])
@pytest.mark.parametrize("micro", [None, 1])
def test_a_single_image_gives_finite_gradients(side: int, micro: int | None) -> None:
    """Two equal images at 1 x 1 made DenseNet's gradients overflow."""
    torch.manual_seed(0)
    network = place(build_network("densenet121", 2, 0.0), CPU)
    engine = make_engine(network, make_config(micro_batch_size=micro))
    batch = make_batch(1 if micro is None else 2, side)
    batch.targets[:] = 0
    for step in range(3):
        loss_sum, _ = train_step(engine, batch, learning_rate=1e-3, seed=step)
        assert torch.isfinite(loss_sum)
    for module in network.modules():
        hooks = module._forward_pre_hooks if isinstance(module, nn.BatchNorm2d) else {}
        assert module.training and not hooks
    for tensor in network.state_dict().values():
        assert torch.isfinite(tensor).all()


def test_a_single_image_is_seen_as_it_was_where_it_has_spread() -> None:
    batch = make_batch(1)
    batch.targets[:] = 1
    torch.manual_seed(3)
    one = make_engine(WithBatchNorm(), make_config())
    torch.manual_seed(3)
    plain = WithBatchNorm().train()
    loss = nn.functional.binary_cross_entropy_with_logits(plain(batch.images), batch.targets)
    loss_sum, known = train_step(one, batch, learning_rate=0.0, seed=1)
    assert float(loss_sum / known) == pytest.approx(float(loss.detach()), rel=1e-6)
    torch.testing.assert_close(one.network.body[1].running_var, plain.body[1].running_var)  # type: ignore[index, union-attr]


# --- compiled -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("most", "mode", "n_compiled"),  # images a forward pass: no more than a batch has
    [
        (None, "reduce-overhead", 2),
        (64, "reduce-overhead", 2),
        (5, "default", 2),
        (5, "reduce-overhead", 0),  # its graphs would write over gradients that add up
    ],
)
def test_whole_batches_are_compiled_once_a_size_and_short_ones_not(
    most: int | None, mode: str, n_compiled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler's own first half, which counts what it is asked to compile."""
    asked, counter, real = [], CompileCounter(), torch.compile

    def compile_here(network: nn.Module, *, dynamic: bool, mode: str) -> Any:
        asked.append((dynamic, mode))
        return real(network, dynamic=dynamic, backend=counter)

    monkeypatch.setattr(torch, "compile", compile_here)
    torch._dynamo.reset()
    runtime = {"compile": True, "compile_mode": mode}
    optim = {"name": "sgd", "lr": 0.1, "batch_size": 10, "micro_batch_size": most}
    steps = [make_batch(10), make_batch(10), make_batch(3), make_batch(10, side=24), make_batch(1)]

    def weights(**how: Any) -> list[Tensor]:
        torch.manual_seed(3)
        engine = make_engine(WithBatchNorm(), parse_config({"optim": optim, **how}))
        for seed, batch in enumerate(steps):
            train_step(engine, batch, learning_rate=0.1, seed=seed)
        return list(engine.network.parameters())

    expected, found = weights(), weights(runtime=runtime)
    assert asked == [(False, mode)]
    assert counter.frame_count == n_compiled
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other)


# --- clipping, seeds ------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_clip_norm_bounds_the_step(precision: str) -> None:
    config = make_config(clip_norm=1e-3)
    torch.manual_seed(3)
    engine = make_engine(WithoutBatchNorm(), config, precision=precision)
    before = [p.detach().clone() for p in engine.network.parameters()]
    batch = make_batch()
    for seed in range(30):  # fp16 finds its scale in the first ones
        train_step(engine, batch, learning_rate=1.0, seed=seed)
        after = [p.detach().clone() for p in engine.network.parameters()]
        change = torch.stack([(a - b).norm() for a, b in zip(after, before, strict=True)]).norm()
        if engine.skipped is None or not engine.skipped:
            break
        before = after
    assert float(change) == pytest.approx(1e-3, rel=0.01)


def test_step_seed_depends_on_each_coordinate_and_fits_torch() -> None:
    coordinates = [(s, e, t, r) for s in (0, 1) for e in (0, 1) for t in (0, 11) for r in (0, 1)]
    seeds = [step_seed(*where) for where in coordinates]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert step_seed(1, 11, 1, 0) != step_seed(11, 1, 1, 0)
    assert step_seed(42, 0, 0, 0) == step_seed(42, 0, 0, 0)


def test_dropout_is_a_function_of_the_seed() -> None:
    def logits_with(seed: int) -> Tensor:
        torch.manual_seed(3)
        network = WithoutBatchNorm()
        network.body.insert(4, nn.Dropout(0.5))
        engine, seen = make_engine(network, make_config()), []
        network.register_forward_hook(lambda *parts: seen.append(parts[2].detach()))
        torch.rand(seed)  # whatever was drawn before
        train_step(engine, make_batch(), learning_rate=0.1, seed=seed)
        return seen[0]

    assert torch.equal(logits_with(5), logits_with(5))
    assert not torch.equal(logits_with(5), logits_with(6))


# --- fp16 -----------------------------------------------------------------------------------


def test_a_step_that_overflows_in_fp16_leaves_no_trace() -> None:
    """Neither in the weights nor, for good, in batch norm's running statistics."""
    torch.manual_seed(3)
    config = make_config()
    engine = make_engine(WithBatchNorm(), config, precision="fp16")
    batch = make_batch(unknown=0.0)
    bad = Batch(batch.images.float() * 1e30, batch.targets, batch.rows)
    for _ in range(20):
        train_step(engine, batch, learning_rate=0.1, seed=1)
    assert engine.skipped is not None
    assert not engine.skipped
    before = {key: value.clone() for key, value in engine.network.state_dict().items()}
    scale = engine.scaler.get_scale() if engine.scaler else 0.0
    train_step(engine, bad, learning_rate=0.1, seed=1)
    assert bool(engine.skipped)
    assert engine.scaler is not None
    assert engine.scaler.get_scale() == scale / 2
    for key, value in engine.network.state_dict().items():
        assert torch.equal(value, before[key]), key
    train_step(engine, batch, learning_rate=0.1, seed=1)
    assert not engine.skipped
    assert not torch.equal(
        engine.network.state_dict()["body.1.running_mean"], before["body.1.running_mean"]
    )


# --- several processes ----------------------------------------------------------------------


def test_micro_batches_are_as_many_in_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """SyncBatchNorm exchanges in every forward pass: one more in one process would hang all."""
    monkeypatch.setattr(step_module, "largest_of_processes", lambda number, _: number + 1)
    config = make_config(micro_batch_size=4)
    batch = make_batch(9)
    torch.manual_seed(3)
    engine = make_engine(WithoutBatchNorm(), config)
    sizes: list[int] = []
    engine.network.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    loss_sum, known = train_step(engine, batch, learning_rate=0.1, seed=1)
    assert sizes[:3] == [4, 4, 1] or sizes[:3] == [4, 4, 2]  # a lone small image is shown twice
    assert len(sizes) == 4  # the fourth has nothing known
    _, expected = weights_after(make_config(), batch)
    assert float(loss_sum / known) == pytest.approx(expected, rel=1e-6)


# --- bf16 -----------------------------------------------------------------------------------


@pytest.mark.skipif(not cpu_has_bf16(), reason="this CPU has no native bf16")
@pytest.mark.parametrize("name", ["densenet121", "resnet50", "efficientnet_b0"])
def test_bf16_repeats_to_the_bit(name: str) -> None:
    def state_after_two_steps() -> dict[str, Tensor]:
        torch.manual_seed(0)
        config = parse_config({"model": {"name": name, "weights": "none"}})
        network = place(build_network(name, 2), CPU)
        engine = make_engine(network, config, precision="bf16")
        for seed in range(2):
            batch = make_batch(6, side=64, unknown=0.1)
            train_step(engine, batch, learning_rate=1e-4, seed=seed)
        return engine.network.state_dict()

    first, second = state_after_two_steps(), state_after_two_steps()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key
        assert value.dtype in {torch.float32, torch.int64}


# --- boxes ----------------------------------------------------------------------------------


def boxed_batch(n: int = 6, side: int = 64) -> Batch:
    """Five labels on four of the images, one of them moved outside by augmentation."""
    rng = np.random.default_rng(4)
    cover = torch.zeros((5, side, side), dtype=torch.uint8)
    for number in range(4):
        top, left = rng.integers(0, side - 20, 2)
        cover[number, top : top + 20, left : left + 15] = 255
    pairs = torch.tensor([[0, 1], [1, 0], [1, 1], [5, 0], [4, 1]])
    pixels = rng.integers(0, 256, (n, 1, side, side), dtype=np.uint8)
    targets = rng.integers(0, 2, (n, 2)).astype(np.float32)
    return Batch(torch.from_numpy(pixels), torch.from_numpy(targets), np.arange(n), cover, pairs)


def frozen_batch_norm(name: str, n_outputs: int = 2) -> nn.Module:
    """A network whose images do not see each other, in training mode as the engine puts it."""
    torch.manual_seed(0)
    network = build_network(name, n_outputs, 0.0)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.track_running_stats, module.momentum = True, 0.0
            module.forward = lambda x, module=module: nn.functional.batch_norm(  # type: ignore[method-assign]
                x, module.running_mean, module.running_var, module.weight, module.bias
            )
    return network


def gradients_of(config: RunConfig, batch: Batch, **changes: Any) -> tuple[list[Tensor], float]:
    policies = changes.get("policies", ("ones", "ones"))
    n_outputs = sum(3 if policy == "multiclass" else 1 for policy in policies)
    engine = make_engine(frozen_batch_norm("timm:test_resnet", n_outputs), config, **changes)
    loss_sum, known = train_step(engine, batch, learning_rate=0.0, seed=1)
    found = [p.grad for p in engine.network.parameters() if p.grad is not None]
    return found, float(loss_sum / known)


BOXED = {"pointing": {"boxes": "own", "weight": 0.3}}


@pytest.mark.parametrize("micro", [None, 1, 4])
@pytest.mark.parametrize("three_way", [False, True])
def test_boxes_weigh_alike_whatever_the_micro_batches(micro: int | None, three_way: bool) -> None:
    """Against the loss written out: means over known targets, and over labels with a box."""
    policies = ("ones", "multiclass" if three_way else "ones")
    batch = boxed_batch()
    optim = {"name": "sgd", "lr": 0.1, "micro_batch_size": micro}
    found, loss = gradients_of(parse_config({"optim": optim, **BOXED}), batch, policies=policies)

    network = frozen_batch_norm("timm:test_resnet", 4 if three_way else 2).train()
    features = forward_features(network, batch.images)
    head = network.get_submodule(classifier_path(network))
    outputs = head(features.mean(dim=(2, 3)))
    weights = head.weight
    if three_way:
        classes = batch.targets[:, 1].long()
        of_labels = nn.functional.cross_entropy(outputs[:, 1:], classes, reduction="sum")
        weights = torch.stack([weights[0], weights[2] - weights[1]])
    else:
        last = nn.functional.binary_cross_entropy_with_logits
        of_labels = last(outputs[:, 1], batch.targets[:, 1], reduction="sum")
    first = nn.functional.binary_cross_entropy_with_logits
    of_labels = of_labels + first(outputs[:, 0], batch.targets[:, 0], reduction="sum")
    of_boxes = []
    assert batch.pairs is not None and batch.cover is not None
    for (image, label), cover in zip(batch.pairs[:4].tolist(), batch.cover[:4], strict=True):
        p = torch.softmax((weights[label][:, None, None] * features[image]).sum(0).flatten(), 0)
        shares = [  # 64 pixels, 2 x 2 cells
            float(cover[y : y + 32, x : x + 32].float().mean() / 255)
            for y in (0, 32)
            for x in (0, 32)
        ]
        of_boxes.append(-torch.log((p * torch.tensor(shares)).sum()))
    expected = of_labels / 12 + 0.3 * torch.stack(of_boxes).mean()
    expected.backward()  # type: ignore[no-untyped-call]
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    for one, parameter in zip(found, network.parameters(), strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(one, parameter.grad, rtol=1e-3, atol=1e-5)


def test_several_processes_divide_by_the_boxes_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two shares, with other numbers of targets and boxes, add up to the step of the whole."""
    config, batch = parse_config({"optim": {"name": "sgd"}, **BOXED}), boxed_batch()
    assert batch.pairs is not None and batch.cover is not None
    whole, _ = gradients_of(config, batch)
    shares = []
    for start, stop in ((0, 2), (2, 6)):
        here = (batch.pairs[:, 0] >= start) & (batch.pairs[:, 0] < stop)
        moved = batch.pairs[here] - torch.tensor([start, 0])
        part = (batch.images[start:stop], batch.targets[start:stop], batch.rows[start:stop])
        shares.append(Batch(*part, batch.cover[here], moved))

    def sums(value: Tensor, _: Processes) -> Tensor:
        seen.append(float(value))
        return torch.tensor(next(totals)) if totals_known else value

    monkeypatch.setattr(step_module, "sum_over_processes", sums)
    totals_known, seen_of, found = False, [], []
    for share in shares:  # what each process has to add
        seen: list[float] = []
        gradients_of(config, share)
        seen_of.append(seen)
    totals_known, added = True, [sum(pair) for pair in zip(*seen_of, strict=True)]
    assert added[:2] == [12.0, 4.0]
    for share in shares:
        totals = iter(added)
        found.append(gradients_of(config, share)[0])
    for one, first, second in zip(whole, *found, strict=True):
        torch.testing.assert_close(first + second, one, rtol=1e-3, atol=1e-6)


def test_a_step_without_a_box_is_the_step_without_boxes() -> None:
    batch, plain = boxed_batch(), {"optim": {"name": "sgd"}}
    none = Batch(batch.images, batch.targets, batch.rows, batch.cover[:0], batch.pairs[:0])  # type: ignore[index]
    found, loss = gradients_of(parse_config(plain | BOXED), none)
    expected, plain_loss = gradients_of(parse_config(plain), batch)
    assert loss == pytest.approx(plain_loss, rel=1e-6)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_boxes_in_mixed_precision_are_near_those_in_fp32(precision: str) -> None:
    config, batch = parse_config({"optim": {"name": "sgd"}, **BOXED}), boxed_batch()
    _, exact = gradients_of(config, batch)
    found, near = gradients_of(config, batch, precision=precision)
    assert near == pytest.approx(exact, rel=0.02)
    assert all(torch.isfinite(gradient).all() for gradient in found)
