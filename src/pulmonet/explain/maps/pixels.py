"""Attributions on the pixels themselves: integrated gradients and occlusion."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from pulmonet.arrays import Floats32
from pulmonet.models.networks import as_array


@dataclass(frozen=True)
class RawMaps:
    """What a method gives for a batch of images."""

    logits: Floats32  # (B, n_outputs) float32, of the unchanged images
    raw: Floats32  # (B, L, h, w) float32, signed: before ReLU, at the method's own resolution


def integrated_gradients(
    network: nn.Module,
    images: Tensor,
    columns: Sequence[int],
    batch_size: int = 8,
    *,
    n_steps: int = 32,
    baseline: float = 0.0,
) -> RawMaps:
    """Gradients of the logit, averaged on the way from a black image, times the difference.

    The attributions of an image sum to the logit's change from the baseline, up to the error of
    the midpoint rule. Source: Sundararajan et al. 2017, eq. 1.

    `network`, `images` and `columns` are as in `explain_images`; a pass takes `batch_size` of the
    rule's `n_steps` points; `baseline` is the reference's grey, 0-255.

    Returns:
        Logits and signed (B, L, S, S) attributions, in logits per pixel.
    """
    positions = (torch.arange(n_steps, device=images.device) + 0.5) / n_steps
    logits: list[Tensor] = []
    maps: list[Tensor] = []
    for image in images.float():
        difference = image - baseline
        totals = torch.zeros(len(columns), *image.shape[1:], device=images.device)
        for part in torch.split(positions, batch_size):
            points = (baseline + part[:, None, None, None] * difference).requires_grad_()
            with torch.enable_grad():
                outputs = network(points).float()
            for position, column in enumerate(columns):
                (gradients,) = torch.autograd.grad(
                    outputs[:, column].sum(), points, retain_graph=position + 1 < len(columns)
                )
                totals[position] += gradients[:, 0].sum(dim=0)
        with torch.no_grad():
            logits.append(network(image[None]).float()[0])
        maps.append(totals / n_steps * difference[0])
    return RawMaps(as_array(torch.stack(logits)), as_array(torch.stack(maps)))


@torch.no_grad()
def occlusion(
    network: nn.Module,
    images: Tensor,
    columns: Sequence[int],
    batch_size: int = 32,
    *,
    n_cells: int = 14,
) -> RawMaps:
    """How far the logit falls when a patch is covered with the image's mean grey.

    The square is cut into n_cells x n_cells cells; a patch covers its cell and half a cell around
    it, so neighbouring patches overlap. Source: Zeiler and Fergus 2014.

    `network`, `images` and `columns` are as in `explain_images`; all columns come from the same
    passes, of `batch_size` covered images.

    Returns:
        Logits and signed (B, L, n_cells, n_cells) falls of the logit.
    """
    side = images.shape[-1]
    edges = torch.linspace(0, side, n_cells + 1)
    margin = side / n_cells / 2
    low = (edges[:-1] - margin).round().long().clamp(min=0).tolist()
    high = (edges[1:] + margin).round().long().clamp(max=side).tolist()
    cells = [(row, column) for row in range(n_cells) for column in range(n_cells)]
    logits = network(images.float()).float()
    maps: list[Tensor] = []
    for image, own in zip(images.float(), logits, strict=True):
        covered: list[Tensor] = []
        for start in range(0, len(cells), batch_size):
            part = cells[start : start + batch_size]
            batch = image.repeat(len(part), 1, 1, 1)
            for position, (row, column) in enumerate(part):
                batch[position, :, low[row] : high[row], low[column] : high[column]] = image.mean()
            covered.append(network(batch).float()[:, list(columns)])
        falls = own[list(columns)] - torch.cat(covered)
        maps.append(falls.T.reshape(len(columns), n_cells, n_cells))
    return RawMaps(as_array(logits), as_array(torch.stack(maps)))


def smooth(raw: Floats32, n_cells: int = 56) -> Floats32:
    """Positive attributions averaged over a grid of cells, which is what an eye can follow.

    (..., S, S) becomes (..., n_cells, n_cells) float32; a smaller S stays as it is.
    """
    side = raw.shape[-1]
    if side <= n_cells:
        return raw
    # a Gaussian of one cell's width, then the cells' means
    flat, width = np.maximum(raw, 0).reshape(-1, side, side), side / n_cells
    blurred = gaussian_filter(flat, width, mode="nearest", truncate=3, axes=(1, 2))
    cells = F.adaptive_avg_pool2d(torch.from_numpy(blurred), n_cells)
    return cells.numpy().reshape(*raw.shape[:-2], n_cells, n_cells)
