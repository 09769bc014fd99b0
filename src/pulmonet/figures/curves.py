"""ROC and precision-recall curves, of one run or of several."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pulmonet.figures import style
from pulmonet.metrics.results import RunResult, label_results


def draw_curves(shown: Sequence[RunResult], kind: str) -> Figure:
    """ROC, or precision and recall: a panel a label, a line a run, all on the same rows."""
    scored, is_roc = label_results(shown, scored=True), kind == "roc"
    figure, panels = style.print_grid(len(scored), 0.45 + 0.13 * len(shown))
    for axes, (label, first) in zip(panels, scored.items(), strict=True):
        axes.plot([0, 1], [0, 1] if is_roc else [first.prevalence or 0] * 2, **style.DOTTED)
        for position, result in enumerate(shown):
            entry = result.labels.get(label)
            found = entry and (entry.roc if is_roc else entry.precision_recall)
            if entry and found:
                looks = style.line_style(position)
                looks["drawstyle"] = "default" if is_roc else "steps-pre"
                number = entry.auroc if is_roc else entry.average_precision
                looks["label"] = f"{'AUROC' if is_roc else 'AP'} {number.text(2)}"
                # bands of more runs could not be told apart
                style.curve(axes, found, band=len(shown) < 3, **looks)
        style.dress(axes, label, first.counted(), legend=1)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    if len(shown) > 1:
        lines = [Line2D([], [], **style.line_style(position)) for position in range(len(shown))]
        names = [style.shorten(one.run) for one in shown]
        style.add_legend(figure, lines, names, loc="outside lower center", **style.LONG)
    return style.finish(figure, shown, kind)
