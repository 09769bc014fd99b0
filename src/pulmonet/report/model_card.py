"""MODEL_CARD.md: Hugging Face front matter and what a user of the weights must know.

Format: https://huggingface.co/docs/hub/model-cards (metadata as YAML, then markdown).
"""

import json
import re
from typing import Any

from pulmonet import __version__
from pulmonet.config.fields import ModelConfig
from pulmonet.report.checklist.items import NOTES
from pulmonet.report.collect import Context, RunArtifacts
from pulmonet.report.names import VIEWS
from pulmonet.report.render.blocks import Section, Text
from pulmonet.report.render.markdown import escape, render_sections
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
    title = context.notes.get("title") or "Chest X-ray classification with PulmoNet"
    uses = (_note(context, "intended_use"), _note(context, "out_of_scope"))
    views = sorted({VIEWS[run.config.data.views] for run in runs})
    said = fields(
        "model_card",
        best=best,
        runs=runs,
        views=views,
        version=__version__,
        own=_own_name,
        turns=_turns(best.config.model),
    )
    what = [Text("SYNTHETIC data: phantoms, no patients.", "warning")]
    sections = (
        Section("what", "What this is", (*what * context.collection.synthetic, Text(said["what"]))),
        Section("use", "How to use it", (Text(said["use"]),)),
        Section("intended", "Intended use", (Text(RESEARCH_ONLY, "warning"), *uses)),
        _training(context, runs),
        _results(context, runs),
        limitations_section(context),
        Section("contact", "Authors", (_note(context, "authors"), _note(context, "contact"))),
    )
    body = [f"# {escape(title)}", "", *render_sections(sections)]
    return "\n".join([*_front_matter(context, runs), "", *body]).rstrip() + "\n"


def _front_matter(context: Context, runs: list[RunArtifacts]) -> list[str]:
    """YAML; every value that is not ours is written as JSON, which YAML can read."""
    names = sorted({facts.name for facts in context.collection.datasets})
    metadata: dict[str, Any] = {
        "library_name": "pulmonet",
        "pipeline_tag": "image-classification",
        "license": "other",
        "license_name": context.notes.get("license", "TODO"),
        "language": "en",
        "tags": ["chest-x-ray", "radiology", "multi-label-classification", "research-only"],
        "metrics": ["roc_auc", "average_precision"],
    }
    if context.collection.synthetic:
        metadata["tags"].append("synthetic-data")
    if names:
        metadata["datasets"] = names
    if index := [_index_entry(run) for run in runs if run.results]:
        metadata["model-index"] = index
    return ["---", *(f"{key}: {yaml_of(value)}" for key, value in metadata.items()), "---"]


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


def _own_name(architecture: str) -> str:
    library = "timm" if architecture.startswith("timm:") else "torchvision"
    return f"{library}'s own {architecture.removeprefix('timm:')}"


def _turns(model: ModelConfig) -> list[str]:
    """The members of an ensemble by the names of their weights."""
    names = [model.member(position).name for position in range(model.members)]
    return [f"`members.{position}.` {_own_name(name)}" for position, name in enumerate(names)]


def _training(context: Context, runs: list[RunArtifacts]) -> Section:
    found = table_of("card_runs", runs, identities=context.identities)
    return Section("training", "Training", tuple(found))


def _results(context: Context, runs: list[RunArtifacts]) -> Section:
    found = [one for part in (*runs, *context.collection.others) for one in part.results]
    results = table_of("card_results", found, combination_notes(found))
    found_none = () if results else (Text("Not evaluated.", "todo"),)
    return Section("results", "Results", (*stale_note(context), *results, *found_none))
