"""One optimiser step: micro-batches, mixed precision, several processes, out of memory."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pulmonet.config import RunConfig
from pulmonet.data.loading import Batch
from pulmonet.errors import TrainingError
from pulmonet.models.inference import autocast
from pulmonet.training.distributed import Processes, sum_over_processes
from pulmonet.training.ema import WeightAverage
from pulmonet.training.losses import AucMargin, count_classes, known_count, label_loss
from pulmonet.training.optimisers import build_optimiser

#: Pixels from which the last feature map has more than one position. Below, batch norm refuses a
#: single image, which is then shown twice.
SMALLEST_LONE_IMAGE = 64


@dataclass
class Engine:
    """What a step works on.

    Attributes:
        network: the bare network, whose state_dict is saved.
        forward: the same, perhaps compiled and wrapped for several processes.
        optimiser: over the network's (and the AUC margin's) parameters.
        scaler: of fp16, alive through the whole run; None otherwise.
        average: of the weights, or None.
        auc_margin: state of the loss aucm, or None.
        device: where the network is.
        precision: fp32, bf16 or fp16.
        processes: this process among its peers.
        policies: L uncertainty policies, which decide the head's layout.
        pos_weight: (L,) on the device, or None.
        class_counts: (2, L) of the training rows, for balanced-bce, or None.
        micro_batch_size: images per forward pass of this process; 0 = all at once.
        notify: told of what a user should know (micro-batches halved).
    """

    network: nn.Module
    forward: Callable[[Tensor], Tensor]
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler | None
    average: WeightAverage | None
    auc_margin: AucMargin | None
    device: torch.device
    precision: str
    processes: Processes
    policies: Sequence[str]
    pos_weight: Tensor | None
    class_counts: Tensor | None
    micro_batch_size: int
    notify: Callable[[str], None]


def build_engine(
    network: nn.Module,
    config: RunConfig,
    *,
    device: torch.device,
    precision: str,
    processes: Processes,
    policies: Sequence[str],
    pos_weight: Tensor | None,
    class_counts: Tensor | None,
    notify: Callable[[str], None],
) -> Engine:
    """Everything around a network that is already on its device with its first weights."""
    auc_margin = None
    if config.loss.name == "aucm":
        auc_margin = AucMargin(len(policies), config.loss.aucm_margin).to(device)
    if processes.are_many and device.type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    forward: Any = torch.compile(network) if config.runtime.compile else network
    if processes.are_many:
        ids = [device.index] if device.type == "cuda" else None
        forward = DistributedDataParallel(forward, device_ids=ids)
    micro = config.optim.micro_batch_size
    return Engine(
        network=network,
        forward=cast(Callable[[Tensor], Tensor], forward),
        optimiser=build_optimiser(
            network,
            config.optim,
            device.type,
            auc_margin,
            epoch_decay=config.loss.aucm_epoch_decay,
        ),
        scaler=torch.amp.GradScaler(device.type) if precision == "fp16" else None,
        average=WeightAverage(network, config.optim.ema_decay) if config.optim.ema_decay else None,
        auc_margin=auc_margin,
        device=device,
        precision=precision,
        processes=processes,
        policies=policies,
        pos_weight=None if pos_weight is None else pos_weight.to(device),
        class_counts=None if class_counts is None else class_counts.to(device),
        micro_batch_size=max(1, micro // processes.world_size) if micro else 0,
        notify=notify,
    )


def train_step(
    engine: Engine, batch: Batch, config: RunConfig, *, learning_rate: float, seed: int
) -> tuple[Tensor, Tensor]:
    """One optimiser step on this process's share of the global batch.

    Out of memory halves the micro-batch and does the step again; batch norm then sees
    micro-batches, the loss weighting stays what it was.

    Args:
        engine: changed in place.
        batch: this process's rows; may be empty in the last step of an epoch.
        config: of the run.
        learning_rate: of this step.
        seed: of dropout and stochastic depth in this step.

    Returns:
        The sum of the loss over all processes' known targets, and their number: float32
        scalars on the device, not synchronised.

    Raises:
        TrainingError: out of memory with one image at a time.
    """
    while True:
        try:
            return _try_step(engine, batch, config, learning_rate, seed)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            now = engine.micro_batch_size or len(batch.rows)
            if now <= 1 or engine.processes.are_many:
                raise TrainingError(
                    f"{engine.device}: out of memory with {now} images at a time; use a smaller "
                    "--image-size, another --model, or --set optim.micro_batch_size=N"
                ) from None
            engine.micro_batch_size = max(1, now // 2)
        engine.optimiser.zero_grad(set_to_none=True)
        if engine.device.type == "cuda":
            torch.cuda.empty_cache()
        engine.notify(
            f"out of memory: going on with micro-batches of {engine.micro_batch_size} images "
            "(same effective batch; batch norm sees the micro-batches)"
        )


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)


def _try_step(
    engine: Engine, batch: Batch, config: RunConfig, learning_rate: float, seed: int
) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    for group in engine.optimiser.param_groups:
        group["lr"] = learning_rate
    engine.optimiser.zero_grad(set_to_none=True)
    targets = batch.targets.to(engine.device, non_blocking=True)
    images = batch.images.to(engine.device, non_blocking=True)
    known = sum_over_processes(known_count(targets).float(), engine.processes)
    class_counts = engine.class_counts
    if engine.auc_margin is not None:
        class_counts = sum_over_processes(count_classes(targets), engine.processes)
    loss_sum = torch.zeros((), device=engine.device)
    size = engine.micro_batch_size or max(len(batch.rows), 1)
    starts = list(range(0, max(len(batch.rows), 1), size))
    for start in starts:
        part = slice(start, start + size)
        with _gradients_kept_here(engine, is_last=start == starts[-1]):
            loss = _loss_of(engine, images[part], targets[part], config, class_counts)
            # DistributedDataParallel averages over processes; the loss is a sum over them
            scaled = loss / known.clamp(min=1.0) * engine.processes.world_size
            torch.autograd.backward(engine.scaler.scale(scaled) if engine.scaler else scaled)
        loss_sum += loss.detach()
    _share_margin_gradients(engine)
    _update(engine, config)
    return sum_over_processes(loss_sum, engine.processes), known


def _loss_of(
    engine: Engine, images: Tensor, targets: Tensor, config: RunConfig, class_counts: Tensor | None
) -> Tensor:
    is_empty = len(images) == 0
    if is_empty:  # every process has to take part in the exchange of gradients
        images = images.new_zeros((1, *images.shape[1:]))
        targets = targets.new_full((1, *targets.shape[1:]), float("nan"))
    n_rows = len(images)
    if n_rows == 1 and images.shape[-1] < SMALLEST_LONE_IMAGE:
        images = images.expand(2, *images.shape[1:])
    with autocast(engine.device, engine.precision):
        logits = engine.forward(images)[:n_rows]
    return label_loss(
        logits,
        targets,
        config.loss,
        policies=engine.policies,
        pos_weight=engine.pos_weight,
        class_counts=class_counts,
        auc_margin=engine.auc_margin,
    )


def _gradients_kept_here(
    engine: Engine, *, is_last: bool
) -> contextlib.AbstractContextManager[Any]:
    if isinstance(engine.forward, DistributedDataParallel) and not is_last:
        return cast(contextlib.AbstractContextManager[Any], engine.forward.no_sync())
    return contextlib.nullcontext()


def _share_margin_gradients(engine: Engine) -> None:
    if engine.auc_margin is None or not engine.processes.are_many:
        return
    for parameter in engine.auc_margin.parameters():
        if parameter.grad is not None:
            sum_over_processes(parameter.grad, engine.processes)
            parameter.grad /= engine.processes.world_size


def _update(engine: Engine, config: RunConfig) -> None:
    if config.optim.clip_norm is not None:
        if engine.scaler is not None:
            engine.scaler.unscale_(engine.optimiser)
        nn.utils.clip_grad_norm_(engine.network.parameters(), config.optim.clip_norm)
    if engine.scaler is not None:
        engine.scaler.step(engine.optimiser)
        engine.scaler.update()
    else:
        engine.optimiser.step()
    if engine.average is not None:
        engine.average.update(engine.network)


def step_seed(seed: int, epoch: int, step: int, rank: int) -> int:
    """Seed of dropout and stochastic depth, a function of its arguments alone."""
    key = f"{seed},{epoch},{step},{rank}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") >> 1
