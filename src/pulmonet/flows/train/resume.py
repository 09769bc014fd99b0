"""Whether a run may be resumed, and with which configuration. Needs no torch."""

import contextlib
import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pulmonet.config.fields import RunConfig
from pulmonet.config.load import load_config
from pulmonet.errors import ArtifactError, ConfigError
from pulmonet.files.paths import expand, places_of, without_home
from pulmonet.files.read import sha256_of
from pulmonet.run.folder import RunDir, find_run
from pulmonet.run.record import DatasetFacts, RunRecord
from pulmonet.words import list_first

#: What a resumed run may change: nothing that decides its weights, but for more epochs.
CHANGEABLE = {f"runtime.{name}" for name in ("device", "num_workers", "tensorboard", "mlflow")}
CHANGEABLE |= {"runtime.checkpoint_minutes", "runtime.keep_checkpoint", "runtime.resident"}
CHANGEABLE |= {"runtime.compile_mode", "runtime.cuda_graph", "runtime.cudnn_benchmark"}
CHANGEABLE |= {"optim.epochs", "optim.prolonged", "data.data_dir", "data.follow_links"}
CHANGEABLE |= {"data.same_patients"}  # the patients of the rows tell


def at_its_dataset(config: RunConfig, source: str | None) -> RunConfig:
    """A relative data_dir of a run_config.json, met from another folder: where the dataset was.

    `source` is ``--config``.
    """
    named, path = places_of(config.data.data_dir), Path(source or "")
    is_there = all(expand(place).exists() for place in named)
    if not is_there and path.name == "run_config.json":
        record = RunDir(path.parent).read_record()
        same = named == places_of(record.config.data.data_dir)
        facts = record.provenance.dataset if same else None
        places = (facts.places or [facts.root]) if facts else []
        if places and all(expand(place).exists() for place in places):
            one_or_all = tuple(places) if places[1:] else places[0]
            data = config.data.model_copy(update={"data_dir": one_or_all})
            return config.model_copy(update={"data": data})
    return config


def at_its_start(config: RunConfig, artifacts_dir: Path, source: str | None = None) -> RunConfig:
    """The configuration with the best weights of a run whose folder or name is ``--weights``.

    A path in the run_config.json `source`, met from another folder: the same weights of the run
    of that name.
    """
    named = config.model.weights
    with contextlib.suppress(OSError, ArtifactError):  # a name that no disk takes; no run
        if named not in ("imagenet", "none") and not expand(named).is_file():
            known, start, path = None, expand(named), Path(source or "")
            if path.name == "run_config.json" and start.name == "best_model.pth":
                known = RunDir(path.parent).read_record().provenance.weights.get("sha256")
            name = start.parent.name if known else named
            best = find_run(name, artifacts_dir).best_model_path
            if known is None or sha256_of(best) == known:
                model = config.model.model_copy(update={"weights": str(best)})
                return config.model_copy(update={"model": model})
    return config


def check_start_stays(config: RunConfig, run_dir: RunDir) -> None:
    """Refuse to empty the folder in which the first weights are.

    Raises:
        ArtifactError: they would be gone before they are read.
    """
    weights, folder = expand(config.model.weights), run_dir.path.resolve()
    if os.path.isfile(weights) and any(  # noqa: PTH113 (no error for a name that no disk takes)
        folder in one.parents for one in (weights.resolve(), weights.parent.resolve() / "_")
    ):
        what = f"--overwrite would empty {run_dir.path}, where --weights {config.model.weights} is"
        raise ArtifactError(f"{what}; give the new run another --name")


def resumed_config(
    run_dir: RunDir, source: str | None, flags: Mapping[str, Any], settings: Iterable[str]
) -> RunConfig:
    """The run's own configuration, as far as the command line says nothing else.

    `source` is ``--config``: what it leaves open is the run's own, not today's default.
    """
    own = {**flags}
    if source is None:  # --model puts recipes' other architectures aside; those of the run stay
        own.pop("model.alternate", None)
    before = str(run_dir.config_path)
    config = load_config(source, own, settings, before)
    return at_its_dataset(at_its_dataset(config, source), before)


def check_resumable(record: RunRecord, config: RunConfig, run_dir: RunDir) -> None:
    """Refuse to resume with another configuration than the run began with.

    Raises:
        ConfigError: names the fields that differ.
    """
    new = without_home(config.flat())
    differing = [
        f"{key} ({before} -> {new[key]})"
        for key, before in record.config.flat().items()
        if key not in CHANGEABLE and new[key] != before
    ]
    before, now = record.config.optim.epochs, config.optim.epochs
    policy, reason = config.targets.uncertain_policy, ""
    policies = {policy} if isinstance(policy, str) else set(policy.values())
    if differing:
        reason = (
            f"the run was started with another {', '.join(differing)}; leave that out, or train a "
            "new run with --name"
        )
    elif now != before and "self-trained" in policies and not config.targets.self_trained_epochs:
        reason = (
            f"more --epochs would train stage one of self-trained again; leave them at {before}, "
            "or train a new run with --set targets.self_trained_epochs=N"
        )
    elif now != before and config.model.members > 1:
        reason = (
            f"more --epochs would train every member of the ensemble again; leave them at "
            f"{before}, or train a new run with --name"
        )
    elif now < before:
        reason = f"--epochs {now} is fewer than the run's {before}; it can only be raised"
    if reason:
        raise ConfigError(f"--resume {run_dir.path}: {reason}")


