"""The evaluation as data: pydantic models of ``evaluation_*.json`` and ``evaluate --json``.

A number that does not exist (one class only, too few rows) is null and has its reason beside
it; nothing is ever filled in. Scores, probabilities and prevalences are in [0, 1].
"""

# ruff: noqa: RUF012  (pydantic copies a default for every object)

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field

from pulmonet.choices import COMBINATIONS, TTA_VIEWS, Level, StudyRule, Tta
from pulmonet.metrics.estimate import BootstrapFacts, Estimate, Number
from pulmonet.metrics.label_result import LabelResult, RankingResult, SmoothCalibration
from pulmonet.metrics.options import EvaluationOptions
from pulmonet.run.record import Record, SeenBefore, read_model
from pulmonet.words import count, macro_auroc

Metric = Literal["auroc", "average_precision"]
#: How the names of baselines begin.
BASELINE = "baseline ("
#: What the rows of a file of scores had decided before.
UNKNOWN_USE = "unknown (scores from a file)"
#: Scores of a label that span less than this are called alike.
ALIKE = 0.001


class MacroResult(Record):
    """Mean over labels with 5 positive and negative patients; with both classes where none has."""

    auroc: Estimate
    average_precision: Estimate
    n_labels: int
    labels: list[str]
    left_out: dict[str, str] = {}
    """With the reason."""

    def counted(self) -> str:
        """``5 labels``, or ``4 of 5 labels`` where one has too few positives or negatives."""
        n_all = self.n_labels + len(self.left_out)
        return f"{self.n_labels} of {n_all} labels" if self.left_out else count(n_all, "label")

    def auroc_name(self) -> str:
        """``macro AUROC``, or ``macro AUROC of 4 of 5 labels``."""
        return macro_auroc(self.n_labels, self.n_labels + len(self.left_out))


class Gap(Estimate):
    """A group less all other rows; `low` and `high` are of this gap alone."""

    all_low: Number = None
    """Lower end of the interval that holds together with those of all gaps of the run (max-t)."""
    all_high: Number = None

    def together(self) -> Estimate:
        """With the simultaneous interval, where the file has one."""
        if self.all_low is None:
            return self
        return Estimate(value=self.value, low=self.all_low, high=self.all_high)


class SubgroupLabel(Record, extra="ignore"):
    """One label in one group, beside all other rows."""

    n: int
    positives: int
    reason: str | None = None
    """Why nothing is scored here."""
    auroc: Estimate | None = None
    auroc_gap: Gap | None = None
    """AUROC in the group less AUROC in the rest."""
    sensitivity: Estimate | None = None
    sensitivity_gap: Gap | None = None
    """At the first operating point, group less rest."""
    specificity: Estimate | None = None
    specificity_gap: Gap | None = None
    slope: Estimate | None = None
    """Of calibrated scores, as the following."""
    slope_gap: Gap | None = None
    intercept: Estimate | None = None
    """At slope 1."""
    intercept_gap: Gap | None = None
    smooth: SmoothCalibration | None = None


class Subgroup(Record):
    """One value of one column."""

    column: str
    group: str
    n_rows: int
    n_patients: int
    n_resamples: int | None = None
    """Resamples of the intervals here: fewer than the others' on many rows."""
    labels: dict[str, SubgroupLabel]
    underdiagnosis: Estimate | None = None
    """Rows with a disease of which none was called (Seyyed-Kalantari et al. 2021)."""
    underdiagnosis_gap: Gap | None = None


class StudyLevel(Record):
    """The same scores joined per study."""

    rule: StudyRule
    """max (CheXpert's) or mean over a study's images; a study is positive if an image is."""
    n_studies: int
    labels: dict[str, RankingResult]
    macro: MacroResult


class Baseline(Record, extra="ignore"):
    """A logistic model on view, age and sex: what can be predicted without the image."""

    features: list[str]
    fitted_on: str
    labels: dict[str, RankingResult]
    macro: MacroResult

    def name(self) -> str:
        """What tables call it: fitted on the training rows, or on these, are two numbers."""
        how = "; cross-fitted" if "cross-fitted" in self.fitted_on else ""
        known = "collection" if self.features == ["collection"] else "view, age, sex"
        return f"{BASELINE}{known}{how})"


class FlowStep(Record):
    """Rows that are left after a step from the source to the table."""

    name: str
    n_rows: int
    n_patients: int | None = None
    """Null where the source names none."""


class Shift(Record):
    """How the evaluated rows differ from the training rows; pairs are (training, here)."""

    notes: list[str]
    """Sentences, the largest differences first."""
    prevalence: dict[str, tuple[Number, Number]] = {}
    mean_age_years: tuple[Number, Number] = (None, None)
    views: dict[str, tuple[Number, Number]] = {}
    """Fraction of rows per view."""
    sex: dict[str, tuple[Number, Number]] = {}
    """Fraction of rows per sex."""


