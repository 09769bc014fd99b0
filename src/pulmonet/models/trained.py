"""A run's folder as a network that is ready to score."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import nn

from pulmonet.errors import ArtifactError
from pulmonet.files.read import sha256_of
from pulmonet.models.device import choose_device, place
from pulmonet.models.ensemble import Ensemble
from pulmonet.models.networks import build_network
from pulmonet.models.pretrained import MEMBER_KEY, StateDict, read_state_dict, shorten
from pulmonet.run.folder import RunDir
from pulmonet.run.record import RunRecord

# --- runs ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainedRun:
    """A run's network, ready for inference.

    Attributes:
        run_dir: where it lives.
        record: its run_config.json.
        network: on `device`, in eval mode, (B, 1, S, S) pixels -> (B, L) logits.
        labels: the L labels of its outputs.
        image_size: S, pixels.
        fit: how an image becomes square.
        device: where the network is.
    """

    run_dir: RunDir
    record: RunRecord
    network: nn.Module
    labels: tuple[str, ...]
    image_size: int
    fit: str
    device: torch.device


def load_run(run_dir: RunDir, device: str = "auto") -> TrainedRun:
    """The best checkpoint of a run.

    Raises:
        ArtifactError: missing, damaged, or not the file that the run wrote.
        TrainingError: no such device.
    """
    record = run_dir.read_record()
    labels = tuple(record.provenance.labels or record.config.data.labels)
    path = run_dir.best_model_path
    if not path.exists():
        done = record.provenance.status == "finished"
        mend = (
            "restore it, or train the run again with --overwrite"
            if done
            else "the run has no finished epoch yet, resume it"
        )
        raise ArtifactError(f"{path}: missing; {mend}")
    expected = record.provenance.checkpoint_sha256
    if expected and sha256_of(path) != expected:
        raise ArtifactError(
            f"{path}: its digest is not the one in run_config.json; restore the file or train "
            "again with --overwrite"
        )
    state = read_state_dict(path)
    network = _empty_network(record, len(labels), state)
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        lines = str(error).splitlines()
        reason = shorten(lines[1].strip() if len(lines) > 1 else str(error))
        raise ArtifactError(
            f"{path}: does not fit {record.config.model.summary()} with {len(labels)} labels "
            f"({reason}); restore the file or train again with --overwrite"
        ) from None
    target = choose_device(device)
    logging.getLogger(__name__).info("weights of %s, on %s", path, target)
    return TrainedRun(
        run_dir=run_dir,
        record=record,
        network=place(network, target).eval(),
        labels=labels,
        image_size=record.config.data.image_size,
        fit=record.config.data.fit,
        device=target,
    )


def _empty_network(record: RunRecord, n_labels: int, state: StateDict) -> nn.Module:
    """What `state` should fit: one network, or as many members as it has of an ensemble."""
    model = record.config.model
    found = {match.group(1) for key in state if (match := MEMBER_KEY.match(key))}
    if not found:
        return build_network(model.name, n_labels, 0.0)
    n_members = min(len(found), model.members)  # a strange file may claim any number
    return Ensemble(
        [build_network(model.member(number).name, n_labels, 0.0) for number in range(n_members)]
    )
