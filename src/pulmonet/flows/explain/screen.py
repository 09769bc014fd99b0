"""What `explain` says on screen: scores of images, tables of boxes, outcomes of sanity checks."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from pulmonet.choices import PIXEL_METHODS
from pulmonet.explain import results
from pulmonet.flows import console
from pulmonet.metrics.conformal import COVERAGE, DECISIONS
from pulmonet.words import NOTICE, count, list_first

if TYPE_CHECKING:
    from pulmonet.data.manifest import Manifest
    from pulmonet.flows.explain.options import Settled
    from pulmonet.models.trained import TrainedRun

#: Lines of the table on screen; explanations.json has them all.
MAX_TABLE_IMAGES = 10


def say_what(task: "Settled", trained: "TrainedRun", manifest: "Manifest | None") -> None:
    """Which runs explain by which methods, and whether people or phantoms are meant."""
    console.tell(
        "explain",
        task=task,
        runs={run.name: run.read_record().provenance for run in (task.run_dir, *task.further_runs)},
        model=trained.record.config.model.summary(),
        device=trained.device,
        synthetic=manifest is not None and manifest.synthetic,
        pixel_methods=PIXEL_METHODS,
    )


def say_all(task: "Settled", found: results.Explanations) -> None:
    """Scores of the first images, where the files are, and what else there is to know."""
    images = found.images
    pairs = [pair for image in images for pair in image.labels.values()]
    drawn = [pair for pair in pairs if pair.overlay is not None]
    if len(images) == 1:
        console.say(images[0].image)
    if images:
        console.show_table(_scores_table(images[:MAX_TABLE_IMAGES]))
    first = os.path.normpath(task.folder / (drawn or pairs)[0].panel) if pairs else ""
    told = {"drawn": drawn, "pairs": pairs, "first": first, "most": MAX_TABLE_IMAGES}
    console.tell("explain_end", task=task, found=found, **told)
    _note_reasons([x for one in images if not one.unlike for x in one.labels.items()])
    if len(images) > MAX_TABLE_IMAGES:
        _show_counts(images)
    _say_end(len(images) or (found.sanity.n_images if found.sanity else 0), len(found.bad_images))


def _note_reasons(pairs: Sequence[tuple[str, results.LabelExplanation]]) -> None:
    """Which labels have no verdict and why; where published thresholds are from."""
    for reason in filter(None, dict.fromkeys(found.reason for _, found in pairs)):
        without = [x for x, found in pairs if found.reason == reason and found.present is None]
        names = list_first(dict.fromkeys(without), 20)
        console.note(f"no verdict on {names}: {reason}" if names else reason)
    for why in filter(None, dict.fromkeys(found.undecided_why for _, found in pairs)):
        names = list_first(dict.fromkeys(x for x, found in pairs if found.undecided_why == why), 20)
        console.note(f"undecided, {names}: {why}")


def _say_end(n_good: int, n_bad: int) -> None:
    console.say(NOTICE, style="dim")
    if n_bad:
        console.warn(f"{n_bad:,} of {n_bad + n_good:,} images could not be read")


def show_scores(path: Path, images: Iterable[results.ImageExplanation], n_bad: int) -> None:
    """How many images are above each label's threshold, and the file of their scores."""
    n_images, n_unlike, facts = _show_counts(images)
    console.say(f"Scores of {count(n_images, 'image')}: {path}")
    if n_unlike:
        unlike = "unlike the images that this model was trained on: no verdict (unlike_training)"
        console.warn(f"{n_unlike:,} of {count(n_images, 'image')} {unlike}")
    _note_reasons([*facts.items()])
    _say_end(n_images, n_bad)


def _show_counts(
    images: Iterable[results.ImageExplanation],
) -> tuple[int, int, dict[str, results.LabelExplanation]]:
    """Images of any number by verdict; gives how many, how many unlike, and one's labels."""
    n_images, n_unlike, n_above, decided = 0, 0, Counter[str](), Counter[tuple[str, str]]()
    facts: dict[str, results.LabelExplanation] = {}
    for image in images:
        n_images, n_unlike = n_images + 1, n_unlike + bool(image.unlike)
        facts = facts if image.unlike else image.labels
        n_above.update(label for label, found in image.labels.items() if found.present)
        decided.update((x, found.conformal) for x, found in image.labels.items() if found.conformal)
    table = Table("Label", box=None, pad_edge=False)
    kinds = [kind for kind in DECISIONS if any(kind == one for _, one in decided)]
    names = (name.replace(" ", "\n") for name in kinds)
    for name in ("Above", "Below", "No\nverdict", *names, "Threshold\n(Youden's)", "AUROC"):
        table.add_column(name, justify="right")
    for label, found in facts.items():
        n_judged = 0 if found.present is None else n_images - n_unlike
        counts = [n_above[label], n_judged - n_above[label], n_images - n_judged]
        counts += [decided[label, kind] for kind in kinds]
        values = _number(found.threshold), _number(found.auroc.value if found.auroc else None)
        table.add_row(label, *(f"{n:,}" for n in counts), *values)
    if any(found.present is not None for found in facts.values()):
        console.show_table(table)
    return n_images, n_unlike, facts


