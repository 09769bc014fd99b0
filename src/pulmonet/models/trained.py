"""A run's folder as a network that is ready to score."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import nn

from pulmonet.arrays import Floats32, Pixels
from pulmonet.config.fields import ModelConfig
from pulmonet.data.batches.load import Batch
from pulmonet.data.images.decoding import Remark
from pulmonet.data.images.square import fit_square, pack_side
from pulmonet.data.likeness import Likeness, Sight, key_of, read_likeness
from pulmonet.errors import ArtifactError
from pulmonet.files.read import sha256_of
from pulmonet.metrics.calibration.fit import Calibration, read_calibration
from pulmonet.models.device import choose_device, place
from pulmonet.models.inference import predict
from pulmonet.models.networks import MEMBER_KEY, Ensemble, build_network, with_own_pixels
from pulmonet.models.weight_files import StateDict, put, read_tensors
from pulmonet.run.folder import RunDir
from pulmonet.run.record import RunRecord, explain_stale


@dataclass(frozen=True)
class TrainedRun:
    """A run's network, ready for inference."""

    run_dir: RunDir
    record: RunRecord
    network: nn.Module  # on `device`, in eval mode, (B, 1, S, S) pixels -> (B, L) logits
    labels: tuple[str, ...]  # the L labels of its outputs
    image_size: int
    fit: str  # how an image becomes square
    device: torch.device
    sha256: str  # digest of the file of its weights
    likeness: Likeness | None = None  # what the images trained on look like; None: not known

    def square(self, image: Pixels) -> Pixels:
        """An image's square of the pack's size; a square of that size is what it was."""
        return fit_square(image, pack_side(self.image_size), self.fit)

    def distance(self, whole: Pixels) -> float | None:
        """How far a square of the pack's size is from those trained on; None: not known."""
        return None if self.likeness is None else float(self.likeness.distances([whole])[0])

    def measure(self, image: Pixels, name: str, remark: Remark = Remark.NONE) -> tuple[Sight, str]:
        """What is known of a grey image (H, W), and why it gets no verdict; then a warning."""
        sight = Sight(self.distance(self.square(image)), remark)
        if unlike := self.why_unlike(sight):
            logging.getLogger(__name__).warning("%s: %s", name, unlike)
        return sight, unlike

    def why_unlike(self, sight: Sight) -> str:
        """Why there is no verdict: a phantom, or too far away; empty of others."""
        facts = self.record.provenance.dataset
        if sight.remark & Remark.PHANTOM and facts is not None and not facts.synthetic:
            return "a phantom, and this model was trained on X-rays"
        known = self.likeness
        return known.beyond(sight.distance) if known and sight.distance is not None else ""

    @cached_property
    def calibration(self) -> Calibration | None:
        """Its ``calibration.json``; None where there is none, or one of other weights, warned of.

        Raises:
            ArtifactError: damaged.
        """
        path, name = self.run_dir.calibration_path, self.run_dir.name
        found = read_calibration(path)
        digest = None if found is None else found.checkpoint_sha256
        if stale := explain_stale(digest, [name], {name: self.sha256}, "evaluate"):
            logging.getLogger(__name__).warning("%s: left out, since it is %s", path, stale)
            return None
        return found

    def scores(
        self, batches: Iterable[Batch], progress: Callable[[int], object] = lambda _: None
    ) -> Floats32:
        """(N, L) of all rows, as `predict`. ArtifactError: some are not numbers."""
        found = predict(self.network, batches, device=self.device, progress=progress)
        if not np.isfinite(found).all():
            what = f"{self.run_dir.best_model_path}: gives scores that are not numbers"
            raise ArtifactError(f"{what}; the weights are damaged, train again with --overwrite")
        return found


def load_run(run_dir: RunDir, device: str = "auto") -> TrainedRun:
    """The best checkpoint of a run.

    Raises:
        ArtifactError: missing, damaged, or not the file that the run wrote.
        TrainingError: no such device.
    """
    record = run_dir.read_record()
    model, data, provenance = record.config.model, record.config.data, record.provenance
    labels = tuple(provenance.labels or data.labels)
    path = run_dir.best_model_path
    if not path.exists():
        advice = "the run has no finished epoch yet, resume it"
        if provenance.status == "finished":
            advice = "restore it, or train the run again with --overwrite"
        raise ArtifactError(f"{path}: missing; {advice}")
    sha256 = sha256_of(path)
    if provenance.checkpoint_sha256 not in (None, sha256):
        what = f"{path}: its digest is not the one in run_config.json"
        raise ArtifactError(f"{what}; restore the file or train again with --overwrite")
    state = read_tensors(path)
    network = _empty_network(model, len(labels), state)
    try:
        put(state, network, path, strict=True)
    except RuntimeError as error:
        reason = str(error).split("\n", 1)[-1].strip().splitlines()[0][:160]
        what = f"{path}: does not fit {model.summary()} with {len(labels)} labels ({reason})"
        raise ArtifactError(f"{what}; restore the file or train again with --overwrite") from None
    target = choose_device(device)
    logging.getLogger(__name__).info("weights of %s, on %s", path, target)
    network = place(network, target).eval()
    known = read_likeness(run_dir.likeness_path, key_of(record))
    geometry = data.image_size, data.fit
    return TrainedRun(run_dir, record, network, labels, *geometry, target, sha256, known)


def _empty_network(model: ModelConfig, n_labels: int, state: StateDict) -> nn.Module:
    """What `state` should fit: one network, or as many members as it has of an ensemble."""
    found = {match.group(1) for key in state if (match := MEMBER_KEY.match(key))}
    n_members = min(len(found), model.members)  # a strange file may claim any number
    names = [model.member(number).name for number in range(n_members)] or [model.name]
    networks = [build_network(name, n_labels, 0.0, model.output_stride) for name in names]
    if "pixel_mean" in state:
        networks = [with_own_pixels(network) for network in networks]
    return Ensemble(networks) if found else networks[0]
