"""TRIPOD+AI and CLAIM 2024: each item filled from the artifacts, or a visible TODO.

Sources: Collins et al., TRIPOD+AI statement, BMJ 2024;385:e078378 (27 items); Tejani et al.,
Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update, Radiology:
Artificial Intelligence 2024;6(4):e240300 (44 items). The items are paraphrased and were compared
one by one with the published lists (docs/reports.md says where); those lists are what counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from pulmonet.report.checklist.author_notes import NOTES
from pulmonet.report.checklist.facts import Facts, find_facts
from pulmonet.report.context import Context
from pulmonet.report.render.blocks import Cell, Section, Table, Text, cells


@dataclass(frozen=True)
class Item:
    """One item: what it asks, which fact answers it, which notes do.

    Attributes:
        number: as in the published list.
        asks: in a few words.
        fact: attribute of `Facts`, empty where the artifacts cannot know.
        notes: keys of the author notes; all of them are wanted.
    """

    number: str
    asks: str
    fact: str = ""
    notes: tuple[str, ...] = ()


TRIPOD_AI = (
    Item("1", "Title: prediction model, population, outcome", "title", ("title",)),
    Item("2", "Abstract, by TRIPOD+AI for Abstracts", "", ("abstract",)),
    Item("3a", "Healthcare context, rationale, existing models", "", ("background",)),
    Item("3b", "Target population, purpose in the care pathway, users", "", ("intended_use",)),
    Item("3c", "Known health inequalities between groups", "", ("health_inequalities",)),
    Item("4", "Objectives: development, evaluation or both", "objectives", ("hypotheses",)),
    Item("5a", "Sources of data, why these, how representative", "source", ("representativeness",)),
    Item("5b", "Dates of data collection", "", ("study_design",)),
    Item("6a", "Setting, number and location of centres", "", ("setting",)),
    Item("6b", "Eligibility", "excluded", ("eligibility",)),
    Item("6c", "Treatments received", "", ("treatments",)),
    Item("7", "Pre-processing and quality checks", "preprocessing"),
    Item("8a", "Outcome: what, how and when assessed, why", "outcome", ("reference_standard",)),
    Item("8b", "Assessors of the outcome", "", ("annotators",)),
    Item("8c", "Blinding of the assessment", "", ("annotators",)),
    Item("9a", "Choice of predictors", "predictors"),
    Item("9b", "Definition and measurement of predictors", "preprocessing", ("acquisition",)),
    Item("9c", "Assessors of the predictors", "no_assessor"),
    Item("10", "Sample size, and whether it is enough", "sample", ("sample_size",)),
    Item("11", "Missing data, and reasons for omitting any", "missing"),
    Item("12a", "How the data were used: partitions", "partitions"),
    Item("12b", "Handling of predictors", "preprocessing"),
    Item("12c", "Kind of model, building, tuning, internal validation", "training", ("tuning",)),
    Item("12d", "Heterogeneity across clusters: how handled", "clusters"),
    Item("12e", "Measures of performance", "measures"),
    Item("12f", "Model updating", "calibration"),
    Item("12g", "How predictions are computed", "scores"),
    Item("13", "Class imbalance", "imbalance"),
    Item("14", "Fairness: what was done, and why", "subgroups", ("fairness",)),
    Item("15", "Output of the model; classes and thresholds", "output"),
    Item("16", "Differences between training and evaluation data", "shift"),
    Item("17", "Ethical approval and consent", "", ("ethics",)),
    Item("18a", "Funding, and the funders' role", "", ("funding",)),
    Item("18b", "Conflicts of interest", "", ("conflicts",)),
    Item("18c", "Protocol", "", ("protocol",)),
    Item("18d", "Registration", "", ("registration",)),
    Item("18e", "Data sharing", "", ("data_sharing",)),
    Item("18f", "Code sharing", "software", ("code_sharing",)),
    Item("19", "Patient and public involvement", "", ("patient_involvement",)),
    Item("20a", "Flow of participants, with and without the outcome", "flow"),
    Item("20b", "Characteristics of participants", "people"),
    Item("20c", "Comparison of evaluation with training data", "shift"),
    Item("21", "Participants and outcome events in each analysis", "events"),
    Item("22", "The full model, and restrictions on its use", "specification", ("license",)),
    Item("23a", "Performance with intervals, key subgroups too", "performance"),
    Item("23b", "Heterogeneity across clusters: results", "clusters"),
    Item("24", "Results of model updating", "calibration"),
    Item("25", "Interpretation, fairness included", "", ("interpretation",)),
    Item("26", "Limitations", "limitations", ("limitations",)),
    Item("27a", "Poor or missing input when the model is used", "bad_input", ("implications",)),
    Item("27b", "What users do, and the expertise they need", "", ("implications",)),
    Item("27c", "Next steps for research", "", ("future_work",)),
)

CLAIM_2024 = (
    Item("1", "Identified as a study of AI, with its technology", "title", ("title",)),
    Item("2", "Abstract: design, methods, results, conclusions", "", ("abstract",)),
    Item("3", "Background, intended use and role", "", ("background", "intended_use")),
    Item("4", "Aims, objectives, hypotheses", "", ("hypotheses",)),
    Item("5", "Prospective or retrospective", "", ("study_design",)),
    Item("6", "Goal of the study", "objectives", ("intended_use",)),
    Item("7", "Data sources, and fit to the intended use", "source", ("representativeness",)),
    Item("8", "Inclusion and exclusion criteria", "excluded", ("eligibility", "setting")),
    Item("9", "Data pre-processing", "preprocessing"),
    Item("10", "Selection of data subsets, crops included", "subset"),
    Item("11", "De-identification", "report_deidentified", ("deidentification",)),
    Item("12", "Missing data", "missing"),
    Item("13", "Image acquisition protocol", "", ("acquisition",)),
    Item("14", "Reference standard: how it was obtained", "outcome", ("reference_standard",)),
    Item("15", "Reference standard: rationale", "", ("reference_standard",)),
    Item("16", "Reference standard: source of annotations", "", ("annotators",)),
    Item("17", "Annotation of the test set", "", ("annotators",)),
    Item("18", "Variability between and within raters", "", ("annotators",)),
    Item("19", "How data were assigned to partitions", "partitions"),
    Item("20", "Level at which partitions are disjoint", "disjoint"),
    Item("21", "Intended sample size of the testing data", "", ("sample_size",)),
    Item("22", "Model in detail", "specification"),
    Item("23", "Software: libraries, frameworks, packages", "software"),
    Item("24", "Initialisation of the parameters", "weights"),
    Item("25", "Training in detail", "training", ("tuning",)),
    Item("26", "Selection of the final model", "selection", ("tuning",)),
    Item("27", "Ensembling", "ensembling"),
    Item("28", "Metrics of performance", "measures"),
    Item("29", "Significance and uncertainty", "uncertainty"),
    Item("30", "Robustness or sensitivity analysis", "robustness"),
    Item("31", "Explainability or interpretability", "explanations"),
    Item("32", "Internal testing", "internal"),
    Item("33", "External testing", "external"),
    Item("34", "Clinical trial registration", "", ("registration",)),
    Item("35", "Patients or examinations included and excluded", "flow"),
    Item("36", "Demographic and clinical characteristics per partition", "people"),
    Item("37", "Performance with statistical uncertainty", "performance"),
    Item("38", "Diagnostic performance and its precision", "accuracy"),
    Item("39", "Failure analysis", "failures"),
    Item("40", "Limitations", "limitations", ("limitations",)),
    Item("41", "Implications for practice", "", ("implications",)),
    Item("42", "Full protocol or further technical details", "settings", ("protocol",)),
    Item(
        "43",
        "Availability of software, model and data",
        "software",
        ("code_sharing", "data_sharing", "license"),
    ),
    Item("44", "Funding and other support; role of funders", "", ("funding",)),
)


def checklist_section(context: Context) -> Section:
    """Both lists, one row an item."""
    facts = find_facts(context.collection)
    children = tuple(
        _one_list(context, facts, key, title, items)
        for key, title, items in (
            ("tripod-ai", "TRIPOD+AI", TRIPOD_AI),
            ("claim", "CLAIM 2024", CLAIM_2024),
        )
    )
    words = Text(
        "Each item is answered from the artifacts or from the authors' notes "
        "(`pulmonet report --author-notes notes.toml`). What neither holds is a TODO: nothing is "
        "made up. The items are in short words; the published lists are what counts."
    )
    return Section("checklists", "Reporting checklists", (words,), children)


def _one_list(
    context: Context, facts: Facts, key: str, title: str, items: tuple[Item, ...]
) -> Section:
    answers = [answer(item, facts, context) for item in items]
    rows = tuple(
        cells(item.number, item.asks, *found) for item, found in zip(items, answers, strict=True)
    )
    n_open = sum(any(cell.kind == "todo" for cell in found) for found in answers)
    words = f"{len(items) - n_open} of {len(items)} items are answered, {n_open} wait for authors."
    table = Table(f"{title} items", ("Item", "Asks for", "In this report", "By the authors"), rows)
    return Section(key, title, (Text(words), table), folded=True)


def answer(item: Item, facts: Facts, context: Context) -> tuple[Cell, Cell]:
    """(from the artifacts, from the authors); what is wanted and missing is a TODO."""
    fact = getattr(facts, item.fact) if item.fact else ""
    if fact:
        first = Cell(fact)
    elif item.fact and not item.notes:
        first = Cell("not in the artifacts", kind="todo")
    else:
        first = Cell("")
    words = [context.notes[note] for note in item.notes if note in context.notes]
    wanted = [note for note in item.notes if note not in context.notes]
    if not wanted:
        return first, Cell(" ".join(words))
    asked = "; ".join(f"{note} ({NOTES[note]})" for note in wanted)
    return first, Cell(" ".join([*words, asked]), kind="todo")