def _scores_table(images: Sequence[results.ImageExplanation]) -> Table:
    """Scores of one image or a few; what is not known of any has no column."""
    several, rows = len(images) > 1, list[tuple[str, ...]]()
    for image in images:
        # the folder's name rather than the path: `view1_frontal.jpg` says little
        name = image.image if image.maps is None else Path(image.maps).parent.name
        for label, found in image.labels.items():
            words = found.verdict().partition(" the")[0] if several else found.verdict()
            is_empty = found.empty and found.overlay is not None and not several
            auroc = found.auroc.value if found.auroc and found.present is not None else None
            known = {None: "–", True: "pos.", False: "neg."}[found.reference]
            said = (words + "\n(empty map)" * is_empty, known, found.conformal or "–")
            numbers = map(_number, (found.probability, auroc))
            rows.append((name, label, _number(found.score), *said, *numbers))
            name = ""
    verdict = "Threshold\n(Youden's)" if several else "Verdict"
    heads = ("Image", "Label", "Score", verdict, "Ref.", f"Conformal\n({100 * COVERAGE:.0f} %)")
    columns = dict(zip((*heads, "Prob.", "AUROC"), zip(*rows, strict=True), strict=True))
    shown = {
        head: cells
        for head, cells in columns.items()
        if {*cells} != {"–"} and (several or head != "Image")
    }
    table = Table(box=None, pad_edge=False)
    for head in shown:
        width = max(20, console.stdout().width - 70) if head == "Image" else None
        table.add_column(head, no_wrap=head != "Label", max_width=width)
        table.columns[-1].justify = "right" if head in ("Score", "Prob.", "AUROC") else "left"
    for row in zip(*shown.values(), strict=True):
        table.add_row(*row)
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def show_localization(labels: Sequence[str], result: results.Localization) -> None:
    """The tables, which of the labels asked for have no region, and the verdict."""
    kind = " (SYNTHETIC phantoms)" if result.synthetic else ""
    for label, found in result.labels.items():
        whose = f"{count(found.n_images, 'image')} of {count(found.n_patients, 'patient')}"
        console.say(f"{label}: {whose}, {result.rows_are()}{kind}", style="bold")
        console.show_table(_localization_table(found, len(result.variants)))
        for one in found.differences:
            if one.metric == "pointing" and not one.baseline.startswith(results.BASELINES):
                words = f"Pointing game, {one.row} less {one.baseline}"
                console.say(f"{words}: {one.difference.text(2)}")
    if missing := [label for label in labels if label not in result.labels]:
        console.note(f"no region of {list_first(missing, 14)} in this split")
    for way in result.variants:
        console.note(f"{way.name}: maps of {' × '.join(map(str, way.cells or ()))} cells")
    console.say(result.verdict())


def _localization_table(found: results.LabelLocalization, n_ways: int) -> Table:
    """Of several variants' randomised networks only the strongest; at most 80 columns wide."""
    table = Table(box=None, pad_edge=False)
    table.add_column("", overflow="fold")
    for name in ("Pointing game", "IoU", "Energy inside"):
        table.add_column(name, justify="right", no_wrap=True)
    random = [name for name in found.rows if name.startswith(results.BASELINES[3])]
    shown = {name: name for name in found.rows if name not in random}
    if random:
        strongest = max(random, key=found.hits)
        shown[strongest] = results.BASELINES[3] if n_ways == 1 else "best randomised networks"
    for name, words in shown.items():
        row = found.rows[name]
        table.add_row(words, row.pointing.text(2), row.iou.text(2), row.energy.text(2))
    return table


def show_sanity(result: results.Sanity, picture: Path) -> None:
    """The cascade's table, the verdict, and what removing pixels and another run showed."""
    console.say("Absolute rank correlation with the trained network's maps", style="bold")
    table = Table("Randomised down to", box=None, pad_edge=False)
    for name in ("Mean (95 % interval)", "10th to 90th percentile"):
        table.add_column(name, justify="right")
    for stage in result.stages:
        spread = "–" if stage.low is None else f"{stage.low:.2f} to {stage.high:.2f}"
        table.add_row(stage.stage, stage.estimate().text(2), spread)
    console.show_table(table)
    console.tell("sanity_screen", result=result, picture=picture)
