"""One run on one split in detail: curves, calibration, operating points, subgroups, errors."""

from pulmonet.metrics.estimate import Estimate
from pulmonet.metrics.label_result import Curve, OperatingPoint
from pulmonet.metrics.results import Gap, MacroResult, RankingResult, RunResult
from pulmonet.report.collect import FIGURES, Context, Evaluated
from pulmonet.report.render.blocks import (
    Block,
    Chart,
    Charts,
    Picture,
    Section,
    Series,
    Table,
    Text,
    bullets,
)
from pulmonet.report.wording import (
    COUNTED,
    Value,
    cell,
    criterion,
    listing,
    number,
    percent,
    picture_name,
    safe_name,
    table,
)


def run_details(context: Context, run: Evaluated, result: RunResult) -> Section:
    """Everything about one evaluation that does not fit into the tables above."""
    key = f"detail-{safe_name(run.name)}-{safe_name(result.dataset)}-{safe_name(result.split)}"
    blocks: list[Block] = [Text(context.identities.scrub(note), "note") for note in result.notes]
    if result.same_data_as_training is False:
        words = "The data's fingerprint differs from the one the run was trained on."
        blocks.append(Text(words, "note"))
    blocks += _flow(result)
    blocks += _pictures(run, result, "flow")
    blocks += _curves(run, result, key)
    blocks += _intervals(result)
    blocks += _calibration(result)
    blocks += _pictures(run, result, "reliability")
    blocks += _operating_points(result)
    blocks += _pictures(run, result, "decision")
    blocks += _subgroups(result)
    blocks += _pictures(run, result, "subgroups", "calibration_subgroups")
    blocks += _study_level(result)
    if result.shift and result.shift.notes:
        blocks += [Text("Beside the training rows:"), bullets(result.shift.notes)]
    blocks += _worst_cases(context, result)
    title = f"{run.name} on {result.dataset}, {result.split}"
    return Section(key, title, tuple(blocks), folded=True)


def _flow(result: RunResult) -> list[Table]:
    """Rows and patients from the source to the table, then what is known of each label."""
    steps = ({"Step": s.name, "Images": s.n_rows, "Patients": s.n_patients} for s in result.flow)
    kinds = dict.fromkeys(kind for counts in result.missing.values() for kind in counts)
    note = f"Uncertain labels are left out, blank ones {COUNTED.get(result.blank, result.blank)}."
    labels: list[dict[str, Value]] = []
    for label, counts in result.missing.items():
        if (item := result.labels.get(label)) is not None:
            labels.append({"Label": label, "Known": item.n, "Positive": item.positives})
            labels[-1] |= {kind.capitalize(): counts.get(kind, 0) for kind in kinds}
    return [
        *table("From the source to the rows scored", steps),
        *table("Missing labels in these rows", labels, [note]),
    ]


def _curves(run: Evaluated, result: RunResult, key: str) -> list[Block]:
    def chart(suffix: str, title: str, x: str, y: str, curves: dict[str, Curve | None]) -> Chart:
        series = tuple(
            Series(
                label,
                tuple(curve.x),
                tuple(curve.y),
                tuple(zip(curve.band_x, curve.band_low, curve.band_high, strict=True)),
            )
            for label, curve in curves.items()
            if curve is not None
        )
        return Chart(f"{key}-{suffix}", title, x, y, series, square=True, diagonal=suffix == "roc")

    names = ("false positive rate (1 − specificity)", "true positive rate (sensitivity)")
    roc = {label: item.roc for label, item in result.labels.items()}
    precision = {label: item.precision_recall for label, item in result.labels.items()}
    both = (
        chart("roc", "ROC", *names, roc),
        chart("pr", "Precision and recall", "recall (sensitivity)", "precision (PPV)", precision),
    )
    charts = tuple(chart for chart in both if chart.series)
    return [Charts(charts, _pictures(run, result, "roc", "precision_recall"))] if charts else []


def _pictures(run: Evaluated, result: RunResult, *names: str) -> tuple[Picture, ...]:
    """Figures of `evaluate`, under names without identifiers."""
    rows = (result.dataset, result.split)
    return tuple(
        Picture(
            picture_name(run.name, name, *rows),
            run.figures[*rows, name],
            f"{FIGURES[name]} of {run.name} on {result.dataset}, {result.split}",
        )
        for name in names
        if (*rows, name) in run.figures
    )


