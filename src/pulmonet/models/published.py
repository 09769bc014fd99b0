"""Networks that others trained and published, as runs: torchxrayvision's, by its own names.

``published.json`` has what its package says of each (1.5.7, ``models.model_urls``): address, labels
with the place of their output, and its operating points, ``op_threshs``, which are Youden's; and
what datasets of its collections are called. Torch is imported inside functions alone, so that a
wrong name answers at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import socket
import sys
import urllib.parse
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pulmonet.config.fields import DataConfig, ModelConfig, RunConfig
from pulmonet.errors import ArtifactError, ConfigError
from pulmonet.files.ledger import Ledger
from pulmonet.files.read import read_text, sha256_of
from pulmonet.files.write import bytes_of, to_json, write_atomic
from pulmonet.run.folder import RunDir, find_run
from pulmonet.run.record import Provenance
from pulmonet.version import __version__
from pulmonet.words import did_you_mean, first_line

if TYPE_CHECKING:
    from torch import Tensor

#: How their names begin, and the one that is offered to people without runs.
PREFIX, OFFERED = "xrv:", "xrv:densenet121-res224-all"

#: Who published them, and under which licence: https://github.com/mlmed/torchxrayvision
SOURCE, LICENCE = "torchxrayvision", "Apache-2.0"

#: Seconds that a download may stay silent.
DOWNLOAD_TIMEOUT_SECONDS = 20.0

#: The beginning of a file's SHA-256 in its name, as torch's hub has it.
HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,})\.")


class Network(NamedTuple):
    """A published network; `outputs` is label -> place among the file's, threshold or None."""

    url: str
    architecture: str
    image_size: int
    trained_on: list[str]
    called: list[str]
    outputs: dict[str, tuple[int, float | None]]


def published(name: str) -> Network:
    """The network of a name such as `OFFERED`. ConfigError: there is none."""
    known = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
    names = [f"{PREFIX}{each}" for each in known]
    if name not in names:
        meant = did_you_mean(name[:100], names)
        text = f"{name[:100]}: no published network{meant}; choose from {', '.join(names)}"
        raise ConfigError(text)
    return Network(**known[name.removeprefix(PREFIX)])


def named_run(name: str, artifacts_dir: Path) -> RunDir:
    """The run that the user named, as `find_run`; of a published network it is made first.

    Raises:
        ConfigError: no such published network.
        ArtifactError: no such run; as `read_network`.
    """
    if not name.startswith(PREFIX):
        return find_run(name, artifacts_dir)
    network, run_dir = published(name), RunDir(artifacts_dir / name.replace(":", "-"))
    if not run_dir.exists():
        _make_run(name, network, run_dir)
    elif run_dir.read_record().provenance.weights.get("name") != name:
        raise ArtifactError(f"{run_dir.path}: another run; rename it, or choose --artifacts-dir")
    return run_dir


def fetch(official_url: str) -> Path:
    """A file of weights from torch's hub cache, else from a mirror or its own address.

    PULMONET_WEIGHTS_URL is a folder that mirrors the files, or one file's own address.

    Raises:
        OSError: it cannot be downloaded; why, and the ways out.
    """
    from http.client import HTTPException

    from torch.hub import download_url_to_file, get_dir

    url = os.environ.get("PULMONET_WEIGHTS_URL") or official_url
    if not url.endswith((".pth", ".pt")):
        url = f"{url.rstrip('/')}/{official_url.rsplit('/', 1)[1]}"
    cached = Path(get_dir()) / "checkpoints" / Path(urllib.parse.urlparse(url).path).name
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_SECONDS)
    try:
        if not cached.is_file():
            cached.parent.mkdir(parents=True, exist_ok=True)
            digest = HASH_IN_NAME.search(cached.name)
            is_shown = sys.stderr.isatty()
            download_url_to_file(url, str(cached), digest and digest[1], progress=is_shown)
    except (OSError, ValueError, RuntimeError, HTTPException) as error:
        reason = first_line(getattr(error, "reason", None) or error)[:160]
        what = f"cannot be downloaded from {url} ({reason}); either put the file at {cached}"
        raise OSError(f"{what} (or set PULMONET_WEIGHTS_URL to a mirror)") from None
    finally:
        socket.setdefaulttimeout(timeout)
    return cached


