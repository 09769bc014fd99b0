"""The training loop: networks, their epochs, the steps of an epoch; a validation after each."""

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor

from pulmonet.arrays import Ints
from pulmonet.data.batches.load import TrainingBatches
from pulmonet.errors import ArtifactError, TrainingError
from pulmonet.files.system import STOP_SIGNALS, leave_closed_terminal, on_signals
from pulmonet.models.networks import Ensemble
from pulmonet.training import checkpoint
from pulmonet.training.checkpoint import Progress
from pulmonet.training.distributed import Processes, largest_of_processes
from pulmonet.training.engine import Engine
from pulmonet.training.optimisers import finish_epoch, learning_rate
from pulmonet.training.stage import Stage
from pulmonet.training.step import step_seed, train_step
from pulmonet.training.validation import log_row, validate
from pulmonet.words import list_first

#: Steps between two looks at the loss on a GPU.
STEPS_PER_LOOK = 20
#: Steps after which several processes ask each other whether one was told to stop.
STEPS_PER_QUESTION = 10


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
        Interrupted: SIGINT, SIGTERM or SIGHUP; the checkpoint is saved.
        ArtifactError: a file that cannot be written, or a checkpoint that does not fit.
    """
    saved = _saved(stages[0]) if resume else None
    progress = Progress() if saved is None else saved["progress"]
    ensemble = Ensemble().eval() if len(stages) > 1 else None
    n_done = progress.epoch // stages[0].config.optim.epochs
    watch = SignalWatch()
    with on_signals(STOP_SIGNALS, watch.receive):
        for stage in stages[n_done:]:
            engine = build(stage, ensemble)
            if saved is not None:
                checkpoint.restore(engine, stage, stages[:n_done], saved)
                saved = None
            if progress.micro_batch_size:
                engine.micro_batch_size, engine.is_halved = progress.micro_batch_size, True
            while progress.epoch < stage.end_epoch and not _stops_early(progress, stage):
                _train_epoch(engine, stage, progress, listener, watch)
                if not stage.run_dir.last_checkpoint_path.exists():
                    # first of all files: without it, what else is there is no run to go on with
                    checkpoint.save_checkpoint(stage, engine, progress)
                scores = validate(engine, stage, progress.epoch)
                is_best = _close_epoch(engine, stage, progress, scores)
                listener.on_epoch(stage, progress.log, is_best)
    return progress


def _saved(stage: Stage) -> dict[str, Any] | None:
    """The checkpoint of a stage's folder, its progress counted as resumed; None without one."""
    run_dir = stage.run_dir
    if not run_dir.last_checkpoint_path.exists():
        return None
    saved = checkpoint.load_checkpoint(run_dir.last_checkpoint_path, stage.fingerprint)
    if saved["progress"].best_epoch >= 0 and not run_dir.best_model_path.exists():
        what = f"{run_dir.best_model_path}: missing, and a resumed run may find no better epoch"
        raise ArtifactError(f"{what}; restore it from a backup, or start again with --overwrite")
    saved["progress"].n_resumed += 1
    return saved


def _batches(engine: Engine, stage: Stage) -> TrainingBatches:
    config = stage.config
    return TrainingBatches(
        *(stage.features or stage.pack, stage.train_rows, stage.train_targets, config.augment),
        image_size=config.data.image_size,
        batch_size=config.optim.batch_size,
        seed=config.seed,
        num_workers=config.runtime.num_workers,
        rank=engine.processes.rank,
        world_size=engine.processes.world_size,
        positive_share=config.loss.aucm_positive_share if config.loss.name == "aucm" else None,
        groups=stage.train_groups,
        device=engine.device,
        regions=stage.regions,
    )


def _stops_early(progress: Progress, stage: Stage) -> bool:
    patience, best = stage.config.optim.patience or math.inf, progress.best_epoch
    return best >= 0 and not progress.step and progress.epoch - 1 - best >= patience


def _train_epoch(
    engine: Engine, stage: Stage, progress: Progress, listener: Listener, watch: "SignalWatch"
) -> None:
    config, processes, batches = stage.config, engine.processes, _batches(engine, stage)
    epoch, n_steps = progress.epoch, batches.n_steps()
    listener.on_epoch_start(stage, epoch, n_steps, progress.step)
    engine.network.train()
    for module in engine.resting:
        module.eval()
    last_save = time.monotonic()
    start = last_save - progress.epoch_seconds  # that of earlier sessions included
    losses = LossesSeen(engine, progress, stage.paths)
    place = epoch - stage.first_epoch
    steps_before, n_all = place * n_steps, config.optim.planned(place) * n_steps
    on_cpu, pixels = engine.device.type == "cpu", stage.pixels(epoch)
    for batch in batches.epoch(epoch, image_size=pixels, start_step=progress.step):
        rate = learning_rate(config.optim, steps_before + progress.step, n_all)
        seed = step_seed(config.seed, epoch, progress.step, processes.rank)
        loss_sum, known = train_step(engine, batch, learning_rate=rate, seed=seed)
        progress.step += 1
        losses.add(batch.rows, loss_sum, known, engine.skipped)
        if on_cpu or progress.step % STEPS_PER_LOOK == 0 or progress.step == n_steps:
            losses.look()
        listener.on_step(len(batch.rows) * processes.world_size, losses.last)
        stop = stop_requested(watch, processes, progress.step, n_steps)
        minutes = (time.monotonic() - last_save) / 60
        if stop or (processes.is_first and minutes >= config.runtime.checkpoint_minutes):
            losses.look()
            progress.epoch_seconds = time.monotonic() - start
            checkpoint.save_checkpoint(stage, engine, progress)
            last_save = time.monotonic()
        if stop:
            raise Interrupted(watch.received or 15)
    progress.epoch_seconds = time.monotonic() - start


