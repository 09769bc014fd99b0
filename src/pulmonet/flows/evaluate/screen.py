"""The tables that `evaluate` shows: 80 columns, the numbers that matter, what to beware of."""

from collections.abc import Sequence

from rich import box
from rich.markup import escape
from rich.table import Table

from pulmonet.flows import console
from pulmonet.metrics.results import Comparison, RunResult, baselines_of
from pulmonet.report.texts import entries
from pulmonet.words import count


def show_result(result: RunResult) -> None:
    """One run: AUROC and average precision per label with intervals, the baseline below."""
    unit = ("study", "studies") if result.level == "study" else ("image",)
    synthetic = "SYNTHETIC phantoms, " if result.synthetic else ""
    who = "patients unknown: images resampled"
    if result.bootstrap.unit == "patient":
        who = count(result.n_patients, "patient")
    console.say("")
    console.say(f"{result.run} on {result.dataset}, split {result.split}", style="bold")
    console.say(f"{synthetic}{count(result.n_rows, *unit)}, {who}", style="dim")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_edge=False)
    table.add_column("Label", overflow="fold", max_width=25)
    table.add_column("Pos.", justify="right", no_wrap=True, min_width=4)
    table.add_column("AUROC (95 %)", no_wrap=True, min_width=19)
    table.add_column("Avg. prec. (95 %)", no_wrap=True, min_width=19)
    table.add_column("Slope", justify="right", no_wrap=True, min_width=5)
    few = False
    for label, entry in result.labels.items():
        flag = " *" if entry.few_positives and entry.auroc.low is not None else ""
        few |= bool(flag)
        slope = entry.calibration.slope.text(2).partition(" (")[0] if entry.calibration else "–"
        numbers = entry.auroc.text(), entry.average_precision.text(), slope
        table.add_row(escape(label) + flag, f"{entry.positives:,}", *numbers)
    table.add_section()
    macros = [(f"Macro ({result.macro.counted()})", result.macro, "bold")]
    macros += [(name, one.macro, "dim") for name, one in baselines_of([result]).items()]
    if result.study is not None:
        macros.append((f"Macro, {result.study.n_studies:,} studies", result.study.macro, ""))
    for name, macro, style in macros:
        table.add_row(name, "", macro.auroc.text(), macro.average_precision.text(), "", style=style)
    console.show_table(table)
    too_small = {
        f"{group.column} {group.group}"
        for group in result.subgroups
        if group.labels and all(entry.reason for entry in group.labels.values())
    }
    for text in entries("evaluate", result=result, few=few, too_small=sorted(too_small)):
        console.note(text)


def show_comparison(results: Sequence[RunResult], comparisons: Sequence[Comparison]) -> None:
    """All runs by macro AUROC, with the letters of those not significantly different."""
    scored = [result for result in results if result.macro.auroc.value is not None]
    scored.sort(key=lambda result: -(result.macro.auroc.value or 0.0))
    several = len({(result.dataset, result.split) for result in scored}) > 1
    same_dataset = len({result.dataset for result in scored}) == 1
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    width = max(24, console.stdout().width - (76 if several else 56))
    table.add_column("Run", overflow="ellipsis", no_wrap=True, max_width=width)
    if several:
        table.add_column("Rows", overflow="fold", max_width=18)
    for name in ("Macro AUROC (95 %)", "Avg. precision" if same_dataset else "Testing", "Group"):
        table.add_column(name, no_wrap=True)
    for result in scored:
        precision = result.macro.average_precision.text().partition(" ")[0]
        where = result.split if same_dataset else result.rows()
        table.add_row(
            *map(escape, [result.run, where] if several else [result.run]),
            result.macro.auroc.text(),
            precision if same_dataset else result.testing(),
            result.group_letters,
        )
    console.say("")
    console.say("Comparison", style="bold")
    console.show_table(table)
    primary = [entry for entry in comparisons if entry.is_primary()]
    primary.sort(key=lambda entry: (not entry.distinguished, -abs(entry.difference or 0.0)))
    kinds = len({entry.rows for entry in primary})
    facts = {
        "primary": primary,
        "pooled": [result for result in scored if result.combines == "out-of-fold"],
        "endpoint": next((one.primary for one in scored if one.group_letters), ""),
        "arms": {x.a: x.a_members for x in primary} | {x.b: x.b_members for x in primary},
        "macros": {tuple(result.macro.labels) for result in scored},
        "kinds": kinds,
    }
    for text in entries("evaluate_comparison", **facts):
        console.note(text)
