"""Sanity checks: an edge detector fails, Grad-CAM passes, and ROAD imputes as its authors do."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pytorch_grad_cam.metrics.road import NoisyLinearImputer, neighbors_weights
from scipy.sparse.linalg import spsolve
from scipy.stats import norm, spearmanr
from torch import Tensor, nn

from pulmonet.explain.checks.sanity import (
    PASS_BELOW,
    cascade,
    impute,
    randomised,
    rank_correlation,
    road,
    weight_stages,
)
from pulmonet.explain.maps.methods import explain_images
from pulmonet.explain.results import Comparison, RoadCurve, SanityStage
from pulmonet.figures.sanity import draw_sanity
from pulmonet.models.networks import Ensemble, build_network


def edges(network: nn.Module, images: Tensor, columns: Sequence[int]) -> NDArray[np.float32]:
    """A method that ignores the network: the same edges whatever the weights."""
    maps = [np.abs(cv2.Laplacian(image[0].numpy().astype(np.float32), cv2.CV_32F))
            for image in images]  # fmt: skip
    return np.repeat(np.stack(maps)[:, None], len(columns), axis=1)


def gradcam(network: nn.Module, images: Tensor, columns: Sequence[int]) -> NDArray[np.float32]:
    # at 32 pixels the last map is one cell; here it has 8 x 8
    return explain_images(network, images, columns, layer="layer1").raw


def blobs(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images whose label is whether a bright blob lies somewhere."""
    generator = np.random.default_rng(seed)
    images = generator.normal(90, 12, (n, 1, 32, 32))
    targets = np.arange(n) % 2
    for row in range(n):
        centre = generator.integers(6, 26, 2)
        if targets[row]:
            y, x = np.mgrid[:32, :32]
            distance = (y - centre[0]) ** 2 + (x - centre[1]) ** 2
            images[row, 0] += 120 * np.exp(-distance / 15)
    return torch.from_numpy(images.clip(0, 255)).float(), torch.from_numpy(targets).float()


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    """A ResNet-18-sized timm network that has learnt to find blobs: a few seconds."""
    pytest.importorskip("timm")
    torch.manual_seed(0)
    network = build_network("timm:resnet10t", 1)
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    for step in range(20):
        images, targets = blobs(16, seed=step)
        loss = F.binary_cross_entropy_with_logits(network(images)[:, 0], targets)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert loss.item() < 0.4, "the network has learnt nothing: the test below would be void"
    return network.eval()


def test_an_edge_detector_fails_and_grad_cam_passes(trained: nn.Module) -> None:
    images, _ = blobs(20, seed=99)
    ignoring = cascade(trained, images, [0], edges, n_seeds=1)
    assert ignoring.passed is False and ignoring.outcome() == "FAILED"
    assert ignoring.value == pytest.approx(1.0)
    assert all(stage.mean == pytest.approx(1.0) for stage in ignoring.stages)

    result = cascade(trained, images, [0], gradcam, n_seeds=3)
    assert result.passed and result.outcome() == "passed"
    assert result.value is not None and result.value < PASS_BELOW
    assert len(result.stages) == len(weight_stages(trained)) > 4
    assert result.stages[-1].n == 20 * 3


@pytest.mark.parametrize(
    ("n", "cells", "outcome"),
    [
        (20, (5, 5), None),
        (19, (5, 5), "too few maps to tell: 19 (20 needed)"),
        (20, (4, 9), "too coarse to tell: maps of 4 x 9 cells (5 x 5 needed)"),
    ],
)
def test_few_or_coarse_maps_give_no_verdict(
    trained: nn.Module, n: int, cells: tuple[int, int], outcome: str | None
) -> None:
    def noise(network: nn.Module, images: Tensor, columns: Sequence[int]) -> NDArray[np.float32]:
        generator = np.random.default_rng(int(1e6 * abs(next(network.parameters()).sum())))
        return generator.random((len(images), len(columns), *cells)).astype(np.float32)

    images = blobs(n, 0)[0]
    result = cascade(trained, images, [0], noise, n_seeds=1)
    assert (result.passed is None) == (outcome is not None)
    assert result.outcome() == (outcome or "passed")
    maps = [noise(one, images, [0]) for one in (trained, randomised(trained, seed=0))]
    pairs = zip(*maps, strict=True)
    alike = [abs(spearmanr(a.ravel(), b.ravel()).statistic) for a, b in pairs]
    last = result.stages[-1]
    assert last.mean == pytest.approx(np.mean(alike), abs=1e-6)
    assert last.standard_error == pytest.approx(np.std(alike, ddof=1) / n**0.5, abs=1e-6)


