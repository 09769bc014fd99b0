"""The exponential moving average of a network's weights."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """Average of the weights over the steps: average <- d * average + (1 - d) * weights.

    d = min(decay, (1 + n) / (10 + n)) after n updates, as in TensorFlow's
    `ExponentialMovingAverage(num_updates)`: a short run would otherwise end on an average that
    still holds its first, untrained weights. Batch norm's running means and variances are
    averaged alike; whole-number buffers (its batch counter) are copied. `module` is the averaged
    network in eval mode. Not torch's `AveragedModel`: it takes the first weights over as they
    are, and its decay knows no n, so every run with an average would end in other bits.
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
        pairs = list(zip(_tensors(self.module), _tensors(network), strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        get_ema_multi_avg_fn(decay)(*zip(*floats, strict=True), 0)  # type: ignore[no-untyped-call]
        for average, tensor in pairs:
            if not average.is_floating_point():
                average.copy_(tensor)
        self.n_updates += 1

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint: ``n_updates`` and ``weights``, a plain state_dict."""
        return {"n_updates": self.n_updates, "weights": self.module.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`'s value; KeyError, RuntimeError: of another network."""
        self.module.load_state_dict(state["weights"])
        self.n_updates = int(state["n_updates"])


def _tensors(network: nn.Module) -> list[Tensor]:
    return [tensor.detach() for tensor in (*network.parameters(), *network.buffers())]
