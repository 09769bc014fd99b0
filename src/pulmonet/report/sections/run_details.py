"""One run on one split in detail: curves, calibration, operating points, subgroups, errors."""

from __future__ import annotations

from pulmonet.metrics.results import Curve, RunResult
from pulmonet.report.collect import Evaluated
from pulmonet.report.context import Context
from pulmonet.report.render.blocks import (
    Block,
    Cell,
    Chart,
    Charts,
    Picture,
    Section,
    Series,
    Table,
    Text,
    bullets,
    cells,
)
from pulmonet.report.render.pictures import safe_name
from pulmonet.report.wording import (
    count_cell,
    criterion,
    estimate_cell,
    listing,
    number,
    number_cell,
)


def run_details(context: Context, run: Evaluated, result: RunResult) -> Section:
    """Everything about one evaluation that does not fit into the tables above."""
    key = f"detail-{safe_name(run.name)}-{safe_name(result.dataset)}-{safe_name(result.split)}"
    blocks: list[Block] = [Text(context.identities.scrub(note), "note") for note in result.notes]
    if result.same_data_as_training is False:
        blocks.append(
            Text("The data's fingerprint differs from the one the run was trained on.", "note")
        )
    blocks += _curves(run, result, key)
    blocks += _calibration(result)
    blocks += _pictures(run, result, ("reliability",))
    blocks += _operating_points(result)
    blocks += _subgroups(result)
    blocks += _pictures(run, result, ("subgroups",))
    blocks += _study_level(result)
    blocks += _shift(result)
    blocks += _worst_cases(context, result)
    return Section(
        key, f"{run.name} on {result.dataset}, {result.split}", tuple(blocks), folded=True
    )


def _curves(run: Evaluated, result: RunResult, key: str) -> list[Block]:
    def lines(pick: str) -> tuple[Series, ...]:
        found = []
        for label, item in result.labels.items():
            curve: Curve | None = getattr(item, pick)
            if curve is not None:
                band = tuple(zip(curve.band_x, curve.band_low, curve.band_high, strict=True))
                found.append(Series(label, tuple(curve.x), tuple(curve.y), band))
        return tuple(found)

    roc, precision_recall = lines("roc"), lines("precision_recall")
    charts = []
    if roc:
        charts.append(
            Chart(
                f"{key}-roc",
                "ROC",
                "false positive rate (1 − specificity)",
                "true positive rate (sensitivity)",
                roc,
                (0.0, 1.0),
                (0.0, 1.0),
                diagonal=True,
                square=True,
            )
        )
    if precision_recall:
        charts.append(
            Chart(
                f"{key}-pr",
                "Precision and recall",
                "recall (sensitivity)",
                "precision (PPV)",
                precision_recall,
                (0.0, 1.0),
                (0.0, 1.0),
                square=True,
            )
        )
    if not charts:
        return []
    pictures = _pictures(run, result, ("roc", "precision_recall"))
    return [Charts(tuple(charts), None, markdown_pictures=pictures)]


def _pictures(run: Evaluated, result: RunResult, names: tuple[str, ...]) -> tuple[Picture, ...]:
    """Figures of `evaluate`, under names without identifiers."""
    words = {
        "roc": "ROC curves",
        "precision_recall": "precision-recall curves",
        "reliability": "reliability diagrams",
        "subgroups": "AUROC per subgroup",
    }
    found = []
    for name in names:
        png = run.figures.get((result.dataset, result.split, name))
        if png is not None:
            parts = (run.name, name, result.dataset, result.split)
            file_name = "_".join(safe_name(part) for part in parts) + ".png"
            where = f"{run.name} on {result.dataset}, {result.split}"
            found.append(Picture(file_name, png, f"{words[name]} of {where}"))
    return tuple(found)


def _calibration(result: RunResult) -> list[Block]:
    rows = []
    for label, item in result.labels.items():
        for found in (item.calibration, item.calibrated):
            if found is None:
                continue
            kind = "raw" if found.scores == "raw" else f"calibrated ({found.calibrator})"
            rows.append(
                cells(
                    label,
                    kind,
                    estimate_cell(found.slope, 2),
                    estimate_cell(found.intercept, 2),
                    estimate_cell(found.brier),
                    number_cell(found.ece),
                    Cell(found.ece_if_perfect.text(), found.ece_if_perfect.value),
                )
            )
    if not rows:
        return []
    return [
        Table(
            "Calibration",
            ("Label", "Scores", "Slope", "Intercept", "Brier", "ECE", "ECE of a perfect model"),
            tuple(rows),
            (
                "Slope 1 and intercept 0 are right; a slope below 1 means scores too extreme, an "
                "intercept below 0 scores too high. A perfect model's ECE is not 0 at this "
                "number of rows.",
            ),
        )
    ]


