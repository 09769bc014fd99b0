"""Networks with fresh weights, whole or from the top down: what a map must not look like."""

import copy
from collections.abc import Sequence
from itertools import zip_longest

import torch
from torch import nn

from pulmonet.models.networks import Ensemble


def weight_stages(network: nn.Module) -> list[tuple[str, list[str]]]:
    """The parts of a network from its last layer to its first, with their parameters' names.

    A part that holds over half of all parameters is split into its children, so that a
    backbone in one Sequential is not randomised at one blow. Of an ensemble, a part is that part
    of every member, counted from the last layer.
    """
    if isinstance(network, Ensemble):
        of_members = [weight_stages(member) for member in network.members]
        return [
            (
                ", ".join(dict.fromkeys(stage for stage, _ in parts if stage)),
                [f"members.{n}.{name}" for n, (_, own) in enumerate(parts) for name in own],
            )
            for parts in zip_longest(*of_members, fillvalue=("", []))
        ]
    total = sum(parameter.numel() for parameter in network.parameters())

    def split(module: nn.Module, prefix: str) -> list[tuple[str, list[str]]]:
        stages = []
        for name, child in module.named_children():
            path = f"{prefix}{name}"
            own = [f"{path}.{key}" for key, _ in child.named_parameters()]
            if not own:
                continue
            size = sum(parameter.numel() for parameter in child.parameters())
            parts = [c for c in child.children() if any(True for _ in c.parameters())]
            if size > total / 2 and len(parts) > 2:
                stages += split(child, f"{path}.")
            else:
                stages.append((path, own))
        return stages

    return split(network, "")[::-1]


def randomised(
    network: nn.Module, names: Sequence[str] | None = None, *, seed: int = 0
) -> nn.Module:
    """A copy with fresh weights, in eval mode.

    Matrices and kernels get He's normal weights, which keep the signal's size from layer to
    layer; normalisations become the identity; biases become 0. Fresh weights of one seed do not
    depend on which parts are randomised: `names`, parameters, with the running statistics beside
    them; None takes all.
    """
    fresh = copy.deepcopy(network)
    chosen = {name for name, _ in network.named_parameters()} if names is None else set(names)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in fresh.named_parameters():
            if parameter.ndim >= 2:  # drawn in any case: the same draws, whatever is chosen
                deviation = float(2.0 / parameter[0].numel()) ** 0.5
                value = torch.empty(parameter.shape).normal_(0.0, deviation, generator=generator)
            else:
                value = torch.full_like(parameter, 0.0 if name.endswith("bias") else 1.0)
            if name in chosen:
                parameter.copy_(value)
        for name, buffer in fresh.named_buffers():
            module, _, kind = name.rpartition(".")
            if f"{module}.weight" in chosen and kind == "running_mean":
                buffer.zero_()
            elif f"{module}.weight" in chosen and kind == "running_var":
                buffer.fill_(1.0)
    return fresh.eval()
