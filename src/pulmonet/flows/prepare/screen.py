"""What `prepare` says: the dataset in a line and a table, and how to go on."""

from __future__ import annotations

import shlex
from typing import Any

from rich.markup import escape
from rich.table import Table

from pulmonet.config.fields import RunConfig
from pulmonet.data.manifest import Manifest
from pulmonet.data.splits.choose import annotated_labels
from pulmonet.data.summary import most_frequent_labels
from pulmonet.files.paths import portable_path
from pulmonet.flows import console
from pulmonet.flows.prepare.report import PrepareReport
from pulmonet.labels import DEFAULT_LABELS
from pulmonet.words import count

#: Labels of the table on screen.
MAX_LABELS = 20


def summary_line(summary: dict[str, Any]) -> str:
    """Images and patients of each split."""
    parts = []
    for split, values in summary["splits"].items():
        patients = values["patients"]
        of_patients = "" if patients is None else f" of {count(patients, 'patient')}"
        parts.append(f"{split}: {count(values['images'], 'image')}{of_patients}")
    return ("SYNTHETIC phantoms; " if summary["synthetic"] else "") + "; ".join(parts)


def summary_table(summary: dict[str, Any]) -> Table:
    """Positives, negatives, uncertain and blank per split and label, of the frequent ones."""
    labels = most_frequent_labels(summary, MAX_LABELS)
    table = Table("split", "label", header_style="bold")
    for name in ("positive", "negative", "uncertain", "blank"):
        table.add_column(name, justify="right")
    for split, values in summary["splits"].items():
        table.add_section()
        for label in labels:
            counts = [f"{value:,}" for value in values["labels"][label].values()]
            table.add_row(split, escape(label), *counts)
    n_left = len(summary["labels"]) - len(labels)
    if n_left:
        table.caption = f"and {n_left} rarer labels: all are in prepare_report.json"
        table.caption_justify = "left"
    return table


def say_the_end(
    manifest: Manifest, report: PrepareReport, config: RunConfig, *, check_only: bool
) -> None:
    """Warnings, what was written, and the command to train with."""
    for text in report.warnings:
        console.warn(text)
    for path in report.files:
        console.say(f"wrote {path}")
    pack = report.pack
    if check_only or pack is None:
        console.say("nothing wrong found" if not report.warnings else "usable; see the warnings")
        return
    size = f"{pack.side} px ({pack.megabytes:,} MB)"
    console.say(f"packed {count(pack.rows, 'image')} at {size} in {pack.folder}")
    annotated = annotated_labels(manifest)
    command = ["pulmonet", "train", "--data-dir", portable_path(manifest.root)]
    command += [] if set(DEFAULT_LABELS) <= set(annotated) else ["--labels", "all"]
    for flag, value in (("--join", config.data.join), ("--splits", config.data.splits)):
        command += [] if value is None else [flag, value]
    command += ["--skip-bad"] * config.data.skip_bad
    command += ["--follow-links"] * config.data.follow_links
    # a leading ~ is the shell's to replace, so it stays outside of quotes
    words = [f"~/{shlex.quote(w[2:])}" if w.startswith("~/") else shlex.quote(w) for w in command]
    console.say(f"Ready. Next: {' '.join(words)}")
