"""What `pulmonet train` shows: the plan; then a bar, a line per epoch, curves.png."""

import contextlib
import math
import time
from collections.abc import Iterable, Mapping
from typing import Any, cast

import pandas as pd
import torch
from rich.markup import escape
from rich.table import Table

from pulmonet.choices import ENCODER
from pulmonet.figures.training import draw_training_log
from pulmonet.files.write import write_atomic
from pulmonet.flows import console
from pulmonet.flows.train.plan import Plan
from pulmonet.flows.train.trackers import open_trackers
from pulmonet.training.stage import Stage
from pulmonet.words import count, duration, list_first, macro_auroc


def announce(plan: Plan) -> None:
    """What is trained, on what, with which weights."""
    config = plan.config
    console.tell(
        "train",
        plan=plan,
        config=config,
        rows=_rows_shown(plan),
        policies=_policies_shown(plan),
        weights=_named(plan.weights),
        threads=count(torch.get_num_threads(), "thread"),
        encoder=ENCODER,
    )
    _announce_weights(plan.weights, "weights")
    for name in list(config.model.architectures())[1:]:
        facts = cast(dict[str, Any], plan.weights[f"of {name}"])
        console.note(f"weights of {name}: {_named(facts)}")
        _announce_weights(facts, f"weights of {name}")
    console.tell("train_remarks", plan=plan, config=config)


def _rows_shown(plan: Plan) -> str:
    """``train 8 images of 5 patients · valid 3 images of 2 patients (left out: ...)``."""
    patients = plan.manifest.table["patient"].to_numpy(object)
    parts = [
        f"{role} {count(len(rows), 'image')} of {count(len(set(patients[rows])), 'patient')}"
        for role, rows in plan.rows.items()
    ]
    left_out = [f"{count(n, 'image')} by {reason}" for reason, n in plan.excluded.items()]
    without = f" (left out: {', '.join(left_out)})" if left_out else ""
    return f"{' · '.join(sorted(parts))}{without}"


def announce_left(plan: Plan) -> None:
    """Rows that --skip-bad left; labels that cannot be learned, or that no epoch is judged by."""
    if plan.unreadable:
        console.say(f"Left:    {_rows_shown(plan)}")
    for role, meaning in (
        ("train", "nothing can be learned of it"),
        (plan.config.select.on, "left out of the macro AUROC that chooses the epoch"),
    ):
        for missing, labels in _grouped(plan.one_class[role].items()).items():
            console.warn(f"{list_first(labels, 20)}: {missing} of {role}; {meaning}")


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """What labels have, and which have it."""
    labels_of: dict[str, list[str]] = {}
    for label, what in pairs:
        labels_of.setdefault(what, []).append(label)
    return labels_of


def _policies_shown(plan: Plan) -> str:
    """``ones``, of several ``ones (Edema, Fracture), zeros (Consolidation)``."""
    labels_of = _grouped(zip(plan.taught, plan.policies, strict=True))
    several = ", ".join(f"{policy} ({', '.join(labels)})" for policy, labels in labels_of.items())
    return plan.policies[0] if len(labels_of) == 1 else several


def _named(weights: Mapping[str, object]) -> str:
    return f"{weights['source']} {weights.get('name', '')}".strip()


def _announce_weights(weights: Mapping[str, Any], what: str) -> None:
    """What of a weights file was taken over, as far as there is something to say."""
    for note in [weights["note"]] if "note" in weights else weights.get("notes", []):
        console.warn(f"{what}: {note}")
    if "n_matched" not in weights:
        return
    taken = f"{weights['n_matched']} tensors; {weights['n_fit']} of the {weights['n_backbone']}"
    said = {"taken over": f"{taken} before the classifier, {weights['how']}"}
    said |= {key: weights[key] for key in ("prefix", "missing", "unexpected", "head")}
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in said.items():
        if value and (weights["source"] == "file" or name in ("taken over", "missing")):
            some = f"{count(len(value), 'tensor')}, e.g. {list_first(value, 2)}"
            shown = value if isinstance(value, str) else some
            table.add_row("classifier" if name == "head" else name, escape(shown))
    console.show_table(table)


class Display(contextlib.ExitStack):
    """Entered while the networks of one folder are trained; the loop's listener."""

    def __init__(self, stage: Stage, kind: str = "", *, is_silent: bool) -> None:
        """For the folder of `stage`, silent on all processes but the first; `kind` of images."""
        super().__init__()
        self._kind, self._is_silent = kind, is_silent
        self._bar: console.Steps | None = None
        self._done = self._per_step = 0.0  # epochs of the whole run, and those of a step
        self._start: tuple[float, float] | None = None  # seconds and epochs where this call began
        self._n_epochs = stage.total_epochs
        self._epoch = self.enter_context(contextlib.ExitStack())
        self._trackers = [] if is_silent else open_trackers(stage, self)

    def on_epoch_start(self, stage: Stage, epoch: int, n_steps: int, done: int) -> None:
        """A bar for this epoch."""
        if self._is_silent:
            return
        name = f"epoch {epoch + 1}/{stage.total_epochs}{stage.remark}"
        if stage.pixels(epoch) != stage.config.data.image_size:
            name += f" at {stage.pixels(epoch)} px"
        self._done, self._per_step = epoch + done / n_steps, 1 / n_steps
        self._start = self._start or (time.monotonic(), self._done)
        bar = console.steps(name, n_steps, done=done, shows_time=False)
        self._bar = self._epoch.enter_context(bar)

    def on_step(self, n_images: int, loss: float) -> None:
        """One more step on the bar."""
        if self._bar is not None and self._start is not None:
            self._done += self._per_step
            seconds, epochs = time.monotonic() - self._start[0], self._done - self._start[1]
            left = duration(seconds / epochs * max(self._n_epochs - self._done, 0))
            self._bar.advance(1, note=f"{left} left in all  loss {loss:.4f}", n_images=n_images)

    def on_epoch(self, stage: Stage, log: list[dict[str, float]], is_best: bool) -> None:
        """A line of results, and the curves so far."""
        self._epoch.close()
        if self._is_silent:
            return
        row = log[-1]
        epoch, auroc = int(row["epoch"]), row["val_macro_auroc"]
        known = [label for label in stage.labels if not math.isnan(row[f"val_auc_{label}"])]
        name = macro_auroc(len(known), len(stage.labels)) if known else "AUROC"
        best = "  best so far" if is_best and not math.isnan(auroc) else ""
        console.say(
            f"Epoch {epoch}/{stage.total_epochs}{stage.remark}: "
            f"train loss {row['train_loss']:.4f}, validation loss {row['val_loss']:.4f}, "
            f"{name.removeprefix('macro ') if len(known) == len(stage.labels) else name} "
            f"{'unknown' if math.isnan(auroc) else f'{auroc:.4f}'}, "
            f"{row['images_per_second']:.1f} images/s, {duration(row['seconds'])}{best}"
        )
        curves = draw_training_log(pd.DataFrame(log), self._kind + stage.run_dir.name)
        write_atomic(stage.run_dir.curves_path, curves)
        for track in self._trackers:
            track(row, epoch)