def is_complete(record: RunRecord, config: RunConfig, run_dir: RunDir) -> bool:
    """Whether nothing is left to train. ArtifactError: weights gone or others, or log gone."""
    is_longer = config.optim.epochs > record.config.optim.epochs
    if record.provenance.status != "finished":
        return False
    digest, path = record.provenance.checkpoint_sha256, run_dir.best_model_path
    gone = next((one for one in (path, run_dir.log_path) if not one.exists()), None)
    if gone is not None and not is_longer:
        what = f"{gone}: missing from a finished run"
        raise ArtifactError(f"{what}; put it back, or train again with --overwrite")
    if digest is not None and path.exists() and sha256_of(path) != digest:
        raise ArtifactError(
            f"{path}: its digest is not the one in run_config.json, so these are not the weights "
            "that the run kept; put the run's own back, or train a new run with --name"
        )
    return not is_longer


def check_checkpoint(record: RunRecord, run_dir: RunDir) -> None:
    """Refuse to start over in the folder of a run that has got somewhere: it stays as it is.

    Raises:
        ArtifactError: results without the checkpoint that they go on from, or not of this run.
    """
    is_finished = record.provenance.status == "finished"
    for folder in (run_dir, RunDir(run_dir.path / "stage1")):
        there = folder.best_model_path.exists() or folder.log_path.exists()
        there = there or (is_finished and folder is run_dir)
        if there and not folder.last_checkpoint_path.exists():
            raise ArtifactError(
                f"{folder.last_checkpoint_path}: missing, so the run cannot go on; put it back, or "
                "train a new run with --name (evaluate, explain and report do without it)"
            )


def check_same_data(record: RunRecord, now: DatasetFacts, run_dir: RunDir) -> None:
    """Refuse to go on with other data than the run began with.

    Raises:
        ArtifactError: names what differs, and tables that are younger than the run.
    """
    before, names = record.provenance.dataset, ("fingerprint", "n_rows", "unreadable")
    if before is None or all(getattr(before, name) == getattr(now, name) for name in names):
        return
    was, new = _numbers(before), _numbers(now)
    numbers = {name: (was.get(name, 0), new.get(name, 0)) for name in {**was, **new}}
    differing = [f"{name} {a:,} -> {b:,}" for name, (a, b) in numbers.items() if a != b]
    root, start = expand(now.root), datetime.fromisoformat(record.provenance.start).timestamp()
    tables = [path.name for path in sorted(root.glob("*.csv*")) if path.stat().st_mtime > start]
    changed = f"; changed since it began: {list_first(tables)}" if tables else ""
    raise ArtifactError(
        f"--resume {run_dir.path}: the dataset {now.root} is not the one that the run began with: "
        f"{list_first(differing, 3) or 'paths, patients or labels of some rows'}{changed}; put it "
        "back as it was, or train a new run with --name"
    )


def check_same_start(record: RunRecord, now: Mapping[str, Any], run_dir: RunDir) -> None:
    """Refuse to go on from other first weights than the run began with, as far as known.

    Raises:
        ArtifactError: another file.
    """
    was, new = (  # below "of NAME" those of other architectures
        {one.get("sha256") for one in (facts, *facts.values()) if isinstance(one, dict)}
        for facts in (record.provenance.weights, now)
    )
    if was != new and None not in was ^ new:
        raise ArtifactError(
            f"--resume {run_dir.path}: {record.config.model.weights} is not the file that the run "
            "began with (other SHA-256); put it back, or train a new run with --name"
        )


def _numbers(facts: DatasetFacts) -> dict[str, int]:
    found = {f"{role} images": n for role, n in facts.n_rows.items()}
    for role, positives in facts.positives.items():
        found |= {f"{role} positives of {label}": n for label, n in positives.items()}
    return found


def prolonged(config: RunConfig, before: RunConfig, n_begun: int) -> RunConfig:
    """The configuration of a run with more epochs than `before`, by which all of it is repeated.

    Where the learning rate depends on the number of epochs, the `n_begun` that have begun keep
    the plan that they were trained under.
    """
    optim, plans = config.optim, before.optim.prolonged
    depends = optim.schedule != "constant" or optim.warmup_fraction > 0
    is_new = optim.epochs > before.optim.epochs and n_begun > (plans[-1][1] if plans else 0)
    if depends and is_new:
        plans = (*plans, (before.optim.epochs, n_begun))
    return config.model_copy(update={"optim": optim.model_copy(update={"prolonged": plans})})


def explain_existing(run_dir: RunDir) -> str:
    """What to do about a run of the same name."""
    try:
        status: str = run_dir.read_record().provenance.status
    except ArtifactError:
        status = "damaged"
    found = "a finished run; choose another --name, or replace it with --overwrite"
    if status != "finished":
        advice = "continue it with --resume, replace it with --overwrite, or choose another --name"
        found = f"an unfinished run ({status}); {advice}"
    return f"{run_dir.path}: holds {found}"
