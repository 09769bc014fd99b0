"""What is settled before a stage of training: data, rows, network, targets.

`self-trained` has two: scores of a first model fill the uncertain labels.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn

from pulmonet.arrays import Floats32, Ints
from pulmonet.config.fields import RunConfig
from pulmonet.data.batches.random import check_both_classes
from pulmonet.data.manifest import COLLECTION, Manifest, fingerprint
from pulmonet.data.pack.open import Pack
from pulmonet.data.regions import TaughtRegions
from pulmonet.data.splits import choose
from pulmonet.errors import ArtifactError, ConfigError, DataError, is_out_of_memory
from pulmonet.files.paths import without_home
from pulmonet.flows import console
from pulmonet.flows.dataset import left_out, open_dataset, pack_rows
from pulmonet.flows.train.boxes import find_boxes
from pulmonet.flows.train.resume import CHANGEABLE
from pulmonet.labels import (
    evaluation_targets,
    fill_uncertain,
    one_class_labels,
    policy_per_label,
    training_targets,
)
from pulmonet.models.device import choose_precision, place
from pulmonet.models.frozen import freeze
from pulmonet.models.networks import Ensemble, build_network, check_class_maps
from pulmonet.models.pretrained import load_pretrained
from pulmonet.models.weight_files import put, read_tensors
from pulmonet.run.folder import RunDir
from pulmonet.training.distributed import Processes
from pulmonet.training.engine import Engine
from pulmonet.training.losses import output_names
from pulmonet.training.stage import Stage
from pulmonet.training.validation import scores_of
from pulmonet.words import count, first_line, list_first


@dataclass(frozen=True)
class Plan:
    """What is settled before the first step.

    `one_class` has per role the labels that lack a class there -> what is missing.
    """

    config: RunConfig
    manifest: Manifest
    labels: tuple[str, ...]  # L names
    auxiliary: tuple[str, ...]  # A names of labels that are only trained on
    policies: tuple[str, ...]  # L + A uncertainty policies
    rows: dict[str, Ints]  # manifest rows per role: train, valid, and dev where it selects
    excluded: dict[str, int]  # numbers of rows left out, by reason
    weights: dict[str, object]  # facts about the first weights
    device: torch.device
    precision: str  # fp32, bf16 or fp16
    processes: Processes
    unreadable: tuple[str, ...] = ()  # paths of the images that cannot be used
    one_class: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    boxes: TaughtRegions | None = None  # what the class maps learn from

    @property
    def taught(self) -> tuple[str, ...]:
        """All labels that the network learns: L, then A."""
        return (*self.labels, *self.auxiliary)


def make_plan(
    config: RunConfig, device: torch.device, processes: Processes, *, keep_split: bool = True
) -> Plan:
    """Check everything that can be wrong before any long work starts."""
    manifest = open_dataset(config.data, config.seed, keep_split=keep_split)
    labels = choose.resolve_labels(manifest, config.data.labels)
    auxiliary = choose.resolve_auxiliary(manifest, config.data.auxiliary_labels, labels)
    asked = policy_per_label(config.targets.uncertain_policy, (*labels, *auxiliary))
    policies = tuple(  # auxiliary labels have no scores to be filled with
        "ignore" if name == "self-trained" and column >= len(labels) else name
        for column, name in enumerate(asked)
    )
    precision = choose_precision(config.runtime.amp, device)
    rows = _choose_rows(manifest, config)
    weights = _check_networks(config, output_names((*labels, *auxiliary), policies), device)
    plan = Plan(
        config, manifest, labels, auxiliary, policies, *rows, weights, device, precision, processes
    )
    targets = first_targets(plan)
    _check_known(plan, targets)
    if config.loss.name == "aucm":
        check_both_classes(targets)
    return replace(plan, boxes=find_boxes(manifest, config, plan.rows["train"], plan.taught))


def _check_known(plan: Plan, targets: Floats32) -> None:
    """Refuse to train where no (n, L + A) target is positive or negative: DataError."""
    if not (targets <= 1).any():  # an unknown one is NaN, the third class 2
        settings = plan.config.targets
        raise DataError(
            f"{plan.manifest.root}: no known value of {list_first(plan.labels)} in any of the "
            f"{count(len(targets), 'training row')} (uncertain: {', '.join(set(plan.policies))}; "
            f"blank: {settings.blank}); choose other --labels or another --uncertain-policy"
        )


def _choose_rows(manifest: Manifest, config: RunConfig) -> tuple[dict[str, Ints], dict[str, int]]:
    """Manifest rows per role, and how many were left out for which reason."""
    data = config.data
    n_all = len(choose.select_rows(manifest, "train"))
    train = choose.select_rows(manifest, "train", data.views)
    excluded = {"views": n_all - len(train)}
    rows = {"valid": choose.select_rows(manifest, "valid", data.views)}
    if config.select.on == "dev":
        share = config.select.dev_fraction
        train, rows["dev"] = choose.dev_rows(manifest, train, share, config.seed)
    rows["train"] = choose.subset_rows(manifest, train, data.subset, data.subset_mode, config.seed)
    excluded["subset"] = len(train) - len(rows["train"])
    return rows, {reason: n for reason, n in excluded.items() if n}


def first_network(
    config: RunConfig, outputs: Sequence[str], device: torch.device, member: int = 0
) -> tuple[nn.Module, dict[str, object]]:
    """A network of these `outputs` with its first weights; random ones differ by member."""
    torch.manual_seed(config.seed + (member << 32))  # seeds are below 2**32
    model = config.model.member(member)
    network = build_network(model.name, len(outputs), model.dropout, model.output_stride)
    facts = load_pretrained(network, model.name, model.weights, outputs)
    if model.freeze is not None:
        freeze(network, model.name, model.freeze)
    return place(network, device), facts


def _check_networks(
    config: RunConfig, outputs: Sequence[str], device: torch.device
) -> dict[str, object]:
    """Facts about each architecture's first weights, tried now: the others' below ``of NAME``."""
    names = (config.model.name, *config.model.alternate)
    facts: dict[str, object] = {}
    for name in config.model.architectures():
        network, found = first_network(config, outputs, device, names.index(name))
        _check_sizes(network, name, config)
        if config.pointing.boxes is not None:
            check_class_maps(network, name, config.data.image_size)
        facts |= found if name == names[0] else {f"of {name}": found}
    return facts


def _check_sizes(network: nn.Module, name: str, config: RunConfig) -> None:
    """Try a blank image of every size that is trained on, before the data are read."""
    device = next(network.parameters()).device
    sides = [config.data.image_size, *(size for size, _ in config.optim.growth)]
    if max(sides) > sides[0]:
        text = f"{max(sides)} pixels are more than data.image_size = {sides[0]}; grow up to that"
        raise ConfigError(f"optim.growth: {text}")
    for side in dict.fromkeys(sides):
        try:
            with torch.no_grad():
                network.eval()(torch.zeros(1, 1, side, side, device=device))
        except (AssertionError, RuntimeError, TypeError, ValueError, MemoryError) as error:
            if is_out_of_memory(error):
                return  # training says what to do about that
            reason = first_line(error)
            raise ConfigError(
                f"model {name}: takes no images of {side} × {side} pixels ({reason[:160]}); choose "
                "another --image-size (and optim.growth) or model"
            ) from None


def open_plan_pack(plan: Plan) -> tuple[Plan, Pack]:
    """The pack with the rows of all roles decoded, and the plan less those that could not be."""
    pack = pack_rows(plan.manifest, np.concatenate(list(plan.rows.values())), plan.config.data)
    if bad := sorted(pack.bad_rows):
        kept = {role: left_out(pack.bad_rows, values, role) for role, values in plan.rows.items()}
        paths = tuple(plan.manifest.table["path"].iloc[bad])
        excluded = plan.excluded | {"unreadable": len(bad)}
        boxes = find_boxes(plan.manifest, plan.config, kept["train"], plan.taught)
        plan = replace(plan, rows=kept, excluded=excluded, unreadable=paths, boxes=boxes)
    targets = first_targets(plan)
    _check_known(plan, targets)
    one_class = {"train": one_class_labels(targets, plan.taught)} | {
        role: one_class_labels(selection_targets(plan, role), plan.labels)
        for role in plan.rows
        if role != "train"
    }
    return replace(plan, one_class=one_class), pack


def raw_labels(plan: Plan, role: str, labels: tuple[str, ...]) -> Floats32:
    """(n, len(labels)) raw labels of a role's rows; those of training shuffled if so configured."""
    raw = plan.manifest.raw_labels(labels)[plan.rows[role]]
    if role == "train" and plan.config.data.shuffle_labels:
        raw = raw[np.random.default_rng(plan.config.seed).permutation(len(raw))]
    return raw


