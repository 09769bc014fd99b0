"""Sanity checks of heat maps: do they depend on the weights, do they find what counts?

Cascading randomisation (Adebayo et al. 2018): the network's weights are replaced from the
classifier downwards, and the maps compared with the trained network's. A method that ignores
the network keeps its maps and fails.
"""

import copy
from collections.abc import Callable, Sequence
from functools import cache
from itertools import zip_longest

import numpy as np
import torch
from scipy.sparse import csr_array, diags_array, eye_array, kron
from scipy.sparse.linalg import spsolve
from scipy.stats import rankdata
from torch import Tensor, nn

from pulmonet.arrays import Array, Flags, Floats, Floats32
from pulmonet.explain.results import RoadCurve, Sanity, SanityStage
from pulmonet.models.inference import predict, unlabelled
from pulmonet.models.networks import Ensemble

#: (network, images (B, 1, S, S), columns) -> raw maps (B, L, h, w)
Method = Callable[[nn.Module, Tensor, Sequence[int]], Floats32]

#: Mean absolute rank correlation at full randomisation below which maps count as dependent on the
#: weights. Unrelated maps give 0.1 to 0.3, smooth ones more; a method that takes nothing but a
#: sign from the network exactly 1.
PASS_BELOW = 0.5

#: Below this many cells a side, and below this many maps, correlations tell nothing.
MIN_CELLS, MIN_MAPS = 5, 20

STATISTIC = (
    "mean absolute Spearman correlation, over images, labels and seeds, of the signed maps of the "
    "trained and the fully randomised network"
)

REMOVED_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)


def rank_correlation(a: Floats, b: Floats) -> float:
    """Spearman correlation of two maps; NaN where one is constant."""
    ranks = [rankdata(np.asarray(one, np.float64), axis=None) for one in (a, b)]
    x, y = (one - one.mean() for one in ranks)
    norm = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / norm) if norm > 0 else float("nan")


def cascade(
    network: nn.Module,
    images: Tensor,
    columns: Sequence[int],
    method: Method,
    *,
    n_seeds: int = 3,
    progress: Callable[[], object] = lambda: None,
) -> Sanity:
    """Correlations with maps under weights randomised from the top down, and whether it passes.

    The network is in eval mode; `n_seeds` copies of it are randomised per stage. Images are
    (B, 1, S, S) pixels on its device; `progress` is called after every stage and seed.
    """
    trained = method(network, images, columns)
    reason = why_undecided(trained)
    names: list[str] = []
    stages: list[SanityStage] = []
    for stage, own in weight_stages(network):
        names += own
        found: list[float] = []
        for seed in range(n_seeds):
            fresh = method(randomised(network, names, seed=seed), images, columns)
            found += map_correlations(trained, fresh)
            progress()
        stages.append(summarise(stage, found, len(images)))
    passed = stages[-1].is_below(PASS_BELOW) if reason is None else None
    if passed is None and reason is None:
        last = stages[-1].estimate()
        held = f"the 95 % interval {last.interval(2)} holds {PASS_BELOW:g}"
        why = "one image has no interval" if last.low is None else held
        reason = f"undecided: {why}; take more images (--rows)"
    return Sanity(
        statistic=STATISTIC,
        value=stages[-1].mean,
        threshold=PASS_BELOW,
        passed=passed,
        reason=reason,
        n_images=len(images),
        n_seeds=n_seeds,
        stages=stages,
    )


def summarise(name: str, found: list[float], n_images: int) -> SanityStage:
    """Mean, its standard error with images as units, and spread of correlations."""
    if not found:
        return SanityStage(stage=name, mean=None)
    low, high = np.quantile(found, [0.1, 0.9])
    error = float(np.std(found)) / (n_images - 1) ** 0.5 if n_images > 1 else None
    facts = {"mean": float(np.mean(found)), "low": low, "high": high, "standard_error": error}
    return SanityStage(stage=name, n=len(found), **facts)


