"""What `prepare` says: the dataset in a line and a table, and how to go on."""

import shlex
from typing import Any

from rich.markup import escape
from rich.table import Table

from pulmonet.config.fields import RunConfig
from pulmonet.data.manifest import Manifest
from pulmonet.data.splits.choose import annotated_labels
from pulmonet.data.summary import most_frequent_labels
from pulmonet.files.paths import places_of, portable_path
from pulmonet.flows import console
from pulmonet.flows.prepare.report import PrepareReport
from pulmonet.labels import DEFAULT_LABELS
from pulmonet.words import count, list_first

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
    """Positives, negatives, uncertain and blank per split and label, of the frequent ones.

    Labels without a value in a split are named below.
    """
    labels = most_frequent_labels(summary, MAX_LABELS)
    table = Table("split", "label", header_style="bold")
    for name in ("positive", "negative", "uncertain", "blank"):
        table.add_column(name, justify="right")
    without = {
        split: tuple(name for name, n in values["labels"].items() if n["blank"] == values["images"])
        for split, values in summary["splits"].items()
    }
    for split, values in summary["splits"].items():
        table.add_section()
        for label in labels:
            if label not in without[split]:
                counts = [f"{value:,}" for value in values["labels"][label].values()]
                table.add_row(split, escape(label), *counts)
    n_left = len(summary["labels"]) - len(labels)
    remarks = [f"and {n_left} rarer labels: all are in prepare_report.json"] if n_left else []
    for names in dict.fromkeys(filter(None, without.values())):
        where = ", ".join(split for split, those in without.items() if those == names)
        remarks.append(f"no value in {where}: {list_first(names, 14)}")
    table.caption = escape("\n".join(remarks)) or None
    table.caption_justify = "left"
    return table


def say_the_end(
    manifest: Manifest, report: PrepareReport, config: RunConfig, *, check_only: bool
) -> None:
    """Warnings, what was written, and the command to train with."""
    lacking = [split for split in ("train", "valid") if split not in report.summary["splits"]]
    command = ["pulmonet", *(["evaluate", "RUN"] if lacking else ["train"])]
    named = places_of(config.data.data_dir)
    is_list = manifest.parts or any(place.endswith(".toml") for place in named[:1])
    for place in named if is_list else [manifest.root]:
        command += ["--data-dir", portable_path(place)]
    for group in config.data.same_patients:
        command += ["--same-patients", group]
    if not lacking and not set(DEFAULT_LABELS) <= set(annotated_labels(manifest)):
        command += ["--labels", "all"]
    for flag, value in (("--join", config.data.join), ("--splits", config.data.splits)):
        command += [] if value is None else [flag, value]
    command += ["--skip-bad"] * (config.data.skip_bad and not lacking)
    command += ["--follow-links"] * config.data.follow_links
    # a leading ~ is the shell's to replace, so it stays outside of quotes
    words = [f"~/{shlex.quote(w[2:])}" if w.startswith("~/") else shlex.quote(w) for w in command]
    facts = {"lacking": lacking, "command": " ".join(words)}
    console.tell("prepare_end", report=report, check_only=check_only, **facts)
