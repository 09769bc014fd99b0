"""One run on one split in detail: curves, calibration, operating points, subgroups, errors."""

from pulmonet.metrics.results import RunResult
from pulmonet.report.collect import Context, Evaluated
from pulmonet.report.names import COUNTED, FIGURES
from pulmonet.report.render.blocks import Block, Charts, Picture, Section, Table, Text, bullets
from pulmonet.report.texts import table_of
from pulmonet.report.wording import Value, listing, picture_name, safe_name, table


def run_details(context: Context, run: Evaluated, result: RunResult) -> Section:
    """Everything about one evaluation that does not fit into the tables above."""
    key = f"detail-{safe_name(run.name)}-{safe_name(result.dataset)}-{safe_name(result.split)}"
    blocks: list[Block] = [Text(context.identities.scrub(note), "note") for note in result.notes]
    if result.same_data_as_training is False:
        words = "The data's fingerprint differs from the one the run was trained on."
        blocks.append(Text(words, "note"))
    blocks += _flow(result)
    blocks += _pictures(run, result, "flow")
    # which the page draws finding by finding
    blocks.append(Charts((), _pictures(run, result, "roc", "precision_recall", "reliability")))
    blocks += table_of("intervals", result.labels.items())
    blocks += table_of("conformal", result.labels.items())
    blocks += _pictures(run, result, "decision")
    blocks += _subgroups(result)
    blocks += _pictures(run, result, "subgroups", "calibration_subgroups")
    blocks += _study_level(result)
    if result.shift and result.shift.notes:
        blocks += [Text("Beside the training rows:"), bullets(result.shift.notes)]
    blocks += _worst_cases(context, result)
    title = f"More about {run.name} on {result.dataset}, {result.split}"
    return Section(key, title, tuple(blocks), folded=True)


def _flow(result: RunResult) -> list[Table]:
    """Rows and patients from the source to the table, then what is known of each label."""
    kinds = dict.fromkeys(kind for counts in result.missing.values() for kind in counts)
    note = f"Uncertain labels are left out, blank ones {COUNTED.get(result.blank, result.blank)}."
    labels: list[dict[str, Value]] = []
    for label, counts in result.missing.items():
        if (item := result.labels.get(label)) is not None:
            labels.append({"Label": label, "Known": item.n, "Positive": item.positives})
            labels[-1] |= {kind.capitalize(): counts.get(kind, 0) for kind in kinds}
    return [*table_of("flow", result.flow), *table("Missing labels in these rows", labels, [note])]


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


def _subgroups(result: RunResult) -> list[Block]:
    """Ranking, decisions and calibration by group; what is too small is named."""
    named = [(f"{group.column}: {group.group}", group) for group in result.subgroups]
    every = [(name, label, item) for name, group in named for label, item in group.labels.items()]
    left_out = _too_small(result)
    found: list[Block] = [*table_of("subgroups", every, left_out)]
    return [
        *(found or [Text(f"Subgroups. {text}") for text in left_out]),
        *table_of("subgroups_calibration", every),
        *table_of("underdiagnosis", named),
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


def _study_level(result: RunResult) -> list[Table]:
    """The same scores joined per study, where studies have several images."""
    study = result.study
    if study is None:
        return []
    labels = ((label, item.n, item.positives, item) for label, item in study.labels.items())
    macro = ("macro", study.n_studies, "", study.macro)
    return table_of("study_level", [*labels, macro], study=study)


def _worst_cases(context: Context, result: RunResult) -> list[Table]:
    labels = result.labels.items()
    cases = ((label, case) for label, item in labels for case in item.contradictions().values())
    return table_of("worst_cases", cases, identities=context.identities)
