"""Model and training: what all runs share, where they differ, curves, time and hardware."""

from __future__ import annotations

import math
from typing import Any

from pulmonet.report.collect import RunArtifacts
from pulmonet.report.context import Context
from pulmonet.report.render.blocks import (
    Block,
    Cell,
    Chart,
    Charts,
    Picture,
    Section,
    Series,
    Table,
    Text,
    cells,
)
from pulmonet.report.render.pictures import safe_name
from pulmonet.report.wording import (
    NOTHING,
    checkpoint_kept,
    count_cell,
    duration,
    model_name,
    number_cell,
    setting,
    short_digest,
)


def training_section(context: Context) -> Section:
    """Architecture, weights, recipe, curves, time and hardware."""
    runs = context.collection.runs
    settings = [_settings(context, run) for run in runs]
    shared, differing = _split(settings)
    blocks: list[Block] = [_runs_table(context)]
    if differing and len(runs) > 1:
        rows = tuple(
            cells(run.name, *(values.get(key, NOTHING) for key in differing))
            for run, values in zip(runs, settings, strict=True)
        )
        blocks.append(Table("Settings in which the runs differ", ("Run", *differing), rows))
    title = "Settings" if len(runs) == 1 else "Settings that all runs share"
    table = Table(
        "What was set", ("Setting", "Value"), tuple(cells(key, settings[0][key]) for key in shared)
    )
    children = tuple(_curves_section(context, run) for run in runs)
    return Section(
        "training",
        "Model and training",
        tuple(blocks),
        (
            Section("settings", title, (table,), folded=True),
            Section("curves", "Training curves", (), children),
        ),
    )


def _runs_table(context: Context) -> Table:
    rows = []
    for run in context.collection.runs:
        provenance = run.record.provenance
        rows.append(
            cells(
                run.name,
                model_name(run.record.config.model),
                Cell(provenance.status),
                count_cell(provenance.best_epoch),
                number_cell(provenance.best_valid_macro_auroc),
                Cell(duration(provenance.duration_seconds), provenance.duration_seconds),
                context.identities.scrub(provenance.device_name) or provenance.device,
                provenance.precision,
            )
        )
    return Table(
        "Runs",
        (
            "Run",
            "Network",
            "State",
            "Epoch kept",
            "Its macro AUROC in training",
            "Training time",
            "Hardware",
            "Precision",
        ),
        tuple(rows),
        (
            "The macro AUROC in training is that of the rows that watch over training; where they "
            "chose the epoch, it is no test result.",
        ),
    )


def _settings(context: Context, run: RunArtifacts) -> dict[str, str]:
    """Everything of the config that a reader may ask for, in the reader's words."""
    config, provenance = run.record.config, run.record.provenance
    identities = context.identities
    optim, loss, augment = config.optim, config.loss, config.augment
    policy = config.targets.uncertain_policy
    values: dict[str, Any] = {
        "Network": model_name(config.model),
        "Ensemble": "no"
        if config.model.members == 1
        else f"the mean of {config.model.members} networks' scores",
        "Starting weights": _weights(context, run),
        "Dropout": "the network's own" if config.model.dropout is None else config.model.dropout,
        "Image size": f"{config.data.image_size} × {config.data.image_size} pixels",
        "Fit to the square": config.data.fit,
        "Views": config.data.views,
        "Share of training data": "all"
        if config.data.subset == 1
        else f"{config.data.subset:g} by {config.data.subset_mode}",
        "Uncertain labels": policy if isinstance(policy, str) else setting(policy),
        "Blank labels": config.targets.blank,
        "Loss": loss.name + (", positives balanced" if loss.pos_weight == "balanced" else ""),
        "Optimiser": optim.name,
        "Learning rate": f"{optim.lr:g}, {optim.schedule}",
        "Weight decay": optim.weight_decay,
        "Epochs": config.total_epochs,
        "Growing sizes": ", ".join(f"{side} px: {epochs} epochs" for side, epochs in optim.growth)
        or "no",
        "Batch size": optim.batch_size,
        "EMA of the weights": "no" if optim.ema_decay is None else optim.ema_decay,
        "Early stopping": "no" if optim.patience is None else f"{optim.patience} epochs",
        "Augmentation": _augmentation(augment),
        "Checkpoint": checkpoint_kept(config.select),
        "Seed": config.seed,
        "Device": provenance.device,
        "Processes": provenance.world_size,
        "CPU threads": provenance.threads or "not recorded",
        "Data": NOTHING if provenance.dataset is None else provenance.dataset.name,
        "Data fingerprint": NOTHING
        if provenance.dataset is None
        else short_digest(provenance.dataset.fingerprint),
        "PulmoNet": provenance.pulmonet,
        "PyTorch": provenance.versions.get("torch", "not recorded"),
    }
    return {key: identities.scrub(setting(value)) for key, value in values.items()}


