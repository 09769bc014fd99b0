"""Five lines that a clinician understands."""

from collections.abc import Sequence

from pulmonet.metrics.results import RunResult
from pulmonet.report.collect import Context, RunArtifacts
from pulmonet.report.render.blocks import Block, Bullets, Section, Text
from pulmonet.report.stale import Problem
from pulmonet.report.wording import interval, labels_of, listing, networks_of, number
from pulmonet.run.record import DatasetFacts
from pulmonet.words import count

RESEARCH_ONLY = (
    "For research and education. Not a medical device: nothing here may be used to diagnose or "
    "treat a patient."
)


def summary_section(context: Context) -> Section:
    """What was trained on what, how good it is, and what that does not mean."""
    collection = context.collection
    best = collection.best_run()
    said = collection.headline(best)
    together = [
        f"{_of_several(result)} reaches {_mean_auroc(result)}."
        for other in collection.others
        for result in other.results
        if result.combines and result.macro.auroc.value is not None and result is not said
    ]
    lines = (
        ("What it is.", _what(context)),
        ("Training data.", _training_data(best, collection.trained)),
        ("How good it is.", " ".join([_how_good(context), *together])),
        ("What to keep in mind.", _caution(context)),
        ("What it is not.", RESEARCH_ONLY),
    )
    blocks: list[Block] = []
    if collection.synthetic:
        phantoms = (
            "SYNTHETIC DATA. The images are computer-drawn phantoms. The numbers show that "
            "the software works; they say nothing about patients."
        )
        blocks.append(Text(phantoms, "warning"))
    if collection.problems:
        named = _named(context, collection.problems)
        blocks.append(Text(f"Left out because it could not be read: {named}", "warning"))
    blocks += [*stale_note(context), _verified(context)]
    blocks.append(Bullets(lines, numbered=True))
    return Section("summary", "Summary", tuple(blocks))


def _verified(context: Context) -> Text:
    """Whether the numbers were computed again from the predictions, and when."""
    if not context.verdicts:
        return Text("Not verified: `pulmonet report --verify` computes the numbers again.", "note")
    said, wrong = context.identities, [one for one in context.verdicts.values() if one[0] != "v"]
    each = "; ".join(f"{name} {said.quoteless(one)}" for name, one in context.verdicts.items())
    how = "NOT VERIFIED" if wrong else "Verified"
    return Text(f"{how} on {context.written}: {each}.", "warning" if wrong else "note")


def stale_note(context: Context) -> list[Text]:
    """What is not shown since it was computed from other weights or rows than now lie there."""
    stale = context.collection.stale
    named = f"STALE, and left out: {_named(context, stale)}"
    return [Text(named, "warning")] if stale else []


def _named(context: Context, problems: Sequence[Problem]) -> str:
    """Files and what is wrong, without what a damaged file's message may quote from it."""
    said = context.identities
    return "; ".join(f"{said.scrub(one.where)}: {said.quoteless(one.what)}" for one in problems)


def _what(context: Context) -> str:
    runs = context.collection.trained
    names, labels = networks_of(runs), labels_of(runs)
    if len(runs) == 1:
        what, gives = f"A computer program ({names}, a neural network) that looks", "gives"
    else:
        what, gives = f"{len(runs)} computer programs (neural networks: {names}) that look", "give"
    text = f"{what} at a chest X-ray and {gives}"
    return f"{text} a score between 0 and 1 for {count(len(labels), 'finding')}: {listing(labels)}."


def _training_data(run: RunArtifacts, runs: Sequence[RunArtifacts]) -> str:
    facts = run.provenance.dataset
    if run.provenance.is_published:
        return f"Of others: {run.provenance.origin()}."
    if facts is None:
        return "The artifacts do not say which images it was trained on."
    images, whose = _trained_on(facts, "X-rays")
    words = {
        "imagenet": "started from a network that had seen everyday photographs (ImageNet)",
        "none": "started from nothing: no earlier training",
    }
    starts: dict[str, list[str]] = {}
    for one in runs:
        start = words.get(one.config.model.weights, "started from weights given in a file")
        start = f"was {origin}" if (origin := one.provenance.origin()) else start
        starts.setdefault(start, []).append(one.name)
    it = "" if len(starts) > 1 else "It" if len(runs) == 1 else "They"
    said = [f"{it or listing(names)} {start}." for start, names in starts.items()]
    return f"{images} {whose} from {facts.name}. {' '.join(said)}"


def _trained_on(facts: DatasetFacts, kind: str) -> tuple[str, str]:
    """(``2,230``, ``X-rays of 640 patients``)."""
    kind = "phantom images" if facts.synthetic else kind
    patients = count(facts.n_patients.get("train", 0), "patient")
    whose = f"{kind} of {patients}" if facts.patients_known else kind
    return f"{facts.n_rows.get('train', 0):,}", whose


