"""Which tensor of a file is which of a network, whatever wraps them and whoever named them."""

import contextlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torchvision import models as torchvision_models

from pulmonet.errors import ArtifactError
from pulmonet.models.networks import classifier_path
from pulmonet.words import list_first

#: Fewer of the backbone's tensors are no start.
MIN_SHARE = 0.95

#: Behind the backbone a file that is matched in order may have so many tensors: its head.
MAX_BEHIND = 8

#: Keys of more parts are nobody's.
MAX_PARTS = 30

#: Averaged weights beside the last ones are those that their authors evaluated.
_AVERAGED = re.compile(r"(^|[._])(ema|swa|averaged?)([._]|$)", re.IGNORECASE)

#: What other implementations write between the same words: ``layers.``, ``norm.1``, ``_conv``.
_FILLER = re.compile(r"\blayers\.|(?<=[a-z])\.(?=\d)|(?<![^.])_")


@dataclass(frozen=True)
class Match:
    """Which tensors belong together."""

    keys: dict[str, str]  # the network's key -> the file's
    prefix: str = ""  # what stands before the file's keys
    how: str = "by name"  # by what they were recognised
    n_fit: int = 0  # tensors of the backbone among them, of the same shape
    others: tuple[str, ...] = ()  # what stands before the keys of others that fit as well


def match_keys(state: Mapping[str, Tensor], network: nn.Module, model_name: str) -> Match:
    """The best match: by name behind any prefix, by another library's names, in order.

    In order only where kind and shape of all tensors of the backbone agree one by one, so that
    nothing is taken for something else.
    """
    own, backbone = network.state_dict(), backbone_keys(network)

    def ways() -> Iterator[Match]:
        by_name = partial(_by_name, state=state, own=own, backbone=backbone)
        same = {key: key for key in state}
        yield by_name(same, names={key: key for key in own})
        theirs = {_FILLER.sub("", key): key for key in state}
        yield by_name(theirs, names={_FILLER.sub("", key): key for key in own})
        names = _twin_names(model_name, own, backbone)
        yield by_name(same, names=names, how="by another library's names")
        yield _in_order(state, own, backbone)

    best = Match({})
    for match in ways():
        best = max(best, match, key=lambda each: each.n_fit)
        if best.n_fit >= MIN_SHARE * len(backbone):
            break
    return best


def backbone_keys(network: nn.Module) -> list[str]:
    """The keys of all but the classifier, without the counters of batch norm."""
    head = classifier_path(network) + "."
    return [
        key
        for key in network.state_dict()
        if not key.startswith(head) and not key.endswith("num_batches_tracked")
    ]


def fits(own: Tensor, theirs: Tensor) -> bool:
    """Whether shapes agree; a first layer of one channel fits one of three."""
    shape = tuple(theirs.shape)
    if len(shape) == 4 and own.ndim == 4 and (own.shape[1], shape[1]) == (3, 1):
        shape = (shape[0], 3, *shape[2:])
    return tuple(own.shape) == shape


def _by_name(
    theirs: Mapping[str, str],
    state: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    backbone: list[str],
    names: Mapping[str, str],
    how: str = "by name",
) -> Match:
    """The prefix behind which most of `theirs` (name -> key of `state`) are among `names`."""
    depth = max((name.count(".") + 1 for name in names), default=0)
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for name, key in theirs.items():
        parts = name.split(".")
        for start in range(max(0, len(parts) - depth), len(parts)):
            if (rest := ".".join(parts[start:])) in names:
                found[".".join([*parts[:start], ""])].setdefault(names[rest], key)
    matches = [
        Match(k, prefix, how, sum(key in k and fits(own[key], state[k[key]]) for key in backbone))
        for prefix, k in found.items()
    ]

    def rank(match: Match) -> tuple[int, bool, int]:
        return match.n_fit, bool(_AVERAGED.search(match.prefix)), len(match.keys)

    best = max(matches, key=rank, default=Match({}))
    alike = (one.prefix for one in matches if rank(one)[:2] == rank(best)[:2] and one is not best)
    return replace(best, others=tuple(alike))