def _weights(context: Context, run: RunArtifacts) -> str:
    weights, facts = run.record.config.model.weights, run.record.provenance.weights
    if weights == "none":
        return "none (random)"
    others = [value for key, value in facts.items() if key.startswith("of ")]
    names = [str(one.get("name") or one.get("source") or weights) for one in (facts, *others)]
    name = context.identities.argument(", ".join(dict.fromkeys(names)))
    return f"ImageNet ({name})" if weights == "imagenet" and name != weights else name


def _augmentation(augment: Any) -> str:
    if augment.geometry == "none":
        parts = ["no geometry"]
    elif augment.geometry == "original":
        parts = [f"centre crop, random resized crop {augment.crop_scale[0]:g}–1"]
    else:
        parts = [
            f"rotation ±{augment.rotation_degrees:g}°",
            f"shift ±{100 * augment.shift:g} %",
            f"scale ±{100 * augment.scale:g} %",
        ]
    if augment.flip:
        parts.append(f"horizontal flip {augment.flip:g}")
    if augment.brightness or augment.contrast:
        parts.append(f"brightness ±{augment.brightness:g}, contrast ±{augment.contrast:g}")
    if augment.mixup_alpha:
        parts.append(f"MixUp alpha {augment.mixup_alpha:g}")
    return ", ".join(parts)


def _split(settings: list[dict[str, str]]) -> tuple[list[str], list[str]]:
    keys = list(settings[0])
    shared = [key for key in keys if len({values[key] for values in settings}) == 1]
    return shared, [key for key in keys if key not in shared]


def _curves_section(context: Context, run: RunArtifacts) -> Section:
    key = f"curves-{safe_name(run.name)}"
    notes = tuple(
        Text(context.identities.scrub(note), "note") for note in run.record.provenance.notes
    )
    picture = None
    if run.curves is not None:
        picture = Picture(
            f"{safe_name(run.name)}_curves.png",
            run.curves,
            f"Loss, AUROC and average precision per epoch of {run.name}",
        )
    if run.log is None or not len(run.log):
        missing = Text("training_log.csv is missing or empty: there are no curves to draw.", "note")
        return Section(key, run.name, (*((picture,) if picture else (missing,)), *notes))
    charts = Charts(_charts(run, key), picture, "The dashed line marks the epoch that was kept.")
    return Section(key, run.name, (charts, *notes))


def _charts(run: RunArtifacts, key: str) -> tuple[Chart, ...]:
    log = run.log
    assert log is not None
    epochs = [float(value) for value in log.get("epoch", range(1, len(log) + 1))]
    best = run.record.provenance.best_epoch

    def series(column: str, name: str, *, strong: bool = False) -> Series | None:
        if column not in log.columns:
            return None
        values = [float(value) for value in log[column]]
        known = tuple(value if math.isfinite(value) else None for value in values)
        if all(value is None for value in known):
            return None
        return Series(name, tuple(epochs), known, strong=strong)

    def chart(suffix: str, title: str, y_name: str, lines: list[Series | None]) -> Chart:
        kept = tuple(line for line in lines if line is not None)
        mark = None if best is None else float(best)
        return Chart(f"{key}-{suffix}", title, "epoch", y_name, kept, mark_x=mark)

    labels = [
        str(column).removeprefix("val_auc_")
        for column in log.columns
        if str(column).startswith("val_auc_")
    ]
    charts = (
        chart(
            "loss",
            "Loss",
            "loss",
            [series("train_loss", "training"), series("val_loss", "validation")],
        ),
        chart(
            "auroc",
            "AUROC, validation",
            "AUROC",
            [
                series("val_macro_auroc", "macro", strong=True),
                *(series(f"val_auc_{label}", label) for label in labels),
            ],
        ),
        chart(
            "ap",
            "Average precision, validation",
            "average precision",
            [
                series("val_macro_pr_auc", "macro", strong=True),
                *(series(f"val_pr_{label}", label) for label in labels),
            ],
        ),
    )
    return tuple(item for item in charts if item.series)
