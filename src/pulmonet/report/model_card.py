"""MODEL_CARD.md: Hugging Face front matter and what a user of the weights must know.

Format: https://huggingface.co/docs/hub/model-cards (metadata as YAML, then markdown).
"""

from __future__ import annotations

import json
from typing import Any

from pulmonet import __version__
from pulmonet.metrics.results import RunResult
from pulmonet.report.author_notes import NOTES
from pulmonet.report.blocks import Section, Table, Text, cells
from pulmonet.report.collect import RunArtifacts
from pulmonet.report.context import Context
from pulmonet.report.markdown import escape, render_sections
from pulmonet.report.sections.limitations import limitations_section
from pulmonet.report.sections.summary import RESEARCH_ONLY
from pulmonet.report.wording import estimate_cell, listing, model_name


def render_model_card(context: Context) -> str:
    """The card of all runs, the best one first."""
    best = context.collection.best_run()
    others = [run for run in context.collection.runs if run is not best]
    runs = [best, *others]
    title = context.notes.get("title") or "Chest X-ray classification with PulmoNet"
    sections = (
        _what(context, runs),
        _how_to_use(best),
        Section(
            "intended",
            "Intended use",
            (
                Text(RESEARCH_ONLY, "warning"),
                _note(context, "intended_use"),
                _note(context, "out_of_scope"),
            ),
        ),
        _training(context, runs),
        _results(context, runs),
        limitations_section(context),
        Section("contact", "Authors", (_note(context, "authors"), _note(context, "contact"))),
    )
    body = [f"# {escape(title)}", "", *render_sections(sections)]
    return "\n".join([*_front_matter(context, runs), "", *body]).rstrip() + "\n"


def _front_matter(context: Context, runs: list[RunArtifacts]) -> list[str]:
    """YAML; every value that is not ours is written as JSON, which YAML can read."""
    names = sorted(
        {run.record.provenance.dataset.name for run in runs if run.record.provenance.dataset}
    )
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
        metadata["tags"] = [*metadata["tags"], "synthetic-data"]
    lines = ["---"]
    lines += [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in metadata.items()]
    if names:
        lines.append(f"datasets: {json.dumps(names, ensure_ascii=False)}")
    index = [_index_entry(run) for run in runs if run.results]
    if index:
        lines.append(f"model-index: {json.dumps(index, ensure_ascii=False)}")
    return [*lines, "---"]


def _index_entry(run: RunArtifacts) -> dict[str, Any]:
    results = []
    for result in run.results:
        metrics = [
            {"type": kind, "name": name, "value": round(estimate.value, 4)}
            for kind, name, estimate in (
                ("roc_auc", "Macro AUROC", result.macro.auroc),
                ("average_precision", "Macro average precision", result.macro.average_precision),
            )
            if estimate.value is not None
        ]
        if metrics:
            results.append(
                {
                    "task": {"type": "image-classification"},
                    "dataset": {
                        "name": result.dataset,
                        "type": result.dataset,
                        "split": result.split,
                    },
                    "metrics": metrics,
                }
            )
    return {"name": run.name, "results": results}


def _note(context: Context, key: str) -> Text:
    if key in context.notes:
        return Text(context.notes[key])
    return Text(f"{key}: {NOTES[key]}", "todo")


def _what(context: Context, runs: list[RunArtifacts]) -> Section:
    networks = listing(sorted({model_name(run.record.config.model.name) for run in runs}))
    labels = listing(list(dict.fromkeys(label for run in runs for label in run.labels)))
    words = (
        f"{networks}, trained with PulmoNet {__version__} to score frontal and lateral chest "
        f"X-rays for {labels}. Each score lies between 0 and 1."
    )
    blocks = [Text(words)]
    if context.collection.synthetic:
        blocks.insert(0, Text("SYNTHETIC data: phantoms, no patients.", "warning"))
    return Section("what", "What this is", tuple(blocks))


def _how_to_use(best: RunArtifacts) -> Section:
    size = best.record.config.data.image_size
    words = (
        f"`best_model.pth` of `{best.name}` is a plain state_dict: torchvision's own network with "
        f"{len(best.labels)} outputs in the order {listing(best.labels)}. Input: grey, "
        f"{best.record.config.data.fit} to {size} × {size} pixels, repeated to three channels, "
        "ImageNet mean and deviation. With PulmoNet: "
        f"`pulmonet explain image.jpg --run {best.name}`."
    )
    return Section("use", "How to use it", (Text(words),))


def _training(context: Context, runs: list[RunArtifacts]) -> Section:
    rows = []
    for run in runs:
        facts = run.record.provenance.dataset
        config = run.record.config
        rows.append(
            cells(
                run.name,
                model_name(config.model.name),
                "not recorded" if facts is None else facts.name,
                "" if facts is None else f"{facts.n_rows.get('train', 0):,}",
                f"{config.optim.epochs} × {config.optim.name}, {config.loss.name}",
                context.identities.argument(config.model.weights),
                run.record.provenance.checkpoint_sha256 or "",
            )
        )
    columns = ("Run", "Network", "Data", "Images", "Recipe", "Weights from", "SHA-256")
    return Section("training", "Training", (Table("Runs", columns, tuple(rows)),))


def _results(context: Context, runs: list[RunArtifacts]) -> Section:
    found: list[RunResult] = [
        result for evaluated in (*runs, *context.collection.others) for result in evaluated.results
    ]
    if not found:
        return Section("results", "Results", (Text("Not evaluated.", "todo"),))
    rows = tuple(
        cells(
            result.run,
            f"{result.dataset}, {result.split}",
            estimate_cell(result.macro.auroc),
            estimate_cell(result.macro.average_precision),
            f"{result.n_rows:,}",
            listing(result.rows_used_for) or "nothing before",
        )
        for result in found
    )
    notes = tuple(
        f"{one.run}: {one.combination_text()}." for one in found if one.combination_text()
    )
    columns = (
        "Run",
        "Data",
        "Macro AUROC",
        "Macro average precision",
        "Rows",
        "Rows had been used for",
    )
    return Section("results", "Results", (Table("With 95 % intervals", columns, rows, notes),))
