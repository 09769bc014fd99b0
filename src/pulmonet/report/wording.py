"""How numbers, times, names and tables are written in a report."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pulmonet import words
from pulmonet.config.fields import ModelConfig, SelectConfig
from pulmonet.labels import file_name_of
from pulmonet.metrics.estimate import Estimate
from pulmonet.metrics.results import RunResult
from pulmonet.report.names import MODEL_NAMES
from pulmonet.report.render.blocks import Cell, Table

if TYPE_CHECKING:
    from pulmonet.report.collect import RunArtifacts

NOTHING = "–"


def percent(share: float | None, digits: int = 1) -> str:
    """``12.5 %``; an en dash where there is none."""
    return NOTHING if share is None or math.isnan(share) else f"{100 * share:.{digits}f} %"


def number(value: float | None, digits: int = 3) -> str:
    """``0.812``; an en dash where there is none."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{value:.{digits}f}".replace("-", "−")


def duration(seconds: float | None) -> str:
    """``4 min 12 s``; an en dash where it is not known."""
    return NOTHING if seconds is None or not math.isfinite(seconds) else words.duration(seconds)


def model_name(model: ModelConfig) -> str:
    """``DenseNet-121`` for ``densenet121``; others as they are, timm's without its mark.

    An ensemble with the number of its members: ``DenseNet-121 × 3``.
    """
    return model.summary(lambda name: MODEL_NAMES.get(name, name.removeprefix("timm:")))


def criterion(name: str) -> str:
    """``sensitivity=0.9`` as a reader writes it."""
    known = {"youden": "Youden's index", "f1": "F1"}
    return known.get(name, name.replace("=", " ≥ ").replace("ppv", "PPV"))


def checkpoint_kept(select: SelectConfig) -> str:
    """Which epoch became best_model.pth, and by what."""
    best = f"the best epoch by macro AUROC on {select.on}"
    return "the last epoch" if select.checkpoint == "last" else best


def listing(words: Sequence[str]) -> str:
    """``a, b and c``."""
    *first, last = words or [""]
    return f"{', '.join(first)} and {last}" if first else last


def setting(value: Any) -> str:
    """A config value as a reader expects it."""
    if value is None:
        return "default"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {setting(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(setting(item) for item in value) or "none"
    return str(value)


def safe_name(name: str) -> str:
    """A run's or label's name as part of a file name or an anchor, ASCII only."""
    ascii_only = file_name_of(name).encode("ascii", "replace").decode().replace("?", "_")
    return ascii_only.replace("+", "-plus").replace(".", "-")


def picture_name(*parts: str) -> str:
    """File name of a picture that carries no identifier but `parts`."""
    return f"{'_'.join(map(safe_name, parts))}.png"


def networks_of(runs: Sequence["RunArtifacts"]) -> str:
    """``DenseNet-121 and ResNet-50``: what `runs` trained, each once."""
    return listing(sorted({model_name(run.config.model) for run in runs}))


def scale_of(run: "RunArtifacts") -> str:
    """What becomes of the grey pixels on their way into the network."""
    if run.provenance.is_published:
        return "one channel, from −1024 to 1024"
    return "repeated to three channels, ImageNet mean and deviation"


def labels_of(runs: Sequence["RunArtifacts"]) -> list[str]:
    """The labels of all `runs`, each once."""
    return list(dict.fromkeys(label for run in runs for label in run.labels))


def combination_notes(results: Iterable[RunResult]) -> list[str]:
    """What scores of ensembles and pooled folds are made of, and what the macro leaves out."""
    return [
        f"{result.run}: {text}."
        for result in results
        for text in (result.combination_text(), *result.label_notes())
        if text
    ]


Value = Cell | Estimate | str | float | None
"""What a table shows; None is an en dash."""
Rows = Iterable[Mapping[str, Value]]


def cell(value: Value, digits: int = 3) -> Cell:
    """A cell: words as they are, counts with thousands, numbers with `digits`, each sortable.

    An estimate has its interval in brackets.
    """
    match value:
        case Cell():
            return value
        case None | str():
            return Cell(NOTHING if value is None else value)
        case int():
            return Cell(f"{value:,}", value)
        case float():
            return Cell(number(value, digits), value)
    words = number(value.value, digits)
    if value.value is None or value.low is None or value.high is None:
        return Cell(words, value.value)
    ends = (value.low, value.high)
    return Cell(f"{words} ({interval(value, digits)})", value.value, interval=ends)


def interval(estimate: Estimate, digits: int = 3) -> str:
    """``0.774–0.846``; negative ends are joined by a word, as "-0.10–-0.02" cannot be read."""
    low, high = number(estimate.low, digits), number(estimate.high, digits)
    return f"{low} to {high}" if estimate.low is not None and estimate.low < 0 else f"{low}–{high}"


def table(
    caption: str, rows: Rows, notes: Iterable[str] = (), *, forest: bool = False
) -> list[Table]:
    """A table of rows (column -> value, the same columns in each); none where there is no row."""
    all_rows = list(rows)
    body = tuple(tuple(map(cell, row.values())) for row in all_rows)
    return [Table(caption, tuple(all_rows[0]), body, tuple(notes), forest)] if body else []
