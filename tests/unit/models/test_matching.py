"""Which tensor of a file is which of a network: wrappers, other libraries' names, wrong ones."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn

from pulmonet.errors import ArtifactError
from pulmonet.models.matching import backbone_keys, check_match, match_keys
from pulmonet.models.networks import build_network, classifier_path

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return build_network("resnet50", 5)


@pytest.fixture(scope="module")
def state() -> State:
    """Other weights of the same network, with 14 outputs."""
    torch.manual_seed(1)
    return torchvision.models.resnet50(num_classes=14).state_dict()


def prefixed(state: State, prefix: str) -> State:
    return {prefix + key: tensor for key, tensor in state.items()}


PREFIXES = (
    *("_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model._orig_mod.", "net.", "m.0."),
    *("encoder.", "module.resnet50.", "state_dict.model.backbone.", "network.", "a.b.c.d.e.f."),
)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_any_prefix_is_taken_away(prefix: str, network: nn.Module, state: State) -> None:
    match = match_keys(prefixed(state, prefix), network, "resnet50")
    assert (match.prefix, match.how) == (prefix, "by name")
    assert match.n_fit == len(backbone_keys(network)) == 265
    assert all(value == prefix + key for key, value in match.keys.items())


def test_the_average_is_taken_where_both_are_there(network: nn.Module, state: State) -> None:
    both = prefixed(state, "state_dict.") | prefixed(state, "state_dict_ema.module.")
    assert match_keys(both, network, "resnet50").prefix == "state_dict_ema.module."
    half = {key: tensor for key, tensor in both.items() if "ema" not in key or "layer1" in key}
    assert match_keys(half, network, "resnet50").prefix == "state_dict."


def test_a_state_of_the_optimiser_is_no_match(network: nn.Module, state: State) -> None:
    moments = {f"optimizer.state.{n}.exp_avg": t for n, t in enumerate(state.values())}
    match = match_keys(moments | prefixed(state, "net."), network, "resnet50")
    assert (match.prefix, match.n_fit) == ("net.", 265)


def _monai(state: State) -> State:
    """What MONAI calls DenseNet's tensors."""
    renamed = {re.sub(r"(denselayer\d+)\.", r"\1.layers.", k): v for k, v in state.items()}
    return {k.replace("classifier.", "class_layers.out."): v for k, v in renamed.items()}


def _old(state: State) -> State:
    """What torchvision 0.2 called them, and CheXNet's files do."""
    return {re.sub(r"(\.(?:norm|conv))([12]\.)", r"\1.\2", k): v for k, v in state.items()}


@pytest.mark.parametrize("rename", [_monai, _old])
@pytest.mark.parametrize("is_shuffled", [False, True])
def test_other_names_of_a_densenet(rename: Callable[[State], State], is_shuffled: bool) -> None:
    theirs = torchvision.models.densenet121(num_classes=14).state_dict()
    renamed = prefixed(rename(theirs), "module.")
    if is_shuffled:  # as safetensors sorts them
        renamed = dict(sorted(renamed.items()))
    network = build_network("densenet121", 5)
    match = match_keys(renamed, network, "densenet121")
    assert match.n_fit == len(backbone_keys(network))
    taken = {key: renamed[found] for key, found in match.keys.items()}
    assert all(taken[key] is theirs[key] for key in backbone_keys(network))


PAIRS = (
    ("efficientnet_b0", "timm:efficientnet_b0"),
    ("timm:efficientnet_b0", "efficientnet_b0"),
    ("timm:tf_efficientnet_b0", "efficientnet_b0"),
    ("densenet121", "timm:densenet121"),
    ("timm:resnet50", "resnet50"),
)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@pytest.mark.parametrize("is_shuffled", [False, True])
def test_names_of_the_other_library(ours: str, theirs: str, is_shuffled: bool) -> None:
    """Both give the same logits afterwards, so that nothing was taken for something else."""
    pytest.importorskip("timm")
    torch.manual_seed(2)
    source, network = build_network(theirs, 3).eval(), build_network(ours, 3).eval()
    for module in (source, network):
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eps = 1e-3
    theirs_state = source.state_dict()
    if is_shuffled:
        theirs_state = dict(sorted(theirs_state.items()))
    match = match_keys(theirs_state, network, ours)
    assert match.n_fit == len(backbone_keys(network))
    taken = {k: theirs_state[v] for k, v in match.keys.items()}
    weight, bias = (theirs_state[f"{classifier_path(source)}.{n}"] for n in ("weight", "bias"))
    head = classifier_path(network)
    taken |= {f"{head}.weight": weight, f"{head}.bias": bias}
    network.load_state_dict(taken, strict=False)
    images = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(3)) * 255
    if not ours.startswith("timm:tf_"):  # which pads otherwise
        with torch.inference_mode():
            torch.testing.assert_close(network(images), source(images), rtol=1e-3, atol=1e-4)


def test_a_sequence_of_its_parts_is_recognised_in_order(network: nn.Module, state: State) -> None:
    plain = torchvision.models.resnet50(num_classes=14)
    plain.load_state_dict(state)
    parts = nn.Sequential(*list(plain.children())[:-1]).state_dict()
    match = match_keys(prefixed(parts, "model."), network, "resnet50")
    assert match.how == "in order, kind and shape alike"
    for key, found in match.keys.items():
        assert torch.equal(parts[found.removeprefix("model.")], state[key])


def test_another_order_is_never_taken_for_this_one(network: nn.Module, state: State) -> None:
    """Hugging Face's ResNet has the shortcut of a block before its layers."""
    blocks: dict[str, list[str]] = {}
    for key in state:
        blocks.setdefault(re.sub(r"(layer\d\.\d+)\..*", r"\1", key), []).append(key)
    order = [
        key for keys in blocks.values() for key in sorted(keys, key=lambda k: "downsample" not in k)
    ]
    renamed = {f"p{n}.{key.rpartition('.')[2]}": state[key] for n, key in enumerate(order)}
    with pytest.raises(ArtifactError, match="0 of the 265 tensors"):
        check_match(match_keys(renamed, network, "resnet50"), renamed, network, "x.pth")


def refused(state: State, network: nn.Module, name: str) -> str:
    with pytest.raises(ArtifactError) as caught:
        check_match(match_keys(state, network, name), state, network, "x.pth")
    return str(caught.value)


def test_too_few_tensors_show_the_first_keys_of_both(network: nn.Module, state: State) -> None:
    one = {"bn1.weight": state["bn1.weight"], "foo": torch.ones(3)}
    said = refused(one, network, "resnet50")
    assert "x.pth: 1 of the 265 tensors of ResNet before its classifier fit" in said
    assert "95% are needed" in said
    assert "the file's first others: foo 3" in said
    assert "the network's: conv1.weight 64×3×7×7, bn1.bias 64" in said
    few = {key: tensor for key, tensor in state.items() if not key.startswith("layer4.2")}
    assert "250 of the 265" in refused(few, network, "resnet50")


def test_other_shapes_and_larger_networks_are_no_start(network: nn.Module, state: State) -> None:
    larger = torchvision.models.resnet101(num_classes=5).state_dict()
    said = refused(prefixed(larger, "net."), network, "resnet50")
    assert "a larger network, with 255 tensors more" in said and "net.layer3.6.conv1.weight" in said
    wide = state | {"conv1.weight": torch.zeros(64, 4, 7, 7)}
    assert "conv1.weight 64×4×7×7, here 64×3×7×7" in refused(wide, network, "resnet50")
    other = torchvision.models.densenet121(num_classes=5).state_dict()
    assert refused(other, network, "resnet50").startswith("x.pth: 0 of the 265")