def test_an_interval_that_holds_the_threshold_gives_no_verdict(trained: nn.Module) -> None:
    """Of half of the maps, which ignore the network, and half, which are noise of each network."""
    fixed = np.random.default_rng(0).random((10, 1, 6, 6))

    def half(network: nn.Module, images: Tensor, columns: Sequence[int]) -> NDArray[np.float32]:
        generator = np.random.default_rng(int(1e6 * abs(next(network.parameters()).sum())))
        noise = generator.random((len(images) - 10, len(columns), 6, 6))
        return np.concatenate([fixed, noise]).astype(np.float32)

    images = blobs(20, 0)[0]
    result = cascade(trained, images, [0], half, n_seeds=1)
    maps = [half(one, images, [0]) for one in (trained, randomised(trained, seed=0))]
    pairs = zip(*maps, strict=True)
    alike = np.abs([spearmanr(a.ravel(), b.ravel()).statistic for a, b in pairs])
    low, high = norm.interval(0.95, alike.mean(), alike.std() / 19**0.5)
    assert low < PASS_BELOW < high < 1
    assert result.passed is None and f"{low:.2f}–{high:.2f} holds 0.5" in result.outcome()
    ends = result.stages[-1].estimate()
    assert (ends.low, ends.high) == pytest.approx((low, high), abs=1e-4)
    assert result.stages[-1].model_copy(update={"standard_error": None}).estimate().low is None


@pytest.mark.parametrize(
    ("mean", "below"), [(0.39, True), (0.41, None), (0.59, None), (0.61, False)]
)
def test_a_verdict_needs_the_whole_interval(mean: float, below: bool | None) -> None:
    stage = SanityStage(stage="conv1", mean=mean, standard_error=0.1 / 1.96)
    assert stage.is_below(PASS_BELOW) is below


def test_an_edge_detector_with_the_networks_sign_fails(trained: nn.Module) -> None:
    """A mean of signed correlations is about 0 there, whatever the maps show."""
    images, _ = blobs(8, seed=99)

    def signed(network: nn.Module, images: Tensor, columns: Sequence[int]) -> NDArray[np.float32]:
        (weights,) = [one for one in network.parameters() if one.ndim == 2]  # the classifier's
        signs = np.sign(weights[0, : len(images)].detach().numpy())[:, None, None, None]
        return np.asarray(signs * edges(network, images, columns), np.float32)

    pairs = [signed(one, images, [0]) for one in (trained, randomised(trained, seed=0))]
    correlations = [rank_correlation(*maps) for maps in zip(*(p[:, 0] for p in pairs), strict=True)]
    assert np.mean(correlations) < PASS_BELOW  # of both signs, or this would test nothing
    result = cascade(trained, images, [0], signed, n_seeds=1)
    assert not result.passed
    assert result.value == pytest.approx(1.0)


def test_a_method_of_constant_maps_does_not_pass(trained: nn.Module) -> None:
    """Nothing to correlate is no evidence of dependence."""

    def nothing(network: nn.Module, images: Tensor, columns: Sequence[int]) -> NDArray[np.float32]:
        return np.zeros((len(images), len(columns), 5, 5), np.float32)

    result = cascade(trained, blobs(20, 0)[0], [0], nothing, n_seeds=1)
    assert result.value is None
    assert result.passed is False


def test_rank_correlation_is_scipys() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.integers(0, 6, (2, 7, 7)).astype(float)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a.ravel(), b.ravel()).statistic)
    assert np.isnan(rank_correlation(np.ones((7, 7)), b))


@pytest.mark.parametrize("name", ["densenet121", "efficientnet_b0", "resnet50"])
def test_stages_go_from_the_classifier_to_the_first_layer_and_miss_nothing(name: str) -> None:
    network = build_network(name, 3)
    stages = weight_stages(network)
    names = [own for _, part in stages for own in part]
    assert sorted(names) == sorted(key for key, _ in network.named_parameters())
    assert 5 <= len(stages) <= 16
    assert "classifier" in stages[0][0] or stages[0][0] == "fc"
    assert stages[-1][0].endswith(("conv0", "conv1", "0"))


