"""What a training run writes down about itself, and what it says at its end."""

import contextlib
import platform
import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

import pulmonet
from pulmonet.arrays import Floats32
from pulmonet.data.manifest import fingerprint, fingerprint_of_rows, patients_by_split
from pulmonet.data.sources.collections import find_collections
from pulmonet.data.summary import summarise
from pulmonet.files.ledger import NAME, Ledger
from pulmonet.files.paths import places_of, portable_path
from pulmonet.files.read import sha256_of
from pulmonet.flows import console
from pulmonet.flows.train.plan import Plan, raw_labels, run_fingerprint
from pulmonet.flows.train.resume import check_same_data, check_same_start, prolonged
from pulmonet.labels import describe_policy_changes
from pulmonet.metrics.calibration.fit import highest_by_chance
from pulmonet.models.device import device_name
from pulmonet.report.texts import entries
from pulmonet.run.folder import TRAINED, RunDir
from pulmonet.run.record import DatasetFacts, Provenance
from pulmonet.training.checkpoint import Progress, load_checkpoint
from pulmonet.training.distributed import wait_for_all
from pulmonet.training.optimisers import learning_rate


def _clear(run_dir: RunDir) -> None:
    """Remove an earlier run's files, not behind a link: those of `train` by name, others listed."""
    below = [run_dir.path / name for name in ("stage1", "tensorboard")]
    for folder in (run_dir.path, *(each for each in below if not each.is_symlink())):
        events = folder.glob("events.out.tfevents.*")
        for path in (*(folder / name for name in TRAINED), *events):
            with contextlib.suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
                path.unlink()
    Ledger(run_dir.path, "").remove(*run_dir.path.rglob("*"))
    (run_dir.path / NAME).unlink(missing_ok=True)
    for folder in below:
        with contextlib.suppress(OSError):  # not there, a link, or not empty: kept
            folder.rmdir()


def continued(plan: Plan, run_dir: RunDir) -> Plan:
    """The plan of a run that goes on, perhaps for longer than it was planned.

    Raises:
        ArtifactError: data, first weights or a checkpoint that are not this run's, which stays
            what it was.
    """
    record, n_begun = run_dir.read_record(), 0
    check_same_data(record, _dataset_facts(plan), run_dir)
    check_same_start(record, plan.weights, run_dir)
    named = record.provenance.weights.get("first_named", record.config.model.weights)
    if named != plan.config.model.weights:  # met from another folder
        plan = replace(plan, weights=plan.weights | {"first_named": named})
    if run_dir.last_checkpoint_path.exists():
        saved = load_checkpoint(run_dir.last_checkpoint_path, run_fingerprint(plan))
        n_begun = saved["progress"].epoch + bool(saved["progress"].step)
    config = prolonged(plan.config, record.config, n_begun)
    optim, before = config.optim, record.config.optim
    if optim.prolonged != before.prolonged:
        rates = (  # a thousand steps an epoch are as good as any number
            learning_rate(optim, 1000 * n_begun - 1 + step, 1000 * n_epochs)
            for step, n_epochs in enumerate((before.epochs, optim.epochs))
        )
        console.tell("train_longer", optim=optim, before=before.epochs, rates=[*rates])
    return replace(plan, config=config)


def begin_record(plan: Plan, run_dir: RunDir, *, resume: bool, overwrite: bool) -> Provenance:
    """Write down where a run comes from before its first step, in a folder cleared if so asked."""
    import cv2
    import torchvision

    if plan.processes.is_first and overwrite:
        _clear(run_dir)
    start = datetime.now(UTC).isoformat(timespec="seconds")
    command, before = ["pulmonet", *sys.argv[1:]], None
    if resume and run_dir.exists():
        before = run_dir.read_record().provenance
        start, command = before.start, before.command or command
    modules = {"torch": torch, "torchvision": torchvision, "numpy": np, "opencv": cv2}
    versions = {name: str(module.__version__) for name, module in modules.items()}
    provenance = Provenance(
        status="running",
        pulmonet=pulmonet.__version__,
        versions={"python": platform.python_version()} | versions,
        command=command,
        device=str(plan.device),
        device_name=device_name(plan.device),
        threads=torch.get_num_threads(),
        world_size=plan.processes.world_size,
        precision=plan.precision,
        weights=plan.weights,
        labels=list(plan.labels),
        auxiliary_labels=list(plan.auxiliary),
        dataset=_dataset_facts(plan),
        boxes=None if plan.boxes is None else plan.boxes.facts,
        start=start,
        selected_on=plan.config.select.on,
    )
    if before is not None and any(run_dir.path.rglob(run_dir.last_checkpoint_path.name)):
        notes = _resumed_elsewhere(before, provenance)
        provenance = provenance.model_copy(update={"notes": notes})
    wait_for_all(plan.processes)
    write_record(plan, run_dir, provenance, provenance.status)
    wait_for_all(plan.processes)
    return provenance