def _operating_points(result: RunResult) -> list[Block]:
    points = [(label, p) for label, item in result.labels.items() for p in item.operating_points]
    if not points:
        return []
    sources = sorted({point.chosen_on for _, point in points})
    rows = []
    for label, point in points:
        row = [
            Cell(label),
            Cell(criterion(point.criterion)),
            number_cell(point.threshold),
            estimate_cell(point.sensitivity),
            estimate_cell(point.specificity),
            estimate_cell(point.ppv),
            estimate_cell(point.npv),
        ]
        rows.append(tuple(row if len(sources) == 1 else [*row, Cell(point.chosen_on)]))
    columns = ["Label", "Criterion", "Threshold", "Sensitivity", "Specificity", "PPV", "NPV"]
    if len(sources) > 1:
        columns.append("Threshold chosen on")
    return [
        Table(
            "Operating points",
            tuple(columns),
            tuple(rows),
            _about_thresholds(sources, any(point.estimates == "procedure" for _, point in points)),
        )
    ]


def _about_thresholds(sources: list[str], of_procedure: bool) -> tuple[str, ...]:
    """Whose the numbers are: a stored threshold's, or those of the way to choose one."""
    notes = []
    if len(sources) == 1:
        notes.append(f"Chosen on {sources[0]}.")
    notes.append("No threshold was chosen on the rows that its numbers come from.")
    if of_procedure:
        notes.append(
            "Where the choice was cross-fitted, each patient was judged by a threshold that other "
            "patients chose: the numbers are those of this procedure. The threshold shown was "
            "chosen on all the rows and is what `explain` uses."
        )
    return tuple(notes)


def _subgroups(result: RunResult) -> list[Block]:
    rows = []
    small: dict[str, list[str]] = {}
    for group in result.subgroups:
        name = f"{group.column}: {group.group}"
        for label, item in group.labels.items():
            if item.auroc is None:
                small.setdefault(name, []).append(label)
                continue
            rows.append(
                cells(
                    name,
                    label,
                    count_cell(item.n),
                    count_cell(item.positives),
                    estimate_cell(item.auroc),
                    estimate_cell(item.auroc_gap),
                    estimate_cell(item.sensitivity_gap),
                )
            )
    left_out = tuple(f"Too small to score: {_small(result, small)}." for _ in [0] if small)
    if not rows:
        return [Text(f"Subgroups. {note}") for note in left_out]
    return [
        Table(
            "Subgroups",
            (
                "Group",
                "Label",
                "Images",
                "Positive",
                "AUROC",
                "AUROC gap to the rest",
                "Sensitivity gap",
            ),
            tuple(rows),
            ("Among many groups a gap or two leaves out 0 by chance.", *left_out),
        )
    ]


def _small(result: RunResult, small: dict[str, list[str]]) -> str:
    """``age: 80+ (all labels), sex: Female (Edema)``."""
    return ", ".join(
        f"{name} ({'all labels' if len(labels) == len(result.labels) else listing(labels)})"
        for name, labels in small.items()
    )


def _study_level(result: RunResult) -> list[Block]:
    """The same scores joined per study, where studies have several images."""
    study = result.study
    if study is None:
        return []
    rows = [
        cells(
            label,
            count_cell(item.n),
            count_cell(item.positives),
            estimate_cell(item.auroc),
            estimate_cell(item.average_precision),
        )
        for label, item in study.labels.items()
    ]
    rows.append(
        cells(
            "macro",
            count_cell(study.n_studies),
            "",
            estimate_cell(study.macro.auroc),
            estimate_cell(study.macro.average_precision),
        )
    )
    columns = ("Label", "Studies", "Positive", "AUROC", "Average precision")
    note = f"The score of a study is the {study.rule} over its images."
    return [Table("Study level", columns, tuple(rows), (note,), forest=True)]


def _shift(result: RunResult) -> list[Block]:
    """How these rows differ from those trained on."""
    if result.shift is None or not result.shift.notes:
        return []
    return [Text("Beside the training rows:"), bullets(result.shift.notes)]


def _worst_cases(context: Context, result: RunResult) -> list[Block]:
    identities = context.identities
    rows = [
        cells(
            label,
            "absent" if case.kind == "false positive" else "present",
            Cell(number(case.score), case.score),
            identities.image(case.path),
            identities.patient(case.patient) if case.patient else "",
        )
        for label, item in result.labels.items()
        for case in item.worst_cases
    ]
    if not rows:
        return []
    return [
        Table(
            "Worst cases: scores that contradict the reference standard most",
            ("Label", "Reference standard", "Score", "Image", "Patient"),
            tuple(rows),
            ("Images and patients have pseudonyms, the same throughout this report.",)
            if not identities.shown
            else (),
        )
    ]