def test_a_stage_of_an_ensemble_is_that_stage_of_every_member() -> None:
    ensemble = Ensemble([build_network("resnet50", 3) for _ in range(2)])
    stages = weight_stages(ensemble)
    assert [name for name, _ in stages] == [name for name, _ in weight_stages(ensemble.members[0])]
    names = [own for _, part in stages for own in part]
    assert sorted(names) == sorted(key for key, _ in ensemble.named_parameters())
    assert sorted(stages[0][1])[0] == "members.0.fc.bias"
    assert sorted(stages[0][1])[-1] == "members.1.fc.weight"


def test_stages_of_unlike_members_are_counted_from_the_classifier() -> None:
    ensemble = Ensemble([build_network("resnet50", 3), build_network("timm:test_efficientnet", 3)])
    stages = weight_stages(ensemble)
    names = [own for _, part in stages for own in part]
    assert sorted(names) == sorted(key for key, _ in ensemble.named_parameters())
    assert stages[0][0] == "fc, classifier"
    assert {name.split(".")[1] for name in stages[0][1]} == {"0", "1"}


def test_randomised_networks_leave_the_original_alone_and_keep_the_signal_alive() -> None:
    torch.manual_seed(1)
    network = build_network("densenet121", 4).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    images = torch.randint(0, 256, (2, 1, 64, 64), generator=torch.Generator().manual_seed(0))
    fresh = randomised(network, seed=5)
    same, other = randomised(network, seed=5), randomised(network, seed=6)
    with torch.no_grad():
        a, b, c = fresh(images), same(images), other(images)
    torch.testing.assert_close(a, b)
    assert not torch.allclose(a, c)
    assert (a.std(dim=0) > 1e-4).all(), "two images give two answers"
    assert a.abs().max() < 1e6
    for key, value in network.state_dict().items():
        torch.testing.assert_close(value, before[key])
    head = randomised(network, ["classifier.weight", "classifier.bias"], seed=5).state_dict()
    assert not torch.equal(head["classifier.weight"], before["classifier.weight"])
    assert torch.equal(head["classifier.weight"], fresh.state_dict()["classifier.weight"])
    assert torch.equal(head["features.conv0.weight"], before["features.conv0.weight"])


@pytest.mark.parametrize("share", [0.2, 0.7])
def test_imputation_is_that_of_the_authors(share: float) -> None:
    generator = np.random.default_rng(2)
    image = generator.normal(size=(17, 23))
    removed = generator.random(image.shape) < share
    removed[0, 0] = True
    # the authors' system of equations; their solver's wrapper does not run with NumPy 2
    system, right = NoisyLinearImputer.setup_sparse_system(
        (~removed).astype(float), image[None], neighbors_weights
    )
    expected = image.copy()
    expected[removed] = spsolve(system.tocsc(), right[:, 0])
    found = impute(image, removed, np.zeros(image.shape))
    np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_array_equal(found[~removed], image[~removed])


def test_road_prefers_a_map_that_shows_what_counts() -> None:
    class Corner(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return (images[:, 0, :6, :6].mean(dim=(1, 2))[:, None] - 60) / 10

    image = torch.full((1, 1, 24, 24), 30.0)
    image[0, 0, :6, :6] = 120
    right = np.zeros((1, 24, 24), np.float32)
    right[0, :6, :6] = 1
    wrong = np.zeros((1, 24, 24), np.float32)
    wrong[0, 12:, 12:] = 1
    good = road(Corner().eval(), image, [(0, 0)], right)
    bad = road(Corner().eval(), image, [(0, 0)], wrong)
    assert good.gain > 0.4
    assert good.gain > bad.gain + 0.3
    assert good.most_relevant_first[0] < good.least_relevant_first[0]


def test_the_figure_of_a_check_is_a_png(trained: nn.Module, drawn_figures: None) -> None:
    result = cascade(trained, blobs(2, 0)[0], [0], gradcam, n_seeds=1)
    curve = RoadCurve(removed=[0.1, 0.9], most_relevant_first=[0.5, 0.2],
                      least_relevant_first=[0.6, 0.5], gain=0.2, n=1)  # fmt: skip
    other = Comparison(run="shuffled", shuffled_labels=True, correlation=0.1, passed=True)
    full = result.model_copy(update={"road": curve, "against": other})
    for shown in (result, full):
        png = draw_sanity(shown, "gradcam", is_synthetic=True)
        decoded = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
        assert decoded.shape[0] > 300
        assert decoded.std() > 10
