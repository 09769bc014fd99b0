"""What one training run moves: network, optimiser, loss and averages."""

import inspect
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pulmonet.arrays import Floats32
from pulmonet.choices import ENCODER
from pulmonet.config.fields import OptimConfig, RunConfig
from pulmonet.errors import TrainingError
from pulmonet.models.frozen import head_of
from pulmonet.models.networks import Ensemble, WithClassMaps
from pulmonet.training.distributed import Processes
from pulmonet.training.ema import WeightAverage
from pulmonet.training.graph import StepGraph
from pulmonet.training.losses import AucMargin, balanced_pos_weight, count_classes
from pulmonet.training.optimisers import build_optimiser

#: Below so many images a GPU, batch norm takes its statistics from those of all GPUs: each of its
#: layers then waits for all.
FEW_IMAGES = 16


class Engine:
    """What a step works on.

    Attributes:
        network: the bare network, whose state_dict is saved.
        resting: modules with parameters, none of which is trained: never in training mode.
        parallel: the same, wrapped for several processes; None for one. Of a network whose class
            maps are taught the wrapped one gives these, too (`WithClassMaps`).
        plain: what is called, before it is compiled; the head alone behind a frozen encoder.
        forward: `plain`, perhaps compiled.
        ensemble: the members of a deep ensemble that are done, as `own_state` has them, on the
            device, in eval mode; None for a single network.
        policies: uncertainty policies of the L labels and the auxiliary ones behind them; they
            decide the head's layout.
        n_labels: L; outputs behind those are trained, and neither scored nor exported.
        pos_weight: (L + A,) on the device, or None.
        class_counts: (2, L + A) of the training rows, for balanced-bce, or None.
        micro_batch_size: images per forward pass of this process; 0 = all at once.
        is_halved: whether `micro_batch_size` was made smaller for want of memory.
        notify: told of what a user should know (micro-batches halved).
        graph: what records steps and replays them, with ``runtime.cuda_graph``; or None.
        skipped: bool scalar on the device, whether fp16 left the last step out for a non-finite
            gradient; None in other precisions.
    """

    def __init__(
        self,
        network: nn.Module,
        config: RunConfig,
        *,
        device: torch.device,
        precision: str,
        processes: Processes,
        policies: Sequence[str],
        notify: Callable[[str], None],
        targets: Floats32 | None = None,
        n_labels: int | None = None,
        ensemble: Ensemble | None = None,
    ) -> None:
        """Put everything around a network that is on its device with its first weights.

        `targets` (n, L + A), of the training rows, are for losses that weigh their classes.
        """
        optim, loss = config.optim, config.loss
        self.config, self.policies, self.processes = config, policies, processes
        self.device, self.precision = device, precision
        self.n_labels = len(policies) if n_labels is None else n_labels
        self.notify = notify
        self.auc_margin: AucMargin | None = None
        if loss.name == "aucm":
            self.auc_margin = AucMargin(len(policies), loss.aucm_margin).to(device)
        on_gpus = processes.are_many and device.type == "cuda"
        is_shared = config.runtime.sync_batch_norm
        if is_shared is None:
            is_shared = optim.batch_size // processes.world_size < FEW_IMAGES
        if on_gpus and is_shared:
            network = with_shared_batch_norm(network)
        self.network, frozen = network, config.model.freeze
        called = network if config.pointing.boxes is None else WithClassMaps(network)
        if frozen == ENCODER:
            called = head_of(network)
        self.resting = [
            module
            for module in network.modules()
            if frozen and {one.requires_grad for one in module.parameters()} == {False}
        ]
        self.parallel = _parallel(called, device) if processes.are_many else None
        self.plain: Any = self.parallel or called
        self.forward: Any = self.plain
        runtime = config.runtime
        if runtime.compile:
            self.forward = torch.compile(self.plain, dynamic=False, mode=runtime.compile_mode)
        self.optimiser = build_optimiser(
            self.network, optim, self.auc_margin, epoch_decay=loss.aucm_epoch_decay
        )
        self.scaler = torch.amp.GradScaler(device.type) if precision == "fp16" else None
        self.average = WeightAverage(self.network, optim.ema_decay) if optim.ema_decay else None
        if runtime.cuda_graph and (processes.are_many or self.scaler is not None):
            what = "runtime.cuda_graph: takes one process, in bf16 or fp32"
            raise TrainingError(f"{what}; leave it out, or set runtime.amp=off")
        self.graph = StepGraph(self.optimiser, device) if runtime.cuda_graph else None
        self.ensemble = ensemble
        self.pos_weight: Tensor | None = None
        if loss.pos_weight == "balanced" and targets is not None:
            weights = balanced_pos_weight(targets, loss.pos_weight_max)
            self.pos_weight = torch.from_numpy(weights).to(device)
        self.class_counts: Tensor | None = None
        if loss.name == "balanced-bce" and targets is not None:
            self.class_counts = count_classes(torch.from_numpy(targets)).to(device)
        self.micro_batch_size = micro_batch_share(optim, processes)
        self.is_halved = False
        self.skipped: Tensor | None = None

    @cached_property
    def buffers(self) -> list[list[Tensor]]:
        """The network's buffers, by type."""
        found = list(self.network.buffers())
        return [[one for one in found if one.dtype == kind] for kind in {b.dtype for b in found}]

    @property
    def batch_size(self) -> int:
        """Images of this process in a step; those of an epoch's last one may be others."""
        size, rest = divmod(self.config.optim.batch_size, self.processes.world_size)
        return size + (self.processes.rank < rest)

    @property
    def result(self) -> nn.Module:
        """What the training of `network` has come to: the network, or its average."""
        return self.network if self.average is None else self.average.module


def _parallel(network: nn.Module, device: torch.device) -> DistributedDataParallel:
    """`network` for several processes."""
    if device.type != "cuda":
        # rank 0's running statistics go to all in every step, as a lone image uses them
        return DistributedDataParallel(network)
    names = {*inspect.signature(DistributedDataParallel).parameters}
    sync = next(iter(names & {"forward_sync_buffers"}), "broadcast_buffers")  # torch's new name
    unshared: Any = {sync: False}
    return DistributedDataParallel(network, device_ids=[device.index], **unshared)


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
