"""The model soup against a plain mean."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn

from pulmonet.data.loading import Batch
from pulmonet.errors import ArtifactError
from pulmonet.training.soup import ModelSoup, measure_batch_norm


def _network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 2))


def _train(network: nn.Module, optimiser: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(3):
        optimiser.zero_grad()
        loss = network.train()(torch.randn((4, 1, 8, 8), generator=generator)).square().mean()
        loss.backward()
        optimiser.step()


def _brew(n_members: int) -> tuple[ModelSoup, list[dict[str, torch.Tensor]]]:
    torch.manual_seed(0)
    network = _network()
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.1)
    soup = ModelSoup(network, optimiser, None)
    members = []
    for seed in range(n_members):
        soup.restart(network, optimiser, None)
        _train(network, optimiser, seed)
        soup.add(network)
        members.append(copy.deepcopy(network.state_dict()))
    return soup, members


def test_the_soup_is_the_plain_mean_of_its_members() -> None:
    soup, members = _brew(3)
    for name, mean in soup.module.state_dict().items():
        if mean.is_floating_point():
            expected = torch.stack([member[name] for member in members]).mean(0)
            torch.testing.assert_close(mean, expected)
        else:
            assert mean == members[-1][name]
    assert not soup.module.training
    assert not any(parameter.requires_grad for parameter in soup.module.parameters())


def test_every_member_starts_alike() -> None:
    """The same steps after a restart end in the same bits: the optimiser's moments are gone too."""
    torch.manual_seed(0)
    network = _network()
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.1)
    soup = ModelSoup(network, optimiser, None)
    found = []
    for _ in range(2):
        soup.restart(network, optimiser, None)
        _train(network, optimiser, seed=7)
        found.append(copy.deepcopy(network.state_dict()))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_a_soup_goes_on_from_its_checkpoint() -> None:
    soup, _ = _brew(2)
    buffer = io.BytesIO()
    torch.save(soup.state_dict(), buffer)
    buffer.seek(0)
    torch.manual_seed(5)
    network = _network()  # other first weights: those of the checkpoint count
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.1)
    again = ModelSoup(network, optimiser, None)
    again.load_state_dict(torch.load(buffer, weights_only=True))
    assert (again.n_members, again.is_whole) == (2, True)
    for which in (soup, again):
        which.restart(network, optimiser, None)
        _train(network, optimiser, seed=2)
        which.add(network)
    found, expected = again.module.state_dict(), soup.module.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    with pytest.raises(ArtifactError, match="does not fit"):
        ModelSoup(
            nn.Linear(2, 2), torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=1), None
        ).load_state_dict(soup.state_dict())


def test_batch_norm_is_measured_as_a_plain_mean_over_batches() -> None:
    torch.manual_seed(0)
    network = _network().eval()
    images = [torch.rand((4, 1, 8, 8)) for _ in range(3)]
    batches = [Batch(pixels, torch.zeros((4, 0)), torch.arange(4).numpy()) for pixels in images]
    measure_batch_norm(network, batches, torch.device("cpu"))
    with torch.no_grad():
        maps = [network[0](pixels) for pixels in images]
    mean = torch.stack([each.mean((0, 2, 3)) for each in maps]).mean(0)
    variance = torch.stack([each.var((0, 2, 3)) for each in maps]).mean(0)
    torch.testing.assert_close(network[1].running_mean, mean)
    torch.testing.assert_close(network[1].running_var, variance)
    assert network[1].momentum == 0.1
    assert not any(module.training for module in network.modules())
