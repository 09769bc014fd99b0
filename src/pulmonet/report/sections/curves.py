"""What runs do on the same rows at every threshold, and at the stored ones."""

import math
from collections.abc import Iterator

from pulmonet.metrics.estimate import number
from pulmonet.metrics.label_result import Curve, LabelResult
from pulmonet.metrics.results import RunResult, label_results
from pulmonet.report.render.blocks import Block, Chart, Choice, Section, Series
from pulmonet.report.texts import fields, table_of


def curves_section(key: str, rows: str, results: list[RunResult]) -> Section:
    """Charts finding by finding, then operating points and calibration; `rows` names the rows."""
    labels = dict.fromkeys(label for result in results for label in result.labels)
    words = fields("curves", results=results, item=None)
    charts = (tuple(_charts(f"{key}-{n}", label, results)) for n, label in enumerate(labels))
    drawn = tuple((label, some) for label, some in zip(labels, charts, strict=True) if some)
    every = [
        (label, result.run, item)
        for label in labels
        for result in results
        if (item := result.labels.get(label))
    ]
    alone = len(results) == 1
    points = [(*name, point) for *name, item in every for point in item.operating_points]
    scored = [(*name, one) for *name, item in every for one in (item.calibration, item.calibrated)]
    blocks: list[Block] = [Choice(drawn, words["caption"])] if drawn else []
    for name in ("stored_thresholds", "choosing_thresholds", "chosen_thresholds"):
        blocks += table_of(name, points, alone=alone)
    tests = {str(test): test for result in results for test in result.threshold_tests}
    blocks += table_of("threshold_tests", tests.values())
    for name in ("calibration", "calibration_errors"):
        blocks += table_of(name, scored, alone=alone)
    return Section(key, f"{words['title']}: {rows}", tuple(blocks), beside=True)


def _charts(key: str, label: str, results: list[RunResult]) -> Iterator[Chart]:
    """ROC, precision and recall, calibration of one finding; a line a run."""
    items = [(one.run, item) for one in results if (item := one.labels.get(label)) and item.roc]
    if not items:
        return
    first = label_results(results, scored=True)[label]
    words = fields("curves", results=results, item=first)
    for kind in ("roc", "pr", "calibration", "calibrated"):
        lines = tuple(line for run, item in items if (line := _line(kind, run, item)))
        x_ends, y_ends = ([0.0, 1.0], [0.0, 1.0])
        if kind.startswith("cal"):
            drawn = [point for line in lines for point in line.points]
            x_ends = [x for x, *_ in drawn] + [x for line in lines for x in line.x]
            y_ends = [end for _, *ends in drawn for end in ends]
        frame = (*_around(x_ends), *_around([0.0, *y_ends]))
        level = first.prevalence if kind == "pr" else None
        if lines:
            title, x, y = words[kind].split("; ")
            yield Chart(f"{key}-{kind}", title, x, y, lines, None, frame, level)


def _around(values: list[float]) -> tuple[float, float]:
    """The tenths that `values` lie between."""
    low, high = math.floor(10 * min(values, default=0)), math.ceil(10 * max(values, default=1))
    return low / 10, max(high, low + 1) / 10


def _line(kind: str, run: str, item: LabelResult) -> Series | None:
    """A run's curve with what it comes to; None where there is none."""
    curve: Curve | None
    points: list[tuple[float, float, float, float]] = []
    if kind == "roc":
        curve, measure = item.roc, f"AUROC {item.auroc.text()}"
        for point in item.operating_points:
            found, other = point.sensitivity.value, point.specificity.value
            if point.estimates == "threshold" and found is not None and other is not None:
                points.append((1 - other, found, found, found))
    elif kind == "pr":
        curve, measure = item.precision_recall, f"AP {item.average_precision.text()}"
    else:
        judged = item.calibration if kind == "calibration" else item.calibrated
        if judged is None:
            return None
        measure = f"slope {number(judged.slope.value, 2)}"
        curve = judged.smooth.curve if judged.smooth else Curve(x=[], y=[])
        for one in judged.bins_by_n or judged.bins:
            if one.mean_score is not None and one.observed is not None:
                low = one.observed if one.observed_low is None else one.observed_low
                high = one.observed if one.observed_high is None else one.observed_high
                points.append((one.mean_score, one.observed, low, high))
    if curve is None:
        return None
    band = tuple(zip(curve.band_x, curve.band_low, curve.band_high, strict=True))
    name = f"{run}: {measure}"
    return Series(name, tuple(curve.x), tuple(curve.y), band, points=tuple(points))
