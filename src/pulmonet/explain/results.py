"""What `explain` found, as data: pydantic models of ``explanations.json`` and ``--json``."""

# ruff: noqa: RUF012  (pydantic copies a default for every object)

from typing import Literal

from pydantic import Field

from pulmonet.explain.maps.variants import MapVariant
from pulmonet.metrics.conformal import COVERAGE, Decision
from pulmonet.metrics.estimate import Estimate, Number
from pulmonet.run.record import Record
from pulmonet.words import list_first

#: Rows of the localisation tables beside the methods'.
BASELINES = ("prior density", "mean box", "image centre", "randomised networks")


class LabelExplanation(Record):
    """One label on one image."""

    score: float
    """The network's score in [0, 1]."""
    probability: float | None = None
    """Calibrated probability; null without verdict."""
    threshold: float | None = None
    """Youden's threshold on the score; null without verdict."""
    present: bool | None = None
    """Whether the score reaches the threshold; null without verdict."""
    reason: str | None = None
    """Why there is no verdict, or where its threshold was published."""
    auroc: Estimate | None = None
    """The label's AUROC on the rows that chose the threshold."""
    conformal: Decision | None = None
    """What 90 % coverage allows to say; null without verdict or conformal thresholds."""
    undecided_why: str | None = None
    """Which of these thresholds is missing, and why."""
    reference: bool | None = None
    """The reference standard of this image; null where it is not known."""
    empty: bool = False
    """The map is all zero: nothing in the image speaks for the label."""
    peak_x: float | None = None
    """Where the map is highest: fraction of the image's width from its left edge."""
    peak_y: float | None = None
    """Fraction of the image's height from its top."""
    boxes: list[dict[str, int | float]] | None = None
    """With --boxes-out: around the parts of a drawn map above the threshold that --boxes tuned."""
    panel: str = ""
    """PNG of X-ray, overlay, colour bar, score and threshold, relative to this file; or ""."""
    overlay: str | None = None
    """PNG at the image's own resolution; null below the threshold."""
    dicom: str | None = None
    """DICOM Secondary Capture of the overlay, with --dicom."""

    def verdict(self) -> str:
        """What every picture, table and page says of the score."""
        if self.present is None or (self.auroc is None and self.reason is None):
            return "no verdict"
        return f"{'above' if self.present else 'below'} the threshold (Youden's)"

    def grounds(self) -> str:
        """What stands beside the verdict: the label's AUROC, or why there is no verdict."""
        if self.present is None or self.auroc is None:
            return self.reason or "made by an earlier version; run `pulmonet explain` again"
        return f"AUROC {self.auroc.text(2)}"

    def decision(self) -> str:
        """``ruled out (90 % coverage)``; empty without conformal thresholds."""
        return f"{self.conformal} ({100 * COVERAGE:.0f} % coverage)" if self.conformal else ""

    def caption(self, label: str) -> str:
        """The same in short, in lines, for a picture among others."""
        auroc = self.grounds() if self.verdict() != "no verdict" else ""
        empty = "empty map" if self.empty and self.present is not False else ""
        lines = (f"{label} {self.score:.2f}", self.verdict(), self.decision(), auroc, empty)
        return "\n".join(filter(None, lines))


class ImageExplanation(Record):
    """One image."""

    image: str
    """The image as it was named: a path, or the dataset's."""
    width: int | None = None
    """Pixels; null without maps."""
    height: int | None = None
    """Pixels; null without maps."""
    maps: str | None = None
    """maps.npz: labels, scores, raw (L, h, w), maps (L, S, S); relative to this file."""
    distance: float | None = None
    """How far the image is from those that the run was trained on; null = not known."""
    unlike: bool | None = None
    """Whether that is too far for a verdict, or it is a phantom and the run's were X-rays."""
    in_colour: bool | None = None
    """Whether its file is in colour, and X-rays are grey; null = of an earlier version."""
    phantom: bool | None = None
    """Whether `prepare --demo` drew it; null = of an earlier version."""
    labels: dict[str, LabelExplanation]
    """By label."""