def _close_epoch(
    engine: Engine, stage: Stage, progress: Progress, scores: Mapping[str, float]
) -> bool:
    """Write down an epoch that ended, and say whether it is the best so far."""
    epoch, auroc = progress.epoch, scores["val_macro_auroc"]
    finish_epoch(engine.optimiser)
    better = not math.isfinite(progress.best_auroc) or auroc > progress.best_auroc
    if better or progress.best_epoch < 0:
        progress.best_auroc, progress.best_epoch = auroc, epoch
    is_best = progress.best_epoch == epoch
    progress.log.append(log_row(stage, progress, scores, engine.device))
    progress.total_seconds += progress.epoch_seconds
    progress.epoch, progress.step = epoch + 1, 0
    progress.loss_sum, progress.known_sum, progress.epoch_seconds = 0.0, 0, 0.0
    if engine.processes.is_first:
        if is_best or stage.config.select.checkpoint == "last":
            checkpoint.save_weights(stage.run_dir.best_model_path, engine)
        stage.run_dir.write_log(progress.log)
        checkpoint.save_checkpoint(stage, engine, progress)
    return is_best


class LossesSeen:
    """Losses of the last steps, left on the device until a look, for which a GPU has to be awaited.

    A look adds them to the progress; no checkpoint is written without one before it.
    """

    def __init__(self, engine: Engine, progress: Progress, paths: Sequence[str]) -> None:
        self._engine, self._progress, self._paths = engine, progress, paths
        self._waiting: list[tuple[int, Ints, Tensor, Tensor, Tensor | None]] = []
        self.last = progress.loss_sum / progress.known_sum if progress.known_sum else float("nan")

    def add(self, rows: Ints, loss_sum: Tensor, known: Tensor, skipped: Tensor | None) -> None:
        """The step that was just counted in the progress: rows (B,), scalars on the device."""
        self._waiting.append((self._progress.step, rows, loss_sum, known, skipped))

    def look(self) -> None:
        """TrainingError: a non-finite loss (fp16: more in a row, gradients too, than allowed)."""
        progress, engine = self._progress, self._engine
        allowed = engine.config.runtime.nonfinite_limit if engine.scaler is not None else 0
        scalars = [one for step in self._waiting for one in step[2:] if one is not None]
        values = torch.stack(scalars).view(len(self._waiting), -1).tolist() if scalars else []
        for (number, rows, *_), (total, known, *skipped) in zip(self._waiting, values, strict=True):
            count = int(known)
            is_finite = math.isfinite(total)
            if is_finite:
                progress.loss_sum += total
                progress.known_sum += count
                self.last = total / max(count, 1)
            if is_finite and not any(skipped):
                progress.n_skipped_in_a_row = 0
                continue
            progress.n_skipped_in_a_row += 1
            progress.n_skipped += 1
            if progress.n_skipped_in_a_row > allowed:
                what = "gradient" if is_finite else "loss"
                paths = list_first([self._paths[int(row)] for row in rows])
                raise TrainingError(
                    f"epoch {progress.epoch + 1}, step {number}: the {what} is not finite; "
                    f"rows of the batch: {paths}; lower --lr, set optim.clip_norm, try --no-amp or "
                    "other --weights; the last good checkpoint is kept"
                )
        self._waiting.clear()


class Interrupted(Exception):  # noqa: N818 - an outcome that the user asked for, no error
    """The run was stopped by a signal after saving; `exit_code` is 128 + its number."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.exit_code = 128 + signal_number


class SignalWatch:
    """The first signal that asked the process to end, kept for the loop; a second SIGINT ends."""

    def __init__(self) -> None:
        self.received = 0

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """A signal came."""
        if number == signal.SIGINT and self.received:
            os._exit(130)  # files are replaced whole, so there is nothing to tidy
        leave_closed_terminal()
        self.received = self.received or number
        sys.stderr.write("\nstopping after this step, saving (Ctrl-C again ends at once) …\n")


def stop_requested(watch: SignalWatch, processes: Processes, step: int, n_steps: int) -> bool:
    """Whether to stop after a 1-based step of `n_steps`; all processes get the same answer."""
    is_due = not processes.are_many or step % STEPS_PER_QUESTION == 0 or step == n_steps
    return is_due and largest_of_processes(watch.received, processes) > 0
