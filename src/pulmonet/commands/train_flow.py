"""The heavy half of `pulmonet train`, top to bottom."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import shutil
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import pulmonet
from pulmonet.artifacts import DatasetFacts, Provenance, RunDir, portable_path, without_home
from pulmonet.commands import console
from pulmonet.commands.dataset import open_dataset
from pulmonet.commands.train import CHANGEABLE
from pulmonet.commands.training_display import Display
from pulmonet.config import RunConfig
from pulmonet.data.loading import evaluation_batches
from pulmonet.data.manifest import Manifest
from pulmonet.data.packing import Pack, open_pack
from pulmonet.data.splits import (
    annotated_in_split,
    dev_rows,
    fingerprint,
    resolve_labels,
    select_rows,
    subset_rows,
)
from pulmonet.data.summary import summarise
from pulmonet.data.tables import count
from pulmonet.errors import ArtifactError, PulmoNetError
from pulmonet.explain.options import METHODS
from pulmonet.labels import (
    describe_policy_changes,
    evaluation_targets,
    fill_uncertain,
    policy_per_label,
    training_targets,
)
from pulmonet.models.inference import predict
from pulmonet.models.networks import build_network
from pulmonet.models.weights import (
    choose_device,
    load_pretrained,
    place,
    read_state_dict,
    sha256_of,
)
from pulmonet.training.checkpoint import Progress, load_checkpoint
from pulmonet.training.distributed import Processes, joined, wait_for_all
from pulmonet.training.interruption import Interrupted
from pulmonet.training.loop import Listener, Session, TrainingData, run_training
from pulmonet.training.losses import (
    balanced_pos_weight,
    count_classes,
    n_outputs,
    scores_from_logits,
)
from pulmonet.training.precision import choose_precision, device_name
from pulmonet.training.step import Engine, build_engine

#: How the names of pictures begin that `evaluate` and `explain` put into a run's folder.
PICTURES = (
    *("roc", "precision_recall", "reliability", "score_histograms", "subgroups", "worst_cases"),
    *METHODS,
)


@dataclass(frozen=True)
class Plan:
    """What is settled before the first step.

    Attributes:
        config: of the run, labels resolved.
        manifest: of the dataset.
        labels: L names.
        policies: L uncertainty policies.
        rows: manifest rows per role: train, valid, and dev where it selects.
        excluded: rows left out, by reason.
        weights: facts about the first weights.
        device: where it trains.
        precision: fp32, bf16 or fp16.
        processes: this process among its peers.
    """

    config: RunConfig
    manifest: Manifest
    labels: tuple[str, ...]
    policies: tuple[str, ...]
    rows: dict[str, NDArray[np.int64]]
    excluded: dict[str, int]
    weights: dict[str, object]
    device: torch.device
    precision: str
    processes: Processes


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
        pack = _open_pack(plan)
        plan = _without_bad_rows(plan, pack)
        if processes.is_first and overwrite:
            clear_run(run_dir)
        provenance = _first_provenance(plan, run_dir, resume=resume)
        if resume and run_dir.last_checkpoint_path.exists():
            # before the record is touched: a run that cannot go on stays what it was
            load_checkpoint(run_dir.last_checkpoint_path, _run_fingerprint(plan, "final"))
        wait_for_all(processes)
        if processes.is_first:
            run_dir.write_record(plan.config, provenance)
        wait_for_all(processes)
        return _train_and_record(plan, network, pack, run_dir, provenance, resume=resume)


def make_plan(
    config: RunConfig, device: torch.device, processes: Processes
) -> tuple[Plan, nn.Module]:
    """Check everything that can be wrong before any long work starts.

    Returns:
        The plan, and the network on its device with its first weights.
    """
    manifest = open_dataset(config.data, config.seed)
    labels = resolve_labels(manifest, config.data.labels)
    policies = policy_per_label(config.targets.uncertain_policy, labels)
    precision = choose_precision(config.runtime.amp, config.model.name, device)
    rows, excluded = choose_rows(manifest, config)
    network, weights = first_network(config, n_outputs(policies), device)
    plan = Plan(
        config=config,
        manifest=manifest,
        labels=labels,
        policies=policies,
        rows=rows,
        excluded=excluded,
        weights=weights,
        device=device,
        precision=precision,
        processes=processes,
    )
    _announce(plan)
    return plan, network


def choose_rows(
    manifest: Manifest, config: RunConfig
) -> tuple[dict[str, NDArray[np.int64]], dict[str, int]]:
    """Manifest rows per role, and how many were left out for which reason."""
    data = config.data
    n_all = len(select_rows(manifest, "train"))
    train = select_rows(manifest, "train", data.views)
    excluded = {"views": n_all - len(train)}
    rows = {"valid": select_rows(manifest, "valid", data.views)}
    if config.select.on == "dev":
        train, rows["dev"] = dev_rows(manifest, train, config.select.dev_fraction, config.seed)
    rows["train"] = subset_rows(manifest, train, data.subset, data.subset_mode, config.seed)
    excluded["subset"] = len(train) - len(rows["train"])
    return rows, {reason: n for reason, n in excluded.items() if n}


def first_network(
    config: RunConfig, n_logits: int, device: torch.device
) -> tuple[nn.Module, dict[str, object]]:
    """A network with its first weights on `device`; random ones are drawn from the run's seed."""
    torch.manual_seed(config.seed)
    network = build_network(config.model.name, n_logits, config.model.dropout)
    facts = load_pretrained(network, config.model.name, config.model.weights)
    return place(network, device), facts