class ThresholdTest(Record):
    """Run a less run b, each at its stored threshold, on the same rows, which chose neither."""

    a: str
    b: str
    label: str
    criterion: str
    """The first operating point."""
    measure: Literal["sensitivity", "specificity"]
    difference: float
    low: Number
    """95 % interval of this difference alone, patients as clusters."""
    high: Number
    p: float
    """McNemar's test with patients as clusters, of this difference alone."""
    p_adjusted: float
    """Holm's over pairs of runs, labels and both measures."""


class RunResult(Record):
    """One run (or predictions file) on one split of one dataset."""

    run: str
    dataset: str
    split: str
    level: Level
    study_rule: StudyRule | None = None
    """At study level, the score of a study: max or mean of its images; null in older files."""
    n_rows: int
    """Images, or studies at study level."""
    n_patients: int
    n_studies: int | None = None
    synthetic: bool = False
    """Whether the images are phantoms."""
    rows_used_for: list[str] = []
    """What these rows decided before: checkpoint selection; empty = nothing."""
    blank: str = "zeros"
    """What a blank label counted as: zeros or ignore."""
    views: str = "all"
    flow: list[FlowStep] = []
    """From the source to the rows scored; empty for a file of scores."""
    missing: dict[str, dict[str, int]] = {}
    """Per label the rows whose label is uncertain, blank or not annotated, those of them only."""
    bootstrap: BootstrapFacts
    options: EvaluationOptions | None = None
    """How it was asked for, as `--verify` asks again; null in older files."""
    labels: dict[str, LabelResult]
    macro: MacroResult
    group_letters: str = ""
    """Compact letters: runs that share one are not significantly different in `primary`."""
    primary: str = "macro AUROC"
    """The primary endpoint of the comparison."""
    baseline: Baseline | None = None
    collection_baseline: Baseline | None = None
    """What the collection alone tells, where there are several."""
    study: StudyLevel | None = None
    """Beside the image level, where studies have several images."""
    subgroups: list[Subgroup] = []
    shift: Shift | None = None
    combines: Literal["ensemble", "out-of-fold"] | None = None
    """ensemble: each row's score is the mean over `members`; out-of-fold: each row was scored by
    the one of `members` whose validation fold it is in; null = a run, or a file of scores."""
    members: list[str] = []
    """The runs (or files) combined."""
    tta: Tta = "none"
    """Test-time augmentation: the views of each image that its score is the mean over."""
    checkpoint_sha256: str | None = None
    """Of best_model.pth; of several members the SHA-256 of their digests, sorted, one a line."""
    predictions_sha256: str | None = None
    """Of the predictions CSV beside it that this was computed from."""
    dataset_fingerprint: str | None = None
    same_data_as_training: bool | None = None
    """Whether the fingerprint equals the training's; null = unknown."""
    external: bool | None = None
    """Whether this is another dataset, of which the run was trained on nothing; null = unknown."""
    seen: SeenBefore | None = None
    """What was trained on, by the digests beside the run; null = it has none."""
    trained_on: str = ""
    """The dataset that the run was trained on."""
    n_unlike: int | None = None
    """Images unlike those trained on, flagged in the predictions; null = not known."""
    one_class_in_training: dict[str, str] = {}
    """Labels without a positive, a negative or any known value in training -> what is missing."""
    origin: str = ""
    """Who published the network, its licence, and what it was trained on; empty of others."""
    threshold_tests: list[ThresholdTest] = []
    """Sensitivity and specificity beside other runs', where thresholds are stored for both."""
    notes: list[str] = []

    def unlearned(self) -> dict[str, list[str]]:
        """Labels whose scores tell nothing apart here, by reason: all alike, or guessing."""
        found: dict[str, list[str]] = {}
        for name, item in self.labels.items():
            low, high = item.score_range or (0.0, 1.0)
            if high - low < ALIKE:
                found.setdefault(f"Scores all within {ALIKE}", []).append(name)
            if item.auroc.low is not None and item.auroc.low <= 0.5:
                found.setdefault("AUROC not significantly above 0.5 (guessing)", []).append(name)
        return found

    def learned_nothing(self) -> list[str]:
        """`unlearned`, a text for each reason."""
        every = f"all {len(self.labels)} labels"
        return [
            f"{what}: {every if len(some) == len(self.labels) > 1 else ', '.join(some)}"
            for what, some in self.unlearned().items()
        ]

    def known_uses(self) -> list[str]:
        """What these rows are known to have decided, which makes the numbers too good."""
        return [use for use in self.rows_used_for if use != UNKNOWN_USE]

    def label_notes(self) -> list[str]:
        """Labels that the macro leaves out, or nothing was learned of; a network's origin."""
        untrained = self.one_class_in_training.items()
        left_out = "; ".join(f"{label}: {why}" for label, why in self.macro.left_out.items())
        unknown = "; ".join(f"{name}: {why}" for name, why in untrained if name in self.labels)
        notes = [f"{self.macro.auroc_name()} ({left_out})"] if left_out else []
        notes += [self.origin] * bool(self.origin)
        notes += [f"nothing could be learned in training of {unknown}"] * bool(unknown)
        return notes + self.learned_nothing()

    def is_external(self, trained_on: Collection[str]) -> bool:
        """Whether this is external testing; by the names of datasets where nothing else tells."""
        if self.external is None:
            return self.dataset not in trained_on and not self.same_data_as_training
        return self.external

    def rows(self) -> str:
        """Which rows: ``nih-cxr valid``."""
        return f"{self.dataset} {self.split}"

    def testing(self) -> str:
        """External, internal, or of which images there is something that was trained on."""
        if any(use.startswith("training") for use in self.rows_used_for):
            return "trained on some"
        return {True: "external", False: "internal", None: "unknown"}[self.external]

    def combination_text(self) -> str:
        """What the scores are made of: ``mean of the scores of a, b``; empty for a plain run."""
        views = "" if self.tta == "none" else f"{TTA_VIEWS[self.tta]} views of each image"
        if self.combines is None:
            return views
        return f"{COMBINATIONS[self.combines]}{', '.join(self.members)}" + (views and f"; {views}")


