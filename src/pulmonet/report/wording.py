"""How numbers, times, names and tables are written in a report."""

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pulmonet import words
from pulmonet.config.fields import ModelConfig, SelectConfig
from pulmonet.labels import file_name_of
from pulmonet.metrics.estimate import Estimate
from pulmonet.metrics.results import Comparison, RunResult, ThresholdTest
from pulmonet.metrics.tables import NOTHING, Cell
from pulmonet.report.names import MODEL_NAMES
from pulmonet.run.record import DatasetFacts

if TYPE_CHECKING:
    from pulmonet.report.collect import RunArtifacts


def percent(share: float | None, digits: int = 1) -> str:
    """``12.5 %``; an en dash where there is none."""
    return NOTHING if share is None or math.isnan(share) else f"{100 * share:.{digits}f} %"


def share(value: float | None) -> Cell:
    """A `percent` that is sorted, and written into a CSV, as the number itself."""
    return Cell(percent(value), value)


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


def safe_name(name: str, among: Iterable[str] = ()) -> str:
    """A run's or label's name as part of a file name or an anchor, ASCII only.

    It ends in a digest where another name `among` those would be the same.
    """
    ascii_only = file_name_of(name).encode("ascii", "replace").decode().replace("?", "_")
    safe = ascii_only.replace("+", "-plus").replace(".", "-")
    if any(other != name and safe_name(other) == safe for other in among):
        safe += f"-{zlib.crc32(name.encode('utf-8', 'surrogatepass')):x}"
    return safe


def picture_name(*parts: str) -> str:
    """File name of a picture that carries no identifier but `parts`."""
    return f"{'_'.join(map(safe_name, parts))}.png"


def seen(facts: DatasetFacts, role: str = "train", kind: str = "images") -> tuple[str, str]:
    """(``2,230``, ``images of 640 patients``): what a dataset's rows of a role are."""
    kind = "phantom images" if facts.synthetic else kind
    patients = words.count(facts.n_patients.get(role, 0), "patient")
    whose = f"{kind} of {patients}" if facts.patients_known else kind
    return f"{facts.n_rows.get(role, 0):,}", whose


def networks_of(runs: Sequence["RunArtifacts"]) -> str:
    """``DenseNet-121 and ResNet-50``: what `runs` trained, each once."""
    return listing(sorted({model_name(run.config.model) for run in runs}))


def labels_of(runs: Sequence["RunArtifacts"]) -> list[str]:
    """The labels of all `runs`, each once."""
    return list(dict.fromkeys(label for run in runs for label in run.labels))


def averages_of(results: Iterable[RunResult]) -> set[tuple[str, ...]]:
    """The sets of labels that macros average: means of several cannot be compared."""
    return {tuple(sorted(result.macro.labels)) for result in results}


def combination_notes(results: Sequence[RunResult]) -> list[str]:
    """What scores of ensembles and pooled folds are made of, and what the macro leaves out."""
    said: dict[str, list[str]] = {}
    for result in results:
        for text in filter(None, (result.combination_text(), *result.label_notes())):
            said.setdefault(text, []).append(result.run)
    return [
        f"{'All runs' if len(names) == len(results) > 2 else listing(names)}: {text}."
        for text, names in said.items()
    ]


def difference_of(item: Comparison | ThresholdTest, *, swap: bool = False) -> Estimate:
    """Run a less run b with its interval; with `swap` b less a."""
    sign = -1 if swap else 1
    ends = [None if end is None else sign * end for end in (item.low, item.high)]
    value = None if item.difference is None else sign * item.difference
    return Estimate(value=value, low=ends[::sign][0], high=ends[::sign][1])