def selection_targets(plan: Plan, role: str) -> Floats32:
    """(n, L) targets of the rows of ``valid`` or ``dev``, whatever the policies."""
    split = "train" if role == "dev" else role
    raw = raw_labels(plan, role, plan.labels)
    known = choose.annotated_in_split(plan.manifest, split, plan.labels, plan.rows[role])
    return evaluation_targets(raw, annotated=known)


def first_targets(plan: Plan) -> Floats32:
    """(n, L + A) training targets under the policies."""
    settings = plan.config.targets
    paths = plan.manifest.table["path"].to_numpy(object)[plan.rows["train"]]
    return training_targets(
        raw_labels(plan, "train", plan.taught),
        plan.policies,
        blank=settings.blank,
        row_keys=[str(path) for path in paths],
        seed=plan.config.seed,
        ones_lsr=settings.ones_lsr,
        zeros_lsr=settings.zeros_lsr,
        annotated=choose.annotated_in_split(
            plan.manifest, "train", plan.taught, plan.rows["train"]
        ),
    )


def make_stages(
    plan: Plan,
    config: RunConfig,
    pack: Pack,
    targets: Floats32,
    run_dir: RunDir,
    key: str = "final",
) -> list[Stage]:
    """The networks that are trained into one folder: one, or the members of an ensemble.

    `targets` are (n, L + A); by `key` the folder's checkpoint is told from that of another one.
    """
    select, groups = plan.config.select.on, None
    if config.data.balance == "collections" and plan.manifest.parts:
        names = plan.manifest.table[COLLECTION].to_numpy(str)[plan.rows["train"]]
        groups = np.unique(names, return_inverse=True)[1]
    stage = Stage(
        config=config,
        number=0,
        n_stages=config.model.members,
        run_dir=run_dir,
        fingerprint=run_fingerprint(plan, key),
        pack=pack,
        train_rows=plan.rows["train"],
        train_targets=targets,
        select_rows=plan.rows[select],
        select_targets=selection_targets(plan, select),
        labels=plan.labels,
        paths=plan.manifest.table["path"].tolist(),
        regions=plan.boxes,
        train_groups=groups,
    )
    members = (config.model.member(number) for number in range(config.model.members))
    return [
        replace(stage, number=number, config=config.model_copy(update={"model": model}))
        for number, model in enumerate(members)
    ]


