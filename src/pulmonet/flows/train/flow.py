"""`pulmonet train`: a dataset becomes a run folder.

Torch is imported inside functions alone, so that a wrong flag answers at once.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pulmonet.config.fields import RunConfig
from pulmonet.config.load import load_config
from pulmonet.errors import (
    ArtifactError,
    ConfigError,
    PulmoNetError,
    TrainingError,
    is_out_of_memory,
)
from pulmonet.flows import console
from pulmonet.flows.options import TrainOptions
from pulmonet.flows.train import resume as resuming
from pulmonet.run.folder import TRAINED, RunDir, check_run_name, list_runs
from pulmonet.run.record import Provenance
from pulmonet.words import count, did_you_mean, first_line, list_first

if TYPE_CHECKING:
    from pulmonet.data.pack.open import Pack
    from pulmonet.flows.train.plan import Plan
    from pulmonet.training.checkpoint import Progress
    from pulmonet.training.stage import Stage


def run(
    source: str | None, flags: Mapping[str, Any], assignments: Sequence[str], options: TrainOptions
) -> int:
    """Train one run: the exit code is 0, or 130/143 after a signal that saved.

    `source` is ``--config``, `flags` dotted field -> value of the daily flags, `assignments`
    ``--set``.
    """
    out_dir, dry_run = options.out_dir, options.dry_run
    resume, overwrite = options.resume, options.overwrite
    config = resuming.at_its_dataset(load_config(source, flags, assignments), source)
    config = resuming.at_its_start(config, out_dir, source)
    name = options.name or config.model.name.replace(":", "-").replace("/", "-")
    run_dir = RunDir(out_dir / check_run_name(name))
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")):
        # --overwrite has been heeded by the first start, unless that did not come so far
        resume = True
        if overwrite and run_dir.exists():
            overwrite = run_dir.read_record().provenance.status == "finished"
    if overwrite:
        resuming.check_start_stays(config, run_dir)
    if run_dir.exists() and not overwrite:
        if not resume:
            raise ArtifactError(resuming.explain_existing(run_dir))
        record = run_dir.read_record()
        config = resuming.resumed_config(run_dir, source, flags, assignments)
        config = resuming.at_its_start(config, out_dir)
        resuming.check_resumable(record, config, run_dir)
        if resuming.is_complete(record, config, run_dir):
            n_epochs = count(record.config.total_epochs, "epoch")
            console.say(f"{run_dir.path}: finished already after {n_epochs}")
            return 0
        resuming.check_checkpoint(record, run_dir)
        config = resuming.at_its_start(config, out_dir, str(run_dir.config_path))
    elif resume and not run_dir.exists():
        meant = did_you_mean(run_dir.name, [found.name for found in list_runs(out_dir)])
        console.say(f"--resume: there is no run {run_dir.path} yet, so it starts{meant}")
    given = {*flags, *(one.partition("=")[0].strip() for one in assignments)}
    if config.data.folds is None and "data.fold" in given:
        raise ConfigError(f"--fold {config.data.fold}: of how many? add --folds, or leave it out")
    taken = [name for name in TRAINED if os.path.lexists(run_dir.path / name)]
    if taken and not run_dir.exists():
        what = f"{run_dir.path}: holds {list_first(taken)} of no run (there is no run_config.json)"
        raise ArtifactError(f"{what}; move them away, or choose another --name")
    is_first = "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK", "0") == "0"
    if not is_first:  # under torchrun only the first process speaks
        console.configure(quiet=True, silent=True)
    for setting, needed in sorted(config.without_effect(given).items()):
        console.warn(f"{setting}: has no effect without {needed}")
    with run_dir.lock() if is_first and not dry_run else contextlib.nullcontext():
        resume = resume and not overwrite
        return _train(config, run_dir, resume=resume, overwrite=overwrite, dry_run=dry_run)


def _train(
    config: RunConfig, run_dir: RunDir, *, resume: bool, overwrite: bool, dry_run: bool
) -> int:
    import torch

    from pulmonet.flows.train.plan import make_plan, open_plan_pack
    from pulmonet.flows.train.record import begin_record, continued
    from pulmonet.flows.train.screen import announce, announce_left
    from pulmonet.models.device import choose_device, make_deterministic
    from pulmonet.training.distributed import joined

    if config.runtime.threads:
        torch.set_num_threads(config.runtime.threads)
    device = choose_device(config.runtime.device)
    if config.runtime.deterministic:
        make_deterministic()
    torch.backends.cudnn.benchmark = config.runtime.cudnn_benchmark
    with joined(device.type) as processes:
        if processes.are_many and device.type == "cuda":
            device = torch.device("cuda", processes.local_rank)
        plan = make_plan(config, device, processes, keep_split=not dry_run)
        announce(plan)
        if dry_run:
            from pulmonet.flows.train.rehearsal import rehearse

            return rehearse(plan, run_dir, resume=resume)
        plan, pack = open_plan_pack(plan)
        announce_left(plan)
        if resume and run_dir.exists():
            plan = continued(plan, run_dir)
        provenance = begin_record(plan, run_dir, resume=resume, overwrite=overwrite)
        return _train_networks(plan, pack, run_dir, provenance, resume=resume)


def _train_networks(
    plan: Plan, pack: Pack, run_dir: RunDir, provenance: Provenance, *, resume: bool
) -> int:
    from pulmonet.flows.seen import write_likeness, write_seen
    from pulmonet.flows.train import plan as plans
    from pulmonet.flows.train.features import with_features, with_resident
    from pulmonet.flows.train.record import finish_record, with_policy_changes, write_record
    from pulmonet.flows.train.screen import Display
    from pulmonet.training.distributed import wait_for_all
    from pulmonet.training.loop import Interrupted, train_stages

    def train(stages: list[Stage]) -> Progress:
        stages = with_resident(plan, with_features(plan, stages))
        kind = "SYNTHETIC. " * plan.manifest.synthetic
        with Display(stages[0], kind, is_silent=not plan.processes.is_first) as display:
            return train_stages(stages, partial(plans.stage_engine, plan), display, resume=resume)

    try:
        if plan.processes.is_first and not run_dir.seen_path.exists():
            write_likeness(run_dir, plan.manifest, pack, plan.rows)
            roles = plan.rows | ({} if plan.boxes is None else {"boxes": plan.boxes.rows})
            known = write_seen(run_dir, plan.manifest, pack, roles, plan.config.model.weights)
            if n := known[role := plan.config.select.on]:
                what = f"{n:,} of {count(len(plan.rows[role]), 'image')} of {role}"
                why = f"--weights was trained on {what}, or on their patients"
                console.warn(
                    f"{why}: the AUROC of {role} is too high, and chooses no checkpoint well"
                )
        targets = plans.first_targets(plan)
        uncertain = plans.rows_to_relabel(plan)
        if len(uncertain):
            console.say("stage 1 of 2: a first model, uncertain labels masked")
            first, folder = plans.first_config(plan.config), RunDir(run_dir.path / "stage1")
            key = f"stage1 {first.optim.epochs}"
            stages = plans.make_stages(plan, first, pack, targets, folder, key)
            train(stages)
            wait_for_all(plan.processes)
            targets = plans.relabelled(plan, stages[0], uncertain)
            n_rows = count(len(uncertain), "row")
            console.say(f"stage 2 of 2: {n_rows} relabelled, training from the start")
        provenance = with_policy_changes(plan, provenance, targets)
        write_record(plan, run_dir, provenance, "running")
        progress = train(plans.make_stages(plan, plan.config, pack, targets, run_dir))
    except Interrupted as stop:
        write_record(plan, run_dir, provenance, "interrupted")
        console.warn(f"stopped; resume it with the same command and --resume ({run_dir.path})")
        return stop.exit_code
    except BaseException as error:  # no run is left that seems to be running
        status = "failed" if isinstance(error, Exception) else "interrupted"
        write_record(plan, run_dir, provenance, status)
        if isinstance(error, PulmoNetError) or not is_out_of_memory(error):
            raise
        raise TrainingError(
            f"{plan.device}: out of memory ({first_line(error)[:160]}); use a smaller "
            "--image-size or --batch-size, or another --model"
        ) from None
    if plan.processes.is_first:
        finish_record(plan, run_dir, provenance, progress)
    wait_for_all(plan.processes)
    return 0
