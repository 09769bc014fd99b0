"""Checkpoints: everything that a resumed run needs, written whole or not at all."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict, NonNegativeInt, TypeAdapter
from torch import Tensor, nn

from pulmonet.errors import ArtifactError
from pulmonet.files.write import bytes_of, write_atomic
from pulmonet.models.device import place
from pulmonet.models.networks import build_network, classifier_path
from pulmonet.models.weight_files import read_content
from pulmonet.run.record import reason_of
from pulmonet.training.engine import Engine
from pulmonet.training.losses import binary_head
from pulmonet.training.stage import Stage
from pulmonet.words import first_line

FORMAT_VERSION = 1


@dataclass
class Progress:
    """How far a run has come; all that is neither weights nor optimiser."""

    __pydantic_config__: ClassVar = ConfigDict(strict=True, revalidate_instances="always")

    epoch: NonNegativeInt = 0  # 0-based, under way
    step: NonNegativeInt = 0  # optimiser steps done in it
    loss_sum: float = 0.0  # over the `known_sum` known targets so far in this epoch
    known_sum: int = 0
    epoch_seconds: float = 0.0  # wall time spent in this epoch, all sessions together
    total_seconds: float = 0.0  # wall time spent in finished epochs
    micro_batch_size: int = 0  # images per forward pass after out of memory, 0 = as configured
    best_auroc: float = float("nan")  # highest macro AUROC on the selection rows; NaN = none yet
    best_epoch: int = -1  # its 0-based epoch, -1 = none
    n_resumed: int = 0
    n_skipped: int = 0  # fp16 steps skipped for a non-finite loss or gradient
    n_skipped_in_a_row: int = 0
    log: list[dict[str, int | float]] = field(default_factory=list)  # of training_log.csv so far


def save_weights(path: Path, engine: Engine) -> None:
    """Write best_model.pth: a plain state_dict on the CPU, contiguous, fp32.

    Of an ensemble it holds the members that are done, as soon as there is one. Equal weights give
    equal bytes: serialised through a buffer, since torch.save puts a file's name into the archive.
    """
    state = own_state(engine)
    if engine.ensemble is not None and len(engine.ensemble.members):
        state = engine.ensemble.state_dict()
    plain = {
        key: tensor.detach().to("cpu", copy=True).contiguous(memory_format=torch.contiguous_format)
        for key, tensor in state.items()
    }
    write_atomic(path, bytes_of(partial(torch.save, plain)))


def own_state(engine: Engine) -> dict[str, Tensor]:
    """The weights of an engine's network, averaged if so asked, with an L-way head.

    Three-way labels become one output, those of auxiliary labels are left out.
    """
    network = engine.result
    state = dict(network.state_dict())
    if "multiclass" in engine.policies or engine.n_labels < len(engine.policies):
        keys = [f"{classifier_path(network)}.{kind}" for kind in ("weight", "bias")]
        weight, bias = (state[key] for key in keys)
        exported = binary_head(weight, bias, engine.policies)
        for key, tensor in zip(keys, exported, strict=True):
            state[key] = tensor[: engine.n_labels].clone()
    return state


def save_checkpoint(stage: Stage, engine: Engine, progress: Progress) -> None:
    """Write last_checkpoint.pth, on the first process; the previous one stays if that fails."""
    if not engine.processes.is_first:
        return
    progress.micro_batch_size = engine.micro_batch_size if engine.is_halved else 0
    content = {"format": FORMAT_VERSION, "progress": asdict(progress)}
    for key, part in _parts(engine).items():
        content[key] = None if part is None else part.state_dict()
    content["fingerprint"] = stage.fingerprint
    write_atomic(stage.run_dir.last_checkpoint_path, bytes_of(partial(torch.save, content)))


def _parts(engine: Engine) -> dict[str, Any]:
    """What of an engine is kept in a checkpoint, by its key; None for what it does without."""
    return {
        "network": engine.network,
        "optimiser": engine.optimiser,
        "scaler": engine.scaler,
        "average": engine.average,
        "ensemble": engine.ensemble,
        "loss": engine.auc_margin,
    }


def load_checkpoint(path: Path, fingerprint: str) -> dict[str, Any]:
    """Read last_checkpoint.pth; tensors come to the CPU.

    Raises:
        ArtifactError: missing, damaged, hostile, or not of this `fingerprint` (config and data).
    """
    try:
        content = dict(read_content(path))
        version, written_for = content["format"], content["fingerprint"]
        content["progress"] = _read_progress(content["progress"])
    except Exception as error:  # torch.load raises a dozen kinds on damaged or hostile files
        reason = reason_of(error)[:160]
        what = f"{path}: not a checkpoint that can be resumed ({reason}); restore it from a backup"
        raise ArtifactError(f"{what} or start again with --overwrite") from None
    if version != FORMAT_VERSION:
        what = f"{path}: checkpoint format {version}, this pulmonet writes {FORMAT_VERSION}"
        raise ArtifactError(f"{what}; resume with the version that started the run")
    if written_for != fingerprint:
        what = f"{path}: the checkpoint of another run"
        raise ArtifactError(f"{what}; put back its own, or start again with --overwrite")
    return content


def restore(engine: Engine, stage: Stage, earlier: Sequence[Stage], saved: dict[str, Any]) -> None:
    """Bring an engine, which is at the start of `stage`, to where a checkpoint stands.

    The networks of the `earlier` stages go into the ensemble. ArtifactError: parts do not fit.
    """
    progress: Progress = saved["progress"]
    parts = _parts(engine)
    if (progress.epoch, progress.step) == (stage.first_epoch, 0):
        parts = {"ensemble": engine.ensemble}  # everything else starts again
    try:
        if engine.ensemble is not None:
            engine.ensemble.members.extend(empty_member(engine, done) for done in earlier)
        for key, part in parts.items():
            if part is not None and (saved[key] or key in ("network", "optimiser", "ensemble")):
                part.load_state_dict(saved[key])
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(
            f"{stage.run_dir.last_checkpoint_path}: its parts do not fit this run "
            f"({first_line(error)[:160]}); restore it from a backup, or start again with "
            "--overwrite"
        ) from None


def empty_member(engine: Engine, stage: Stage) -> nn.Module:
    """A network as an ensemble keeps that of a stage, with weights that are still to come."""
    model = stage.config.model
    member = build_network(model.name, engine.n_labels, 0.0, model.output_stride)
    return place(member, engine.device).eval().requires_grad_(False)


def _read_progress(content: Any) -> Progress:
    """The progress of a file, which may be anybody's: ValueError, KeyError if no run has it."""
    progress = TypeAdapter(Progress).validate_python(Progress(**content))
    for row in progress.log:
        row["epoch"], row["val_macro_auroc"]  # what the end of a run looks up
    if progress.epoch != len(progress.log):
        raise ValueError(f"epoch {progress.epoch}, step {progress.step}, {len(progress.log)} rows")
    if not -1 <= progress.best_epoch < max(progress.epoch, 1):
        raise ValueError(f"best epoch {progress.best_epoch} of {progress.epoch}")
    return progress
