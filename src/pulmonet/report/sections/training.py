"""Model and training: what all runs share, where they differ, curves, time and hardware."""

import math
from collections.abc import Iterator

import pandas as pd

from pulmonet.metrics.tables import NOTHING, by_run
from pulmonet.report import wording
from pulmonet.report.collect import Context, RunArtifacts
from pulmonet.report.render.blocks import Block, Chart, Charts, Picture, Section, Series, Text
from pulmonet.report.texts import fields, table_of


def training_section(context: Context) -> Section:
    """Architecture, weights, recipe, curves, time and hardware."""
    runs = context.collection.runs
    settings = {run.name: _settings(context, run) for run in runs}
    first = settings[runs[0].name]
    shared = [key for key in first if len({values[key] for values in settings.values()}) == 1]
    differing = [key for key in first if key not in shared]
    cells = {(key, run): settings[run][key] for key in differing for run in settings}
    differ = by_run("Settings in which the runs differ", "Setting", cells, key="differing")
    title = "Settings" if len(runs) == 1 else "Settings that all runs share"
    told = ((key, first[key]) for key in shared if first[key] != NOTHING)
    curves = tuple(_curves(context, run) for run in runs)
    same = Section("settings", title, (*table_of("settings", told),), folded=True, beside=True)
    children = (same, Section("curves", "Training curves", (), curves, beside=True))
    tables = table_of("runs", runs, identities=context.identities)
    return Section("training", "Model and training", (*tables, *differ), children)


def _settings(context: Context, run: RunArtifacts) -> dict[str, str]:
    """Everything of the config that a reader may ask for, in the reader's words."""
    facts, weights = run.provenance, _weights(context, run)
    values = fields("settings", config=run.config, facts=facts, weights=weights)
    if facts.is_published:
        known = ("Network", "Starting weights", "Image size", "Fit to the square", "PulmoNet")
        values |= {key: NOTHING for key in values if key not in known}
    return {key: context.identities.scrub(value) for key, value in values.items()}


def _weights(context: Context, run: RunArtifacts) -> str:
    weights, facts = run.config.model.weights, run.provenance.weights
    if weights == "none":
        return "none (random)"
    others = [value for key, value in facts.items() if key.startswith("of ")]
    names = [str(one.get("name") or one.get("source") or weights) for one in (facts, *others)]
    name = context.identities.argument(", ".join(dict.fromkeys(names)))
    return f"ImageNet ({name})" if weights == "imagenet" and name != weights else name


def _curves(context: Context, run: RunArtifacts) -> Section:
    whose = wording.safe_name(run.name, context.collection.names)
    key = f"curves-{whose}"
    words = f"Loss, AUROC and average precision per epoch of {run.name}"
    name = wording.picture_name(whose, "curves")
    pictures = (Picture(name, run.curves, words),) if run.curves is not None else ()
    blocks: list[Block] = [*pictures]
    if run.log is not None and len(run.log):
        charts = _charts(run.log, run.provenance.best_epoch, key)
        is_last = run.config.select.checkpoint == "last"  # of the picture the line is at the best
        line = "The last epoch was" if is_last else "The dashed line marks the epoch that was"
        blocks = [Charts(charts, pictures, f"{line} kept.")]
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