def _resumed_elsewhere(before: Provenance, now: Provenance) -> list[str]:
    """What a session of a run found changed of that on which its bits hang; now is said, too.

    The record itself has machine, precision and versions of the last session alone.
    """
    names = ("device_name", "threads", "world_size", "precision", "pulmonet")
    old, new = (
        {name: getattr(one, name) for name in names} | one.versions | {"python": ""}
        for one in (before, now)
    )
    changed = [
        f"{name} {was} -> {new.get(name)}"
        for name, was in old.items()
        if was not in ("", 0, new.get(name))
    ]
    start = "resumed elsewhere ("
    notes = [note for note in before.notes if note.startswith(start)]
    if changed:
        notes.append(f"{start}{', '.join(changed)}): not bit-identical to a run without a break")
        console.warn(notes[-1])
    return notes


def write_record(plan: Plan, run_dir: RunDir, provenance: Provenance, status: str) -> None:
    """Write run_config.json on the first process."""
    if plan.processes.is_first:
        run_dir.write_record(plan.config, provenance.model_copy(update={"status": status}))


def _dataset_facts(plan: Plan) -> DatasetFacts:
    manifest = plan.manifest
    roots = find_collections(plan.config.data).roots
    patients = manifest.table["patient"].to_numpy(object)
    counts = {role: (raw_labels(plan, role, plan.labels) == 1).sum(axis=0) for role in plan.rows}
    return DatasetFacts(
        **manifest.facts(),
        root=" + ".join(portable_path(one.root) for one in manifest.parts or (manifest,)),
        places=[portable_path(place) for place in places_of(plan.config.data.data_dir)],
        collections={
            part.name: (portable_path(root), fingerprint(part))
            for part, root in zip(manifest.parts, roots, strict=False)
        },
        fingerprint=fingerprint(manifest),
        rows_fingerprint=fingerprint_of_rows(manifest),
        split_patients=patients_by_split(manifest),
        n_rows={role: len(rows) for role, rows in plan.rows.items()},
        n_patients={role: len(set(patients[rows])) for role, rows in plan.rows.items()},
        positives={
            role: dict(zip(plan.labels, n.tolist(), strict=True)) for role, n in counts.items()
        },
        one_class={role: dict(missing) for role, missing in plan.one_class.items()},
        excluded=plan.excluded,
        unreadable=list(plan.unreadable),
        summary=summarise(manifest),
    )


def with_policy_changes(plan: Plan, provenance: Provenance, targets: Floats32) -> Provenance:
    """The provenance with what the policies did to how many labels, which is said too."""
    raw = raw_labels(plan, "train", plan.taught)
    changes = describe_policy_changes(raw, targets, plan.taught)
    for label, counts in changes.items():
        parts = ", ".join(f"{n:,} {change}" for change, n in counts.items())
        if parts:
            console.say(f"  {label}: {parts}")
    facts = provenance.dataset
    dataset = facts and facts.model_copy(update={"policy_changes": changes})
    return provenance.model_copy(update={"dataset": dataset})


def _at_chance(provenance: Provenance, row: Mapping[str, float]) -> str:
    """What to say of an epoch whose scores guess, as far as its selection rows can tell."""
    facts, role = provenance.dataset, provenance.selected_on
    aurocs = {label: row[f"val_auc_{label}"] for label in provenance.labels}
    known = {label: auroc for label, auroc in aurocs.items() if not np.isnan(auroc)}
    if facts is None or not known:
        return ""
    positives = facts.positives[role]
    for label, auroc in known.items():
        n, n_rows = positives[label], facts.n_rows[role]
        if auroc > highest_by_chance(n, max(n_rows - n, 1), len(known)):
            return ""
    best = max(known, key=known.__getitem__)
    return (
        f"No label's AUROC on {role} is significantly above 0.5 (the highest: {best} "
        f"{known[best]:.3f}), so these rows cannot tell the network from guessing; train longer, "
        "on more images, or from pretrained weights."
    )


def finish_record(plan: Plan, run_dir: RunDir, provenance: Provenance, progress: Progress) -> None:
    """Write down and say what came of a run; best_model.pth is its own from here on."""
    is_last = plan.config.select.checkpoint == "last"
    best = len(progress.log) - 1 if is_last else progress.best_epoch
    auroc = progress.log[best]["val_macro_auroc"]
    if chance := _at_chance(provenance, progress.log[best]):
        console.warn(chance)
    told = {"optim": plan.config.optim, "progress": progress, "chance": chance}
    final = provenance.model_copy(
        update={
            "end": datetime.now(UTC).isoformat(timespec="seconds"),
            "duration_seconds": round(progress.total_seconds, 1),
            "n_resumed": progress.n_resumed,
            "best_epoch": best + 1,
            "best_valid_macro_auroc": None if np.isnan(auroc) else auroc,
            "checkpoint_sha256": sha256_of(run_dir.best_model_path),
            "notes": [*provenance.notes, *entries("train_notes", **told)],
        }
    )
    write_record(plan, run_dir, final, "finished")
    if not plan.config.runtime.keep_checkpoint:
        for folder in (run_dir, RunDir(run_dir.path / "stage1")):
            folder.last_checkpoint_path.unlink(missing_ok=True)
    command = ["pulmonet", "evaluate", run_dir.name]
    if run_dir.path.parent != Path("artifacts"):
        command += ["--artifacts-dir", str(run_dir.path.parent)]
    for place in places_of(plan.config.data.data_dir):
        command += ["--data-dir", place]
    facts = {"is_last": is_last, "path": run_dir.path, "command": shlex.join(command)}
    console.tell("train_end", config=plan.config, final=final, **facts)
