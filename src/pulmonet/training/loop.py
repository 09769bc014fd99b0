"""The training loop: epochs of steps, a validation after each, checkpoints all the while."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pulmonet.config.schema import OptimConfig, RunConfig
from pulmonet.data.batches.load import Batch, TrainingBatches, evaluation_batches
from pulmonet.data.pack.open import Pack
from pulmonet.errors import ArtifactError, TrainingError
from pulmonet.files.system import peak_memory_bytes
from pulmonet.models.device import place
from pulmonet.models.ensemble import Ensemble
from pulmonet.models.inference import predict
from pulmonet.models.networks import build_network, classifier_path
from pulmonet.run.folder import RunDir
from pulmonet.training.checkpoint import Progress, load_checkpoint, save_checkpoint, save_weights
from pulmonet.training.distributed import any_process, gather_rows, share_buffers, wait_for_all
from pulmonet.training.engine import Engine, start_member
from pulmonet.training.interruption import Interrupted, SignalWatch
from pulmonet.training.losses import export_binary_head, scores_from_logits
from pulmonet.training.optimisers import finish_epoch, learning_rate
from pulmonet.training.step import step_seed, train_step
from pulmonet.training.validation import EpochScores, score_epoch
from pulmonet.words import first_line, list_first

#: Steps between two looks at the loss on a GPU: a look waits for the device.
STEPS_PER_LOOK = 20
#: Steps after which several processes ask each other whether one was told to stop.
STEPS_PER_QUESTION = 10


@dataclass(frozen=True)
class TrainingData:
    """What a run trains on and is selected on.

    Attributes:
        pack: decoded images of all rows named below.
        train_rows: (n,) manifest rows.
        train_targets: (n, L + A) float32 training targets, NaN = unknown, of the labels and the
            auxiliary ones behind them.
        select_rows: (m,) manifest rows that choose the best epoch.
        select_targets: (m, L) float32 of 1, 0, NaN; they do not depend on the policy.
        labels: L names.
        paths: image paths of all manifest rows, for messages.
        fingerprint: of config and data; a checkpoint of another one is refused.
    """

    pack: Pack
    train_rows: NDArray[np.int64]
    train_targets: NDArray[np.float32]
    select_rows: NDArray[np.int64]
    select_targets: NDArray[np.float32]
    labels: tuple[str, ...]
    paths: Sequence[str]
    fingerprint: str


@dataclass(frozen=True)
class Listener:
    """Who is told what, on the first process only.

    Attributes:
        on_step: (images done in this step, loss of the last look).
        on_epoch_start: (1-based epoch, steps in it, steps already done, pixels).
        on_epoch: the finished epoch's log row, and whether it is the best so far.
    """

    on_step: Callable[[int, float], None]
    on_epoch_start: Callable[[int, int, int, int], None]
    on_epoch: Callable[[dict[str, float], bool], None]


@dataclass(frozen=True)
class Session:
    """What all parts of the loop need.

    Attributes:
        engine: changed in place.
        data: what to train on.
        config: of the run.
        run_dir: where the files go.
        listener: who is told.
    """

    engine: Engine
    data: TrainingData
    config: RunConfig
    run_dir: RunDir
    listener: Listener


def run_training(session: Session, *, resume: bool) -> Progress:
    """Train to the last epoch, from the start or from last_checkpoint.pth.

    Returns:
        The final progress: log, best epoch, notes, times.

    Raises:
        TrainingError: non-finite loss, out of memory.
        Interrupted: SIGINT or SIGTERM; the checkpoint is saved.
        ArtifactError: a file that cannot be written, or a checkpoint that does not fit.
    """
    engine, data, config = session.engine, session.data, session.config
    run_dir = session.run_dir
    progress = Progress()
    if resume and run_dir.last_checkpoint_path.exists():
        progress = restore(engine, config, run_dir, data.fingerprint)
    batches = TrainingBatches(
        data.pack,
        data.train_rows,
        data.train_targets,
        config.augment,
        image_size=config.data.image_size,
        batch_size=config.optim.batch_size,
        seed=config.seed,
        num_workers=config.runtime.num_workers,
        rank=engine.processes.rank,
        world_size=engine.processes.world_size,
        positive_share=config.loss.aucm_positive_share if config.loss.name == "aucm" else None,
        device=engine.device,
    )
    with SignalWatch() as watch:
        for epoch in range(progress.epoch, config.total_epochs):
            if _stops_early(progress, config.optim):
                break
            member, epoch_of_member = divmod(epoch, config.optim.epochs)
            if member and epoch_of_member == 0 and progress.step == 0:
                start_member(engine, config, member)
            _train_epoch(session, batches, progress, watch)
            if engine.ensemble is not None and epoch_of_member + 1 == config.optim.epochs:
                _add_member(engine.ensemble, engine, config)
            scores = _validate(session, epoch)
            _close_epoch(session, progress, scores)
    return progress


def restore(engine: Engine, config: RunConfig, run_dir: RunDir, fingerprint: str) -> Progress:
    """Bring an engine to where last_checkpoint.pth stands, and say how far that is.

    Raises:
        ArtifactError: a checkpoint that does not fit, or whose best_model.pth is gone.
    """
    content = load_checkpoint(run_dir.last_checkpoint_path, fingerprint)
    if content["progress"].best_epoch >= 0 and not run_dir.best_model_path.exists():
        raise ArtifactError(
            f"{run_dir.best_model_path}: missing, and a resumed run may find no better epoch; "
            "restore it from a backup, or start again with --overwrite"
        )
    at: Progress = content["progress"]
    member = (at.epoch - (at.step == 0)) // config.optim.epochs
    if member > 0:
        start_member(engine, config, member)
    try:
        engine.network.load_state_dict(content["network"])
        engine.optimiser.load_state_dict(content["optimiser"])
        if engine.scaler is not None and content["scaler"]:
            engine.scaler.load_state_dict(content["scaler"])
        if engine.average is not None and content["average"]:
            engine.average.load_state_dict(content["average"])
        if engine.ensemble is not None:
            for number in range(at.epoch // config.optim.epochs):
                engine.ensemble.members.append(_empty_member(engine, config, number))
            engine.ensemble.load_state_dict(content["ensemble"])
        if engine.auc_margin is not None and content["loss"]:
            engine.auc_margin.load_state_dict(content["loss"])
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        reason = first_line(error)
        raise ArtifactError(
            f"{run_dir.last_checkpoint_path}: its parts do not fit this run ({reason[:160]}); "
            "restore it from a backup, or start again with --overwrite"
        ) from None
    if at.micro_batch_size:
        engine.micro_batch_size, engine.is_halved = at.micro_batch_size, True
    return replace(at, n_resumed=at.n_resumed + 1)


def size_of_epoch(optim: OptimConfig, image_size: int, epoch: int) -> int:
    """Pixels of the side in a 0-based epoch: growing sizes first, then `image_size`.

    Every member of an ensemble grows anew.
    """
    epoch %= optim.epochs
    for pixels, n_epochs in optim.growth:
        if epoch < n_epochs:
            return pixels
        epoch -= n_epochs
    return image_size


def _stops_early(progress: Progress, optim: OptimConfig) -> bool:
    if optim.patience is None or progress.best_epoch < 0 or progress.step:
        return False
    return progress.epoch - 1 - progress.best_epoch >= optim.patience


# --- one epoch ----------------------------------------------------------------------------


def _train_epoch(
    session: Session, batches: TrainingBatches, progress: Progress, watch: SignalWatch
) -> None:
    engine, data, config = session.engine, session.data, session.config
    listener = session.listener
    epoch, n_steps = progress.epoch, batches.n_steps()
    pixels = size_of_epoch(config.optim, config.data.image_size, epoch)
    listener.on_epoch_start(epoch + 1, n_steps, progress.step, pixels)
    engine.network.train()
    clock = Clock(progress.epoch_seconds)
    last_save = time.monotonic()
    look = Look(engine, progress)
    for batch in batches.epoch(epoch, image_size=pixels, start_step=progress.step):
        rate = learning_rate(
            config.optim,
            epoch % config.optim.epochs * n_steps + progress.step,
            config.optim.epochs * n_steps,
        )
        seed = step_seed(config.seed, epoch, progress.step, engine.processes.rank)
        loss_sum, known = train_step(engine, batch, config, learning_rate=rate, seed=seed)
        progress.step += 1
        look.add(batch.rows, loss_sum, known, engine.skipped)
        if look.is_due(progress.step, n_steps):
            look.take(data, config)
        listener.on_step(len(batch.rows) * engine.processes.world_size, look.last_loss)
        stop = _stop_requested(watch, engine, progress.step, n_steps)
        minutes = (time.monotonic() - last_save) / 60
        due = engine.processes.is_first and minutes >= config.runtime.checkpoint_minutes
        if stop or due:
            look.take(data, config)
            progress.epoch_seconds = clock.seconds()
            _save(session, progress)
            last_save = time.monotonic()
        if stop:
            raise Interrupted(watch.received or 15)
    progress.epoch_seconds = clock.seconds()


def _add_member(ensemble: Ensemble, engine: Engine, config: RunConfig) -> None:
    member = _empty_member(engine, config, len(ensemble.members))
    member.load_state_dict(own_state(engine))
    ensemble.members.append(member)


def _empty_member(engine: Engine, config: RunConfig, number: int) -> nn.Module:
    member = build_network(config.model.member(number).name, engine.n_labels, 0.0)
    return place(member, engine.device).eval().requires_grad_(False)


def _stop_requested(watch: SignalWatch, engine: Engine, step: int, n_steps: int) -> bool:
    if not engine.processes.are_many:
        return bool(watch.received)
    is_due = step % STEPS_PER_QUESTION == 0 or step == n_steps
    return is_due and any_process(bool(watch.received), engine.processes)


class Clock:
    """Wall time of an epoch, that of earlier sessions included."""

    def __init__(self, earlier_seconds: float) -> None:
        self._start = time.monotonic() - earlier_seconds

    def seconds(self) -> float:
        return time.monotonic() - self._start


@dataclass(frozen=True)
class _Step:
    """A step done: its 1-based number, rows (B,), and scalars that are still on the device."""

    number: int
    rows: NDArray[np.int64]
    loss_sum: Tensor
    known: Tensor
    skipped: Tensor | None


class Look:
    """Losses of the last steps, left on the device until the next look at them.

    A look adds them to the progress and ends the run at a non-finite one, with its step and
    rows; no checkpoint is written without a look before it.
    """

    def __init__(self, engine: Engine, progress: Progress) -> None:
        self._engine = engine
        self._progress = progress
        self._waiting: list[_Step] = []
        self.last_loss = (
            progress.loss_sum / progress.known_sum if progress.known_sum else float("nan")
        )

    def add(
        self, rows: NDArray[np.int64], loss_sum: Tensor, known: Tensor, skipped: Tensor | None
    ) -> None:
        self._waiting.append(_Step(self._progress.step, rows, loss_sum, known, skipped))

    def is_due(self, step: int, n_steps: int) -> bool:
        every = 1 if self._engine.device.type == "cpu" else STEPS_PER_LOOK
        return step % every == 0 or step == n_steps

    def take(self, data: TrainingData, config: RunConfig) -> None:
        """Read the waiting losses.

        Raises:
            TrainingError: a non-finite loss (fp16: more non-finite losses or gradients in a row
                than allowed).
        """
        progress = self._progress
        for step in self._waiting:
            total, count = float(step.loss_sum), int(step.known)
            is_finite = math.isfinite(total)
            if is_finite:
                progress.loss_sum += total
                progress.known_sum += count
                self.last_loss = total / max(count, 1)
            if is_finite and not (step.skipped is not None and bool(step.skipped)):
                progress.n_skipped_in_a_row = 0
                continue
            progress.n_skipped_in_a_row += 1
            progress.n_skipped += 1
            allowed = config.runtime.nonfinite_limit if self._engine.scaler is not None else 0
            if progress.n_skipped_in_a_row > allowed:
                raise TrainingError(self._describe(step, "gradient" if is_finite else "loss", data))
        self._waiting.clear()

    def _describe(self, step: _Step, what: str, data: TrainingData) -> str:
        paths = [data.paths[int(row)] for row in step.rows]
        return (
            f"epoch {self._progress.epoch + 1}, step {step.number}: the {what} is not finite; rows "
            f"of the batch: {list_first(paths)}; lower --lr, set optim.clip_norm, try --no-amp or "
            "other --weights; the last good checkpoint is kept"
        )


def _validate(session: Session, epoch: int) -> EpochScores:
    engine, data, config = session.engine, session.data, session.config
    network, policies, processes = engine.result, engine.policies, engine.processes
    if engine.ensemble is not None and (epoch + 1) % config.optim.epochs == 0:
        network, policies = engine.ensemble, ["ones"] * engine.n_labels  # of all that are done
    wait_for_all(processes)
    share_buffers(network, processes)
    seen: list[NDArray[np.int64]] = []

    def noting_rows() -> Iterator[Batch]:
        for batch in evaluation_batches(
            data.pack,
            data.select_rows,
            image_size=config.data.image_size,
            batch_size=config.optim.batch_size,
            num_workers=config.runtime.num_workers,
            rank=processes.rank,
            world_size=processes.world_size,
            device=engine.device,
        ):
            seen.append(batch.rows)
            yield batch

    scores = predict(
        network,
        noting_rows(),
        device=engine.device,
        precision=engine.precision,
        to_scores=lambda logits: scores_from_logits(logits, policies)[:, : engine.n_labels],
    )
    rows = np.concatenate(seen) if seen else np.zeros(0, dtype=np.int64)
    place = {int(row): position for position, row in enumerate(data.select_rows)}
    positions = np.array([place[int(row)] for row in rows], dtype=np.int64)
    _, scores = gather_rows(positions, scores.reshape(len(rows), len(data.labels)), processes)
    if not np.isfinite(scores).all():
        raise TrainingError(
            f"epoch {epoch + 1}: the network's scores are not finite; lower --lr, set "
            "optim.clip_norm or try --no-amp; the last good checkpoint is kept"
        )
    return score_epoch(data.select_targets, scores)


def _close_epoch(session: Session, progress: Progress, scores: EpochScores) -> None:
    engine, config, run_dir = session.engine, session.config, session.run_dir
    epoch = progress.epoch
    finish_epoch(engine.optimiser)
    better = not math.isfinite(progress.best_auroc) or scores.macro_auroc > progress.best_auroc
    if better or progress.best_epoch < 0:
        progress.best_auroc, progress.best_epoch = scores.macro_auroc, epoch
    is_best = progress.best_epoch == epoch
    progress.log.append(_log_row(session, progress, scores))
    progress.total_seconds += progress.epoch_seconds
    progress.epoch, progress.step = epoch + 1, 0
    progress.loss_sum, progress.known_sum, progress.epoch_seconds = 0.0, 0, 0.0
    if engine.processes.is_first:
        if is_best or config.select.checkpoint == "last":
            save_weights(run_dir.best_model_path, exported_state(engine))
        run_dir.write_log(progress.log)
        _save(session, progress)
    session.listener.on_epoch(progress.log[-1], is_best)


def _log_row(session: Session, progress: Progress, scores: EpochScores) -> dict[str, float]:
    engine, data, config = session.engine, session.data, session.config
    n_steps = max(progress.step, 1)
    seconds = progress.epoch_seconds
    row: dict[str, float] = {
        "epoch": progress.epoch + 1,
        "train_loss": progress.loss_sum / max(progress.known_sum, 1),
        "val_loss": scores.loss,
        "val_macro_auroc": scores.macro_auroc,
        "val_macro_pr_auc": scores.macro_average_precision,
    }
    for label, value in zip(data.labels, scores.aurocs, strict=True):
        row[f"val_auc_{label}"] = float(value)
    for label, value in zip(data.labels, scores.average_precisions, strict=True):
        row[f"val_pr_{label}"] = float(value)
    done = (progress.epoch % config.optim.epochs + 1) * n_steps
    row["lr"] = learning_rate(config.optim, done - 1, config.optim.epochs * n_steps)
    row["seconds"] = round(seconds, 3)
    row["images_per_second"] = round(len(data.train_rows) / max(seconds, 1e-9), 3)
    row["image_size"] = size_of_epoch(config.optim, config.data.image_size, progress.epoch)
    row["peak_memory_mb"] = peak_memory_mb(engine.device)
    return row


def exported_state(engine: Engine) -> dict[str, Tensor]:
    """The weights of best_model.pth: of the members that are done, else of the network."""
    if engine.ensemble is not None and len(engine.ensemble.members):
        return dict(engine.ensemble.state_dict())
    return own_state(engine)


def own_state(engine: Engine) -> dict[str, Tensor]:
    """The weights of the network, averaged if so asked, with an L-way head.

    Three-way labels become one output, those of auxiliary labels are left out.
    """
    network = engine.result
    state = dict(network.state_dict())
    if "multiclass" in engine.policies or engine.n_labels < len(engine.policies):
        head = classifier_path(network)
        weight, bias = export_binary_head(
            state[f"{head}.weight"], state[f"{head}.bias"], engine.policies
        )
        state[f"{head}.weight"] = weight[: engine.n_labels].clone()
        state[f"{head}.bias"] = bias[: engine.n_labels].clone()
    return state


def _save(session: Session, progress: Progress) -> None:
    engine = session.engine
    if not engine.processes.is_first:
        return
    progress.micro_batch_size = engine.micro_batch_size if engine.is_halved else 0
    save_checkpoint(
        session.run_dir.last_checkpoint_path,
        progress=progress,
        network=engine.network,
        optimiser=engine.optimiser,
        scaler=engine.scaler,
        average=None if engine.average is None else engine.average.state_dict(),
        ensemble=None if engine.ensemble is None else engine.ensemble.state_dict(),
        loss_state=None if engine.auc_margin is None else engine.auc_margin.state_dict(),
        fingerprint=session.data.fingerprint,
    )


def peak_memory_mb(device: torch.device) -> float:
    """The most memory held so far: allocated on a GPU, resident on the CPU. MiB."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return round(peak_memory_bytes() / 2**20, 1)
