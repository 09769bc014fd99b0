"""Optimisers, and the learning rate as a pure function of the step."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from pulmonet.config.fields import OptimConfig
from pulmonet.training.losses import AucMargin

#: The one-cycle schedule starts at lr / 25 and rises over 30 % of the steps, as torch's default.
ONE_CYCLE_START = 25.0
ONE_CYCLE_WARMUP = 0.3
#: LibAUC 2.0 clips every element of a gradient to [-1, 1] in PESG, and alpha to [0, 999].
PESG_CLIP = 1.0
PESG_LARGEST_ALPHA = 999.0


def build_optimiser(
    network: nn.Module,
    config: OptimConfig,
    loss_parameters: AucMargin | None = None,
    *,
    epoch_decay: float = 0.002,
) -> torch.optim.Optimizer:
    """The optimiser of a run, over the parameters of `network` that require a gradient.

    Weight decay spares biases and the weights of normalisation layers (everything with fewer
    than two dimensions), except in PESG, which follows LibAUC. pesg alone takes
    `loss_parameters`, the state of the aucm loss, and `epoch_decay` (``loss.aucm_epoch_decay``).

    Raises:
        ValueError: pesg without `loss_parameters`.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    if config.name == "pesg":
        if loss_parameters is None:
            raise ValueError("pesg needs loss_parameters, the state of the aucm loss")
        settings = config.model_dump(include={"lr", "momentum", "weight_decay"})
        return PESG(parameters, loss_parameters, **settings, epoch_decay=epoch_decay)
    groups: list[dict[str, Any]] = [{"params": parameters, "weight_decay": 0.0}]
    if config.weight_decay:
        decayed = [p for p in parameters if p.ndim >= 2]
        groups[0]["params"] = [p for p in parameters if p.ndim < 2]
        groups.insert(0, {"params": decayed, "weight_decay": config.weight_decay})
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, fused=True)
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.lr, fused=True)


def learning_rate(config: OptimConfig, step: int, n_steps: int) -> float:
    """Learning rate of one step: a function of the arguments alone, so a resumed run agrees.

    constant: `lr` after a linear rise over `warmup_fraction` of the steps. cosine: the same
    rise, then half a cosine down to `lr * min_lr_fraction` at the last step. one-cycle: half a
    cosine up from lr / 25 and another one down, at the positions of torch's `OneCycleLR` (Smith
    and Topin 2018). `step` is the optimiser step about to be taken, from 0, of `n_steps` of the
    whole run; steps past the end keep the last rate.

    Raises:
        ValueError: a negative step, or a run without steps.
    """
    if step < 0 or n_steps < 1:
        raise ValueError(f"step {step} of {n_steps} steps: neither may be negative or empty")
    last = n_steps - 1
    step = min(step, last)
    lowest = config.lr * config.min_lr_fraction
    if config.schedule == "one-cycle":
        peak = (config.warmup_fraction or ONE_CYCLE_WARMUP) * n_steps - 1
        if step <= peak:
            return _half_cosine(config.lr / ONE_CYCLE_START, config.lr, step / peak if peak else 1)
        return _half_cosine(config.lr, lowest, (step - peak) / (last - peak))
    n_warmup = round(config.warmup_fraction * n_steps)
    if step < n_warmup:
        return config.lr * (step + 1) / n_warmup
    if config.schedule == "constant":
        return config.lr
    return _half_cosine(config.lr, lowest, (step - n_warmup) / max(last - n_warmup, 1))


def finish_epoch(optimiser: torch.optim.Optimizer) -> None:
    """What an optimiser does between epochs: PESG moves its reference; others do nothing."""
    if isinstance(optimiser, PESG):
        optimiser.update_reference()


class PESG(torch.optim.Optimizer):
    """Proximal epoch stochastic gradient (Yuan et al. 2021, algorithm 1), as LibAUC 2.0 does it.

    For the network's weights and the loss's a and b, with g clipped to [-1, 1] per element:

        d = g + epoch_decay * (w - reference) + weight_decay * w
        m = (1 - momentum) * m + momentum * d        (the first m is d)
        w = w - lr * m

    then alpha = clip(alpha + lr * (2 (margin + b - a) - 2 alpha), 0, 999). Mind that `momentum`
    is here the share of the new gradient, as in LibAUC. `update_reference`, called between
    epochs, moves the reference to the mean of the weights since its last call. One departure: the
    reference starts at the initial weights, as in the paper; LibAUC 2.0 starts it at random
    numbers (mean 0, deviation 0.01).

    All state lies in `state` and `param_groups`, so torch's own state_dict is complete.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        auc_margin: AucMargin,
        *,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        epoch_decay: float = 0.002,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        defaults |= {"epoch_decay": epoch_decay, "n_since_reference": 0}
        descending = [*parameters, auc_margin.a, auc_margin.b]
        super().__init__([{"params": descending}, {"params": [auc_margin.alpha]}], defaults)
        self._auc_margin = auc_margin
        for parameter in descending:
            first, none = parameter.detach().clone(), torch.zeros_like(parameter)
            self.state[parameter] = {"reference": first, "sum": none}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One descent of the weights, a and b, then one ascent of alpha."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        descending, ascending = self.param_groups
        for parameter in descending["params"]:
            if parameter.grad is not None:
                self._descend(parameter, parameter.grad, descending)
        descending["n_since_reference"] += 1
        auc = self._auc_margin
        if auc.alpha.grad is not None:
            gap = auc.margin + auc.b - auc.a - auc.alpha
            auc.alpha.add_(gap, alpha=2.0 * ascending["lr"]).clamp_(0.0, PESG_LARGEST_ALPHA)
        return loss

    def _descend(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        change = gradient.clamp(-PESG_CLIP, PESG_CLIP)
        change.add_(parameter - state["reference"], alpha=group["epoch_decay"])
        change.add_(parameter, alpha=group["weight_decay"])
        if group["momentum"] > 0:
            if "momentum" in state:
                change = state["momentum"].lerp_(change, group["momentum"])
            else:
                state["momentum"] = change.clone()
        parameter.sub_(change, alpha=group["lr"])
        state["sum"].add_(parameter)

    @torch.no_grad()
    def update_reference(self) -> None:
        """Move the reference to the mean of the weights since the last call."""
        descending = self.param_groups[0]
        n_steps = descending["n_since_reference"]
        if n_steps == 0:
            return
        for parameter in descending["params"]:
            state = self.state[parameter]
            state["reference"].copy_(state["sum"]).div_(n_steps)
            state["sum"].zero_()
        descending["n_since_reference"] = 0


def _half_cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * progress))