def baselines_of(results: Iterable[RunResult]) -> dict[str, Baseline]:
    """The baselines of some rows by name; one name with several numbers would tell nothing."""
    found: dict[str, list[Baseline]] = {}
    for result in results:
        for one in filter(None, (result.baseline, result.collection_baseline)):
            found.setdefault(one.name(), []).append(one)
    return {
        name: some[0]
        for name, some in found.items()
        if len({one.macro.auroc.value for one in some}) == 1
    }


def label_results(results: Iterable[RunResult], *, scored: bool = False) -> dict[str, LabelResult]:
    """Of each label the numbers on the most rows: of pooled folds those of the whole."""
    found: dict[str, LabelResult] = {}
    for label, item in (pair for one in results for pair in one.labels.items()):
        if not (scored and item.roc is None):
            found[label] = max(found.get(label, item), item, key=lambda one: one.n)
    return found


class Comparison(Record, extra="ignore"):
    """Run a less run b on the same rows and the same resamples."""

    rows: str = ""
    """Dataset and split; empty in older files."""
    a: str
    b: str
    metric: Metric
    label: str | None
    """null for the macro."""
    primary: bool | None = None
    """Whether it is of the primary endpoint; null in older files, where that is macro AUROC."""
    margin: Number = None
    """Non-inferiority margin of the primary endpoint, where one was stated."""
    a_members: list[str] = []
    """Runs of which `a` is the mean, seeds of one recipe; their variance is in the interval."""
    b_members: list[str] = []
    difference: Number
    low: Number
    """Simultaneous 95 % interval (max-t): over all pairs in the primary; over all of the others."""
    high: Number
    p: Number
    """Bootstrap p of this difference alone."""
    p_adjusted: Number = None
    """Max-t p over the family: at most 0.05 where the interval leaves out 0."""
    p_delong: Number = None
    """DeLong's paired test (clustered), per label, as a cross-check."""
    distinguished: bool
    """Whether the simultaneous interval leaves out 0."""
    a_sha256: str | None = None
    """Of the weights that were compared."""
    b_sha256: str | None = None

    def sides(self) -> tuple[list[str], list[str]]:
        """The runs on each side, those of arms one by one."""
        return self.a_members or [self.a], self.b_members or [self.b]

    def runs(self) -> list[str]:
        """Those on both sides."""
        return [run for side in self.sides() for run in side]

    def is_primary(self) -> bool:
        """Whether it is of the primary endpoint."""
        of_macro = self.label is None and self.metric == "auroc"
        return of_macro if self.primary is None else self.primary

    def endpoint(self) -> str:
        """``macro AUROC``, ``average precision of Edema``."""
        metric = "AUROC" if self.metric == "auroc" else "average precision"
        return f"{metric} of {self.label}" if self.label else f"macro {metric}"

    def margin_text(self) -> str:
        """Who is not inferior to whom by the margin; empty without one."""
        if self.margin is None or self.low is None or self.high is None:
            return ""
        sides = ((self.a, self.b, self.low), (self.b, self.a, -self.high))
        shown = [f"{one} is not inferior to {two}" for one, two, low in sides if low > -self.margin]
        found = ", ".join(shown) or f"not shown between {self.a} and {self.b}"
        return f"margin {self.margin:g}: {found}"


class Evaluation(Record):
    """The document: ``evaluation_*.json`` and the output of ``evaluate --json``."""

    schema_version: Literal[1] = Field(default=1, alias="schema", serialization_alias="schema")
    runs: list[RunResult]
    comparisons: list[Comparison] = []


def read_evaluation(path: Path) -> Evaluation:
    """evaluation_*.json, or an ArtifactError."""
    return read_model(path, Evaluation, "an evaluation", "run `pulmonet evaluate` again")