def why_undecided(maps: Floats) -> str | None:
    """Why ranks of (B, L, h, w) maps cannot tell: too few cells, or too few maps; else None."""
    n_maps, (height, width) = maps.shape[0] * maps.shape[1], maps.shape[-2:]
    if min(height, width) < MIN_CELLS:
        least = f"{MIN_CELLS} x {MIN_CELLS} needed"
        return f"too coarse to tell: maps of {height} x {width} cells ({least})"
    return f"too few maps to tell: {n_maps} ({MIN_MAPS} needed)" if n_maps < MIN_MAPS else None


def map_correlations(a: Floats, b: Floats) -> list[float]:
    """Absolute rank correlations of (B, L, h, w) maps, pair by pair; constant maps are left out.

    Absolute, since a map and its negative show the same places: signs that differ from map to map
    would cancel in a mean.
    """
    maps_a, maps_b = a.reshape(-1, *a.shape[-2:]), b.reshape(-1, *b.shape[-2:])
    found = [rank_correlation(one, other) for one, other in zip(maps_a, maps_b, strict=True)]
    return [abs(value) for value in found if np.isfinite(value)]


def impute(image: Floats, removed: Flags, noise: Floats) -> Array:
    """Removed pixels become the weighted mean of their eight neighbours, plus noise.

    Direct neighbours weigh 1/6, diagonal ones 1/12; the means of removed pixels hang on each
    other, so all are solved for at once. Source: Rong et al. 2022, noisy linear imputation.

    Image, mask, noise, which is added to the imputed values, and the answer (float64) are (H, W).
    """
    gone = removed.ravel()
    weights = _neighbour_weights(*image.shape)[gone]
    own = diags_array(np.asarray(weights.sum(axis=1)).ravel())
    filled = np.array(image, np.float64)
    known = weights[:, ~gone] @ filled.ravel()[~gone]
    filled[removed] = spsolve((own - weights[:, gone]).tocsc(), known) + noise[removed]
    return filled


@cache
def _neighbour_weights(height: int, width: int) -> csr_array:
    """(H x W, H x W): how much each pixel counts for each of its neighbours."""
    sides = (height, width)
    rows, columns = (diags_array([1.0, 1.0], offsets=(-1, 1), shape=(n, n)) for n in sides)
    beside = kron(rows, eye_array(width)) + kron(eye_array(height), columns)
    return csr_array(beside / 6 + kron(rows, columns) / 12)


def road(
    network: nn.Module,
    images: Tensor,
    pairs: Sequence[tuple[int, int]],
    maps: Floats32,
    *,
    seed: int = 0,
    progress: Callable[[], object] = lambda: None,
) -> RoadCurve:
    """Score of the label as pixels are removed, highest of the map first and lowest first.

    Of a network in eval mode and (B, 1, S, S) images, for each pair of image and output and its
    map, (S, S) in [0, 1]; `seed` is of the imputation's noise, `progress` called after every pair.
    """
    generator = np.random.default_rng(seed)
    curves = np.zeros((2, len(REMOVED_SHARES)))
    for (position, column), heat in zip(pairs, maps, strict=True):
        image = images[position, 0].float().cpu().numpy()
        noise = generator.normal(0.0, 0.01 * max(float(image.std()), 1.0), image.shape)
        # ties (a map's many zeros) in random order
        order = np.lexsort((generator.random(heat.size), heat.reshape(-1)))
        variants = []
        for first in (order[::-1], order):
            for share in REMOVED_SHARES:
                removed = np.zeros(heat.size, dtype=bool)
                removed[first[: round(share * heat.size)]] = True
                variants.append(impute(image, removed.reshape(heat.shape), noise))
        pixels = torch.from_numpy(np.stack(variants)[:, None]).float().clamp(0, 255)
        scores = predict(network, [unlabelled(pixels)], device=images.device)[:, column]
        curves += scores.reshape(2, -1)
        progress()
    curves /= max(len(pairs), 1)
    return RoadCurve(
        removed=list(REMOVED_SHARES),
        most_relevant_first=curves[0].tolist(),
        least_relevant_first=curves[1].tolist(),
        gain=float((curves[1] - curves[0]).mean()),
        n=len(pairs),
    )


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
