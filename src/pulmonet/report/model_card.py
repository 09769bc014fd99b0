"""MODEL_CARD.md: Hugging Face front matter and what a user of the weights must know.

Format: https://huggingface.co/docs/hub/model-cards (metadata as YAML, then markdown).
"""

import json
import re
from typing import Any

from pulmonet import __version__
from pulmonet.metrics.tables import escape
from pulmonet.report.checklist.items import NOTES
from pulmonet.report.collect import Context, RunArtifacts
from pulmonet.report.names import VIEWS
from pulmonet.report.render.blocks import Section, Text
from pulmonet.report.render.markdown import render_sections
from pulmonet.report.sections.limitations import limitations_section
from pulmonet.report.sections.summary import RESEARCH_ONLY, stale_note
from pulmonet.report.texts import fields, table_of
from pulmonet.report.wording import combination_notes

#: Characters that YAML does not take as they are (https://yaml.org/spec/1.1/#id868524).
_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def render_model_card(context: Context) -> str:
    """The card of all runs, the best one first."""
    best = context.collection.best_run()
    runs = [best, *(run for run in context.collection.runs if run is not best)]
    identities, none = context.identities, (Text("Not evaluated.", "todo"),)
    results = [one for part in (*runs, *context.collection.others) for one in part.results]
    tested = table_of("card_results", results, combination_notes(results))
    title = context.notes.get("title") or "Chest X-ray classification with PulmoNet"
    uses = (_note(context, "intended_use"), _note(context, "out_of_scope"))
    views = sorted({VIEWS[run.config.data.views] for run in runs})
    said = fields("model_card", best=best, runs=runs, views=views, version=__version__)
    what = [Text("SYNTHETIC data: phantoms, no patients.", "warning")]
    sections = (
        Section("what", "What this is", (*what * context.collection.synthetic, Text(said["what"]))),
        Section("use", "How to use it", (Text(said["use"]),)),
        Section("intended", "Intended use", (Text(RESEARCH_ONLY, "warning"), *uses)),
        Section("training", "Training", tuple(table_of("card_runs", runs, identities=identities))),
        Section("results", "Results", (*stale_note(context), *(tested or none))),
        limitations_section(context),
        Section("contact", "Authors", (_note(context, "authors"), _note(context, "contact"))),
    )
    body = [f"# {escape(title)}", "", render_sections(sections)]
    return "\n".join([*_front_matter(context, runs), "", *body]).rstrip() + "\n"


def _front_matter(context: Context, runs: list[RunArtifacts]) -> list[str]:
    """YAML; every value that is not ours is written as JSON, which YAML can read."""
    tags = ["chest-x-ray", "radiology", "multi-label-classification", "research-only"]
    metadata = {
        "library_name": "pulmonet",
        "pipeline_tag": "image-classification",
        "license": "other",
        "license_name": context.notes.get("license", "TODO"),
        "language": "en",
        "tags": tags + ["synthetic-data"] * context.collection.synthetic,
        "metrics": ["roc_auc", "average_precision"],
        "datasets": sorted({facts.name for facts in context.collection.datasets}),
        "model-index": [_index_entry(run) for run in runs if run.results],
    }
    lines = (f"{key}: {yaml_of(value)}" for key, value in metadata.items() if value)
    return ["---", *lines, "---"]


def yaml_of(value: Any) -> str:
    """`value` as JSON, and so that YAML 1.1 reads the same: it allows fewer raw characters."""
    text = json.dumps(value, ensure_ascii=False)
    return _NOT_IN_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _index_entry(run: RunArtifacts) -> dict[str, Any]:
    results = []
    for result in run.results:
        macro, data = result.macro, result.dataset
        metrics = [
            {"type": kind, "name": name, "value": round(estimate.value, 4)}
            for kind, name, estimate in (
                ("roc_auc", macro.auroc_name().replace("macro", "Macro", 1), macro.auroc),
                ("average_precision", "Macro average precision", macro.average_precision),
            )
            if estimate.value is not None
        ]
        task, where = {"type": "image-classification"}, {"name": data, "type": data}
        entry = {"task": task, "dataset": where | {"split": result.split}, "metrics": metrics}
        results += [entry] if metrics else []
    return {"name": run.name, "results": results}


def _note(context: Context, key: str) -> Text:
    note = context.notes.get(key)
    return Text(note) if note else Text(f"{key}: {NOTES[key]}", "todo")
