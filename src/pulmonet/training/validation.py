"""An epoch that has ended: scores of the selection rows, and its row of training_log.csv."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import nn

from pulmonet.arrays import Floats32, Ints
from pulmonet.data.batches.load import evaluation_batches
from pulmonet.errors import TrainingError
from pulmonet.files.system import peak_memory_bytes
from pulmonet.metrics.ranking.auc import auroc, average_precision
from pulmonet.models.frozen import head_of
from pulmonet.models.inference import predict
from pulmonet.training.checkpoint import Progress, empty_member, own_state
from pulmonet.training.distributed import gather_rows, share_buffers, wait_for_all
from pulmonet.training.engine import Engine, micro_batch_share
from pulmonet.training.losses import scores_from_logits
from pulmonet.training.optimisers import learning_rate
from pulmonet.training.stage import Stage


def validate(engine: Engine, stage: Stage, epoch: int) -> dict[str, float]:
    """Score a stage's network on its selection rows, each process its part; as `score_epoch`.

    After its last epoch it is a member of the ensemble, if there is one, whose scores count.

    Raises:
        TrainingError: scores that are not finite.
    """
    processes, policies = engine.processes, engine.policies
    network = engine.result if stage.features is None else head_of(engine.result)
    if engine.ensemble is not None and epoch + 1 >= stage.end_epoch:
        member = empty_member(engine, stage)
        member.load_state_dict(own_state(engine))
        engine.ensemble.members.append(member)
        network, policies = engine.ensemble, ["ones"] * engine.n_labels
        stage = replace(stage, features=None)  # the members may have other encoders
    wait_for_all(processes)
    share_buffers(network, processes)
    own = np.array_split(stage.select_rows, processes.world_size)[processes.rank]
    share = micro_batch_share(stage.config.optim, processes)
    scores = scores_of(
        *(stage, own, network, policies, engine.device, engine.precision),
        batch_size=share or -(-stage.config.optim.batch_size // processes.world_size),
    )
    scores = gather_rows(scores.reshape(len(own), len(policies))[:, : engine.n_labels], processes)
    if not np.isfinite(scores).all():
        raise TrainingError(
            f"epoch {epoch + 1}: the network's scores are not finite; lower --lr, set "
            "optim.clip_norm or try --no-amp; the last good checkpoint is kept"
        )
    return score_epoch(stage.select_targets, scores, stage.labels)


def scores_of(
    stage: Stage,
    rows: Ints,
    network: nn.Module,
    policies: Sequence[str],
    device: torch.device,
    precision: str = "fp32",
    batch_size: int = 0,
) -> Floats32:
    """A network's scores (N, L) of manifest rows (N,), at the stage's size.

    `batch_size` is this process's; 0 = as in training.
    """
    config = stage.config
    batches = evaluation_batches(
        *(stage.features or stage.pack, rows),
        image_size=config.data.image_size,
        batch_size=batch_size or config.optim.batch_size,
        num_workers=config.runtime.num_workers,
        device=device,
    )
    to_scores = partial(scores_from_logits, policies=policies)
    return predict(network, batches, device=device, precision=precision, to_scores=to_scores)


def score_epoch(targets: Floats32, scores: Floats32, labels: Sequence[str]) -> dict[str, float]:
    """Scores (N, L) against targets (N, L) of 1, 0, NaN, by column of training_log.csv.

    The loss is the binary cross-entropy, a mean over known targets, whatever the training loss is;
    AUROC and average precision are NaN of a label with one class, and left out of their means.
    """
    known = ~np.isnan(targets)
    p = np.clip(scores.astype(np.float64), 1e-7, 1 - 1e-7)
    losses = -np.where(targets == 1, np.log(p), np.log1p(-p))
    columns = list(zip(targets.T, scores.T, strict=True))
    means = {"val_loss": float(losses[known].mean()) if known.any() else float("nan")}
    of_labels: dict[str, float] = {}
    for kind, macro, area in ("auc", "auroc", auroc), ("pr", "pr_auc", average_precision):
        values = [float(area(*column)) for column in columns]
        has_any = np.isfinite(values).any()
        means[f"val_macro_{macro}"] = float(np.nanmean(values)) if has_any else float("nan")
        of_labels |= zip((f"val_{kind}_{label}" for label in labels), values, strict=True)
    return means | of_labels


def log_row(
    stage: Stage, progress: Progress, scores: Mapping[str, float], device: torch.device
) -> dict[str, float]:
    """What an epoch that has just ended is remembered by: column -> value; `score_epoch`'s within.

    Memory is the most held so far, in MiB: allocated on a GPU (and what torch's allocator has
    reserved for that), resident on the CPU.
    """
    optim, n_steps = stage.config.optim, max(progress.step, 1)
    seconds = progress.epoch_seconds
    place = progress.epoch - stage.first_epoch
    on_gpu = device.type == "cuda"
    memory = torch.cuda.max_memory_allocated(device) if on_gpu else peak_memory_bytes()
    return {
        "epoch": progress.epoch + 1,
        "train_loss": progress.loss_sum / max(progress.known_sum, 1),
        **scores,
        "lr": learning_rate(optim, (place + 1) * n_steps - 1, optim.planned(place) * n_steps),
        "seconds": round(seconds, 3),
        "images_per_second": round(len(stage.train_rows) / max(seconds, 1e-9), 3),
        "image_size": stage.pixels(progress.epoch),
        "peak_memory_mb": round(memory / 2**20, 1),
        **({"peak_reserved_mb": torch.cuda.max_memory_reserved(device) >> 20} if on_gpu else {}),
    }