def run_fingerprint(plan: Plan, key: str = "final") -> str:
    """SHA-256 (hex) of what decides a stage's weights: only a checkpoint of the same is resumed."""
    config = without_home(plan.config.model_dump(mode="json"))  # as a resumed run reads it
    config["model"]["weights"] = plan.weights.get("first_named", config["model"]["weights"])
    for changeable in CHANGEABLE:
        section, name = changeable.split(".")
        config[section].pop(name, None)
    rows = {role: hashlib.sha256(kept.tobytes()).hexdigest() for role, kept in plan.rows.items()}
    if plan.boxes is not None:
        rows["boxes"] = plan.boxes.facts.digest
    text = json.dumps([config, fingerprint(plan.manifest), rows, key], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def stage_engine(plan: Plan, stage: Stage, ensemble: Ensemble | None) -> Engine:
    """The engine at the start of a stage; `ensemble` has the networks before it."""
    outputs = output_names(plan.taught, plan.policies)
    network, _ = first_network(stage.config, outputs, plan.device, stage.number)
    return Engine(
        network,
        stage.config,
        device=plan.device,
        precision=plan.precision,
        processes=plan.processes,
        policies=plan.policies,
        notify=console.warn,
        targets=stage.train_targets,
        n_labels=len(plan.labels),
        ensemble=ensemble,
    )


def rows_to_relabel(plan: Plan) -> Ints:
    """Places among the training rows that have an uncertain label under ``self-trained``."""
    columns = [column for column, name in enumerate(plan.policies) if name == "self-trained"]
    raw = raw_labels(plan, "train", plan.taught)[:, columns]
    places = np.flatnonzero((raw == -1).any(axis=1))
    if columns and not len(places):
        console.say("self-trained: no training label is uncertain, so there is nothing to relabel")
    return places


def first_config(config: RunConfig) -> RunConfig:
    """How the first model of a run is trained: one network, at one size."""
    epochs = config.targets.self_trained_epochs or config.optim.epochs
    optim = config.optim.model_copy(update={"epochs": epochs, "growth": (), "prolonged": ()})
    return config.model_copy(update={"optim": optim, "model": config.model.member(0)})


def relabelled(plan: Plan, stage: Stage, places: Ints) -> Floats32:
    """The targets of a trained stage, (n, L + A), its scores in place of uncertain labels.

    Raises:
        ArtifactError: its best weights do not fit; a resumed run finds whatever they are now.
    """
    n_labels, path = len(plan.labels), stage.run_dir.best_model_path
    model = stage.config.model
    network = build_network(model.name, n_labels, 0.0, model.output_stride)
    try:
        put(read_tensors(path), network, path, strict=True)
    except RuntimeError as error:
        what = f"{path}: not the weights of stage one ({first_line(error)})"
        raise ArtifactError(f"{what}; start again with --overwrite") from None
    scores = np.zeros_like(stage.train_targets)
    network, rows = place(network, plan.device), stage.train_rows[places]
    scores[places, :n_labels] = scores_of(stage, rows, network, ["ones"] * n_labels, plan.device)
    raw = raw_labels(plan, "train", plan.taught)
    return fill_uncertain(stage.train_targets, raw, scores, plan.policies)
