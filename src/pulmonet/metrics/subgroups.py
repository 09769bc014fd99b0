"""Subgroups: is a model as good for women as for men, at every age, in every view?

AUROC, sensitivity and specificity are compared with all other rows; average precision and ECE
are not, because they move with prevalence and n even where the model is the same.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pulmonet.arrays import Array, Flags, Floats, Ints, Strings
from pulmonet.errors import ConfigError
from pulmonet.labels import NO_DISEASE, align
from pulmonet.metrics.calibration.logistic import LogisticFit
from pulmonet.metrics.calibration.measures import fit_intercept, fit_slope
from pulmonet.metrics.calibration.smooth import smooth_calibration
from pulmonet.metrics.estimate import Estimate
from pulmonet.metrics.ranking.auc import rank, weighted_ranking
from pulmonet.metrics.ranking.comparison import paired_differences
from pulmonet.metrics.ranking.intervals import percentile_intervals
from pulmonet.metrics.ranking.resamples import PatientResamples, class_patients, why_no_interval
from pulmonet.metrics.results import Gap, Subgroup, SubgroupLabel
from pulmonet.run.predictions import texts_of
from pulmonet.words import did_you_mean, list_first

#: A group with fewer positive (or negative) patients of a label is named, not scored.
MIN_PATIENTS = 10
MAX_GROUPS = 12
AGE_EDGES = (0, 40, 60, 80)
DEFAULT_COLUMNS = ("sex", "age_years", "view", "collection")


def group_values(name: str, values: NDArray[np.generic]) -> Strings:
    """(N,) group of each row, "" = unknown; ages become bands of years, unknown if no number.

    Raises:
        ConfigError: more than a dozen values.
    """
    if name == "age_years":
        years = pd.to_numeric(pd.Series(values), errors="coerce").to_numpy(np.float64)
        bands = [f"{low}–{high - 1}" for low, high in itertools.pairwise(AGE_EDGES)]
        bands.append(f"{AGE_EDGES[-1]}+")
        index = np.searchsorted(AGE_EDGES, np.nan_to_num(years), side="right") - 1
        named = np.asarray(bands, dtype=object)[np.clip(index, 0, len(bands) - 1)]
        return np.where(np.isfinite(years), named, "")
    groups = texts_of(values)
    if crowded(name, groups):
        distinct = sorted(set(groups) - {""})
        raise ConfigError(
            f"--subgroup {name}: {len(distinct):,} different values ({list_first(distinct, 3)}); "
            f"name a column with at most {MAX_GROUPS}, or put its values into bands"
        )
    return groups


def choose_columns(
    columns: Mapping[str, NDArray[np.generic]], named: Sequence[str]
) -> dict[str, Strings]:
    """Groups by column: sex, age band and view where known and not `crowded`, then those named.

    Raises:
        ConfigError: a named column does not exist or has too many values.
    """
    for name in named:
        if name not in columns:
            what = f"--subgroup {name}: no such column{did_you_mean(name, columns)}; columns:"
            raise ConfigError(f"{what} {', '.join(columns) or 'none'}; others come with --join")
    own = (name for name in DEFAULT_COLUMNS if name in columns)
    wanted = [*(name for name in own if not crowded(name, columns[name])), *named]
    return {name: group_values(name, columns[name]) for name in wanted}


def crowded(name: str, values: NDArray[Any]) -> bool:
    """Whether a column has too many values for groups by it."""
    return name != "age_years" and len({*texts_of(values)} - {""}) > MAX_GROUPS


class Measure(NamedTuple):
    """What is measured inside some rows: a function of weights (R, U) that gives (R,)."""

    of: Callable[[NDArray[np.int32]], Array]
    n_patients: int
    """On whom it hangs: those of the rarer class, or of the one class that it is about."""


_Measures = dict[str, Measure]
#: Rows, label (-1 = all of them) and measure.
_Key = tuple[bytes, int, str]


@dataclass(frozen=True)
class SubgroupInput:
    """One label set's rows.

    (N, L) targets (1, 0 or NaN) and scores, (N,) patient numbers, and by label (N,) what is called
    positive at the stored or cross-fitted threshold, and (N,) calibrated scores.
    """

    labels: Sequence[str]
    targets: Floats
    scores: Floats
    units: Ints
    calls: Mapping[str, Flags]
    probabilities: Mapping[str, Array] = field(default_factory=dict)

    def label_measures(self, rows: Flags, position: int) -> _Measures:
        """AUROC, sensitivity, specificity, slope and intercept inside rows; none when too small."""
        targets, units = self.targets[rows, position], self.units[rows]
        if _too_small(targets, units):
            return {}
        ranking = rank(targets, self.scores[rows, position], units)
        patients = class_patients(targets[:, None], units)[0]
        measures: _Measures = {
            "auroc": Measure(
                lambda weights: weighted_ranking(ranking, weights, with_precision=False)[0],
                int(patients.min()),
            )
        }
        called = self.calls.get(self.labels[position])
        if called is not None:
            for name, kind in (("sensitivity", 1), ("specificity", 0)):
                of_kind = targets == kind
                right = called[rows][of_kind] == bool(kind)
                measures[name] = Measure(_share_of(units[of_kind], right), int(patients[1 - kind]))
        if (known := self.calibrated(rows, position)) is not None:
            for name, fit in (("slope", fit_slope(*known)), ("intercept", fit_intercept(*known))):
                if not isinstance(fit, str):
                    measures[name] = Measure(_coefficient(fit, known[2]), int(patients.min()))
        return measures

    def calibrated(self, rows: Flags, position: int) -> tuple[Array, Array, Ints] | None:
        """Targets, calibrated scores and patients of the known rows inside `rows`."""
        probabilities = self.probabilities.get(self.labels[position])
        if probabilities is None:
            return None
        known = rows & np.isfinite(self.targets[:, position])
        targets = self.targets[known, position].astype(np.float64)
        return targets, probabilities[known], self.units[known]

    def missed_findings(self, rows: Flags) -> _Measures:
        """Fraction of rows with a disease for which no disease is called; none when too small."""
        positions = [
            index
            for index, label in enumerate(self.labels)
            if label in self.calls and align(label) not in NO_DISEASE
        ]
        sick = rows & (self.targets[:, positions] == 1).any(axis=1)
        n_patients = len(np.unique(self.units[sick]))
        if n_patients < MIN_PATIENTS:
            return {}
        called = np.stack([self.calls[self.labels[index]][sick] for index in positions])
        missed = _share_of(self.units[sick], np.sum(called, axis=0) == 0)
        return {"underdiagnosis": Measure(missed, n_patients)}


def _share_of(units: Ints, hit: Flags) -> Callable[[NDArray[np.int32]], Array]:
    n_units = int(units.max(initial=-1)) + 1
    hits_of = np.bincount(units[hit], minlength=n_units).astype(np.int32)
    rows_of = np.bincount(units, minlength=n_units).astype(np.int32)

    def share(weights: NDArray[np.int32]) -> Array:
        present = weights[:, :n_units]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((present @ hits_of) / (present @ rows_of), dtype=np.float64)

    return share


def _coefficient(fit: LogisticFit, units: Ints) -> Callable[[NDArray[np.int32]], Array]:
    """The last coefficient under weights, to first order: no fit a resample.

    The one-step bootstrap of Moulton and Zeger 1991 (doi:10.1016/0167-9473(91)90052-4).
    """
    present, influence = np.unique(units), fit.influence[:, -1]
    return lambda weights: fit.coefficients[-1] + (weights[:, present] - 1) @ influence


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
        [measure.of(weights) for measure in measures.values()]
        for weights in itertools.chain([once], resamples.blocks(64 * len(rows.units)))
    ]
    drawn = dict(zip(measures, map(np.concatenate, zip(*parts, strict=True)), strict=True))
    found = _estimates(drawn, measures, {here: rest for *_, here, rest in members})
    return [
        Subgroup(
            column="age" if column == "age_years" else column,
            group=group,
            n_rows=int(inside.sum()),
            n_patients=len(np.unique(rows.units[inside])),
            n_resamples=resamples.n_resamples,
            labels={
                label: _label_result(rows, inside, at, found[here, at])
                for at, label in enumerate(rows.labels)
            },
            **found[here, -1],
        )
        for column, group, inside, here, _ in members
    ]


def _estimates(
    drawn: Mapping[_Key, Array], measures: Mapping[_Key, Measure], rest_of: Mapping[bytes, bytes]
) -> dict[tuple[bytes, int], dict[str, Any]]:
    """By rows and label, each measure and its gap to the rest, with intervals.

    The second ones of gaps hold together: max-t over all groups, labels and measures.
    """
    found: dict[tuple[bytes, int], dict[str, Any]] = defaultdict(dict)
    if not drawn:
        return found
    values = np.stack(list(drawn.values()), axis=1)  # (1 + R, H)
    for key, value, *ends in zip(drawn, values[0], *percentile_intervals(values[1:]), strict=True):
        found[key[:2]][key[2]] = Estimate(value=value, low=ends[0], high=ends[1])
    pairs = [(key, (rest_of[key[0]], *key[1:])) for key in drawn if key[0] in rest_of]
    pairs = [pair for pair in pairs if pair[1] in drawn]
    if not pairs:
        return found
    both = np.asarray([[drawn[key] for key in side] for side in zip(*pairs, strict=True)])
    gaps = (both[0] - both[1]).T  # (1 + R, pairs)
    both = np.where(np.isnan(both), both[..., :1], both).swapaxes(1, 2)
    n_patients = np.asarray([min(measures[key].n_patients for key in pair) for pair in pairs])
    together = paired_differences(both[:, 0], both[:, 1:], n_patients)
    ends_of_all = (*percentile_intervals(gaps[1:]), together.low[0], together.high[0])
    for (key, _), value, *ends in zip(pairs, gaps[0], *ends_of_all, strict=True):
        names = ("low", "high", "all_low", "all_high")
        found[key[:2]][f"{key[2]}_gap"] = Gap(value=value, **dict(zip(names, ends, strict=True)))
    return found


def _too_small(targets: Floats, units: Ints) -> str | None:
    few = why_no_interval(class_patients(targets[:, None], units)[0], MIN_PATIENTS)
    return few and f"too small to score: {few}"


def _label_result(
    rows: SubgroupInput, inside: Flags, position: int, estimates: Mapping[str, Any]
) -> SubgroupLabel:
    targets = rows.targets[inside, position]
    reason = _too_small(targets, rows.units[inside])
    known = None if reason else rows.calibrated(inside, position)
    return SubgroupLabel(
        n=int(np.isfinite(targets).sum()),
        positives=int((targets == 1).sum()),
        reason=reason,
        smooth=None if known is None else smooth_calibration(*known),
        **estimates,
    )
