"""Subgroups: is a model as good for women as for men, at every age, in every view?

AUROC, sensitivity and specificity are compared with all other rows; average precision and ECE
are not, because they move with prevalence and n even where the model is the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pulmonet.arrays import Array, Flags, Floats, Ints, Strings
from pulmonet.errors import ConfigError
from pulmonet.metrics.calibration.measures import slope_and_intercept
from pulmonet.metrics.estimate import Estimate
from pulmonet.metrics.ranking.auc import rank, weighted_ranking
from pulmonet.metrics.ranking.intervals import estimate
from pulmonet.metrics.ranking.resamples import PatientResamples
from pulmonet.metrics.results import Subgroup, SubgroupLabel
from pulmonet.words import did_you_mean, list_first

#: A group with fewer positive (or negative) patients of a label is named, not scored.
MIN_PATIENTS = 10
MAX_GROUPS = 12
AGE_EDGES = (0, 40, 60, 80)
DEFAULT_COLUMNS = ("sex", "age_years", "view")


def group_values(name: str, values: NDArray[np.generic]) -> Strings:
    """(N,) group of each row, "" = unknown; ages become bands of years.

    Raises:
        ConfigError: more than a dozen values.
    """
    if name == "age_years":
        years = np.asarray(values, dtype=np.float64)
        bands = [f"{low}–{high - 1}" for low, high in itertools.pairwise(AGE_EDGES)]
        bands.append(f"{AGE_EDGES[-1]}+")
        index = np.searchsorted(AGE_EDGES, np.nan_to_num(years), side="right") - 1
        named = np.asarray(bands, dtype=object)[np.clip(index, 0, len(bands) - 1)]
        return np.where(np.isfinite(years), named, "")
    groups = np.asarray([_group_name(value) for value in values], dtype=object)
    distinct = sorted(set(groups) - {""})
    if len(distinct) > MAX_GROUPS:
        raise ConfigError(
            f"--subgroup {name}: {len(distinct):,} different values ({list_first(distinct, 3)}); "
            f"name a column with at most {MAX_GROUPS}, or put its values into bands"
        )
    return groups


def _group_name(value: object) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:g}" if np.isfinite(value) else ""
    return "" if value is None else str(value)


def choose_columns(
    columns: Mapping[str, NDArray[np.generic]], named: Sequence[str]
) -> dict[str, Strings]:
    """Groups by column: sex, age band and view where known, then the columns named.

    Raises:
        ConfigError: a named column does not exist or has too many values.
    """
    for name in named:
        if name not in columns:
            raise ConfigError(
                f"--subgroup {name}: no such column{did_you_mean(name, columns)}; "
                f"columns: {', '.join(columns) or 'none'}; others come with --join"
            )
    wanted = [name for name in DEFAULT_COLUMNS if name in columns]
    wanted += [name for name in named if name not in wanted]
    return {name: group_values(name, columns[name]) for name in wanted}


#: What is measured inside some rows: name -> function of weights (R, U) that gives (R,).
_Measures = dict[str, Callable[[NDArray[np.int32]], Array]]


@dataclass
class _Cell:
    """Some rows: their measures, and the resampled values so far."""

    measures: _Measures
    samples: dict[str, list[Array]] = field(default_factory=dict)

    def add(self, weights: NDArray[np.int32]) -> None:
        for name, measure in self.measures.items():
            self.samples.setdefault(name, []).append(measure(weights))


@dataclass(frozen=True)
class SubgroupInput:
    """One label set's rows.

    Attributes:
        labels: L labels.
        targets: (N, L) 1, 0 or NaN.
        scores: (N, L).
        units: (N,) patient numbers.
        calls: label -> (N,) called positive at the stored or cross-fitted threshold.
    """

    labels: Sequence[str]
    targets: Floats
    scores: Floats
    units: Ints
    calls: Mapping[str, Flags]

    def label_measures(self, rows: Flags, position: int) -> _Measures | None:
        """AUROC, sensitivity and specificity of a label inside rows; None when too small."""
        targets, units = self.targets[rows, position], self.units[rows]
        if _too_small(targets, units) is not None:
            return None
        ranking = rank(targets, self.scores[rows, position], units)
        measures: _Measures = {
            "auroc": lambda weights: weighted_ranking(ranking, weights, with_precision=False)[0]
        }
        called = self.calls.get(self.labels[position])
        if called is not None:
            for name, kind in (("sensitivity", 1), ("specificity", 0)):
                of_kind = targets == kind
                right = called[rows][of_kind] == bool(kind)
                measures[name] = _share_of(units[of_kind], right)
        return measures

    def missed_findings(self, rows: Flags) -> _Measures | None:
        """Share of rows with a finding for which nothing is called; None when too small."""
        positions = [index for index, label in enumerate(self.labels) if label in self.calls]
        if not positions:
            return None
        sick = rows & (self.targets[:, positions] == 1).any(axis=1)
        if len(np.unique(self.units[sick])) < MIN_PATIENTS:
            return None
        called = np.stack([self.calls[self.labels[index]][sick] for index in positions])
        return {"underdiagnosis": _share_of(self.units[sick], np.sum(called, axis=0) == 0)}

    def slope(self, rows: Flags, position: int) -> Estimate:
        """Calibration slope of a label inside rows."""
        known = rows & np.isfinite(self.targets[:, position])
        return slope_and_intercept(
            self.targets[known, position], self.scores[known, position], self.units[known]
        )[0]


def _share_of(units: Ints, hit: Flags) -> Callable[[NDArray[np.int32]], Array]:
    n_units = int(units.max(initial=-1)) + 1
    hits_of = np.bincount(units[hit], minlength=n_units).astype(np.int32)
    rows_of = np.bincount(units, minlength=n_units).astype(np.int32)

    def share(weights: NDArray[np.int32]) -> Array:
        present = weights[:, :n_units]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((present @ hits_of) / (present @ rows_of), dtype=np.float64)

    return share


def subgroups(
    rows: SubgroupInput, groups: Mapping[str, Strings], resamples: PatientResamples
) -> list[Subgroup]:
    """Every group of every column beside all other rows.

    Args:
        rows: targets, scores and calls.
        groups: column -> (N,) group names, "" = unknown (`choose_columns`).
        resamples: of the patients.
    """
    members = [
        (column, group, values == group, (values != group) & (values != ""))
        for column, values in groups.items()
        for group in sorted(set(values) - {""})
    ]
    cells: dict[tuple[int, int, bool], _Cell] = {}
    same_rows: dict[bytes, dict[int, _Cell]] = {}  # of two groups, each is the other's rest
    for index, (_, _, inside, outside) in enumerate(members):
        for is_inside, selected in ((True, inside), (False, outside)):
            if (key := selected.tobytes()) not in same_rows:
                same_rows[key] = _cells(rows, selected)
            for position, cell in same_rows[key].items():
                cells[index, position, is_inside] = cell
    for weights in resamples.blocks(64 * len(rows.units)):
        for of_rows in same_rows.values():
            for cell in of_rows.values():
                cell.add(weights)
    once = np.ones((1, resamples.n_units), np.int32)
    results = []
    for index, (column, group, inside, _) in enumerate(members):
        pairs = {
            position: _estimates(
                cells.get((index, position, True)), cells.get((index, position, False)), once
            )
            for position in range(-1, len(rows.labels))
        }
        results.append(
            Subgroup(
                column="age" if column == "age_years" else column,
                group=group,
                n_rows=int(inside.sum()),
                n_patients=len(np.unique(rows.units[inside])),
                n_resamples=resamples.n_resamples,
                labels={
                    label: _label_result(rows, inside, position, pairs[position])
                    for position, label in enumerate(rows.labels)
                },
                **pairs[-1],
            )
        )
    return results


def _cells(rows: SubgroupInput, selected: Flags) -> dict[int, _Cell]:
    """Cells of some rows by the label's position, -1 for all labels together."""
    found = {-1: rows.missed_findings(selected)}
    found |= {at: rows.label_measures(selected, at) for at in range(len(rows.labels))}
    return {at: _Cell(measures) for at, measures in found.items() if measures is not None}


