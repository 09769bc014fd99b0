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

from pulmonet.config import OptimConfig, RunConfig
from pulmonet.data.loading import Batch
from pulmonet.errors import TrainingError
from pulmonet.models.inference import autocast
from pulmonet.models.networks import Ensemble
from pulmonet.training.depthwise import fast_depthwise
from pulmonet.training.distributed import Processes, largest_of_processes, sum_over_processes
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
        architecture: name of the network's, which in an ensemble may change from member to member.
        network: the bare network, whose state_dict is saved.
        forward: the same, perhaps compiled and wrapped for several processes.
        optimiser: over the network's (and the AUC margin's) parameters.
        scaler: of fp16, alive through the whole run; None otherwise.
        average: of the weights, or None.
        ensemble: the members of a deep ensemble that are done, as `own_state` has them, on the
            device, in eval mode; None for a single network.
        first_weights: the number of a member -> a network with the weights that it starts from.
        auc_margin: state of the loss aucm, or None.
        device: where the network is.
        precision: fp32, bf16 or fp16.
        processes: this process among its peers.
        policies: uncertainty policies of the L labels and the auxiliary ones behind them; they
            decide the head's layout.
        n_labels: L; outputs behind those are learned from, and neither scored nor exported.
        pos_weight: (L,) on the device, or None.
        class_counts: (2, L) of the training rows, for balanced-bce, or None.
        micro_batch_size: images per forward pass of this process; 0 = all at once.
        notify: told of what a user should know (micro-batches halved).
        is_halved: whether `micro_batch_size` was made smaller for want of memory.
        skipped: whether fp16 left the last step out for a non-finite gradient, bool scalar on
            the device; None in other precisions.
    """

    architecture: str
    network: nn.Module
    forward: Callable[[Tensor], Tensor]
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler | None
    average: WeightAverage | None
    ensemble: Ensemble | None
    first_weights: Callable[[int], nn.Module] | None
    auc_margin: AucMargin | None
    device: torch.device
    precision: str
    processes: Processes
    policies: Sequence[str]
    n_labels: int
    pos_weight: Tensor | None
    class_counts: Tensor | None
    micro_batch_size: int
    notify: Callable[[str], None]
    is_halved: bool = False
    skipped: Tensor | None = None

    @property
    def result(self) -> nn.Module:
        """What the training of `network` has come to: the network, or its average."""
        return self.network if self.average is None else self.average.module


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
    n_labels: int | None = None,
    first_weights: Callable[[int], nn.Module] | None = None,
) -> Engine:
    """Everything around a network that is already on its device with its first weights.

    `n_labels` is the number of policies where None: no auxiliary labels. `first_weights` is
    needed for ensembles only.
    """
    auc_margin = None
    if config.loss.name == "aucm":
        auc_margin = AucMargin(len(policies), config.loss.aucm_margin).to(device)
    network, forward = _wrapped(network, config, device, processes)
    optimiser = build_optimiser(
        network, config.optim, device.type, auc_margin, epoch_decay=config.loss.aucm_epoch_decay
    )
    return Engine(
        architecture=config.model.name,
        network=network,
        forward=forward,
        optimiser=optimiser,
        scaler=torch.amp.GradScaler(device.type) if precision == "fp16" else None,
        average=WeightAverage(network, config.optim.ema_decay) if config.optim.ema_decay else None,
        ensemble=Ensemble().eval() if config.model.members > 1 else None,
        first_weights=first_weights,
        auc_margin=auc_margin,
        device=device,
        precision=precision,
        processes=processes,
        policies=policies,
        n_labels=len(policies) if n_labels is None else n_labels,
        pos_weight=None if pos_weight is None else pos_weight.to(device),
        class_counts=None if class_counts is None else class_counts.to(device),
        micro_batch_size=micro_batch_share(config.optim, processes),
        notify=notify,
    )


def _wrapped(
    network: nn.Module, config: RunConfig, device: torch.device, processes: Processes
) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """The network, its batch norm shared among GPUs, and what a step calls in its place."""
    if processes.are_many and device.type == "cuda":
        network = with_shared_batch_norm(network)
    forward: Any = torch.compile(network) if config.runtime.compile else network
    if processes.are_many:
        ids = [device.index] if device.type == "cuda" else None
        forward = DistributedDataParallel(forward, device_ids=ids)
    return network, cast(Callable[[Tensor], Tensor], forward)


def start_member(engine: Engine, config: RunConfig, member: int) -> None:
    """Everything that learns back to a start, from first weights of the member's own."""
    if engine.first_weights is None:
        raise ValueError("an ensemble needs first_weights")
    network, architecture = engine.first_weights(member), config.model.member(member).name
    if architecture == engine.architecture:
        engine.network.load_state_dict(network.state_dict())  # what was compiled for it stays
    else:
        engine.network, engine.forward = _wrapped(network, config, engine.device, engine.processes)
        engine.architecture = architecture
    margin = engine.auc_margin
    if margin is not None:
        margin.load_state_dict(AucMargin(len(engine.policies), margin.margin).state_dict())
    engine.optimiser = build_optimiser(
        engine.network,
        config.optim,
        engine.device.type,
        margin,
        epoch_decay=config.loss.aucm_epoch_decay,
    )
    if engine.scaler is not None:
        engine.scaler = torch.amp.GradScaler(engine.device.type)
    if config.optim.ema_decay is not None:
        engine.average = WeightAverage(engine.network, config.optim.ema_decay)


