"""`pulmonet train`: a dataset becomes a run folder.

This half needs no torch: it settles the configuration and the run folder, so that a wrong flag
answers at once. `train_flow` does the rest.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pulmonet.config.load import load_config
from pulmonet.config.schema import RunConfig
from pulmonet.errors import ArtifactError, ConfigError
from pulmonet.files.paths import without_home
from pulmonet.flows.console import configure, say
from pulmonet.run.folder import RunDir, check_run_name, list_runs
from pulmonet.run.record import RunRecord
from pulmonet.words import did_you_mean

#: What a resumed run may change: nothing that decides its weights, but for more epochs.
CHANGEABLE = {
    ("runtime", "device"),
    ("runtime", "num_workers"),
    ("runtime", "checkpoint_minutes"),
    ("runtime", "tensorboard"),
    ("optim", "epochs"),
    ("data", "data_dir"),
}


def run(
    *,
    source: str | None,
    flags: Mapping[str, Any],
    assignments: Iterable[str],
    out_dir: Path,
    name: str | None,
    resume: bool,
    overwrite: bool,
) -> int:
    """Train one run.

    Args:
        source: ``--config``.
        flags: dotted field -> value of the daily flags, None where not given.
        assignments: ``--set``.
        out_dir: the artifacts folder.
        name: of the run; the model's when None.
        resume: go on with an unfinished run.
        overwrite: replace a run that exists.

    Returns:
        The exit code: 0, or 130/143 after a signal.
    """
    assignments = list(assignments)
    config = at_its_dataset(load_config(source, flags, assignments), source)
    run_dir = RunDir(out_dir / check_run_name(name or default_run_name(config)))
    if _restarted_by_torchrun():
        # --overwrite has been heeded by the first start, unless that did not come so far
        resume, overwrite = True, overwrite and not _is_unfinished(run_dir)
    if resume and run_dir.exists() and not overwrite:
        record = run_dir.read_record()
        if source is None:
            # --model puts recipes' other architectures aside; those of the run itself stay
            own = {field: value for field, value in flags.items() if field != "model.alternate"}
            config = load_config(str(run_dir.config_path), own, assignments)
            config = at_its_dataset(config, str(run_dir.config_path))
        check_resumable(record, config, run_dir)
        if _is_complete(record, config):
            n_epochs = record.config.total_epochs
            say(f"{run_dir.path}: finished already after {n_epochs} epoch{'s' * (n_epochs > 1)}")
            return 0
    elif run_dir.exists() and not overwrite:
        raise ArtifactError(_explain_existing(run_dir))
    elif resume and not run_dir.exists():
        meant = did_you_mean(run_dir.name, [found.name for found in list_runs(out_dir)])
        say(f"--resume: there is no run {run_dir.path} yet, so it starts{meant}")
    is_first = "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK", "0") == "0"
    configure_rank(is_first=is_first)
    with run_dir.lock() if is_first else contextlib.nullcontext():
        from pulmonet.flows.train.flow import train

        return train(config, run_dir, resume=resume and not overwrite, overwrite=overwrite)


def at_its_dataset(config: RunConfig, source: str | None) -> RunConfig:
    """A relative data_dir of a run_config.json, met from another folder: where the dataset was.

    Args:
        config: as loaded.
        source: ``--config``.
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


def configure_rank(*, is_first: bool) -> None:
    """Under torchrun, only the first process speaks."""
    if not is_first:
        configure(quiet=True)


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
    if config.optim.epochs != record.config.optim.epochs and _follows_epochs(config):
        raise ConfigError(
            f"--resume {run_dir.path}: more --epochs would train stage one of self-trained anew; "
            f"leave them at {record.config.optim.epochs}, or train a new run with "
            "--set targets.self_trained_epochs=N"
        )
    if config.optim.epochs != record.config.optim.epochs and config.model.members > 1:
        raise ConfigError(
            f"--resume {run_dir.path}: more --epochs would train every member of the ensemble "
            f"anew; leave them at {record.config.optim.epochs}, or train a new run with --name"
        )
    if config.optim.epochs < record.config.optim.epochs:
        raise ConfigError(
            f"--resume {run_dir.path}: --epochs {config.optim.epochs} is fewer than the run's "
            f"{record.config.optim.epochs}; it can only be raised"
        )


def _follows_epochs(config: RunConfig) -> bool:
    """Whether stage one of ``self-trained`` is as long as the run."""
    policy = config.targets.uncertain_policy
    policies = {policy} if isinstance(policy, str) else set(policy.values())
    return "self-trained" in policies and config.targets.self_trained_epochs is None


def _is_complete(record: RunRecord, config: RunConfig) -> bool:
    return (
        record.provenance.status == "finished" and config.optim.epochs <= record.config.optim.epochs
    )


def _restarted_by_torchrun() -> bool:
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def _is_unfinished(run_dir: RunDir) -> bool:
    return run_dir.exists() and run_dir.read_record().provenance.status != "finished"


def _explain_existing(run_dir: RunDir) -> str:
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