class BadImage(Record):
    """An image that could not be read."""

    image: str
    reason: str
    """Which file, what is wrong, what to do."""


class MethodLocalization(Record):
    """A method, or a baseline, against the regions of one label."""

    pointing: Estimate
    """Pointing game: share of images whose map is highest inside the region."""
    iou: Estimate
    """Mean intersection over union at a threshold tuned on the other patients."""
    energy: Estimate
    """Mean share of the map's sum inside the region."""
    iou_threshold: Number = None
    """The threshold most often chosen, as a share of the map's maximum."""


class Difference(Record):
    """The method minus a baseline on the same resamples."""

    row: str
    """Row of the table under test."""
    metric: str
    """pointing, iou or energy."""
    baseline: str
    """Row of the table it is compared with."""
    difference: Estimate
    """Method minus baseline."""
    distinguished: bool
    """Whether the interval leaves 0 out."""


class LabelLocalization(Record):
    """One label's table."""

    n_images: int
    """Images with a region of this label."""
    n_patients: int
    """Their patients, the units of the intervals."""
    rows: dict[str, MethodLocalization]
    """The variants under test, then the baselines."""
    differences: list[Difference]
    """Each variant against each baseline, its own randomised networks; other runs to the first."""

    def hits(self, name: str) -> float:
        """The pointing game of a row of the table."""
        return self.rows[name].pointing.value or 0.0

    def winners(self) -> list[str]:
        """Variants that hit significantly more often than every baseline (pointing game)."""
        won: dict[str, bool] = {}
        for one in self.differences:
            if one.metric == "pointing" and one.baseline.startswith(BASELINES):
                better = one.distinguished and (one.difference.value or 0.0) > 0
                won[one.row] = won.get(one.row, True) and better
        return [row for row, beats_all in won.items() if beats_all]


class Localization(Record):
    """``localization.json``: all labels."""

    runs: list[str]
    """Runs whose maps were scored."""
    groups: list[list[str]] = []
    """The runs that were pooled, as patient folds, and compared with other ones."""
    variants: list[MapVariant]
    """What was scored: methods and layers; of several groups of runs those of each."""
    dataset: str
    """Name of the dataset root."""
    split: str
    """Split of the images scored."""
    synthetic: bool
    """Whether the images are phantoms."""
    regions: str
    """File of the boxes or segmentations."""
    n_unmatched: int
    """Regions whose image is not in the dataset."""
    n_taught: int = 0
    """Regions left out: of patients whose boxes a run's maps learned from."""
    n_resamples: int
    """Bootstrap resamples of the patients."""
    n_random_networks: int
    """Networks that the baseline of randomised networks averages over."""
    checkpoint_sha256: str | None = None
    """Of the weights; of several runs the SHA-256 of their digests, sorted, one a line."""
    labels: dict[str, LabelLocalization]
    """By label; labels without a region are missing."""

    def verdict(self) -> str:
        """Which labels are hit significantly more often than by every baseline."""
        names = [variant.name for variant in self.variants]
        winners = {label: found.winners() for label, found in self.labels.items()}
        lines = []
        for name in names:
            better = [label for label, rows in winners.items() if name in rows]
            words = f"Pointing game, {name} significantly better than every baseline"
            lines += [f"{words}: {list_first(better, 14)}."] if better else []
        beaten = []
        for label, found in self.labels.items():
            best = max((name for name in found.rows if name not in names), key=found.hits)
            beaten += [] if winners[label] else [f"{label} (best baseline: {best})"]
        if beaten:
            words = "Not significantly better than every baseline"
            lines.append(f"{words}: {list_first(beaten, 14)}.")
        if len(names) > 1:
            lines.append(
                f"{len(names)} ways were tried on the same rows: the best one's lead is flattered. "
                "Confirm it on other rows (--split) or other data (--data-dir)."
            )
        return "\n".join(lines)

    def rows_are(self) -> str:
        """``valid``, or ``out of fold over 5 folds``."""
        n_folds = max(map(len, self.groups or [self.runs]))
        return self.split if n_folds == 1 else f"out of fold over {n_folds} folds"


