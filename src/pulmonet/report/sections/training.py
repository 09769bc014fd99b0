"""Model and training: what all runs share, where they differ, curves, time and hardware."""

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from pulmonet.report import wording
from pulmonet.report.collect import Context, RunArtifacts
from pulmonet.report.render.blocks import Block, Cell, Chart, Charts, Picture, Section, Series, Text


def training_section(context: Context) -> Section:
    """Architecture, weights, recipe, curves, time and hardware."""
    runs = context.collection.runs
    settings = [_settings(context, run) for run in runs]
    shared = [key for key in settings[0] if len({values[key] for values in settings}) == 1]
    differing = [key for key in settings[0] if key not in shared]
    shared = [key for key in shared if settings[0][key] != wording.NOTHING]
    rows = (
        {"Run": run.name} | {key: values[key] for key in differing}
        for run, values in zip(runs, settings, strict=True)
    )
    differ = wording.table("Settings in which the runs differ", rows) if differing else []
    title = "Settings" if len(runs) == 1 else "Settings that all runs share"
    same = wording.table(
        "What was set", ({"Setting": key, "Value": settings[0][key]} for key in shared)
    )
    children = (
        Section("settings", title, tuple(same), folded=True),
        Section("curves", "Training curves", (), tuple(_curves(context, run) for run in runs)),
    )
    recorded = (
        {
            "Run": run.name,
            "Network": wording.model_name(run.config.model),
            "State": facts.status,
            "Epoch kept": facts.best_epoch,
            "Its score in training": Cell(
                f"{wording.number(facts.best_valid_macro_auroc)} ({facts.selection_score()})",
                facts.best_valid_macro_auroc,
            ),
            "Training time": Cell(wording.duration(facts.duration_seconds), facts.duration_seconds),
            "Hardware": context.identities.scrub(facts.device_name) or facts.device,
            "Precision": facts.precision,
        }
        for run in runs
        for facts in [run.provenance]
    )
    note = (
        "The score in training is that of the rows that watch over training; where they "
        "chose the epoch, it is no test result."
    )
    notes = [note]
    for run in runs:
        facts = run.provenance
        for what, role in (
            ("nothing could be learned in training of", "train"),
            (f"{facts.selection_score()} in training, without", facts.selected_on),
        ):
            if missing := facts.one_class(role):
                named = "; ".join(f"{label}: {why}" for label, why in missing.items())
                notes.append(f"{run.name}: {what} {named}.")
    tables = (*wording.table("Runs", recorded, notes), *differ)
    return Section("training", "Model and training", tables, children)


def _settings(context: Context, run: RunArtifacts) -> dict[str, str]:
    """Everything of the config that a reader may ask for, in the reader's words."""
    config, provenance, facts = run.config, run.provenance, run.provenance.dataset
    data, optim, loss, members = config.data, config.optim, config.loss, config.model.members
    fraction = "all" if data.subset == 1 else f"{data.subset:g} by {data.subset_mode}"
    values: dict[str, Any] = {
        "Network": wording.model_name(config.model),
        "Ensemble": "no" if members == 1 else f"the mean of {members} networks' scores",
        "Starting weights": _weights(context, run),
        "Dropout": "the network's own" if config.model.dropout is None else config.model.dropout,
        "Image size": f"{data.image_size} × {data.image_size} pixels",
        "Fit to the square": data.fit,
        "Views": data.views,
        "Fraction of training data": fraction,
        "Uncertain labels": config.targets.uncertain_policy,
        "Blank labels": config.targets.blank,
        "Loss": loss.name + (", positives balanced" if loss.pos_weight == "balanced" else ""),
        "Optimiser": optim.name,
        "Learning rate": f"{optim.lr:g}, {optim.schedule}",
        "Weight decay": optim.weight_decay,
        "Epochs": config.total_epochs,
        "Growing sizes": ", ".join(f"{px} px: {n} epochs" for px, n in optim.growth) or "no",
        "Batch size": optim.batch_size,
        "EMA of the weights": "no" if optim.ema_decay is None else optim.ema_decay,
        "Early stopping": "no" if optim.patience is None else f"{optim.patience} epochs",
        "Augmentation": _augmentation(config.augment),
        "Checkpoint": wording.checkpoint_kept(config.select),
        "Seed": config.seed,
        "Device": provenance.device,
        "Processes": provenance.world_size,
        "CPU threads": provenance.threads or "not recorded",
        "Data": facts.name if facts else wording.NOTHING,
        "Data fingerprint": facts.fingerprint[:12] if facts else wording.NOTHING,
        "PulmoNet": provenance.pulmonet,
        "PyTorch": provenance.versions.get("torch", "not recorded"),
    }
    if provenance.is_published:
        known = ("Network", "Starting weights", "Image size", "Fit to the square", "PulmoNet")
        values |= {key: wording.NOTHING for key in values if key not in known}
    return {key: context.identities.scrub(wording.setting(value)) for key, value in values.items()}


def _weights(context: Context, run: RunArtifacts) -> str:
    weights, facts = run.config.model.weights, run.provenance.weights
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


def _curves(context: Context, run: RunArtifacts) -> Section:
    key = f"curves-{wording.safe_name(run.name)}"
    words = f"Loss, AUROC and average precision per epoch of {run.name}"
    name = wording.picture_name(run.name, "curves")
    pictures = (Picture(name, run.curves, words),) if run.curves is not None else ()
    blocks: list[Block] = [*pictures]
    if run.log is not None and len(run.log):
        charts = _charts(run.log, run.provenance.best_epoch, key)
        blocks = [Charts(charts, pictures, "The dashed line marks the epoch that was kept.")]
    elif not pictures:
        words = "training_log.csv is missing or empty: there are no curves to draw."
        blocks.append(Text(words, "note"))
    blocks += [Text(context.identities.scrub(note), "note") for note in run.provenance.notes]
    return Section(key, run.name, tuple(blocks))


def _charts(log: pd.DataFrame, best_epoch: int | None, key: str) -> tuple[Chart, ...]:
    """Loss, AUROC and average precision over the epochs, where the log has them."""
    epochs = tuple(float(value) for value in log["epoch"])
    mark = None if best_epoch is None else float(best_epoch)

    def lines(names: dict[str, str]) -> Iterator[Series]:
        """The columns of `names` with their names; one of NaN alone is left out."""
        for column, name in names.items():
            values = [float(value) for value in log.get(column, ())]
            known = tuple(value if math.isfinite(value) else None for value in values)
            if any(value is not None for value in known):
                yield Series(name, epochs, known, strong=column.startswith("val_macro_"))

    def per_label(prefix: str) -> dict[str, str]:
        columns = [str(column) for column in log.columns]
        return {name: name.removeprefix(prefix) for name in columns if name.startswith(prefix)}

    auroc = {"val_macro_auroc": "macro"} | per_label("val_auc_")
    average_precision = {"val_macro_pr_auc": "macro"} | per_label("val_pr_")
    kinds = (
        ("loss", "Loss", "loss", {"train_loss": "training", "val_loss": "validation"}),
        ("auroc", "AUROC, validation", "AUROC", auroc),
        ("ap", "Average precision, validation", "average precision", average_precision),
    )
    charts = (
        Chart(f"{key}-{suffix}", title, "epoch", y_name, tuple(lines(names)), mark)
        for suffix, title, y_name, names in kinds
    )
    return tuple(chart for chart in charts if chart.series)
