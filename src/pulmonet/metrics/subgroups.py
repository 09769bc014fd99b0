"""Subgroups: is a model as good for women as for men, at every age, in every view?

AUROC, sensitivity and specificity are compared with all other rows; average precision and ECE
are not, because they move with prevalence and n even where the model is the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulmonet.arrays import Array, Flags, Floats, Ints, Strings
from pulmonet.errors import ConfigError
from pulmonet.labels import NO_DISEASE, align
from pulmonet.metrics.calibration.measures import slope_and_intercept
from pulmonet.metrics.estimate import Estimate
from pulmonet.metrics.ranking.auc import rank, weighted_ranking
from pulmonet.metrics.ranking.intervals import estimate
from pulmonet.metrics.ranking.resamples import PatientResamples, class_patients, why_no_interval
from pulmonet.metrics.results import Subgroup, SubgroupLabel
from pulmonet.run.predictions import text_of
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
    groups = np.asarray([text_of(value) for value in values], dtype=object)
    distinct = sorted(set(groups) - {""})
    if len(distinct) > MAX_GROUPS:
        raise ConfigError(
            f"--subgroup {name}: {len(distinct):,} different values ({list_first(distinct, 3)}); "
            f"name a column with at most {MAX_GROUPS}, or put its values into bands"
        )
    return groups


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
    wanted = [*(name for name in DEFAULT_COLUMNS if name in columns), *named]
    return {name: group_values(name, columns[name]) for name in wanted}


#: What is measured inside some rows: name -> function of weights (R, U) that gives (R,).
_Measures = dict[str, Callable[[NDArray[np.int32]], Array]]
#: (1 + R,) the value on the rows, then on each resample, by rows, label (-1 = all) and measure.
_Values = Mapping[tuple[bytes, int, str], Array]


@dataclass(frozen=True)
class SubgroupInput:
    """One label set's rows.

    (N, L) targets (1, 0 or NaN) and scores, (N,) patient numbers, and by label (N,) what is called
    positive at the stored or cross-fitted threshold.
    """

    labels: Sequence[str]
    targets: Floats
    scores: Floats
    units: Ints
    calls: Mapping[str, Flags]

    def label_measures(self, rows: Flags, position: int) -> _Measures:
        """AUROC, sensitivity and specificity of a label inside rows; none when too small."""
        targets, units = self.targets[rows, position], self.units[rows]
        if _too_small(targets, units):
            return {}
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

    def missed_findings(self, rows: Flags) -> _Measures:
        """Fraction of rows with a disease for which no disease is called; none when too small."""
        positions = [
            index
            for index, label in enumerate(self.labels)
            if label in self.calls and align(label) not in NO_DISEASE
        ]
        sick = rows & (self.targets[:, positions] == 1).any(axis=1)
        if len(np.unique(self.units[sick])) < MIN_PATIENTS:
            return {}
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
    """Every group of every column (N,) (`choose_columns`; "" = unknown) beside all other rows."""
    selections: dict[bytes, Flags] = {}  # of two groups, each is the other's rest
    members = []
    for column, values in groups.items():
        for group in sorted(set(values) - {""}):
            inside = values == group
            pair = (inside, ~inside & (values != ""))
            selections |= {selected.tobytes(): selected for selected in pair}
            members.append((column, group, inside, *(selected.tobytes() for selected in pair)))
    measures = {
        (key, position, name): measure
        for key, selected in selections.items()
        for position in range(-1, len(rows.labels))
        for name, measure in (
            rows.missed_findings(selected)
            if position < 0
            else rows.label_measures(selected, position)
        ).items()
    }
    once = np.ones((1, resamples.n_units), np.int32)
    parts = [
        [measure(weights) for measure in measures.values()]
        for weights in itertools.chain([once], resamples.blocks(64 * len(rows.units)))
    ]
    found = dict(zip(measures, map(np.concatenate, zip(*parts, strict=True)), strict=True))
    return [
        Subgroup(
            column="age" if column == "age_years" else column,
            group=group,
            n_rows=int(inside.sum()),
            n_patients=len(np.unique(rows.units[inside])),
            n_resamples=resamples.n_resamples,
            labels={
                label: _label_result(rows, inside, at, _estimates(found, here, rest, at))
                for at, label in enumerate(rows.labels)
            },
            **_estimates(found, here, rest, -1),
        )
        for column, group, inside, here, rest in members
    ]


def _too_small(targets: Floats, units: Ints) -> str | None:
    few = why_no_interval(class_patients(targets[:, None], units)[0], MIN_PATIENTS)
    return few and f"too small to score: {few}"


def _label_result(
    rows: SubgroupInput, inside: Flags, position: int, estimates: Mapping[str, Estimate]
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


def _estimates(values: _Values, inside: bytes, outside: bytes, at: int) -> dict[str, Estimate]:
    """Each measure of a group, and its gap to the rest, with intervals."""
    found = {}
    for name in ("auroc", "sensitivity", "specificity", "underdiagnosis"):
        if (here := values.get((inside, at, name))) is not None:
            found[name] = estimate(here[0], here[1:])
            if (rest := values.get((outside, at, name))) is not None:
                found[f"{name}_gap"] = estimate(here[0] - rest[0], here[1:] - rest[1:])
    return found