class SanityStage(Record):
    """One depth of the cascade."""

    stage: str
    """What was randomised last: this and everything above it has fresh weights."""
    mean: Number
    """Mean absolute Spearman correlation with the trained network's maps."""
    low: Number = None
    """10th percentile."""
    high: Number = None
    """90th percentile."""
    standard_error: Number = None
    """Of `mean`, as if each image had one pair: no less than with images as units."""
    n: int = 0
    """Pairs of maps compared; constant maps have no ranks and are left out."""

    def estimate(self) -> Estimate:
        """`mean` with its 95 % interval; without in files that have no `standard_error`."""
        if self.mean is None or self.standard_error is None:
            return Estimate(value=self.mean)
        half = 1.96 * self.standard_error
        return Estimate(
            value=self.mean, low=max(self.mean - half, 0), high=min(self.mean + half, 1)
        )

    def is_below(self, threshold: float) -> bool | None:
        """Whether the whole interval is; None where it holds `threshold`. Constant maps are not."""
        found = self.estimate()
        if found.value is None:
            return False
        if found.low is None or found.high is None or found.low <= threshold < found.high:
            return None
        return found.high <= threshold


class RoadCurve(Record):
    """Deletion and insertion with noisy linear imputation (ROAD)."""

    removed: list[float]
    """Share of pixels removed."""
    most_relevant_first: list[float]
    """Mean score of the label after removing the map's highest pixels."""
    least_relevant_first: list[float]
    """Mean score of the label after removing the map's lowest pixels."""
    gain: float
    """Mean of least minus most relevant first: above 0 the map finds what the score hangs on."""
    n: int
    """Pairs of image and label."""


class Comparison(Record):
    """The maps of this run against those of another one (``--against``)."""

    run: str
    """The other run."""
    shuffled_labels: bool
    """Whether it was trained on shuffled labels."""
    correlation: Number
    """Mean absolute Spearman correlation of the two runs' maps."""
    passed: bool | None
    """Whether its 95 % interval is below `threshold`; null where it is not clear."""


class Sanity(Record):
    """``sanity.json``."""

    statistic: str
    """What is compared with the threshold, in words."""
    value: Number
    """The statistic."""
    threshold: float
    """With the whole 95 % interval of `value` below it the check is passed."""
    passed: bool | None
    """Whether the maps depend on the trained weights; null where that is not clear."""
    reason: str | None = None
    """Why they cannot tell: too coarse, too few, or an interval that holds the threshold."""
    n_images: int
    n_seeds: int
    """Randomised copies of the network per stage."""
    stages: list[SanityStage]
    """From the classifier down to the first layer."""
    road: RoadCurve | None = None
    against: Comparison | None = None
    checkpoint_sha256: str | None = None
    """Of the weights that were checked."""
    method: str = ""
    """Of the maps, with its layer."""

    def outcome(self) -> str:
        """``passed``, ``FAILED``, or why neither."""
        return self.reason or ("passed" if self.passed else "FAILED")


class Explanations(Record):
    """``explanations.json`` and ``explain --json``."""

    schema_version: Literal[1] = Field(default=1, alias="schema", serialization_alias="schema")
    run: str
    """Name of the run."""
    model: str
    """Name of the network."""
    method: str
    layer: str | None
    """Layer the maps were read from; null is the last feature map."""
    colour_map: str
    folder: str
    """Where the files lie; all paths below are relative to it."""
    dataset: str | None = None
    """Name of the dataset root, where rows of one were explained."""
    synthetic: bool | None = None
    """Whether the images are phantoms; null for files outside a dataset."""
    notice: str = "Research and education only; not a medical device."
    checkpoint_sha256: str | None = None
    """Of the weights that explained."""
    contact_sheets: list[str] = []
    images: list[ImageExplanation] = []
    bad_images: list[BadImage] = []
    localization: Localization | None = None
    sanity: Sanity | None = None
