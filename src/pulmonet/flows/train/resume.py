"""Whether a run may go on, and with which configuration. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pulmonet.config.load import load_config
from pulmonet.config.schema import RunConfig
from pulmonet.errors import ArtifactError, ConfigError
from pulmonet.files.paths import without_home
from pulmonet.run.folder import RunDir
from pulmonet.run.record import RunRecord

#: What a resumed run may change: nothing that decides its weights, but for more epochs.
CHANGEABLE = {
    ("runtime", "device"),
    ("runtime", "num_workers"),
    ("runtime", "checkpoint_minutes"),
    ("runtime", "tensorboard"),
    ("optim", "epochs"),
    ("data", "data_dir"),
}


def at_its_dataset(config: RunConfig, source: str | None) -> RunConfig:
    """A relative data_dir of a run_config.json, met from another folder: where the dataset was.

    `source` is ``--config``.
    """
    named = config.data.data_dir
    if not named or Path(named).expanduser().exists():
        return config
    if source is None or Path(source).name != "run_config.json":
        return config
    record = RunDir(Path(source).parent).read_record()
    facts = record.provenance.dataset
    if named != record.config.data.data_dir or facts is None:
        return config
    if not Path(facts.root).expanduser().exists():
        return config
    data = config.data.model_copy(update={"data_dir": facts.root})
    return config.model_copy(update={"data": data})


def default_run_name(config: RunConfig) -> str:
    """The model's name as a folder name: ``timm:x`` -> ``timm-x``."""
    return config.model.name.replace(":", "-").replace("/", "-")


def resumed_config(
    run_dir: RunDir, flags: Mapping[str, Any], assignments: Iterable[str]
) -> RunConfig:
    """The run's own configuration, as far as the command line says nothing else."""
    # --model puts recipes' other architectures aside; those of the run itself stay
    own = {field: value for field, value in flags.items() if field != "model.alternate"}
    source = str(run_dir.config_path)
    return at_its_dataset(load_config(source, own, assignments), source)


def check_resumable(record: RunRecord, config: RunConfig, run_dir: RunDir) -> None:
    """Refuse to go on with another configuration than the run began with.

    Raises:
        ConfigError: names the fields that differ.
    """
    old = record.config.model_dump(mode="json")
    new = without_home(config.model_dump(mode="json"))
    differing = []
    for section, value in old.items():
        if not isinstance(value, dict):
            if new[section] != value:
                differing.append(f"{section} ({value} -> {new[section]})")
            continue
        for field, before in value.items():
            if (section, field) not in CHANGEABLE and new[section][field] != before:
                differing.append(f"{section}.{field} ({before} -> {new[section][field]})")
    if differing:
        raise ConfigError(
            f"--resume {run_dir.path}: the run was started with another {', '.join(differing)}; "
            "leave that out, or train a new run with --name"
        )
    before, now = record.config.optim.epochs, config.optim.epochs
    start = f"--resume {run_dir.path}: "
    if now != before and _follows_epochs(config):
        raise ConfigError(
            f"{start}more --epochs would train stage one of self-trained anew; leave them at "
            f"{before}, or train a new run with --set targets.self_trained_epochs=N"
        )
    if now != before and config.model.members > 1:
        raise ConfigError(
            f"{start}more --epochs would train every member of the ensemble anew; leave them at "
            f"{before}, or train a new run with --name"
        )
    if now < before:
        raise ConfigError(
            f"{start}--epochs {now} is fewer than the run's {before}; it can only be raised"
        )


def _follows_epochs(config: RunConfig) -> bool:
    """Whether stage one of ``self-trained`` is as long as the run."""
    policy = config.targets.uncertain_policy
    policies = {policy} if isinstance(policy, str) else set(policy.values())
    return "self-trained" in policies and config.targets.self_trained_epochs is None


def is_complete(record: RunRecord, config: RunConfig) -> bool:
    """Whether nothing is left to train."""
    return (
        record.provenance.status == "finished" and config.optim.epochs <= record.config.optim.epochs
    )


def is_unfinished(run_dir: RunDir) -> bool:
    """Whether the folder holds a run that has not come to its end."""
    return run_dir.exists() and run_dir.read_record().provenance.status != "finished"


def explain_existing(run_dir: RunDir) -> str:
    """What to do about a run of the same name."""
    try:
        status: str = run_dir.read_record().provenance.status
    except ArtifactError:
        status = "damaged"
    if status == "finished":
        return (
            f"{run_dir.path}: holds a finished run; choose another --name, or replace it with "
            "--overwrite"
        )
    return (
        f"{run_dir.path}: holds an unfinished run ({status}); go on with --resume, replace it "
        "with --overwrite, or choose another --name"
    )
