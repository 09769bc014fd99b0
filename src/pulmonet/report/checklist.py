"""TRIPOD+AI and CLAIM 2024: each item filled from the artifacts, or a visible TODO.

Sources: Collins et al., TRIPOD+AI statement, BMJ 2024;385:e078378 (27 items); Tejani et al.,
Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update, Radiology:
Artificial Intelligence 2024;6(4):e240300 (44 items). The items are paraphrased; the published
lists are what counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from pulmonet.report.author_notes import NOTES
from pulmonet.report.blocks import Cell, Section, Table, Text, cells
from pulmonet.report.context import Context
from pulmonet.report.facts import Facts, find_facts


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
    Item("2", "Abstract", "", ("abstract",)),
    Item("3a", "Healthcare context and existing models", "", ("background",)),
    Item("3b", "Target population, purpose, users", "", ("intended_use",)),
    Item("3c", "Known health inequalities", "", ("health_inequalities",)),
    Item("4", "Objectives: development or evaluation", "objectives", ("hypotheses",)),
    Item("5a", "Sources of data, and whether they are representative", "source", ("setting",)),
    Item("5b", "Dates of the data", "", ("study_design",)),
    Item("6a", "Setting", "", ("setting",)),
    Item("6b", "Eligibility", "excluded", ("eligibility",)),
    Item("6c", "Treatments received", "", ("treatments",)),
    Item("7", "Data preparation", "preprocessing"),
    Item(
        "8a", "Outcome: what is predicted, how it was assessed", "outcome", ("reference_standard",)
    ),
    Item("8b", "Assessors of the outcome", "", ("annotators",)),
    Item("8c", "Blinding of the assessment", "", ("annotators",)),
    Item("9a", "Choice of predictors", "predictors"),
    Item("9b", "Definition of the predictors", "preprocessing", ("acquisition",)),
    Item("9c", "Assessors of the predictors", "no_assessor"),
    Item("10", "Sample size", "sample", ("sample_size",)),
    Item("11", "Missing data", "missing"),
    Item("12a", "How the data were used: partitions", "partitions"),
    Item("12b", "Handling of predictors", "preprocessing"),
    Item("12c", "Kind of model, and how it was built", "training"),
    Item("12d", "Differences between centres or groups", "subgroups"),
    Item("12e", "Measures of performance", "measures"),
    Item("12f", "Model updating", "calibration"),
    Item("12g", "How predictions are computed", "scores"),
    Item("13", "Class imbalance", "imbalance"),
    Item("14", "Fairness", "subgroups", ("fairness",)),
    Item("15", "Output of the model", "output"),
    Item("16", "Differences between training and evaluation data", "shift"),
    Item("17", "Ethical approval", "", ("ethics",)),
    Item("18a", "Funding", "", ("funding",)),
    Item("18b", "Conflicts of interest", "", ("conflicts",)),
    Item("18c", "Protocol", "", ("protocol",)),
    Item("18d", "Registration", "", ("registration",)),
    Item("18e", "Data sharing", "", ("data_sharing",)),
    Item("18f", "Code sharing", "software", ("code_sharing",)),
    Item("19", "Patient and public involvement", "", ("patient_involvement",)),
    Item("20a", "Flow of participants", "flow"),
    Item("20b", "Characteristics of participants", "people"),
    Item("20c", "Comparison of training and evaluation data", "shift"),
    Item("21", "Participants and outcome events in each analysis", "sample"),
    Item("22", "Model specification", "specification"),
    Item("23a", "Performance with intervals", "performance"),
    Item("23b", "Heterogeneity of performance", "subgroups"),
    Item("24", "Results of model updating", "calibration"),
    Item("25", "Interpretation", "", ("interpretation",)),
    Item("26", "Limitations", "limitations", ("limitations",)),
    Item("27a", "Handling of poor or missing input when used", "bad_input", ("implications",)),
    Item("27b", "What users need to do and know", "", ("implications",)),
    Item("27c", "Next steps for research", "", ("future_work",)),
)

CLAIM_2024 = (
    Item("1", "Identified as a study of AI, with its technology", "title", ("title",)),
    Item("2", "Structured summary", "", ("abstract",)),
    Item("3", "Background, intended use and clinical role", "", ("background", "intended_use")),
    Item("4", "Aims, objectives, hypotheses", "objectives", ("hypotheses",)),
    Item("5", "Prospective or retrospective", "", ("study_design",)),
    Item("6", "Goal of the study", "objectives", ("hypotheses",)),
    Item("7", "Data sources", "source", ("setting",)),
    Item("8", "Inclusion and exclusion criteria", "excluded", ("eligibility",)),
    Item("9", "Data preprocessing", "preprocessing"),
    Item("10", "Selection of data subsets", "subset"),
    Item("11", "De-identification", "report_deidentified", ("deidentification",)),
    Item("12", "Missing data", "missing"),
    Item("13", "Image acquisition protocol", "", ("acquisition",)),
    Item("14", "Reference standard: definition", "outcome", ("reference_standard",)),
    Item("15", "Reference standard: rationale", "", ("reference_standard",)),
    Item("16", "Reference standard: source of annotations", "", ("annotators",)),
    Item("17", "Reference standard: annotation of the testing data", "", ("annotators",)),
    Item("18", "Agreement between and within raters", "", ("annotators",)),
    Item("19", "How data were assigned to partitions", "partitions"),
    Item("20", "Level at which partitions are disjoint", "disjoint"),
    Item("21", "Intended sample size", "", ("sample_size",)),
    Item("22", "Model", "specification"),
    Item("23", "Software", "software"),
    Item("24", "Initial parameters", "weights"),
    Item("25", "Training", "training"),
    Item("26", "Selection of the final model", "selection"),
    Item("27", "Ensembling", "ensembling"),
    Item("28", "Performance metrics", "measures"),
    Item("29", "Significance and uncertainty", "uncertainty"),
    Item("30", "Robustness or sensitivity analysis", "subgroups"),
    Item("31", "Explainability", "explanations"),
    Item("32", "Internal testing", "internal"),
    Item("33", "External testing", "external"),
    Item("34", "Registration of a clinical trial", "", ("registration",)),
    Item("35", "Patients and images included and excluded", "flow"),
    Item("36", "Demographic and clinical characteristics", "people"),
    Item("37", "Performance with uncertainty", "performance"),
    Item("38", "Diagnostic accuracy with its precision", "accuracy"),
    Item("39", "Failure analysis", "failures"),
    Item("40", "Limitations", "limitations", ("limitations",)),
    Item("41", "Implications for practice", "", ("implications",)),
    Item("42", "Study protocol and further details", "", ("protocol",)),
    Item(
        "43", "Availability of software, model, data", "software", ("code_sharing", "data_sharing")
    ),
    Item("44", "Funding and the funders' role", "", ("funding",)),
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
