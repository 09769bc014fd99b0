"""One optimiser step: micro-batches, mixed precision, several processes, out of memory."""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.module import register_module_forward_pre_hook

from pulmonet.data.batches.augment import place_tensor
from pulmonet.data.batches.load import Batch
from pulmonet.errors import TrainingError, is_out_of_memory
from pulmonet.models.inference import autocast
from pulmonet.training import losses
from pulmonet.training.depthwise import fast_depthwise
from pulmonet.training.distributed import largest_of_processes, sum_over_processes
from pulmonet.training.engine import Engine
from pulmonet.words import first_line


def train_step(
    engine: Engine, batch: Batch, *, learning_rate: float, seed: int
) -> tuple[Tensor, Tensor]:
    """One optimiser step on this process's share of the global batch.

    Out of memory halves the micro-batch and does the step again; batch norm then sees
    micro-batches, the loss weighting stays what it was. `batch` may be empty in the last step of
    an epoch; `seed` is for dropout and stochastic depth.

    Returns:
        The sum of the loss over all processes' known targets, and their number: float32
        scalars on the device, not synchronised.

    Raises:
        TrainingError: out of memory with one image at a time.
    """
    while True:
        try:
            return _try_step(engine, batch, learning_rate, seed)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            now = engine.micro_batch_size or len(batch.rows)
            if now <= 1 or engine.processes.are_many:
                raise TrainingError(
                    f"{engine.device}: out of memory with {now} images at a time "
                    f"({first_line(error)[:160]}); use a smaller --image-size, another --model, or "
                    "--set optim.micro_batch_size=N"
                ) from None
            engine.micro_batch_size, engine.is_halved = max(1, now // 2), True
        if engine.graph is not None:
            engine.graph.forget()
        engine.optimiser.zero_grad(set_to_none=True)
        if engine.device.type == "cuda":
            torch.cuda.empty_cache()
        what = f"out of memory: continuing with micro-batches of {engine.micro_batch_size} images"
        engine.notify(f"{what} (same effective batch; batch norm sees the micro-batches)")


def _try_step(engine: Engine, batch: Batch, rate: float, seed: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    engine.optimiser.zero_grad(set_to_none=True)
    targets = batch.targets.to(engine.device)  # no copy: the loader has put them there
    images = batch.images.to(engine.device)
    if engine.graph is not None:
        work, whole = partial(_compute, engine, batch), len(images) == engine.batch_size
        found = engine.graph.run(work, images, targets, rate=rate, whole=whole)
    else:
        for group in engine.optimiser.param_groups:
            group.update(lr=rate, capturable=False)  # a checkpoint of recorded steps has it set
        found = _compute(engine, batch, images, targets)
    if engine.average is not None:  # not in the graph: while that runs, the host has time
        engine.average.update()
    return found


def _compute(
    engine: Engine, batch: Batch, images: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """What a graph records: it waits for nothing, and reads of `batch` no more than the boxes."""
    known = sum_over_processes(losses.known_count(targets).float(), engine.processes)
    class_counts = engine.class_counts
    if engine.auc_margin is not None:
        class_counts = sum_over_processes(losses.count_classes(targets), engine.processes)
    loss_sum = torch.zeros((), device=engine.device)
    n_boxed = _count_boxed(engine, batch) if engine.config.pointing.boxes else None
    # batch norm's running statistics as they are now, where fp16 may leave the step out
    before = [_flat(buffers) for buffers in engine.buffers] if engine.scaler else []
    parts = _micro_batches(engine, images, targets)
    for number, part in enumerate(parts):
        kept_here: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        if engine.parallel is not None and part is not parts[-1]:
            kept_here = engine.parallel.no_sync()  # gradients are exchanged after the last part
        with kept_here:
            logits, maps = _forward(engine, part[0])
            loss = losses.label_loss(
                logits,
                part[1],
                engine.config.loss,
                policies=engine.policies,
                pos_weight=engine.pos_weight,
                class_counts=class_counts,
                auc_margin=engine.auc_margin,
            )
            if n_boxed is not None and maps is not None:
                first = number * (engine.micro_batch_size or len(images))
                weight = engine.config.pointing.weight * known.clamp(min=1.0) / n_boxed
                loss = loss + weight * _boxes_sum(engine, batch, maps, first)
            # DistributedDataParallel averages over processes; the loss is a sum over them
            scaled = loss / known.clamp(min=1.0) * engine.processes.world_size
            torch.autograd.backward(engine.scaler.scale(scaled) if engine.scaler else scaled)
        loss_sum += loss.detach()
    if engine.auc_margin is not None and engine.processes.are_many:
        for parameter in engine.auc_margin.parameters():
            if parameter.grad is not None:
                sum_over_processes(parameter.grad, engine.processes)
                parameter.grad /= engine.processes.world_size
    _update(engine, before)
    return sum_over_processes(loss_sum, engine.processes), known


def _micro_batches(engine: Engine, images: Tensor, targets: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Parts of this process's rows, as many in every process; one without rows has no targets."""
    size = engine.micro_batch_size or max(len(images), 1)
    starts = range(0, len(images), size)
    parts = [(images[start:][:size], targets[start:][:size]) for start in starts]
    n_parts = max(len(parts), 1)
    if engine.micro_batch_size:
        n_parts = largest_of_processes(n_parts, engine.processes)
    stand_in = images[-1:] if len(images) else images.new_zeros((1, *images.shape[1:]))
    nothing = stand_in, targets.new_full((1, *targets.shape[1:]), float("nan"))
    return parts + [nothing] * (n_parts - len(parts))


def _count_boxed(engine: Engine, batch: Batch) -> Tensor:
    """Labels with a box of all processes, less those that augmentation has moved out; 1 or more."""
    n_here = torch.zeros((), device=engine.device)
    if batch.cover is not None:
        n_here += batch.cover.to(engine.device).flatten(1).any(dim=1).sum()
    return sum_over_processes(n_here, engine.processes).clamp(min=1.0)


def _boxes_sum(engine: Engine, batch: Batch, maps: Tensor, first: int) -> Tensor:
    """The pointing loss summed over images from `first` on; their `maps` (B, n_outputs, h, w)."""
    if batch.pairs is None or batch.cover is None:
        return maps.new_zeros(())
    positions = batch.pairs[:, 0]  # on the CPU, so that no GPU is waited for
    here = ((positions >= first) & (positions < first + len(maps))).nonzero()[:, 0]
    images, columns = place_tensor(batch.pairs[here], engine.device).T
    chosen = losses.binary_logits(maps, engine.policies)[images - first, columns]
    cover = batch.cover.to(engine.device)[place_tensor(here, engine.device)]
    shares = cover.float()[:, None] / 255
    cells = F.adaptive_avg_pool2d(shares, (maps.shape[2], maps.shape[3]))[:, 0]
    return losses.pointing_loss(chosen, cells, engine.config.pointing).sum()


def _forward(engine: Engine, images: Tensor) -> tuple[Tensor, Tensor | None]:
    """Logits, and the class maps where these are taught."""
    compiled = engine.config.runtime.compile  # the compiler brings its own kernels
    fast = fast_depthwise(engine.device, "fp32" if compiled else engine.precision)
    # compiled for one number of images; not for one image, as a compiler ignores hooks
    usual = min(engine.micro_batch_size or engine.batch_size, engine.batch_size)
    if engine.config.runtime.compile_mode == "reduce-overhead":
        usual = engine.batch_size  # its graphs write over gradients that add up: pytorch#169545
    called = engine.forward if not compiled or 1 < len(images) == usual else engine.plain
    lone = contextlib.nullcontext() if len(images) > 1 else _lone()
    with autocast(engine.device, engine.precision), fast, lone:
        found = called(images)
    return found if isinstance(found, tuple) else (found, None)


@contextlib.contextmanager
def _lone() -> Iterator[None]:
    """While one image passes, a batch norm that sees one value a channel takes its running ones.

    torch refuses the variance of one value; of an image twice a DenseNet's gradients overflow.
    """
    changed: list[nn.Module] = []

    def choose(module: nn.Module, given: tuple[Tensor]) -> None:
        is_norm = isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm)
        if is_norm and module.training and given[0].numel() == given[0].shape[1]:
            module.training = False
            changed.append(module)

    try:
        with register_module_forward_pre_hook(choose):
            yield
    finally:
        for module in changed:
            module.training = True


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([one.flatten() for one in tensors])


def _update(engine: Engine, before: list[Tensor]) -> None:
    clip_norm = engine.config.optim.clip_norm
    if clip_norm is not None:
        if engine.scaler is not None:
            engine.scaler.unscale_(engine.optimiser)
        nn.utils.clip_grad_norm_(engine.network.parameters(), clip_norm)
    if engine.scaler is not None:
        engine.scaler.step(engine.optimiser)
        found = engine.scaler._found_inf_per_device(engine.optimiser).values()
        engine.skipped = torch.stack([value.reshape(()) for value in found]).sum() > 0
        # what overflowed has gone into the running statistics too, for good
        for buffers, old in zip(engine.buffers, before, strict=True):
            kept = torch.where(engine.skipped, old, _flat(buffers))
            parts = torch.split(kept, [one.numel() for one in buffers])
            shaped = [part.view(one.shape) for part, one in zip(parts, buffers, strict=True)]
            torch._foreach_copy_(buffers, shaped)
        engine.scaler.update()
    else:
        engine.optimiser.step()


def step_seed(seed: int, epoch: int, step: int, rank: int) -> int:
    """Seed of dropout and stochastic depth, a function of its arguments alone."""
    key = f"{seed},{epoch},{step},{rank}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") >> 1
