"""What `explain --boxes` says on screen: a table a label, and which lead is shown."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from pulmonet.explain.checks.localization import BASELINES
from pulmonet.explain.results import LabelLocalization, Localization
from pulmonet.flows import console
from pulmonet.words import list_first


def show_localization(labels: Sequence[str], result: Localization) -> None:
    """The tables, labels without a region, and the verdict.

    Args:
        labels: those asked for.
        result: of all labels with a region.
    """
    kind = " (SYNTHETIC phantoms)" if result.synthetic else ""
    n_runs = len(result.runs)
    rows_are = result.split if n_runs == 1 else f"out of fold over {n_runs} folds"
    for label, found in result.labels.items():
        console.say(
            f"{label}: {found.n_images} images of {found.n_patients} patients, {rows_are}{kind}",
            style="bold",
        )
        console.show_table(localization_table(found, [one.name for one in result.variants]))
    missing = [label for label in labels if label not in result.labels]
    if missing:
        console.note(f"no region of {list_first(missing, 14)} in this split")
    console.say(verdict(result))


def localization_table(found: LabelLocalization, variants: Sequence[str]) -> Table:
    """One label's rows, at most 80 columns wide.

    Of several variants' randomised networks only the strongest stands there.
    """
    table = Table(box=None, pad_edge=False)
    table.add_column("", overflow="fold")
    for name in ("Pointing game", "IoU", "Energy inside"):
        table.add_column(name, justify="right", no_wrap=True)
    random_rows = [name for name in found.rows if name.startswith(BASELINES[3])]
    strongest = max(random_rows, key=lambda name: _pointing(found, name), default=None)
    for name, row in found.rows.items():
        if name in random_rows and name != strongest:
            continue
        shown = name
        if name == strongest:
            shown = BASELINES[3] if len(variants) == 1 else "best randomised networks"
        table.add_row(shown, row.pointing.text(2), row.iou.text(2), row.energy.text(2))
    return table


def verdict(result: Localization) -> str:
    """Which labels are hit more often than by every baseline, beyond the interval."""
    names = [variant.name for variant in result.variants]
    lines = []
    for name in names:
        better = [label for label, found in result.labels.items() if _beats_all(found, name)]
        if better:
            lines.append(f"Pointing game, {name} beats every baseline: {list_first(better, 14)}.")
    beaten = [
        f"{label} (best baseline: {_best_baseline(found, names)})"
        for label, found in result.labels.items()
        if not any(_beats_all(found, name) for name in names)
    ]
    if beaten:
        lines.append(f"Not shown to beat every baseline: {list_first(beaten, 14)}.")
    if len(names) > 1:
        lines.append(
            f"{len(names)} ways were tried on the same rows: the best one's lead is flattered. "
            "Confirm it on other rows (--split) or other data (--data-dir)."
        )
    return "\n".join(lines)


def _beats_all(found: LabelLocalization, name: str) -> bool:
    pointing = [d for d in found.differences if d.metric == "pointing" and d.row == name]
    return bool(pointing) and all(
        d.distinguished and (d.difference.value or 0) > 0 for d in pointing
    )


def _best_baseline(found: LabelLocalization, variants: Sequence[str]) -> str:
    others = [name for name in found.rows if name not in variants]
    return max(others, key=lambda name: _pointing(found, name))


def _pointing(found: LabelLocalization, name: str) -> float:
    return found.rows[name].pointing.value or 0.0
