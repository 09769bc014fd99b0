"""What is settled before the first step of training: data, rows, network, targets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pulmonet.config.schema import RunConfig
from pulmonet.data.batches.sampling import check_both_classes
from pulmonet.data.manifest import Manifest
from pulmonet.data.pack.open import Pack, open_pack
from pulmonet.data.splits.choose import (
    annotated_in_split,
    dev_rows,
    resolve_auxiliary,
    resolve_labels,
    select_rows,
    subset_rows,
)
from pulmonet.data.splits.fingerprint import fingerprint
from pulmonet.errors import ConfigError
from pulmonet.files.paths import without_home
from pulmonet.flows import console
from pulmonet.flows.dataset import open_dataset
from pulmonet.flows.train.resume import CHANGEABLE
from pulmonet.labels import evaluation_targets, policy_per_label, training_targets
from pulmonet.models.device import place
from pulmonet.models.networks import build_network
from pulmonet.models.pretrained import load_pretrained
from pulmonet.training.distributed import Processes
from pulmonet.training.engine import Engine, build_engine
from pulmonet.training.loop import TrainingData
from pulmonet.training.losses import balanced_pos_weight, count_classes, n_outputs
from pulmonet.training.precision import choose_precision
from pulmonet.training.step import is_out_of_memory
from pulmonet.words import count, first_line, list_first


@dataclass(frozen=True)
class Plan:
    """What is settled before the first step.

    Attributes:
        config: of the run, labels resolved.
        manifest: of the dataset.
        labels: L names.
        auxiliary: A names of labels that are only learned from.
        policies: L + A uncertainty policies.
        rows: manifest rows per role: train, valid, and dev where it selects.
        excluded: rows left out, by reason.
        unreadable: paths of the images among them that cannot be used.
        weights: facts about the first weights.
        device: where it trains.
        precision: fp32, bf16 or fp16.
        processes: this process among its peers.
    """

    config: RunConfig
    manifest: Manifest
    labels: tuple[str, ...]
    auxiliary: tuple[str, ...]
    policies: tuple[str, ...]
    rows: dict[str, NDArray[np.int64]]
    excluded: dict[str, int]
    weights: dict[str, object]
    device: torch.device
    precision: str
    processes: Processes
    unreadable: tuple[str, ...] = ()

    @property
    def taught(self) -> tuple[str, ...]:
        """All labels that the network learns: L, then A."""
        return (*self.labels, *self.auxiliary)


def make_plan(
    config: RunConfig, device: torch.device, processes: Processes
) -> tuple[Plan, nn.Module]:
    """Check everything that can be wrong before any long work starts.

    Returns:
        The plan, and the network on its device with its first weights.
    """
    manifest = open_dataset(config.data, config.seed)
    labels = resolve_labels(manifest, config.data.labels)
    auxiliary = resolve_auxiliary(manifest, config.data.auxiliary_labels, labels)
    policies = policy_per_label(config.targets.uncertain_policy, (*labels, *auxiliary))
    policies = (*policies[: len(labels)], *map(_auxiliary_policy, policies[len(labels) :]))
    precision = choose_precision(config.runtime.amp, device)
    rows, excluded = choose_rows(manifest, config)
    network, weights = first_network(config, n_outputs(policies), device)
    check_sizes(network, config.model.name, config)
    for name in _further_architectures(config):  # now, not after hours of the first
        number = config.model.alternate.index(name) + 1
        other, weights[f"of {name}"] = first_network(config, n_outputs(policies), device, number)
        check_sizes(other, name, config)
    plan = Plan(
        config=config,
        manifest=manifest,
        labels=labels,
        auxiliary=auxiliary,
        policies=policies,
        rows=rows,
        excluded=excluded,
        weights=weights,
        device=device,
        precision=precision,
        processes=processes,
    )
    if config.loss.name == "aucm":
        check_both_classes(first_targets(plan))
    _announce(plan)
    return plan, network


def _auxiliary_policy(policy: str) -> str:
    """``self-trained`` relabels with scores, and auxiliary labels get none: theirs are masked."""
    return "ignore" if policy == "self-trained" else policy


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
    config: RunConfig, n_logits: int, device: torch.device, member: int = 0
) -> tuple[nn.Module, dict[str, object]]:
    """A network with its first weights on `device`.

    Random ones are drawn from the run's seed, and differently for each member of an ensemble.
    """
    torch.manual_seed(config.seed + (member << 32))  # seeds are below 2**32
    model = config.model.member(member)
    network = build_network(model.name, n_logits, model.dropout)
    facts = load_pretrained(network, model.name, model.weights)
    return place(network, device), facts


def _further_architectures(config: RunConfig) -> list[str]:
    """Those of an ensemble's members that are not the first one's, each once."""
    return list(config.model.architectures())[1:]


def check_sizes(network: nn.Module, name: str, config: RunConfig) -> None:
    """A blank image of every size that is trained on, so that it is known before the data are read.

    Raises:
        ConfigError: the network takes no images of such a size.
    """
    device = next(network.parameters()).device
    for side in dict.fromkeys([config.data.image_size, *(size for size, _ in config.optim.growth)]):
        try:
            with torch.no_grad():
                network.eval()(torch.zeros(1, 1, side, side, device=device))
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            if is_out_of_memory(error):
                return  # training says what to do about that
            reason = first_line(error)
            raise ConfigError(
                f"model {name}: takes no images of {side} × {side} pixels ({reason[:160]}); choose "
                "another --image-size (and optim.growth) or model"
            ) from None


def open_plan_pack(plan: Plan) -> Pack:
    """The pack, with the rows of all roles decoded."""
    rows = np.concatenate(list(plan.rows.values()))
    data = plan.config.data
    with console.steps("packing", 0) as bar:
        return open_pack(
            plan.manifest,
            rows,
            image_size=data.image_size,
            fit=data.fit,
            skip_bad=data.skip_bad,
            progress=bar.reach,
        )


def without_bad_rows(plan: Plan, pack: Pack) -> Plan:
    """The plan less the rows that could not be decoded; on screen five of them are named."""
    if not pack.bad_rows:
        return plan
    bad = np.fromiter(pack.bad_rows, dtype=np.int64)
    reasons = [reason.split(";")[0] for _, reason in sorted(pack.bad_rows.items())]
    console.warn(f"left out {count(len(bad), 'unreadable image')}: {list_first(reasons)}")
    paths = tuple(plan.manifest.table["path"].iloc[sorted(pack.bad_rows)])
    rows = {role: values[~np.isin(values, bad)] for role, values in plan.rows.items()}
    excluded = plan.excluded | {"unreadable": len(bad)}
    return replace(plan, rows=rows, excluded=excluded, unreadable=paths)


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
    if plan.auxiliary:
        console.say(f"Beside:  {', '.join(plan.auxiliary)} (learned from, not scored)")
    console.say(f"Targets: uncertain → {_policies_shown(plan)}; blank → {config.targets.blank}")
    if config.loss.name == "aucm" and {"ones-lsr", "zeros-lsr"} & set(plan.policies):
        console.note("aucm knows two classes: smoothed targets above 0.5 count as 1, others as 0")
    threads = count(torch.get_num_threads(), "thread")
    console.say(
        f"Model:   {config.model.summary()}, weights {_weights_named(plan.weights)}, "
        f"{config.data.image_size} px, {plan.precision} on {plan.device} ({threads})"
    )
    _announce_weights(plan.weights, "weights")
    for name in _further_architectures(config):
        facts = cast(dict[str, object], plan.weights[f"of {name}"])
        console.note(f"weights of {name}: {_weights_named(facts)}")
        _announce_weights(facts, f"weights of {name}")
    if config.data.shuffle_labels:
        console.warn("data.shuffle_labels: the labels are shuffled; this model knows nothing")


def _policies_shown(plan: Plan) -> str:
    """``ones``, of several ``ones (Edema, Fracture), zeros (Consolidation)``."""
    labels_of: dict[str, list[str]] = {}
    for label, policy in zip(plan.taught, plan.policies, strict=True):
        labels_of.setdefault(policy, []).append(label)
    if len(labels_of) == 1:
        return plan.policies[0]
    return ", ".join(f"{policy} ({', '.join(labels)})" for policy, labels in labels_of.items())


def _weights_named(weights: Mapping[str, object]) -> str:
    return f"{weights['source']} {weights.get('name', '')}".strip()


def _announce_weights(weights: Mapping[str, object], what: str) -> None:
    """What of a weights file was taken over, as far as there is something to say."""
    if "n_matched" in weights:
        console.note(f"{what}: {weights['n_matched']} tensors taken over")
    if weights.get("replaced"):
        console.note(f"the classifier in the {what} has another size: a new one takes its place")
    for key in ("missing", "unexpected"):
        names = weights.get(key)
        if isinstance(names, list) and names:
            console.note(f"{what}: {len(names)} {key} tensors, e.g. {names[0]}")
    if "note" in weights:
        console.warn(f"{what}: {weights['note']}")


# --- targets and data ---------------------------------------------------------------------


def raw_labels(plan: Plan, role: str, labels: tuple[str, ...]) -> NDArray[np.float32]:
    """(n, len(labels)) raw labels of a role's rows; those of training shuffled if so configured."""
    raw = plan.manifest.raw_labels(labels)[plan.rows[role]]
    if role == "train" and plan.config.data.shuffle_labels:
        raw = raw[np.random.default_rng(plan.config.seed).permutation(len(raw))]
    return raw


def first_targets(plan: Plan) -> NDArray[np.float32]:
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
        annotated=annotated_in_split(plan.manifest, "train", plan.taught),
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
            raw_labels(plan, select, plan.labels),
            annotated=annotated_in_split(plan.manifest, split, plan.labels),
        ),
        labels=plan.labels,
        paths=plan.manifest.table["path"].tolist(),
        fingerprint=run_fingerprint(plan, stage),
    )


def run_fingerprint(plan: Plan, stage: str) -> str:
    """SHA-256 (hex) of what decides a stage's weights: only a checkpoint of the same is resumed."""
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
        n_labels=len(plan.labels),
        pos_weight=pos_weight,
        class_counts=class_counts,
        notify=console.warn,
        first_weights=lambda member: first_network(
            plan.config, n_outputs(plan.policies), plan.device, member
        )[0],
    )