def micro_batch_share(optim: OptimConfig, processes: Processes) -> int:
    """Images per forward pass of one process, from the number for all; 0 = all at once."""
    if optim.micro_batch_size is None:
        return 0
    return max(1, optim.micro_batch_size // processes.world_size)


def with_shared_batch_norm(network: nn.Module) -> nn.Module:
    """`network`, its batch norm layers seeing the batch of all processes (CUDA only).

    timm's layers do norm and activation in one, and torch's own conversion would drop the
    activation: timm brings one that keeps it.
    """
    convert: Any = nn.SyncBatchNorm.convert_sync_batchnorm
    if any(type(module).__module__.startswith("timm.") for module in network.modules()):
        import timm.layers

        convert = timm.layers.convert_sync_batchnorm  # type: ignore[attr-defined]
    return cast(nn.Module, convert(network))


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
            if not is_out_of_memory(error):
                raise
            now = engine.micro_batch_size or len(batch.rows)
            if now <= 1 or engine.processes.are_many:
                raise TrainingError(
                    f"{engine.device}: out of memory with {now} images at a time; use a smaller "
                    "--image-size, another --model, or --set optim.micro_batch_size=N"
                ) from None
            engine.micro_batch_size = max(1, now // 2)
            engine.is_halved = True
        engine.optimiser.zero_grad(set_to_none=True)
        if engine.device.type == "cuda":
            torch.cuda.empty_cache()
        engine.notify(
            f"out of memory: going on with micro-batches of {engine.micro_batch_size} images "
            "(same effective batch; batch norm sees the micro-batches)"
        )


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA's own class; the CPU's, MPS's and cuDNN's are plain RuntimeErrors."""
    words = ("not enough memory", "out of memory", "ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in words)


def _try_step(
    engine: Engine, batch: Batch, config: RunConfig, learning_rate: float, seed: int
) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    for group in engine.optimiser.param_groups:
        group["lr"] = learning_rate
    engine.optimiser.zero_grad(set_to_none=True)
    targets = batch.targets.to(engine.device)  # no copy: the loader has put them there
    images = batch.images.to(engine.device)
    known = sum_over_processes(known_count(targets).float(), engine.processes)
    class_counts = engine.class_counts
    if engine.auc_margin is not None:
        class_counts = sum_over_processes(count_classes(targets), engine.processes)
    loss_sum = torch.zeros((), device=engine.device)
    statistics = _batch_statistics(engine)
    parts = _micro_batches(engine, len(batch.rows))
    for part in parts:
        with _gradients_kept_here(engine, is_last=part is parts[-1]):
            loss = _loss_of(engine, *_rows_of(images, targets, part), config, class_counts)
            # DistributedDataParallel averages over processes; the loss is a sum over them
            scaled = loss / known.clamp(min=1.0) * engine.processes.world_size
            torch.autograd.backward(engine.scaler.scale(scaled) if engine.scaler else scaled)
        loss_sum += loss.detach()
    _share_margin_gradients(engine)
    _update(engine, config, statistics)
    return sum_over_processes(loss_sum, engine.processes), known


def _micro_batches(engine: Engine, n_rows: int) -> list[slice]:
    """Parts of this process's rows: as many in every process, since each part is an exchange."""
    size = engine.micro_batch_size or max(n_rows, 1)
    n_parts = max(-(-n_rows // size), 1)
    if engine.micro_batch_size:
        n_parts = largest_of_processes(n_parts, engine.processes)
    return [slice(start * size, (start + 1) * size) for start in range(n_parts)]


def _rows_of(images: Tensor, targets: Tensor, part: slice) -> tuple[Tensor, Tensor]:
    """A part's images and targets; one image without known targets where no row is left."""
    if part.start < len(images):
        return images[part], targets[part]
    stand_in = images[-1:] if len(images) else images.new_zeros((1, *images.shape[1:]))
    return stand_in, targets.new_full((1, *targets.shape[1:]), float("nan"))


def _loss_of(
    engine: Engine, images: Tensor, targets: Tensor, config: RunConfig, class_counts: Tensor | None
) -> Tensor:
    n_rows = len(images)
    if n_rows == 1 and images.shape[-1] < SMALLEST_LONE_IMAGE:
        images = images.expand(2, *images.shape[1:])
    with autocast(engine.device, engine.precision), _fast_convolutions(engine, config):
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


def _fast_convolutions(engine: Engine, config: RunConfig) -> contextlib.AbstractContextManager[Any]:
    if config.runtime.compile:  # the compiler brings its own kernels
        return contextlib.nullcontext()
    return fast_depthwise(engine.device, engine.precision)


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


def _batch_statistics(engine: Engine) -> list[Tensor]:
    """Batch norm's running statistics as they are now, where fp16 may leave the step out."""
    if engine.scaler is None:
        return []
    return [buffer.clone() for buffer in engine.network.buffers()]


def _update(engine: Engine, config: RunConfig, statistics: list[Tensor]) -> None:
    if config.optim.clip_norm is not None:
        if engine.scaler is not None:
            engine.scaler.unscale_(engine.optimiser)
        nn.utils.clip_grad_norm_(engine.network.parameters(), config.optim.clip_norm)
    if engine.scaler is not None:
        engine.scaler.step(engine.optimiser)
        found = engine.scaler._found_inf_per_device(engine.optimiser).values()
        engine.skipped = torch.stack([value.reshape(()) for value in found]).sum() > 0
        # what overflowed has gone into the running statistics too, for good
        for buffer, before in zip(engine.network.buffers(), statistics, strict=True):
            buffer.copy_(torch.where(engine.skipped, before, buffer))
        engine.scaler.update()
    else:
        engine.optimiser.step()
    if engine.average is not None:
        engine.average.update(engine.network)


def step_seed(seed: int, epoch: int, step: int, rank: int) -> int:
    """Seed of dropout and stochastic depth, a function of its arguments alone."""
    key = f"{seed},{epoch},{step},{rank}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") >> 1
