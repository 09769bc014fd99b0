"""EMA of the weights: an exponential moving average over the steps."""

import copy
from typing import Any

import torch
from torch import nn


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
        self.decay, self.n_updates = decay, 0
        both = [(*each.parameters(), *each.buffers()) for each in (self.module, network)]
        self._floats, self._counts = (
            [[one for one in each if one.is_floating_point() == wanted] for each in both]
            for wanted in (True, False)
        )

    @torch.no_grad()
    def update(self) -> None:
        """Take in the network's weights after an optimiser step."""
        decay = min(self.decay, (1 + self.n_updates) / (10 + self.n_updates))
        averages, weights = self._floats
        torch._foreach_lerp_(averages, weights, 1 - decay)
        own, counts = self._counts
        if own:
            torch._foreach_copy_(own, counts)
        self.n_updates += 1

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint: ``n_updates`` and ``weights``, a plain state_dict."""
        return {"n_updates": self.n_updates, "weights": self.module.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`'s value; KeyError, RuntimeError: of another network."""
        self.module.load_state_dict(state["weights"])
        self.n_updates = int(state["n_updates"])
