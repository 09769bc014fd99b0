"""Integrated gradients and occlusion against plain loops, on a network small enough for them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pulmonet.explain.maps.pixels import integrated_gradients, occlusion, smooth


class Tiny(nn.Module):
    """A smooth network of grey pixels with two outputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.conv = nn.Conv2d(1, 4, 5, stride=2)
        self.head = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.head(F.softplus(self.conv(images.float() / 255)).mean(dim=(2, 3)))
        return found


def image_of(side: int = 28) -> Tensor:
    return torch.randint(0, 256, (2, 1, side, side), generator=torch.Generator().manual_seed(0))


def test_integrated_gradients_sum_to_the_change_of_the_logit() -> None:
    network, images = Tiny().eval(), image_of().to(torch.uint8)
    found = integrated_gradients(network, images, [0, 1], n_steps=64)
    with torch.no_grad():
        change = (network(images) - network(torch.zeros_like(images))).numpy()
    np.testing.assert_allclose(found.raw.sum(axis=(2, 3)), change, rtol=1e-3, atol=1e-5)
    with torch.no_grad():
        np.testing.assert_allclose(found.logits, network(images).numpy(), rtol=1e-5)


def test_integrated_gradients_are_those_of_a_plain_loop() -> None:
    network, images = Tiny().eval(), image_of().to(torch.uint8)
    found = integrated_gradients(network, images, [1], n_steps=5, batch_size=2)
    total = torch.zeros(28, 28)
    for step in range(5):
        point = ((step + 0.5) / 5 * images[:1].float()).requires_grad_()
        (gradient,) = torch.autograd.grad(network(point)[0, 1], point)
        total += gradient[0, 0]
    expected = total / 5 * images[0, 0]
    np.testing.assert_allclose(found.raw[0, 0], expected.numpy(), rtol=1e-4, atol=1e-7)


def test_occlusion_is_the_fall_of_the_logit_patch_by_patch() -> None:
    network, images = Tiny().eval(), image_of().to(torch.uint8)
    found = occlusion(network, images, [1, 0], n_cells=4, batch_size=3)
    with torch.no_grad():
        own = network(images.float())
        for row in range(4):
            for column in range(4):
                covered = images[1:].float().clone()
                # cells of 7 pixels with 3.5 around them; round() takes halves to the even number
                top, bottom = max(round(row * 7 - 3.5), 0), min(round(row * 7 + 10.5), 28)
                left, right = max(round(column * 7 - 3.5), 0), min(round(column * 7 + 10.5), 28)
                covered[:, :, top:bottom, left:right] = images[1].float().mean()
                fall = own[1, 1] - network(covered)[0, 1]
                np.testing.assert_allclose(found.raw[1, 0, row, column], fall, atol=1e-5)


def test_occlusion_points_at_the_pixels_that_count() -> None:
    class Corner(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images[:, 0, 2:6, 20:24].mean(dim=(1, 2))[:, None]

    image = torch.full((1, 1, 28, 28), 10.0)
    image[0, 0, 2:6, 20:24] = 250
    raw = occlusion(Corner(), image, [0], n_cells=7).raw[0, 0]
    assert np.unravel_index(raw.argmax(), raw.shape) in {(0, 5), (1, 5), (0, 4), (1, 4)}
    assert raw[4:, :3].max() <= 0


def test_smoothed_attributions_keep_their_place() -> None:
    raw = np.zeros((1, 1, 224, 224), np.float32)
    raw[0, 0, 60, 180] = 5.0
    raw[0, 0, 150, 20] = -5.0
    cells = smooth(raw)
    assert cells.shape == (1, 1, 56, 56)
    assert np.unravel_index(cells[0, 0].argmax(), (56, 56)) == (15, 45)
    assert cells.min() >= 0
    small = np.zeros((1, 1, 40, 40), np.float32)
    assert smooth(small) is small
