"""``final_evaluation_results.csv`` and ``.md``: one row per run, dataset and split.

The original scripts' columns come first, in their order; what they did not have follows.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulmonet.choices import COMBINATIONS
from pulmonet.errors import ArtifactError
from pulmonet.files.read import read_text
from pulmonet.files.spreadsheet import plain_cells, table_text
from pulmonet.metrics.estimate import Estimate
from pulmonet.metrics.label_result import RankingResult
from pulmonet.metrics.results import BASELINE, MacroResult, RunResult, baselines_of
from pulmonet.run.record import explain_stale

if TYPE_CHECKING:  # not for a wrong flag
    import pandas as pd

_KEY = ["Model", "Dataset", "Split"]
_FACTS = [*_KEY[1:], "Level", "Rows", "Patients", "Resampled", "Resamples"]
_FACTS += ["Macro_Labels", "Rows_Used_For", "Group", "Synthetic", "Combines", "Label_Notes"]
_FACTS += ["Checkpoint_SHA256", "Stale"]
_SHOWN = {"Group": "Group", "Rows": "Rows", "Patients": "Patients", "Used for": "Rows_Used_For"}

Row = dict[str, str]


def read_table(path: Path) -> pd.DataFrame:
    """An earlier table, all cells text; one without rows where there is no file.

    Raises:
        ArtifactError: a file of that name that is no results table; it is left alone.
    """
    import pandas as pd

    if not path.exists():
        return pd.DataFrame(columns=_KEY)
    try:
        text = io.StringIO(read_text(path), newline="")
        table = plain_cells(pd.read_csv(text, dtype=str, keep_default_na=False, index_col=False))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}); move it away") from None
    if not set(_KEY) <= set(table) or table[_KEY].isna().any(axis=None):
        words = f"{path}: not a results table (no column {', '.join(_KEY)}); move it away"
        raise ArtifactError(words)
    return table.fillna("")


def table_of(results: Sequence[RunResult]) -> pd.DataFrame:
    """The rows of all results, each with its baseline's.

    Folds have each a baseline of its own under one dataset and split: then none is kept, since
    it would pass for that of all.
    """
    import pandas as pd

    alike: dict[tuple[str, str], list[RunResult]] = {}
    for result in results:
        alike.setdefault((result.dataset, result.split), []).append(result)
    kept = {where: baselines_of(some) for where, some in alike.items()}
    rows = [
        row
        for result in results
        for row in _rows_of(result)
        if not row["Model"].startswith(BASELINE)
        or row["Model"] in kept[result.dataset, result.split]
    ]
    return pd.DataFrame(rows, dtype=object).fillna("")


def _rows_of(result: RunResult) -> list[Row]:
    """The run's row, and the baseline's where there is one."""
    row = {
        "Model": result.run,
        "Dataset": result.dataset,
        "Split": result.split,
        "Level": result.level,
        "Rows": str(result.n_rows),
        "Patients": str(result.n_patients),
        "Resampled": f"{result.bootstrap.unit}s",
        "Resamples": str(result.bootstrap.n_resamples),
        "Rows_Used_For": "; ".join(result.rows_used_for) or "nothing",
        "Synthetic": "yes" if result.synthetic else "no",
        **_numbers(result.labels, result.macro),
        "Group": result.group_letters,
        "Combines": result.combination_text(),
        "Label_Notes": "; ".join(result.label_notes()),
        "Checkpoint_SHA256": result.checkpoint_sha256 or "",
    }
    own = dict.fromkeys(("Group", "Combines", "Label_Notes", "Checkpoint_SHA256"), "")
    rows = [row]
    for name, baseline in baselines_of([result]).items():
        used = "training (cross-fitted)" if "cross-fitted" in baseline.fitted_on else "nothing"
        numbers = _numbers(baseline.labels, baseline.macro)
        rows.append({**row, **numbers, **own, "Model": name, "Rows_Used_For": used})
    return rows


def _numbers(labels: Mapping[str, RankingResult], macro: MacroResult) -> Row:
    row: Row = {"Macro_Labels": str(macro.n_labels)}
    for metric, name in (("auroc", "AUROC"), ("average_precision", "PR_AUC")):
        for label, entry in labels.items():
            row |= _cells(f"{name}_{label}", getattr(entry, metric))
        row |= _cells(f"Macro_{name}", getattr(macro, metric))
    return row


def _cells(name: str, estimate: Estimate) -> Row:
    numbers = {"": estimate.value, "_low": estimate.low, "_high": estimate.high}
    return {f"{name}{end}": "" if one is None else f"{one:.6f}" for end, one in numbers.items()}


def merge(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Old rows with those of the same run, dataset and split replaced, in a fixed order.

    A baseline that is another number now is of other images than rows that stay: none is kept.
    Letters hold among the rows of one comparison. Where one of them is new or another, compared or
    not, those of the others would be stale and are emptied.
    """
    import pandas as pd

    rows_of = pd.MultiIndex.from_frame
    replaced = rows_of(old[_KEY]).isin(rows_of(new[_KEY]))
    kept = old[~replaced].copy()
    named, numbers = (
        rows_of(new[names]).isin(rows_of(old.reindex(columns=names)))
        for names in (_KEY, [*_KEY, "Macro_AUROC"])
    )
    beside = kept[~kept["Model"].str.startswith(BASELINE)]
    is_beside = rows_of(new[_KEY[1:]]).isin(rows_of(beside[_KEY[1:]]))
    new = new[~(new["Model"].str.startswith(BASELINE) & named & ~numbers & is_beside)]
    fresh = pd.concat([new, old[replaced]]).fillna("").drop_duplicates(keep=False)
    stale = rows_of(kept[_KEY[1:]]).isin(rows_of(fresh[fresh["Group"] != ""][_KEY[1:]]))
    if stale.any():
        kept.loc[stale, "Group"] = ""
    table = pd.concat([kept, new.drop_duplicates(_KEY, keep="last")], ignore_index=True).fillna("")
    place = table[["Dataset", "Split", "Model"]].assign(
        is_baseline=table["Model"].str.startswith(BASELINE),
        ranked=-pd.to_numeric(table["Macro_AUROC"], errors="coerce").fillna(-1.0),
    )
    order = place.sort_values(["Dataset", "Split", "is_baseline", "ranked", "Model"]).index
    return table.loc[order]


