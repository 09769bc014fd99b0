"""Five lines that a clinician understands."""

from __future__ import annotations

from pulmonet.metrics.results import RunResult
from pulmonet.report.collect import RunArtifacts
from pulmonet.report.context import Context
from pulmonet.report.render.blocks import Block, Bullets, Section, Text, Tile
from pulmonet.report.wording import listing, model_name, number
from pulmonet.words import count

RESEARCH_ONLY = (
    "For research and education. Not a medical device: nothing here may be used to diagnose or "
    "treat a patient."
)


def summary_section(context: Context) -> Section:
    """What was trained on what, how good it is, and what that does not mean."""
    collection = context.collection
    best = collection.best_run()
    lines = [
        ("What it is.", _what(context)),
        ("What it learned from.", _learned_from(best)),
        ("How good it is.", " ".join([_how_good(context), *_together(context, best)])),
        ("What to keep in mind.", _caution(context)),
        ("What it is not.", RESEARCH_ONLY),
    ]
    blocks: list[Block] = []
    if collection.synthetic:
        blocks.append(
            Text(
                "SYNTHETIC DATA. The images are computer-drawn phantoms. The numbers show that "
                "the software works; they say nothing about patients.",
                "warning",
            )
        )
    if collection.problems:
        named = "; ".join(
            f"{problem.where}: {context.identities.scrub(problem.what)}"
            for problem in collection.problems
        )
        blocks.append(Text(f"Left out because it could not be read: {named}", "warning"))
    blocks.append(Bullets(tuple(lines), numbered=True))
    return Section("summary", "Summary", tuple(blocks))


def _what(context: Context) -> str:
    runs = trained(context)
    names = sorted({model_name(run.record.config.model) for run in runs})
    labels = list(dict.fromkeys(label for run in runs for label in run.labels))
    if len(runs) == 1:
        subject = f"A computer program ({names[0]}, a neural network) that looks"
    else:
        subject = f"{len(runs)} computer programs (neural networks: {listing(names)}) that look"
    return (
        f"{subject} at a chest X-ray and give{'s' if len(runs) == 1 else ''} a score between 0 "
        f"and 1 for {count(len(labels), 'finding')}: {listing(labels)}."
    )


def trained(context: Context) -> tuple[RunArtifacts, ...]:
    """The runs that have finished an epoch; all, where none has."""
    runs = context.collection.runs
    done = tuple(run for run in runs if run.record.provenance.best_epoch or run.results)
    return done or runs


def _learned_from(run: RunArtifacts) -> str:
    facts = run.record.provenance.dataset
    if facts is None:
        return "The artifacts do not say which images it was trained on."
    kind = "phantom images" if facts.synthetic else "X-rays"
    patients = facts.n_patients.get("train", 0)
    whose = f" of {count(patients, 'patient')}" if facts.patients_known else ""
    start = {
        "imagenet": " It started from a network that had seen everyday photographs (ImageNet).",
        "none": " It started from nothing: no earlier training.",
    }.get(run.record.config.model.weights, " It started from weights given in a file.")
    return f"{facts.n_rows.get('train', 0):,} {kind}{whose} from {facts.name}.{start}"


def _how_good(context: Context) -> str:
    run = context.collection.best_run()
    result = context.collection.headline(run)
    if result is None:
        auroc = run.record.provenance.best_valid_macro_auroc
        if auroc is None:
            return "Not evaluated yet: the artifacts hold no result. Run `pulmonet evaluate`."
        return (
            f"Not evaluated yet. During training the best macro AUROC was {number(auroc)}, on the "
            "rows that also chose the model; run `pulmonet evaluate` for results with intervals."
        )
    if result.macro.auroc.value is None:
        return "The evaluated images do not allow a score: no finding has both kinds of image."
    auroc = result.macro.auroc.value
    return (
        f"{_which(context, result)} reaches a mean AUROC of {number(auroc)}{_interval(result)} on "
        f"{_units(result)} of {count(result.n_patients, 'patient')}: of 100 random pairs "
        f"of one image with a finding and one without, it gives the higher score to the right "
        f"one in about {100 * auroc:.0f}. Guessing would get 50{_without_picture(result)}."
    )


def _of_several(result: RunResult) -> str:
    members = listing(result.members)
    if result.combines == "out-of-fold":
        return f"Out of fold, {result.run} ({members} together)"
    return f"{result.run} (the mean of {members})"


