"""Model soup: the mean of the weights of several trainings from the same first weights."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pulmonet.data.loading import Batch
from pulmonet.errors import ArtifactError


class ModelSoup:
    """A uniform soup (Wortsman et al. 2022, "Model soups").

    Fine-tunings of the same pretrained weights mostly end in one basin of the loss, so that their
    mean is a network about as good as the mean of their scores, at the cost of one. Batch norm's
    running means and variances are averaged alike (whole-number buffers are copied), and measured
    anew for the last soup: `measure_batch_norm`.

    Attributes:
        module: the mean of the members so far, in eval mode, without gradients.
        n_members: how many that are.
        is_whole: whether the last member has been added and the next not begun: then `module` is
            what the run has come to.
    """

    def __init__(
        self, network: nn.Module, optimiser: torch.optim.Optimizer, loss: nn.Module | None
    ) -> None:
        """Remember where every member starts: a network with its first weights, nothing learned."""
        self.module = copy.deepcopy(network).eval().requires_grad_(False)
        self.n_members = 0
        self.is_whole = False
        self._first = copy.deepcopy(network.state_dict())
        self._first_optimiser = copy.deepcopy(optimiser.state_dict())
        self._first_loss = copy.deepcopy(loss.state_dict()) if loss is not None else {}

    @torch.no_grad()
    def add(self, network: nn.Module) -> None:
        """Take in a trained member: mean <- mean + (member - mean) / n."""
        self.n_members += 1
        for mean, tensor in zip(_tensors(self.module), _tensors(network), strict=True):
            if mean.is_floating_point() and self.n_members > 1:
                mean.lerp_(tensor, 1.0 / self.n_members)
            else:
                mean.copy_(tensor)
        self.is_whole = True

    def restart(
        self, network: nn.Module, optimiser: torch.optim.Optimizer, loss: nn.Module | None
    ) -> None:
        """Put everything back to where the first member started."""
        network.load_state_dict(self._first)
        optimiser.load_state_dict(copy.deepcopy(self._first_optimiser))
        if loss is not None:
            loss.load_state_dict(self._first_loss)
        self.is_whole = False

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint: how many members, their mean, and the first weights."""
        return {
            "n_members": self.n_members,
            "is_whole": self.is_whole,
            "weights": self.module.state_dict(),
            "first": self._first,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`'s value.

        Raises:
            ArtifactError: the state belongs to another network.
        """
        try:
            self.module.load_state_dict(state["first"])  # it fits, or this raises
            self._first = copy.deepcopy(self.module.state_dict())
            self.module.load_state_dict(state["weights"])
            self.n_members, self.is_whole = int(state["n_members"]), bool(state["is_whole"])
        except (KeyError, TypeError, RuntimeError) as error:
            raise ArtifactError(
                "checkpoint: its model soup does not fit this network "
                f"({str(error).splitlines()[0]}); resume with the configuration it was made with"
            ) from None


@torch.no_grad()
def measure_batch_norm(network: nn.Module, batches: Iterable[Batch], device: torch.device) -> None:
    """Set batch norm's running statistics to the mean over `batches` (Izmailov et al. 2018).

    Averaged weights give other activations than any of their members, and the mean of the
    members' statistics does not describe them. In fp32, as the network will be used.

    Args:
        network: in eval mode, where it stays.
        batches: images (B, 1, S, S), of one size: each batch counts as much.
        device: where the network is.
    """
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch's word for a plain mean
        layer.train()
    for batch in batches:
        network(batch.images.to(device))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()


def _tensors(network: nn.Module) -> list[Tensor]:
    return [tensor.detach() for tensor in (*network.parameters(), *network.buffers())]