def _intervals(result: RunResult) -> list[Table]:
    """Two kinds of interval beside each other: they differ where patients are few."""
    return table(
        "AUROC with its interval, by two methods",
        (
            {"Label": label, "Bootstrap": item.auroc, "DeLong": item.auroc_delong}
            for label, item in result.labels.items()
            if item.auroc.value is not None
        ),
        ["DeLong's variance is clustered by patient (Obuchowski 1997)."],
    )


def _calibration(result: RunResult) -> list[Table]:
    return table(
        "Calibration",
        (
            {
                "Label": label,
                "Scores": "raw" if found.scores == "raw" else f"calibrated ({found.calibrator})",
                "Slope": cell(found.slope, 2),
                "Intercept": cell(found.intercept, 2),
                "Brier": found.brier,
                "ECE": found.ece,
                "ECE of a perfect model": found.ece_if_perfect,
                "ICI": getattr(found.smooth, "ici", None),
                "E90": getattr(found.smooth, "e90", None),
            }
            for label, item in result.labels.items()
            for found in (item.calibration, item.calibrated)
            if found is not None
        ),
        [
            "Slope 1 and intercept 0 are right; a slope below 1 means scores too extreme, an "
            "intercept below 0 scores too high. A perfect model's ECE is not 0 at this number of "
            "rows. ICI and E90: mean and 90 % quantile of the distance between score and smooth "
            "calibration curve (Austin and Steyerberg 2019)."
        ],
    )


def _operating_points(result: RunResult) -> list[Table]:
    """What stored thresholds do, what choosing them does, and what was chosen: three tables."""
    points = [(label, p) for label, item in result.labels.items() for p in item.operating_points]
    fixed = [(label, point) for label, point in points if point.estimates == "threshold"]
    crossed = [(label, point) for label, point in points if point.estimates == "procedure"]
    chosen = [(label, point) for label, point in crossed if point.threshold is not None]
    tests = result.threshold_tests
    return [
        *table(
            "Operating points: stored thresholds",
            ({**_threshold(label, p), **_rates(p)} for label, p in fixed),
            [
                f"Chosen on {listing(sorted({point.chosen_on for _, point in fixed}))}: not on the "
                "rows that these numbers come from. Intervals take patients as clusters."
            ],
        ),
        *table(
            "Operating points: choosing a threshold",
            (
                {"Label": label, "Criterion": criterion(p.criterion), **_rates(p)}
                for label, p in crossed
            ),
            [
                "Cross-fitted: each patient was judged by a threshold that other patients chose. "
                "The numbers are those of this procedure, not of a threshold that is stored."
            ],
        ),
        *table(
            "Thresholds chosen on these rows",
            (_threshold(label, p) for label, p in chosen),
            ["Chosen on all of them; `explain` uses these. Other rows tell what they do."],
        ),
        *table(
            "Stored thresholds of two runs on the same rows",
            (
                {
                    "Runs": f"{test.a} less {test.b}",
                    "Label": test.label,
                    "Criterion": criterion(test.criterion),
                    "Measure": test.measure,
                    "Difference": f"{number(test.difference)} "
                    f"({number(test.low)} to {number(test.high)})",
                    "p": test.p,
                    "p (adjusted)": test.p_adjusted,
                }
                for test in tests
            ),
            [
                "McNemar's test with patients as clusters; adjusted by Holm's method over all "
                "pairs of runs, labels and both measures. Intervals are of each difference alone."
            ],
        ),
    ]


def _threshold(label: str, point: OperatingPoint) -> dict[str, Value]:
    found: dict[str, Value] = {
        "Label": label,
        "Criterion": criterion(point.criterion),
        "Threshold": point.threshold,
    }
    if point.deployment_prevalence:
        found["Probability at the threshold"] = point.probability
        found["The same, there"] = point.probability_at_deployment
    return found


def _rates(point: OperatingPoint) -> dict[str, Value]:
    found: dict[str, Value] = {
        "Sensitivity": point.sensitivity,
        "Specificity": point.specificity,
        "PPV": point.ppv,
        "NPV": point.npv,
    }
    if point.estimates == "threshold":
        found["LR+"] = point.positive_likelihood_ratio
        found["LR−"] = point.negative_likelihood_ratio
    if point.deployment_prevalence:
        found["Stated prevalence"] = cell(percent(point.deployment_prevalence))
        found["PPV there"], found["NPV there"] = point.ppv_at_deployment, point.npv_at_deployment
    return found


