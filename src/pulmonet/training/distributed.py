"""Several processes under torchrun; one process needs none of it."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from pulmonet.arrays import Floats32
from pulmonet.errors import TrainingError
from pulmonet.words import first_line

#: How gloo, NCCL and the store say that a peer does not answer any more.
_PEER_GONE = re.compile(
    r"(closed|reset) by peer|connection (was )?(refused|aborted)|broken pipe|ncclRemoteError|"
    r"remote process exited|NCCL (communicator was aborted|watchdog)|timed ?out",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Processes:
    """This process among its peers: rank 0 alone writes and speaks; local_rank is which GPU."""

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @property
    def are_many(self) -> bool:
        return self.world_size > 1


@contextmanager
def joined(device_type: str) -> Iterator[Processes]:
    """Join the process group of torchrun, NCCL on CUDA and gloo elsewhere; leave it at the end.

    After an error it is not left: NCCL would wait there for the kernels of its peers, up to 30
    minutes, before anybody reads the message. It ends with the process.

    Raises:
        TrainingError: more processes than GPUs, or another process is gone.
    """
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    processes = Processes()
    if "TORCHELASTIC_RUN_ID" in os.environ and os.environ.keys() >= set(names):
        processes = Processes(*(int(os.environ[name]) for name in names))
    if not processes.are_many:
        yield processes
        return
    if device_type == "cuda":
        if processes.local_rank >= (n_devices := torch.cuda.device_count()):
            what = f"torchrun: process {processes.local_rank} of this machine has no GPU,"
            raise TrainingError(f"{what} there are {n_devices}; lower --nproc-per-node to that")
        torch.cuda.set_device(processes.local_rank)
    backend = "cpu:gloo,cuda:nccl" if device_type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(minutes=30))
    try:
        yield processes
    except RuntimeError as error:
        if not _PEER_GONE.search(str(error)):
            raise
        raise TrainingError(
            f"process {processes.rank} of {processes.world_size}: another process of this torchrun "
            f"has ended, see its message ({first_line(error)[:160]}); resume with --resume"
        ) from None
    dist.destroy_process_group()


def sum_over_processes(value: Tensor, processes: Processes) -> Tensor:
    """The sum of `value` over all processes; `value` itself in one process."""
    if processes.are_many:
        dist.all_reduce(value)
    return value


def largest_of_processes(number: int, processes: Processes) -> int:
    """The largest of all processes' numbers; all get the same answer, no GPU is waited for."""
    largest = torch.tensor([number])
    if processes.are_many:
        dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    return int(largest.item())


def wait_for_all(processes: Processes) -> None:
    largest_of_processes(0, processes)  # NCCL's own barrier would have to guess which GPU is whose


def share_buffers(network: nn.Module, processes: Processes) -> None:
    """Put rank 0's buffers, which are those saved, into every process's network, in place."""
    if processes.are_many:
        for buffer in network.buffers():
            dist.broadcast(buffer, src=0)


def gather_rows(values: Floats32, processes: Processes) -> Floats32:
    """Every process's values (n, L), one below the other in rank order: (N, L)."""
    shares: list[Any] = [values] * processes.world_size
    if processes.are_many:
        dist.all_gather_object(shares, values)
    return np.concatenate(shares)