def _how_good(context: Context) -> str:
    run = context.collection.best_run()
    result = context.collection.headline(run)
    if result is None:
        auroc = run.provenance.best_valid_macro_auroc
        if auroc is None:
            return "Not evaluated yet: the artifacts hold no result. Run `pulmonet evaluate`."
        return (
            f"Not evaluated yet. During training the best {run.provenance.selection_score()} was "
            f"{number(auroc)}, on the rows that also chose the model; run `pulmonet evaluate` for "
            "results with intervals."
        )
    if result.macro.auroc.value is None:
        return "The evaluated images do not allow a score: no finding has both kinds of image."
    baseline, alone = result.baseline, ""
    if baseline is not None and baseline.macro.auroc.value is not None:
        # what needs no image, so that nobody takes it for the network's merit
        known, auroc = listing(baseline.features), baseline.macro.auroc.value
        alone = f"; {known} alone, without the image, {100 * auroc:.0f}"
    return (
        f"{_which(context, result)} reaches {_mean_auroc(result)}: of 100 random pairs of one "
        "image with a finding and one without, it gives the higher score to the right one in about "
        f"{100 * result.macro.auroc.value:.0f}. Guessing would get 50{alone}."
    )


def _of_several(result: RunResult) -> str:
    members = listing(result.members)
    if result.combines == "out-of-fold":
        return f"Out of fold, {result.run} ({members} together)"
    return f"{result.run} (the mean of {members})"


def _mean_auroc(result: RunResult) -> str:
    """``a mean AUROC of 0.812 (95 % interval 0.774 to 0.846) on 234 images of 200 patients``."""
    auroc = result.macro.auroc
    interval = ""
    if auroc.low is not None and auroc.high is not None:
        interval = f" (95 % interval {number(auroc.low)} to {number(auroc.high)})"
    units = ("study", "studies") if result.level == "study" else ("image",)
    rows = f"{count(result.n_rows, *units)} of {count(result.n_patients, 'patient')}"
    some = f" over {result.macro.counted()}" if result.macro.left_out else ""
    return f"a mean AUROC of {number(auroc.value)}{some}{interval} on {rows}"


def _which(context: Context, result: RunResult) -> str:
    """Only runs that were tested on the same images have a best one."""
    if result.combines == "out-of-fold":
        return _of_several(result)
    runs, best = context.collection.trained, context.collection.best_run()
    if len(runs) == 1:
        return "It"
    n_rivals = len(context.collection.rivals())
    if n_rivals == len(runs) - 1:
        return f"The best run, {best.name},"
    if n_rivals:
        return f"{best.name}, the best of {n_rivals + 1} runs that were tested on the same images,"
    if not any(run.main_result() for run in runs if run is not best):
        return f"{best.name}, the only run that was evaluated,"
    return f"{best.name} (each run was tested on other images, so that none can be called best)"


def _caution(context: Context) -> str:
    result = context.collection.headline(context.collection.best_run())
    words = []
    if result is not None and (used := result.known_uses()):
        words.append(
            f"The images it was tested on had already served for {listing(used)}, "
            "so the result is somewhat too good."
        )
    notes = result.notes if result else context.collection.best_run().provenance.notes
    said = [note for note in notes if note.startswith(("No label's AUROC", "The training log"))]
    words += [f"{text}." for text in (result.learned_nothing() if result else [])] + said
    letters = set(result.group_letters) if result is not None else set()
    rivals, trained = context.collection.rivals(), context.collection.trained
    if alike := [item.run for item in rivals if letters & set(item.group_letters)]:
        words.append(f"Not significantly different from it on these images: {listing(alike)}.")
    if untrained := context.collection.best_run().provenance.one_class("train"):
        named = listing([f"{label} ({missing})" for label, missing in untrained.items()])
        words.append(f"It could learn nothing of {named} in training.")
    if left_out := [run.name for run in context.collection.runs if run not in trained]:
        words.append(f"Not trained to the end of an epoch, and not counted: {listing(left_out)}.")
    labels = result.labels if result is not None else {}
    if rare := [label for label, item in labels.items() if item.few_positives]:
        which = "any finding" if len(rare) == len(labels) > 1 else listing(rare)
        words.append(f"Too few cases for a firm statement on {which}.")
    what = "A score is no probability of disease unless it was calibrated,"
    words.append(f"{what} and other hospitals, devices and patients can give other results.")
    return " ".join(words)


def headline_tiles(context: Context) -> tuple[tuple[str, str, str], ...]:
    """The numbers that stand above the page."""
    best = context.collection.best_run()
    result, facts = context.collection.headline(best), best.provenance.dataset
    tiles = []
    if result is not None and result.macro.auroc.value is not None:
        auroc = result.macro.auroc
        said = "" if auroc.low is None else f"95 % interval {interval(auroc)}; "
        title = result.macro.auroc_name().replace("macro", "Macro", 1)
        title += ", best run" if context.collection.rivals() else ""
        if result.combines == "out-of-fold":
            title = f"{title.removesuffix(', best run')}, out of fold"
        units = "images" if result.level == "image" else "studies"
        rows = f"{units} of {count(result.n_patients, 'patient')}, {result.split} split"
        tiles.append((title, number(auroc.value), f"{said}{result.run}"))
        tiles.append(("Evaluated on", f"{result.n_rows:,}", rows))
    if facts is not None:
        tiles.append(("Trained on", *_trained_on(facts, "images")))
    tiles.append(("Findings", str(len(best.labels)), "scored in every image"))
    return tuple(tiles)