def _in_order(state: Mapping[str, Tensor], own: Mapping[str, Tensor], backbone: list[str]) -> Match:
    """All of the backbone in its order, in kind and shape, with at most a head behind it."""
    kept = [key for key, tensor in state.items() if tensor.ndim and key.count(".") < MAX_PARTS]
    below = Counter(
        key[:place] for key in kept for place in [0, *(m.end() for m in re.finditer(r"\.", key))]
    )
    for prefix in sorted(below, key=len, reverse=True):
        if not len(backbone) <= below[prefix] <= len(backbone) + MAX_BEHIND:
            continue
        keys = dict(zip(backbone, (key for key in kept if key.startswith(prefix)), strict=False))
        kinds = ((k.rpartition(".")[2], v.rpartition(".")[2]) for k, v in keys.items())
        if all(a == b for a, b in kinds) and all(fits(own[k], state[v]) for k, v in keys.items()):
            return Match(keys, prefix, "in order, kind and shape alike", len(keys))
    return Match({})


def _twin_names(model_name: str, own: Mapping[str, Tensor], backbone: list[str]) -> dict[str, str]:
    """What the other of timm and torchvision calls the backbone's tensors -> our keys."""
    bare = model_name.removeprefix("timm:").split(".")[0]
    with torch.random.fork_rng(devices=[]), contextlib.suppress(ImportError, ValueError):
        if model_name.startswith("timm:"):
            bare = bare.removeprefix("tf_").replace("netv2", "net_v2")
            twin = torchvision_models.get_model(bare)  # ValueError: it has no such network
        else:
            import timm

            twin = timm.create_model(bare)  # they have the same names there
        found = _in_order(twin.state_dict(), own, backbone).keys
        return {theirs: key for key, theirs in found.items()}
    return {}


def check_match(match: Match, state: Mapping[str, Tensor], network: nn.Module, where: str) -> None:
    """Refuse what is no start for this network.

    Raises:
        ArtifactError: fewer than `MIN_SHARE` of the backbone, other shapes, or a larger network.
    """
    own, backbone, kind = network.state_dict(), backbone_keys(network), type(network).__name__
    used = set(match.keys.values())
    named = [key for key in backbone if key in match.keys]
    misfits = [key for key in named if not fits(own[key], state[match.keys[key]])]
    patterns = {_pattern(key) for key in backbone}
    further = [
        key
        for key in state
        if key.startswith(match.prefix) and key not in used
        if _pattern(key.removeprefix(match.prefix)) in patterns
    ]
    said = ""
    if match.n_fit < MIN_SHARE * len(backbone):
        theirs = [f"{key} {_shape(state[key])}" for key in state if key not in used]
        ours = [f"{key} {_shape(own[key])}" for key in backbone if key not in match.keys]
        said = (
            f"{match.n_fit} of the {len(backbone)} tensors of {kind} before its classifier fit, "
            f"and {MIN_SHARE:.0%} are needed; the file's first others: "
            f"{list_first(theirs, 3) or 'none'}; the network's: {list_first(ours, 3) or 'none'}"
        )
    elif len(further) > (1 - MIN_SHARE) * len(backbone):
        said = f"a larger network, with {len(further)} tensors more ({list_first(further, 3)})"
    for key in misfits[:1]:
        one = f"{match.keys[key]} {_shape(state[match.keys[key]])}, here {_shape(own[key])}"
        said = f"{len(misfits)} tensors have another shape ({one}); {said}".removesuffix("; ")
    if said:
        advice = "give weights of this very architecture, or another --model"
        raise ArtifactError(f"{where}: {said}; {advice}")


def _pattern(key: str) -> str:
    return re.sub(r"\d+", "#", key)


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "()"