def read_network(name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state_dict of a published network, its outputs in the order of ours, and its origin.

    Its pixel scale, mean and deviation in grey levels, (1, 1, 1, 1), is part of it.

    Raises:
        ConfigError: no such published network.
        ArtifactError: a file that is out of reach, no longer the same, or no such network.
    """
    from pulmonet.models.networks import build_network, classifier_path, with_own_pixels
    from pulmonet.models.weight_files import put, read_tensors

    network = published(name)
    try:
        path = fetch(network.url)
    except OSError as error:
        raise ArtifactError(f"{name}: {str(error).replace('either ', '')}") from None
    note, digest = path.with_name(f"{name.replace(':', '-')}.sha256"), sha256_of(path)
    if note.exists() and (known := read_text(note)) != digest:
        raise ArtifactError(
            f"{path}: its SHA-256 is {digest[:12]}, and was {known[:12]} at the first download; "
            f"remove it to fetch it anew, and {note.name} too if the new one is to be trusted"
        )
    own = with_own_pixels(build_network(network.architecture, len(network.outputs), 0.0))
    # -1024 to 1024: torchxrayvision's utils.normalize
    scale = {"pixel_mean": own.get_buffer("pixel_mean").fill_(127.5)}
    scale["pixel_std"] = own.get_buffer("pixel_std").fill_(127.5 / 1024)
    head, places = classifier_path(own), [place for place, _ in network.outputs.values()]
    try:
        theirs = read_tensors(path) | scale
        theirs |= {key: theirs[key][places] for key in (f"{head}.weight", f"{head}.bias")}
        put({key: theirs[key] for key in own.state_dict()}, own, path, strict=True)
    except (ArtifactError, KeyError, IndexError, RuntimeError) as error:
        reason = first_line(error).removeprefix(f"{path}: ")[:240]
        text = f"{path}: not {name} ({reason}); remove it to fetch it anew"
        raise ArtifactError(text) from None
    with contextlib.suppress(ArtifactError):  # a cache that may only be read
        if not note.exists():
            write_atomic(note, digest)
    return own.state_dict(), {
        **{"source": SOURCE, "name": name, "file": path.name, "sha256": digest},
        **{"licence": LICENCE, "trained_on": network.trained_on, "called": network.called},
    }


def _make_run(name: str, network: Network, run_dir: RunDir) -> None:
    """The run's folder: weights under our names, published thresholds, where both are from."""
    import torch

    state, facts = read_network(name)
    content = bytes_of(partial(torch.save, state))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    sha256 = hashlib.sha256(content).hexdigest()
    unknown = {"calibrator": None, "prevalence": None, "n": 0, "positives": 0}
    pairs = [(label, threshold) for label, (_, threshold) in network.outputs.items()]
    calibration = {
        "fitted_on": f"images of {SOURCE}, which published it",
        **{"dataset": SOURCE, "split": "published", "n_rows": 0, "n_patients": 0},
        **{"checkpoint_sha256": sha256, "published": SOURCE},
        "labels": {x: unknown | {"thresholds": {"youden": t}} for x, t in pairs if t is not None},
        "left_out": {x: "none is published" for x, t in pairs if t is None},
    }
    provenance = Provenance(
        status="finished",
        pulmonet=__version__,
        versions={"python": platform.python_version(), "torch": str(torch.__version__)},
        command=["pulmonet", *sys.argv[1:]],
        device="unknown",
        weights=facts,
        labels=list(network.outputs),
        start=now,
        end=now,
        checkpoint_sha256=sha256,
    )
    model = ModelConfig(name=network.architecture, weights=name)
    data = DataConfig(labels=tuple(network.outputs), image_size=network.image_size, fit="crop")
    with run_dir.lock():
        ledger = Ledger(run_dir.path, "choose another --artifacts-dir")
        ledger.write(run_dir.best_model_path, content)
        ledger.write(run_dir.calibration_path, to_json(calibration))
        run_dir.write_record(RunConfig(model=model, data=data), provenance)
