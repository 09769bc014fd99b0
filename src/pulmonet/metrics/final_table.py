"""``final_evaluation_results.csv`` and ``.md``: one row per run, dataset and split.

The original scripts' columns come first, in their order; what they did not have follows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from pulmonet.errors import ArtifactError
from pulmonet.files.read import read_text
from pulmonet.metrics.estimate import Estimate
from pulmonet.metrics.results import LabelResult, MacroResult, RankingResult, RunResult

BASELINE_NAME = "baseline (view, age, sex)"
_KEY = ("Model", "Dataset", "Split")
_FACTS = (
    "Dataset",
    "Split",
    "Level",
    "Rows",
    "Patients",
    "Resampled",
    "Resamples",
    "Macro_Labels",
    "Rows_Used_For",
    "Group",
    "Synthetic",
    "Combines",
)

Row = dict[str, str]


def read_rows(path: Path) -> list[Row]:
    """Rows of an earlier table; none where there is no file.

    Raises:
        ArtifactError: a file of that name that is no results table; it is left alone.
    """
    if not path.exists():
        return []
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path), newline="")))
    except (OSError, ValueError, csv.Error) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}); move it away") from None
    if any(key not in row or row[key] is None for row in rows for key in _KEY):
        raise ArtifactError(
            f"{path}: not a results table (no column {', '.join(_KEY)}); move it away"
        )
    return [{name: value or "" for name, value in row.items() if name} for row in rows]


def rows_of_all(results: Sequence[RunResult]) -> list[Row]:
    """The rows of all results.

    Folds have each a baseline of its own under one dataset and split: then none is kept, since
    it would pass for that of all.
    """
    deals: dict[tuple[str, str], set[str | None]] = {}
    for result in results:
        deals.setdefault((result.dataset, result.split), set()).add(result.dataset_fingerprint)
    return [
        row
        for result in results
        for row in rows_of(result)
        if row["Model"] != BASELINE_NAME or len(deals[result.dataset, result.split]) == 1
    ]


def rows_of(result: RunResult) -> list[Row]:
    """The run's row, and the baseline's where there is one."""
    facts = {
        "Dataset": result.dataset,
        "Split": result.split,
        "Level": result.level,
        "Rows": str(result.n_rows),
        "Patients": str(result.n_patients),
        "Resampled": f"{result.bootstrap.unit}s",
        "Resamples": str(result.bootstrap.n_resamples),
        "Rows_Used_For": "; ".join(result.rows_used_for) or "nothing",
        "Synthetic": "yes" if result.synthetic else "no",
    }
    own = _numbers(result.labels, result.macro)
    rows = [
        {
            "Model": result.run,
            **facts,
            **own,
            "Group": result.group_letters,
            "Combines": result.combination_text(),
        }
    ]
    baseline = result.baseline
    if baseline is not None:
        used = "training (cross-fitted)" if "cross-fitted" in baseline.fitted_on else "nothing"
        rows.append(
            {
                "Model": BASELINE_NAME,
                **facts,
                **_numbers(baseline.labels, baseline.macro),
                "Rows_Used_For": used,
                "Group": "",
            }
        )
    return rows


def _numbers(labels: Mapping[str, LabelResult | RankingResult], macro: MacroResult) -> Row:
    row: Row = {"Macro_Labels": str(macro.n_labels)}
    for metric, name in (("auroc", "AUROC"), ("average_precision", "PR_AUC")):
        for label, entry in labels.items():
            _put(row, f"{name}_{label}", getattr(entry, metric))
        _put(row, f"Macro_{name}", getattr(macro, metric))
    return row


def _put(row: Row, name: str, estimate: Estimate) -> None:
    for suffix, value in (("", estimate.value), ("_low", estimate.low), ("_high", estimate.high)):
        row[f"{name}{suffix}"] = "" if value is None else f"{value:.6f}"


def merge(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """Old rows with those of the same run, dataset and split replaced, in a fixed order.

    Letters hold among the rows of one comparison. Where one of them is new, compared or not, those
    of the others would be stale and are emptied.
    """
    fresh = {tuple(row[key] for key in _KEY): row for row in new}
    replaced = [row for row in old if tuple(row[key] for key in _KEY) in fresh]
    compared = {(row["Dataset"], row["Split"]) for row in (*new, *replaced) if row.get("Group")}
    kept = []
    for row in old:
        key = tuple(row[key] for key in _KEY)
        if key in fresh:
            continue
        stale = (row["Dataset"], row["Split"]) in compared
        kept.append({**row, "Group": ""} if stale else dict(row))

    def place(row: Row) -> tuple[str, str, bool, float, str]:
        score = row.get("Macro_AUROC")
        ranked = -float(score) if score else 1.0
        return row["Dataset"], row["Split"], row["Model"] == BASELINE_NAME, ranked, row["Model"]

    return sorted([*kept, *fresh.values()], key=place)


def labels_in(rows: Sequence[Row], first: Sequence[str] = ()) -> list[str]:
    """Labels of all rows, those of `first` in front."""
    found = list(first)
    for row in rows:
        for name in row:
            label = name.removeprefix("AUROC_")
            is_value = name.startswith("AUROC_") and not name.endswith(("_low", "_high"))
            if is_value and label not in found:
                found.append(label)
    return found


def to_csv(rows: Sequence[Row], labels: Sequence[str]) -> str:
    """The table as CSV; the original columns first."""
    values = [f"AUROC_{label}" for label in labels] + [f"PR_AUC_{label}" for label in labels]
    macros = ["Macro_AUROC", "Macro_PR_AUC"]
    bounds = [f"{name}_{end}" for name in macros + values for end in ("low", "high")]
    header = ["Model", *values, *macros, *_FACTS, *bounds]
    header += sorted({name for row in rows for name in row} - set(header))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, header, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def to_markdown(rows: Sequence[Row], labels: Sequence[str]) -> str:
    """The table as Markdown, one section per dataset and split."""
    lines = ["# Final evaluation results", ""]
    for dataset, split in dict.fromkeys((row["Dataset"], row["Split"]) for row in rows):
        here = [row for row in rows if (row["Dataset"], row["Split"]) == (dataset, split)]
        synthetic = " (SYNTHETIC phantoms)" if here[0].get("Synthetic") == "yes" else ""
        lines += [f"## {_safe(dataset)}{synthetic}, split {_safe(split)}", ""]
        shown = [label for label in labels if any(row.get(f"AUROC_{label}") for row in here)]
        header = ["Model", *(f"AUROC_{label}" for label in shown)]
        header += [f"PR_AUC_{label}" for label in shown] + ["Macro_AUROC", "Macro_PR_AUC"]
        extra = ["Macro_AUROC 95 %", "Macro_PR_AUC 95 %", "Group", "Rows", "Patients", "Used for"]
        lines.append("| " + " | ".join(_safe(name) for name in header + extra) + " |")
        lines.append("|---|" + "---:|" * (len(header) - 1) + "---|---|---|---:|---:|---|")
        for row in here:
            cells = [_safe(row["Model"])]
            cells += [_short(row.get(name, "")) for name in header[1:]]
            cells += [_interval(row, "Macro_AUROC"), _interval(row, "Macro_PR_AUC")]
            cells += [row.get("Group", ""), row.get("Rows", ""), row.get("Patients", "")]
            cells.append(_safe(row.get("Rows_Used_For", "")))
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
        combined = [row for row in here if row.get("Combines")]
        lines += [f"{_safe(row['Model'])}: {_safe(row['Combines'])}.\n" for row in combined]
    lines += [
        "Intervals: 95 %, patients resampled. Models that share a letter under *Group* are not "
        "distinguished in macro AUROC (simultaneous intervals of the paired differences). "
        "*Used for*: what these rows had decided before they were evaluated; a checkpoint "
        "selected on them makes their numbers somewhat too good. An empty cell is a label with "
        "one class in these rows; the macro averages the others.",
        "",
    ]
    return "\n".join(lines)


def _short(value: str) -> str:
    return f"{float(value):.4f}" if value else "–"


def _interval(row: Row, name: str) -> str:
    low, high = row.get(f"{name}_low", ""), row.get(f"{name}_high", "")
    return f"{float(low):.3f}–{float(high):.3f}" if low and high else "–"


def _safe(text: str) -> str:
    """Text that stays text in a Markdown table."""
    for character in "\\|<>*_`[]":
        text = text.replace(character, f"\\{character}" if character != "<" else "&lt;")
    return " ".join(text.split())