def _open_pack(plan: Plan) -> Pack:
    rows = np.concatenate(list(plan.rows.values()))
    data = plan.config.data
    with console.steps("packing", 0) as bar:
        return open_pack(
            plan.manifest,
            rows,
            image_size=data.image_size,
            fit=data.fit,
            num_workers=max(plan.config.runtime.num_workers, 1),
            skip_bad=data.skip_bad,
            progress=bar.reach,
        )


def _without_bad_rows(plan: Plan, pack: Pack) -> Plan:
    if not pack.bad_rows:
        return plan
    bad = np.fromiter(pack.bad_rows, dtype=np.int64)
    paths = plan.manifest.table["path"]
    for row, reason in sorted(pack.bad_rows.items())[:5]:
        console.warn(f"left out {paths.iloc[row]}: {reason}")
    rows = {role: values[~np.isin(values, bad)] for role, values in plan.rows.items()}
    return replace(plan, rows=rows, excluded=plan.excluded | {"unreadable": len(bad)})


# --- targets and data ---------------------------------------------------------------------


def _raw_labels(plan: Plan, role: str) -> NDArray[np.float32]:
    """(n, L) raw labels of a role's rows; those of training shuffled if so configured."""
    raw = plan.manifest.raw_labels(plan.labels)[plan.rows[role]]
    if role == "train" and plan.config.data.shuffle_labels:
        raw = raw[np.random.default_rng(plan.config.seed).permutation(len(raw))]
    return raw


def first_targets(plan: Plan) -> NDArray[np.float32]:
    """(n, L) training targets under the policies."""
    settings = plan.config.targets
    paths = plan.manifest.table["path"].to_numpy(object)[plan.rows["train"]]
    return training_targets(
        _raw_labels(plan, "train"),
        plan.policies,
        blank=settings.blank,
        row_keys=[str(path) for path in paths],
        seed=plan.config.seed,
        ones_lsr=settings.ones_lsr,
        zeros_lsr=settings.zeros_lsr,
        annotated=annotated_in_split(plan.manifest, "train", plan.labels),
    )


def build_data(plan: Plan, pack: Pack, targets: NDArray[np.float32], stage: str) -> TrainingData:
    """What the loop trains on and selects on."""
    select, split = ("dev", "train") if plan.config.select.on == "dev" else ("valid", "valid")
    return TrainingData(
        pack=pack,
        train_rows=plan.rows["train"],
        train_targets=targets,
        select_rows=plan.rows[select],
        select_targets=evaluation_targets(
            _raw_labels(plan, select),
            annotated=annotated_in_split(plan.manifest, split, plan.labels),
        ),
        labels=plan.labels,
        paths=plan.manifest.table["path"].tolist(),
        fingerprint=_run_fingerprint(plan, stage),
    )