def _subgroups(result: RunResult) -> list[Block]:
    """Ranking, decisions and calibration by group; what is too small is named."""
    named = [(f"{group.column}: {group.group}", group) for group in result.subgroups]
    every = [(name, label, one) for name, group in named for label, one in group.labels.items()]
    left_out = _too_small(result)
    note = "Among many groups a gap or two leaves out 0 by chance."
    if any(item.auroc_gap and item.auroc_gap.all_low is not None for *_, item in every):
        note = (
            "Intervals of gaps (a group less all other rows) are simultaneous: those of all "
            "groups, labels and measures hold together in 95 % of datasets (max-t)."
        )
    ranking = (
        {
            "Group": name,
            "Label": label,
            "Images": item.n,
            "Positive": item.positives,
            "AUROC": item.auroc,
            "AUROC gap to the rest": _gap(item.auroc_gap),
            "Sensitivity gap": _gap(item.sensitivity_gap),
            "Specificity gap": _gap(item.specificity_gap),
        }
        for name, label, item in every
        if item.auroc is not None
    )
    calibration = (
        {
            "Group": name,
            "Label": label,
            "Slope": cell(item.slope, 2),
            "Slope gap": cell(_gap(item.slope_gap), 2),
            "Intercept": cell(item.intercept, 2),
            "Intercept gap": cell(_gap(item.intercept_gap), 2),
            "ICI": getattr(item.smooth, "ici", None),
            "E90": getattr(item.smooth, "e90", None),
        }
        for name, label, item in every
        if item.intercept is not None
    )
    missed = (
        {
            "Group": name,
            "Patients": group.n_patients,
            "Underdiagnosis": group.underdiagnosis,
            "Gap to the rest": _gap(group.underdiagnosis_gap),
        }
        for name, group in named
        if group.underdiagnosis is not None
    )
    found: list[Block] = [*table("Subgroups", ranking, [note, *left_out])]
    return [
        *(found or [Text(f"Subgroups. {text}") for text in left_out]),
        *table("Calibration in subgroups (calibrated scores)", calibration),
        *table("Images with a disease of which none was called", missed),
    ]


def _too_small(result: RunResult) -> list[str]:
    small: dict[str, list[str]] = {}
    for group in result.subgroups:
        labels = [label for label, item in group.labels.items() if item.auroc is None]
        small |= {f"{group.column}: {group.group}": labels} if labels else {}
    words = ", ".join(
        f"{name} ({'all labels' if len(labels) == len(result.labels) else listing(labels)})"
        for name, labels in small.items()
    )
    return [f"Too small to score: {words}."] if small else []


def _gap(gap: Gap | None) -> Estimate | None:
    return None if gap is None else gap.together()


def _study_level(result: RunResult) -> list[Table]:
    """The same scores joined per study, where studies have several images."""
    study = result.study
    if study is None:
        return []
    items: list[tuple[str, int, Value, RankingResult | MacroResult]] = [
        *((label, item.n, item.positives, item) for label, item in study.labels.items()),
        ("macro", study.n_studies, "", study.macro),
    ]
    rows = (
        {
            "Label": name,
            "Studies": n,
            "Positive": positives,
            "AUROC": item.auroc,
            "Average precision": item.average_precision,
        }
        for name, n, positives, item in items
    )
    note = f"The score of a study is the {study.rule} over its images."
    return table("Study level", rows, [note], forest=True)


def _worst_cases(context: Context, result: RunResult) -> list[Table]:
    identities = context.identities
    hidden = "Images and patients have pseudonyms, the same throughout this report."
    return table(
        "Worst cases: scores that contradict the reference standard most",
        (
            {
                "Label": label,
                "Reference standard": "absent" if case.kind == "false positive" else "present",
                "Score": case.score,
                "Image": identities.image(case.path),
                "Patient": identities.patient(case.patient) if case.patient else "",
            }
            for label, item in result.labels.items()
            for case in item.worst_cases
        ),
        () if identities.shown else (hidden,),
    )
