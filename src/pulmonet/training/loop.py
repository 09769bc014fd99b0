"""The training loop: networks, their epochs, the steps of an epoch; a validation after each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pulmonet.data.batches.load import TrainingBatches
from pulmonet.errors import ArtifactError
from pulmonet.models.ensemble import Ensemble
from pulmonet.training.checkpoint import (
    Progress,
    empty_member,
    load_checkpoint,
    own_state,
    restore,
    save_checkpoint,
    save_weights,
)
from pulmonet.training.engine import Engine
from pulmonet.training.interruption import Interrupted, SignalWatch, stop_requested, watched_signals
from pulmonet.training.losses_seen import LossesSeen
from pulmonet.training.optimisers import finish_epoch, learning_rate
from pulmonet.training.stage import Stage
from pulmonet.training.step import step_seed, train_step
from pulmonet.training.validation import EpochScores, log_row, validate


class Listener(Protocol):
    """Who is told how far the training is."""

    def on_epoch_start(self, stage: Stage, epoch: int, n_steps: int, done: int) -> None:
        """A 0-based epoch of `n_steps` begins, or goes on after `done` of them."""

    def on_step(self, n_images: int, loss: float) -> None:
        """A step on `n_images`; the loss is that of the last look."""

    def on_epoch(self, stage: Stage, log: list[dict[str, float]], is_best: bool) -> None:
        """An epoch ended; its row is the last of the log."""


def train_stages(
    stages: Sequence[Stage],
    build: Callable[[Stage, Ensemble | None], Engine],
    listener: Listener,
    *,
    resume: bool,
) -> Progress:
    """Train the networks of a folder one after the other, from the start or its checkpoint.

    Several `stages` become an ensemble. `build` gives a stage's engine at its start, from the
    stage and the ensemble of those before it.

    Raises:
        TrainingError: non-finite loss, out of memory.
        Interrupted: SIGINT or SIGTERM; the checkpoint is saved.
        ArtifactError: a file that cannot be written, or a checkpoint that does not fit.
    """
    saved = _saved(stages[0]) if resume else None
    progress = Progress() if saved is None else saved["progress"]
    ensemble = Ensemble().eval() if len(stages) > 1 else None
    n_done = progress.epoch // stages[0].config.optim.epochs
    with watched_signals() as watch:
        for stage in stages[n_done:]:
            engine = build(stage, ensemble)
            if saved is not None:
                restore(engine, stage, stages[:n_done], saved)
                saved = None
            if progress.micro_batch_size:
                engine.micro_batch_size, engine.is_halved = progress.micro_batch_size, True
            batches = _batches(engine, stage)
            while progress.epoch < stage.end_epoch and not _stops_early(progress, stage):
                _train_epoch(engine, stage, batches, progress, listener, watch)
                scores = _validate(engine, stage, progress.epoch)
                is_best = _close_epoch(engine, stage, progress, scores)
                listener.on_epoch(stage, progress.log, is_best)
    return progress


def _saved(stage: Stage) -> dict[str, Any] | None:
    """The checkpoint of a stage's folder, its progress counted as resumed; None without one."""
    run_dir = stage.run_dir
    if not run_dir.last_checkpoint_path.exists():
        return None
    saved = load_checkpoint(run_dir.last_checkpoint_path, stage.fingerprint)
    if saved["progress"].best_epoch >= 0 and not run_dir.best_model_path.exists():
        raise ArtifactError(
            f"{run_dir.best_model_path}: missing, and a resumed run may find no better epoch; "
            "restore it from a backup, or start again with --overwrite"
        )
    saved["progress"].n_resumed += 1
    return saved