def _together(context: Context, best: RunArtifacts) -> list[str]:
    """Ensembles and pooled folds, whose numbers are of several runs; less what was said of it."""
    words = []
    said = context.collection.headline(best)
    for result in (result for other in context.collection.others for result in other.results):
        if result.combines is None or result.macro.auroc.value is None or result is said:
            continue
        words.append(
            f"{_of_several(result)} reaches a mean AUROC of {number(result.macro.auroc.value)}"
            f"{_interval(result)} on {_units(result)} of {count(result.n_patients, 'patient')}."
        )
    return words


def _which(context: Context, result: RunResult) -> str:
    """Only runs that were tested on the same images have a best one."""
    if result.combines == "out-of-fold":
        return _of_several(result)
    runs, best = trained(context), context.collection.best_run()
    if len(runs) == 1:
        return "It"
    n_rivals = len(context.collection.rivals())
    if n_rivals == len(runs) - 1:
        return f"The best run, {best.name},"
    if n_rivals:
        return f"{best.name}, the best of {n_rivals + 1} runs that were tested on the same images,"
    return f"{best.name} (each run was tested on other images, so that none can be called best)"


def _without_picture(result: RunResult) -> str:
    """What needs no image, so that nobody takes it for the network's merit."""
    if result.baseline is None or result.baseline.macro.auroc.value is None:
        return ""
    known = listing(result.baseline.features)
    return f"; {known} alone, without the image, {100 * result.baseline.macro.auroc.value:.0f}"


def _units(result: RunResult) -> str:
    if result.level == "study":
        return count(result.n_rows, "study", "studies")
    return count(result.n_rows, "image")


def _interval(result: RunResult) -> str:
    auroc = result.macro.auroc
    if auroc.low is None or auroc.high is None:
        return ""
    return f" (95 % interval {number(auroc.low)} to {number(auroc.high)})"


def _caution(context: Context) -> str:
    result = context.collection.headline(context.collection.best_run())
    words = []
    if result is not None and result.rows_used_for:
        words.append(
            f"The images it was tested on had already served for {listing(result.rows_used_for)}, "
            "so the result is somewhat too good."
        )
    alike = _not_told_apart(context, result)
    if alike:
        words.append(f"{listing(alike)} cannot be told apart from it on these images.")
    left_out = [run.name for run in context.collection.runs if run not in trained(context)]
    if left_out:
        words.append(f"Not trained to the end of an epoch, and not counted: {listing(left_out)}.")
    if result is not None:
        rare = [label for label, item in result.labels.items() if item.few_positives]
        if rare:
            which = "any finding" if len(rare) == len(result.labels) > 1 else listing(rare)
            words.append(f"Too few cases for a firm statement on {which}.")
    words.append(
        "A score is no probability of disease unless it was calibrated, and other hospitals, "
        "devices and patients can give other results."
    )
    return " ".join(words)


def _not_told_apart(context: Context, result: RunResult | None) -> list[str]:
    letters = set(result.group_letters) if result is not None else set()
    return [item.run for item in context.collection.rivals() if letters & set(item.group_letters)]


def headline_tiles(context: Context) -> tuple[Tile, ...]:
    """The numbers that stand above the page."""
    best = context.collection.best_run()
    result, facts = context.collection.headline(best), best.record.provenance.dataset
    tiles = []
    if result is not None and result.macro.auroc.value is not None:
        auroc = result.macro.auroc
        interval = "" if auroc.low is None else f"{number(auroc.low)}–{number(auroc.high)}"
        said = f"95 % interval {interval}; " if interval else ""
        title = "Macro AUROC, best run" if context.collection.rivals() else "Macro AUROC"
        if result.combines == "out-of-fold":
            title = "Macro AUROC, out of fold"
        tiles.append(Tile(title, number(auroc.value), f"{said}{result.run}"))
        tiles.append(
            Tile(
                "Evaluated on",
                f"{result.n_rows:,}",
                f"{'images' if result.level == 'image' else 'studies'} of "
                f"{count(result.n_patients, 'patient')}, {result.split} split",
            )
        )
    if facts is not None:
        images = "phantom images" if facts.synthetic else "images"
        patients = count(facts.n_patients.get("train", 0), "patient")
        tiles.append(
            Tile(
                "Trained on",
                f"{facts.n_rows.get('train', 0):,}",
                f"{images} of {patients}" if facts.patients_known else images,
            )
        )
    tiles.append(Tile("Findings", str(len(best.labels)), "scored in every image"))
    return tuple(tiles)
