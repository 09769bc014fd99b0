"""The exponential moving average of a network's weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from pulmonet.errors import ArtifactError
from pulmonet.words import first_line


class WeightAverage:
    """Average of the weights over the steps: average <- d * average + (1 - d) * weights.

    d = min(decay, (1 + n) / (10 + n)) after n updates, as in TensorFlow's
    `ExponentialMovingAverage(num_updates)`: a short run would otherwise end on an average that
    still holds its first, untrained weights. Batch norm's running means and variances are
    averaged alike; whole-number buffers (its batch counter) are copied.

    Attributes:
        module: the averaged network in eval mode, without gradients: validate with this one.
        n_updates: updates so far.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        """Start from the weights of the bare network (no DDP or compiled wrapper around it)."""
        self.module = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.n_updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights after an optimiser step."""
        decay = min(self.decay, (1 + self.n_updates) / (10 + self.n_updates))
        averages, current = _tensors(self.module), _tensors(network)
        is_float = [tensor.is_floating_point() for tensor in current]
        average_many = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        average_many(
            tuple(average for average, keep in zip(averages, is_float, strict=True) if keep),
            tuple(tensor for tensor, keep in zip(current, is_float, strict=True) if keep),
            0,
        )
        for average, tensor, keep in zip(averages, current, is_float, strict=True):
            if not keep:
                average.copy_(tensor)
        self.n_updates += 1

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint: ``n_updates`` and ``weights``, a plain state_dict."""
        return {"n_updates": self.n_updates, "weights": self.module.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`'s value.

        Raises:
            ArtifactError: the state belongs to another network.
        """
        try:
            self.module.load_state_dict(state["weights"])
            self.n_updates = int(state["n_updates"])
        except (KeyError, TypeError, RuntimeError) as error:
            raise ArtifactError(
                "checkpoint: its weight average does not fit this network "
                f"({first_line(error)}); resume with the configuration it was made with"
            ) from None


def _tensors(network: nn.Module) -> list[Tensor]:
    return [tensor.detach() for tensor in (*network.parameters(), *network.buffers())]