def _batches(engine: Engine, stage: Stage) -> TrainingBatches:
    config = stage.config
    return TrainingBatches(
        *(stage.pack, stage.train_rows, stage.train_targets, config.augment),
        image_size=config.data.image_size,
        batch_size=config.optim.batch_size,
        seed=config.seed,
        num_workers=config.runtime.num_workers,
        rank=engine.processes.rank,
        world_size=engine.processes.world_size,
        positive_share=config.loss.aucm_positive_share if config.loss.name == "aucm" else None,
        device=engine.device,
    )


def _stops_early(progress: Progress, stage: Stage) -> bool:
    patience = stage.config.optim.patience
    if patience is None or progress.best_epoch < 0 or progress.step:
        return False
    return progress.epoch - 1 - progress.best_epoch >= patience


def _train_epoch(
    engine: Engine,
    stage: Stage,
    batches: TrainingBatches,
    progress: Progress,
    listener: Listener,
    watch: SignalWatch,
) -> None:
    config, processes = stage.config, engine.processes
    epoch, n_steps, n_epochs = progress.epoch, batches.n_steps(), config.optim.epochs
    listener.on_epoch_start(stage, epoch, n_steps, progress.step)
    engine.network.train()
    last_save = time.monotonic()
    start = last_save - progress.epoch_seconds  # that of earlier sessions included
    losses = LossesSeen(engine, progress, stage.paths)
    steps_before = (epoch - stage.first_epoch) * n_steps
    pixels = stage.pixels(epoch)
    for batch in batches.epoch(epoch, image_size=pixels, start_step=progress.step):
        rate = learning_rate(config.optim, steps_before + progress.step, n_epochs * n_steps)
        seed = step_seed(config.seed, epoch, progress.step, processes.rank)
        loss_sum, known = train_step(engine, batch, learning_rate=rate, seed=seed)
        progress.step += 1
        losses.add(batch.rows, loss_sum, known, engine.skipped)
        if losses.are_due(n_steps):
            losses.look()
        listener.on_step(len(batch.rows) * processes.world_size, losses.last)
        stop = stop_requested(watch, processes, progress.step, n_steps)
        minutes = (time.monotonic() - last_save) / 60
        if stop or (processes.is_first and minutes >= config.runtime.checkpoint_minutes):
            losses.look()
            progress.epoch_seconds = time.monotonic() - start
            save_checkpoint(stage, engine, progress)
            last_save = time.monotonic()
        if stop:
            raise Interrupted(watch.received or 15)
    progress.epoch_seconds = time.monotonic() - start


def _validate(engine: Engine, stage: Stage, epoch: int) -> EpochScores:
    """The scores of the network; after its last epoch it is a member, and the ensemble's count."""
    ensemble = engine.ensemble
    if ensemble is None or epoch + 1 < stage.end_epoch:
        return validate(engine, stage, engine.result, engine.policies, epoch)
    member = empty_member(engine, stage)
    member.load_state_dict(own_state(engine))
    ensemble.members.append(member)
    return validate(engine, stage, ensemble, ["ones"] * engine.n_labels, epoch)


def _close_epoch(engine: Engine, stage: Stage, progress: Progress, scores: EpochScores) -> bool:
    """Write down an epoch that ended, and say whether it is the best so far."""
    epoch = progress.epoch
    finish_epoch(engine.optimiser)
    better = not math.isfinite(progress.best_auroc) or scores.macro_auroc > progress.best_auroc
    if better or progress.best_epoch < 0:
        progress.best_auroc, progress.best_epoch = scores.macro_auroc, epoch
    is_best = progress.best_epoch == epoch
    progress.log.append(log_row(stage, progress, scores, engine.device))
    progress.total_seconds += progress.epoch_seconds
    progress.epoch, progress.step = epoch + 1, 0
    progress.loss_sum, progress.known_sum, progress.epoch_seconds = 0.0, 0, 0.0
    if engine.processes.is_first:
        if is_best or stage.config.select.checkpoint == "last":
            save_weights(stage.run_dir.best_model_path, engine)
        stage.run_dir.write_log(progress.log)
        save_checkpoint(stage, engine, progress)
    return is_best