def without_letters(old: pd.DataFrame, new: pd.DataFrame) -> list[str]:
    """Models whose row had a letter and has none now."""
    tables = (old.reindex(columns=[*_KEY, "Group"], fill_value=""), new)
    lettered = [
        {tuple(row[name] for name in _KEY) for row in table.to_dict("records") if row["Group"]}
        for table in tables
    ]
    return sorted(model for model, *_ in lettered[0] - lettered[1])


def mark_stale(table: pd.DataFrame, weights: Mapping[str, str | None]) -> pd.DataFrame:
    """The table with a column Stale, which says why; `weights` are today's digests by run."""

    def why(row: Mapping[Any, str]) -> str:
        made_of = row.get("Combines", "").partition("; ")[0]
        starts = [start for start in COMBINATIONS.values() if made_of.startswith(start)]
        runs = made_of.removeprefix(starts[0]).split(", ") if starts else [row.get("Model", "")]
        digest = row.get("Checkpoint_SHA256") or None
        return explain_stale(digest, runs, weights, "evaluate")

    return table.assign(Stale=[why(row) for row in table.to_dict("records")])


def labels_in(table: pd.DataFrame, first: Sequence[str] = ()) -> list[str]:
    """Labels of all rows, those of `first` in front."""
    names = table.columns.astype(str)
    values = names[names.str.startswith("AUROC_") & ~names.str.endswith(("_low", "_high"))]
    return list(dict.fromkeys([*first, *values.str.removeprefix("AUROC_")]))


def to_csv(table: pd.DataFrame, labels: Sequence[str]) -> str:
    """The table as CSV; the original columns first."""
    values = [f"AUROC_{label}" for label in labels] + [f"PR_AUC_{label}" for label in labels]
    macros = ["Macro_AUROC", "Macro_PR_AUC"]
    bounds = [f"{name}_{end}" for name in macros + values for end in ("low", "high")]
    header = ["Model", *values, *macros, *_FACTS, *bounds]
    header += sorted(set(map(str, table)) - set(header))
    return table_text(table.reindex(columns=header, fill_value=""))


def to_markdown(table: pd.DataFrame, labels: Sequence[str]) -> str:
    """Narrow tables for people, one dataset and split after another; the CSV has the rest."""
    from pulmonet.files.templates import environment
    from pulmonet.metrics import tables

    parts = []
    for _, found in table.groupby(["Dataset", "Split"], sort=False):
        rows = found.to_dict("records")
        cells: dict[tuple[str, str], Any] = {}
        for row in rows:
            name = f"{row['Model']} (STALE: {row['Stale']})" if row.get("Stale") else row["Model"]
            facts = {key: row.get(column, "") for key, column in _SHOWN.items()}
            macros = {f"Macro {key}": _estimate(row, f"Macro_{key}") for key in ("AUROC", "PR_AUC")}
            cells |= {(name, key): one for key, one in (macros | facts).items()}
        shown = tables.grid("Mean over the labels", "Model", cells)
        for at in range(0, len(rows), tables.MAX_RUN_COLUMNS):
            some = {
                (label, row["Model"]): _estimate(row, f"AUROC_{label}")
                for label in labels
                for row in rows[at : at + tables.MAX_RUN_COLUMNS]
                if any(one.get(f"AUROC_{label}") for one in rows)
            }
            shown += tables.grid("AUROC per label", "Label", some)
        parts.append((rows, shown))
    made = environment(Path(__file__).parent, keep_trailing_newline=True)
    made.filters |= {"safe": tables.escape_inline, "table": tables.to_markdown}
    return made.get_template("final_table.md.j2").render(parts=parts)


def _estimate(row: Mapping[Any, str], name: str) -> Estimate:
    value, low, high = (float(row.get(f"{name}{end}") or "nan") for end in ("", "_low", "_high"))
    return Estimate(value=value, low=low, high=high)