def _run_fingerprint(plan: Plan, stage: str) -> str:
    config = without_home(plan.config.model_dump(mode="json"))  # as a resumed run reads it
    for section, field in CHANGEABLE:
        config[section].pop(field, None)
    rows = {
        role: hashlib.sha256(values.tobytes()).hexdigest() for role, values in plan.rows.items()
    }
    text = json.dumps([config, fingerprint(plan.manifest), rows, stage], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def build_run_engine(plan: Plan, network: nn.Module, targets: NDArray[np.float32]) -> Engine:
    """The engine of one stage."""
    loss = plan.config.loss
    pos_weight = None
    if loss.pos_weight == "balanced":
        pos_weight = torch.from_numpy(balanced_pos_weight(targets, loss.pos_weight_max))
    class_counts = None
    if loss.name == "balanced-bce":
        class_counts = count_classes(torch.from_numpy(targets))
    return build_engine(
        network,
        plan.config,
        device=plan.device,
        precision=plan.precision,
        processes=plan.processes,
        policies=plan.policies,
        pos_weight=pos_weight,
        class_counts=class_counts,
        notify=console.warn,
    )


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
        provenance = _with_policy_changes(plan, provenance, targets)
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
        final = _final_provenance(plan, provenance, progress, run_dir)
        record(final)
        _say_result(plan, final, run_dir)
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
    console.say("stage 1 of 2: a first model, uncertain labels masked")
    config = plan.config
    epochs = config.targets.self_trained_epochs or config.optim.epochs
    optim = config.optim.model_copy(update={"epochs": epochs, "growth": ()})
    config = config.model_copy(update={"optim": optim})
    stage_dir = RunDir(run_dir.path / "stage1")
    engine = build_run_engine(plan, network, targets)
    data = build_data(plan, pack, targets, f"stage1 {epochs}")
    _run_stage(plan, engine, data, stage_dir, config, resume=resume)
    wait_for_all(plan.processes)
    best = build_network(config.model.name, len(plan.labels), 0.0)
    _load_stage1(best, stage_dir)
    raw = _raw_labels(plan, "train")
    columns = [column for column, name in enumerate(plan.policies) if name == "self-trained"]
    positions = np.flatnonzero((raw[:, columns] == -1).any(axis=1))
    scores = np.zeros_like(targets)
    if len(positions):
        scores[positions] = predict(
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
            f"({str(error).splitlines()[0]}); start again with --overwrite"
        ) from None


# --- records ------------------------------------------------------------------------------


def clear_run(run_dir: RunDir) -> None:
    """Remove the files of an earlier run from its folder, and nothing else."""
    for path in (
        run_dir.last_checkpoint_path,
        run_dir.best_model_path,
        run_dir.log_path,
        run_dir.curves_path,
        run_dir.calibration_path,
        run_dir.path / "model.onnx",
        *run_dir.path.glob("predictions_*.csv"),
        *run_dir.path.glob("evaluation_*.json"),
        *(path for name in PICTURES for path in run_dir.path.glob(f"{name}_*.png")),
    ):
        path.unlink(missing_ok=True)
    for folder in (run_dir.explain_dir, run_dir.path / "stage1", run_dir.path / "tensorboard"):
        shutil.rmtree(folder, ignore_errors=True)


def _first_provenance(plan: Plan, run_dir: RunDir, *, resume: bool) -> Provenance:
    start = datetime.now(UTC).isoformat(timespec="seconds")
    if resume and run_dir.exists():
        start = run_dir.read_record().provenance.start
    select = "dev" if plan.config.select.on == "dev" else "valid"
    return Provenance(
        status="running",
        pulmonet=pulmonet.__version__,
        versions=installed_versions(),
        command=["pulmonet", *sys.argv[1:]],
        device=str(plan.device),
        device_name=device_name(plan.device),
        threads=torch.get_num_threads(),
        world_size=plan.processes.world_size,
        precision=plan.precision,
        weights=plan.weights,
        labels=list(plan.labels),
        dataset=_dataset_facts(plan),
        start=start,
        selected_on=select,
    )


def installed_versions() -> dict[str, str]:
    """Versions that decide the bits of a run."""
    import cv2
    import torchvision

    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
    }


def _dataset_facts(plan: Plan) -> DatasetFacts:
    manifest = plan.manifest
    patients = manifest.table["patient"].to_numpy(object)
    positives = {}
    for role in plan.rows:
        counts = (_raw_labels(plan, role) == 1).sum(axis=0)
        positives[role] = dict(zip(plan.labels, map(int, counts), strict=True))
    return DatasetFacts(
        name=manifest.name,
        source=manifest.source,
        root=portable_path(manifest.root),
        fingerprint=fingerprint(manifest),
        synthetic=manifest.synthetic,
        patients_known=manifest.patients_known,
        n_rows={role: len(rows) for role, rows in plan.rows.items()},
        n_patients={role: len(set(patients[rows])) for role, rows in plan.rows.items()},
        positives=positives,
        excluded=plan.excluded,
        summary=summarise(manifest),
    )