def _too_small(targets: Floats, units: Ints) -> str | None:
    n_positive = len(np.unique(units[targets == 1]))
    n_negative = len(np.unique(units[targets == 0]))
    if min(n_positive, n_negative) >= MIN_PATIENTS:
        return None
    kind, count = ("positive", n_positive) if n_positive <= n_negative else ("negative", n_negative)
    return f"too small to score: {count} {kind} patients, at least {MIN_PATIENTS} are needed"


def _label_result(
    rows: SubgroupInput, inside: Flags, position: int, estimates: Mapping[str, Estimate | None]
) -> SubgroupLabel:
    targets = rows.targets[inside, position]
    reason = _too_small(targets, rows.units[inside])
    return SubgroupLabel(
        n=int(np.isfinite(targets).sum()),
        positives=int((targets == 1).sum()),
        reason=reason,
        calibration_slope=None if reason else rows.slope(inside, position),
        **estimates,
    )


def _estimates(
    inside: _Cell | None, outside: _Cell | None, once: NDArray[np.int32]
) -> dict[str, Estimate | None]:
    """Each measure of a group, and its gap to the rest, with intervals."""
    found: dict[str, Estimate | None] = {}
    if inside is None:
        return found
    for name, measure in inside.measures.items():
        here = float(measure(once)[0])
        samples = np.concatenate(inside.samples[name])
        found[name] = estimate(here, samples)
        if outside is not None and name in outside.measures:
            rest = float(outside.measures[name](once)[0])
            gaps = samples - np.concatenate(outside.samples[name])
            found[f"{name}_gap"] = estimate(here - rest, gaps)
    return found
