"""Depthwise convolutions in bf16 on a CPU, with a backward pass that is not slower than fp32.

EfficientNets and MobileNets spend most of a bf16 training step in three backward kernels of
oneDNN that have no fast path: the input's gradient of a strided depthwise convolution, and the
weight's gradient of a 5 x 5 one. Both are sums that fast kernels can form:

* the input's gradient with stride s is a stride-1 convolution of the output's gradient with s - 1
  zeros between its pixels;
* the weight's gradient of a 5 x 5 window is put together from four overlapping 3 x 3 windows.

Rounding is that of bf16 either way. A whole step of EfficientNet-Lite0 (16 images, forward,
backward, AdamW; one core of an AMD EPYC with AVX512-BF16, torch 2.14) gave per processor second
at 160 px 21.7 images in fp32, 22.9 in bf16, 47.7 in bf16 with this; at 224 px 12.6, 13.0, 25.7.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.utils import _pair
from torch.overrides import TorchFunctionMode


def fast_depthwise(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """Around a forward pass: in bf16 on a CPU, depthwise convolutions get the fast backward."""
    if device.type == "cpu" and precision == "bf16":
        return _DepthwiseMode()
    return contextlib.nullcontext()


class _DepthwiseMode(TorchFunctionMode):
    """Sends `torch.conv2d` to `_Depthwise` where it is a plain depthwise one under autocast."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.conv2d and not kwargs and (geometry := _stride_and_padding(args)):
            return _Depthwise.apply(*args[:2], *geometry)
        return func(*args, **(kwargs or {}))


def _stride_and_padding(args: tuple[Any, ...]) -> tuple[int, int] | None:
    """Those of a convolution that `_Depthwise` does, under autocast; None of any other."""
    if len(args) != 7 or not torch.is_autocast_enabled("cpu"):
        return None
    images, weight, bias, *sides, groups = args
    if images.ndim != 4 or not groups == images.shape[1] == len(weight) or bias is not None:
        return None
    geometry = [set(_pair(side)) for side in sides]
    if weight.shape[2:] not in ((3, 3), (5, 5)) or any(len(side) > 1 for side in geometry):
        return None
    stride, padding, dilation = (side.pop() for side in geometry)
    return (stride, padding) if dilation == 1 and padding < weight.shape[-1] else None


class _Depthwise(torch.autograd.Function):
    """conv2d(images (B, C, H, W), weight (C, 1, k, k)) in bf16, k = 3 or 5, without bias."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        images, weight = images.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(images, weight)
        ctx.stride, ctx.padding = stride, padding
        with torch.autocast("cpu", enabled=False):
            return F.conv2d(images, weight, None, stride, padding, 1, images.shape[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        images, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        of_images = of_weight = None
        if ctx.needs_input_grad[0]:
            of_images = images_gradient(gradient, weight, images.shape, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[1]:
            of_weight = weight_gradient(gradient, images, weight.shape[-1], ctx.stride, ctx.padding)
        return of_images, of_weight, None, None


def images_gradient(
    gradient: Tensor, weight: Tensor, shape: Sequence[int], stride: int, padding: int
) -> Tensor:
    """(B, C, H, W) gradient of the input of a depthwise convolution, whose shape is `shape`.

    `gradient` (B, C, H', W') is the output's, channels last; `weight` is (C, 1, k, k); `padding`
    is below k.
    """
    channels, kernel = weight.shape[0], weight.shape[-1]
    if stride > 1:
        batch, _, height, width = shape
        rows, columns = (side + 2 * padding - kernel + 1 for side in (height, width))
        spread = gradient.new_zeros((batch, rows, columns, channels))
        spread[:, ::stride, ::stride] = gradient.permute(0, 2, 3, 1)
        gradient = spread.permute(0, 3, 1, 2)
    return F.conv2d(gradient, weight.flip(2, 3), None, 1, kernel - 1 - padding, 1, channels)


def weight_gradient(
    gradient: Tensor, images: Tensor, kernel: int, stride: int, padding: int
) -> Tensor:
    """(C, 1, k, k) float32 gradient of the weight of a depthwise convolution, k = 3 or 5.

    `gradient` (B, C, H', W') is the output's, `images` (B, C, H, W) the input; channels last.
    """
    if kernel == 3:
        return _small_weight_gradient(gradient, images, stride, padding).float()
    padded = F.pad(images, (padding,) * 4) if padding else images
    height, width = ((side - 1) * stride + 3 for side in gradient.shape[2:])
    whole = images.new_empty((images.shape[1], 1, 5, 5), dtype=torch.float32)
    for top in (0, 2):
        for left in (0, 2):
            window = padded[:, :, top : top + height, left : left + width]
            window = window.contiguous(memory_format=torch.channels_last)
            part = _small_weight_gradient(gradient, window, stride, 0)
            whole[:, :, top : top + 3, left : left + 3] = part
    return whole


def _small_weight_gradient(gradient: Tensor, images: Tensor, stride: int, padding: int) -> Tensor:
    channels = images.shape[1]
    weight = images.new_empty((channels, 1, 3, 3))  # only its shape is read
    found: tuple[Any, Tensor, Any] = torch.ops.aten.convolution_backward(
        *(gradient, images, weight, None, (stride, stride), (padding, padding), (1, 1)),
        *(False, (0, 0), channels, [False, True, False]),
    )
    return found[1]