def _with_policy_changes(
    plan: Plan, provenance: Provenance, targets: NDArray[np.float32]
) -> Provenance:
    raw = _raw_labels(plan, "train")
    changes = describe_policy_changes(raw, targets, plan.policies, plan.labels)
    for label, counts in changes.items():
        parts = ", ".join(f"{n:,} {change}" for change, n in counts.items())
        if any(change.startswith("uncertain") for change in counts):
            console.say(f"  {label}: {parts}")
    if provenance.dataset is None:
        return provenance
    dataset = provenance.dataset.model_copy(update={"policy_changes": changes})
    return provenance.model_copy(update={"dataset": dataset})


def _final_provenance(
    plan: Plan, provenance: Provenance, progress: Progress, run_dir: RunDir
) -> Provenance:
    notes = []
    if progress.micro_batch_size:
        notes.append(f"micro-batches of {progress.micro_batch_size} images after out of memory")
    if progress.n_skipped:
        notes.append(f"{progress.n_skipped} fp16 steps skipped for a non-finite loss or gradient")
    keeps_last = plan.config.select.checkpoint == "last"
    best = len(progress.log) - 1 if keeps_last else progress.best_epoch
    auroc = progress.log[best]["val_macro_auroc"]
    return provenance.model_copy(
        update={
            "status": "finished",
            "end": datetime.now(UTC).isoformat(timespec="seconds"),
            "duration_seconds": round(progress.total_seconds, 1),
            "n_resumed": progress.n_resumed,
            "best_epoch": best + 1,
            "best_valid_macro_auroc": None if np.isnan(auroc) else auroc,
            "checkpoint_sha256": sha256_of(run_dir.best_model_path),
            "notes": notes,
        }
    )


# --- words --------------------------------------------------------------------------------


def _announce(plan: Plan) -> None:
    config = plan.config
    patients = plan.manifest.table["patient"].to_numpy(object)
    parts = []
    for role, rows in plan.rows.items():
        n_patients = len(set(patients[rows]))
        parts.append(f"{role} {count(len(rows), 'image')} of {count(n_patients, 'patient')}")
    left_out = [f"{count(n, 'image')} by {reason}" for reason, n in plan.excluded.items()]
    without = f" (left out: {', '.join(left_out)})" if left_out else ""
    console.say(f"Rows:    {' · '.join(sorted(parts))}{without}")
    console.say(f"Labels:  {', '.join(plan.labels)}")
    policies = sorted(set(plan.policies))
    shown = policies[0] if len(policies) == 1 else ", ".join(plan.policies)
    console.say(f"Targets: uncertain → {shown}, blank → {config.targets.blank}")
    threads = count(torch.get_num_threads(), "thread")
    name = plan.weights.get("name", "")
    weights = f"{plan.weights['source']} {name}".strip()
    console.say(
        f"Model:   {config.model.name}, weights {weights}, {config.data.image_size} px, "
        f"{plan.precision} on {plan.device} ({threads})"
    )
    if "n_matched" in plan.weights:
        console.note(f"weights: {plan.weights['n_matched']} tensors taken over")
    if plan.weights.get("replaced"):
        console.note("the classifier in the weights has another size: a new one takes its place")
    for key in ("missing", "unexpected"):
        names = plan.weights.get(key)
        if isinstance(names, list) and names:
            console.note(f"weights: {len(names)} {key} tensors, e.g. {names[0]}")
    if "note" in plan.weights:
        console.warn(f"weights: {plan.weights['note']}")
    if config.data.shuffle_labels:
        console.warn("data.shuffle_labels: the labels are shuffled; this model knows nothing")


def _say_result(plan: Plan, provenance: Provenance, run_dir: RunDir) -> None:
    value = provenance.best_valid_macro_auroc
    shown = "unknown, as every label has one class only" if value is None else f"{value:.4f}"
    is_last = plan.config.select.checkpoint == "last"
    console.say(
        f"{'Last' if is_last else 'Best'} epoch {provenance.best_epoch}: "
        f"{provenance.selected_on} macro AUROC {shown} "
        f"({'the final epoch is kept, nothing was chosen' if is_last else 'chosen on these rows'})"
    )
    console.say(f"Run:     {run_dir.path}")
    command = ["pulmonet", "evaluate", run_dir.name]
    if run_dir.path.parent != Path("artifacts"):
        command += ["--artifacts-dir", str(run_dir.path.parent)]
    if plan.config.data.data_dir:
        command += ["--data-dir", plan.config.data.data_dir]
    console.say(f"Next:    {shlex.join(command)}")
