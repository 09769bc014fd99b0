"""The heavy half of `pulmonet train`, top to bottom."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pulmonet.config.schema import RunConfig
from pulmonet.data.batches.load import evaluation_batches
from pulmonet.data.pack.open import Pack
from pulmonet.errors import ArtifactError, PulmoNetError
from pulmonet.flows import console
from pulmonet.flows.train.plan import (
    Plan,
    build_data,
    build_run_engine,
    first_network,
    first_targets,
    make_plan,
    open_plan_pack,
    raw_labels,
    run_fingerprint,
    without_bad_rows,
)
from pulmonet.flows.train.record import (
    clear_run,
    final_provenance,
    first_provenance,
    say_result,
    with_policy_changes,
)
from pulmonet.flows.train.screen import Display
from pulmonet.labels import fill_uncertain
from pulmonet.models.device import choose_device, place
from pulmonet.models.inference import predict
from pulmonet.models.networks import build_network
from pulmonet.models.pretrained import read_state_dict
from pulmonet.run.folder import RunDir
from pulmonet.run.record import Provenance
from pulmonet.training.checkpoint import Progress, load_checkpoint
from pulmonet.training.distributed import joined, wait_for_all
from pulmonet.training.engine import Engine
from pulmonet.training.interruption import Interrupted
from pulmonet.training.loop import Listener, Session, TrainingData, run_training
from pulmonet.training.losses import n_outputs, scores_from_logits
from pulmonet.words import first_line


def train(config: RunConfig, run_dir: RunDir, *, resume: bool, overwrite: bool) -> int:
    """Train `config` into `run_dir`; the caller holds its lock.

    Returns:
        0, or 130/143 after a signal that saved.
    """
    if config.runtime.threads:
        torch.set_num_threads(config.runtime.threads)
    device = choose_device(config.runtime.device)
    with joined(device.type) as processes:
        if processes.are_many and device.type == "cuda":
            device = torch.device("cuda", processes.local_rank)
        plan, network = make_plan(config, device, processes)
        pack = open_plan_pack(plan)
        plan = without_bad_rows(plan, pack)
        if processes.is_first and overwrite:
            clear_run(run_dir)
        provenance = first_provenance(plan, run_dir, resume=resume)
        if resume and run_dir.last_checkpoint_path.exists():
            # before the record is touched: a run that cannot go on stays what it was
            load_checkpoint(run_dir.last_checkpoint_path, run_fingerprint(plan, "final"))
        wait_for_all(processes)
        if processes.is_first:
            run_dir.write_record(plan.config, provenance)
        wait_for_all(processes)
        return _train_and_record(plan, network, pack, run_dir, provenance, resume=resume)


# --- training -----------------------------------------------------------------------------


def _train_and_record(
    plan: Plan,
    network: nn.Module,
    pack: Pack,
    run_dir: RunDir,
    provenance: Provenance,
    *,
    resume: bool,
) -> int:
    def record(final: Provenance) -> None:
        if plan.processes.is_first:
            run_dir.write_record(plan.config, final)

    try:
        targets = first_targets(plan)
        if "self-trained" in plan.policies:
            targets = _relabel(plan, network, pack, run_dir, targets, resume=resume)
            network, _ = first_network(plan.config, n_outputs(plan.policies), plan.device)
        provenance = with_policy_changes(plan, provenance, targets)
        record(provenance)
        engine = build_run_engine(plan, network, targets)
        data = build_data(plan, pack, targets, "final")
        progress = _run_stage(plan, engine, data, run_dir, plan.config, resume=resume)
    except Interrupted as stop:
        record(provenance.model_copy(update={"status": "interrupted"}))
        console.warn(f"stopped; go on with the same command and --resume ({run_dir.path})")
        return stop.exit_code
    except PulmoNetError:
        record(provenance.model_copy(update={"status": "failed"}))
        raise
    if plan.processes.is_first:
        final = final_provenance(plan, provenance, progress, run_dir)
        record(final)
        say_result(plan, final, run_dir)
    wait_for_all(plan.processes)
    return 0


def _run_stage(
    plan: Plan,
    engine: Engine,
    data: TrainingData,
    run_dir: RunDir,
    config: RunConfig,
    *,
    resume: bool,
) -> Progress:
    with Display(plan, run_dir, config) as display:
        listener = Listener(display.on_step, display.on_epoch_start, display.on_epoch)
        return run_training(Session(engine, data, config, run_dir, listener), resume=resume)


def _relabel(
    plan: Plan,
    network: nn.Module,
    pack: Pack,
    run_dir: RunDir,
    targets: NDArray[np.float32],
    *,
    resume: bool,
) -> NDArray[np.float32]:
    """Stage one of ``self-trained``: a first model, whose scores fill the uncertain labels.

    It lives in its own folder, stage1/, and is resumed or skipped there like any run.
    """
    raw = raw_labels(plan, "train", plan.taught)
    columns = [column for column, name in enumerate(plan.policies) if name == "self-trained"]
    positions = np.flatnonzero((raw[:, columns] == -1).any(axis=1))
    if not len(positions):
        console.say("self-trained: no training label is uncertain, so there is nothing to relabel")
        return targets
    console.say("stage 1 of 2: a first model, uncertain labels masked")
    config = plan.config
    epochs = config.targets.self_trained_epochs or config.optim.epochs
    optim = config.optim.model_copy(update={"epochs": epochs, "growth": ()})
    model = config.model.member(0)
    config = config.model_copy(update={"optim": optim, "model": model})
    stage_dir = RunDir(run_dir.path / "stage1")
    engine = build_run_engine(replace(plan, config=config), network, targets)
    data = build_data(plan, pack, targets, f"stage1 {epochs}")
    _run_stage(plan, engine, data, stage_dir, config, resume=resume)
    wait_for_all(plan.processes)
    best = build_network(config.model.name, len(plan.labels), 0.0)
    _load_stage1(best, stage_dir)
    scores = np.zeros_like(targets)
    scores[positions, : len(plan.labels)] = predict(
        place(best, plan.device),
        evaluation_batches(
            pack,
            plan.rows["train"][positions],
            image_size=config.data.image_size,
            batch_size=config.optim.batch_size,
            num_workers=config.runtime.num_workers,
            device=plan.device,
        ),
        device=plan.device,
        to_scores=lambda logits: scores_from_logits(logits, ["ones"] * len(plan.labels)),
    )
    console.say(f"stage 2 of 2: {len(positions):,} rows relabelled, training from the start")
    return fill_uncertain(targets, raw, scores, plan.policies)


def _load_stage1(network: nn.Module, stage_dir: RunDir) -> None:
    """The best weights of stage one, which a resumed run finds on disk as whatever they are now."""
    try:
        network.load_state_dict(read_state_dict(stage_dir.best_model_path))
    except RuntimeError as error:
        raise ArtifactError(
            f"{stage_dir.best_model_path}: not the weights of stage one "
            f"({first_line(error)}); start again with --overwrite"
        ) from None
