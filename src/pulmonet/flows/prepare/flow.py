"""`pulmonet prepare`: find or draw a dataset, check it, sum it up, look at it, pack it."""

from __future__ import annotations

import io
import shlex
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from pulmonet import __version__
from pulmonet.config.schema import RunConfig
from pulmonet.data.boxes import read_boxes
from pulmonet.data.manifest import Manifest
from pulmonet.data.prepare_report import PrepareReport, describe_dataset
from pulmonet.data.sources import inspect_manifest, locate_dataset, remember_dataset
from pulmonet.data.sources.read import join_problems
from pulmonet.data.splits.choose import annotated_labels, resolve_labels
from pulmonet.data.splits.files import write_shareable_split
from pulmonet.data.summary import most_frequent_labels, summarise
from pulmonet.errors import ArtifactError, ConfigError, DataError
from pulmonet.files.paths import portable_path
from pulmonet.files.write import write_atomic, write_json
from pulmonet.flows import console
from pulmonet.flows.dataset import dataset_line
from pulmonet.flows.prepare.images import Findings, look_at_pixels, steps_of
from pulmonet.labels import DEFAULT_LABELS
from pulmonet.words import count, list_first

DEMO_ROOT = Path("data") / "pulmonet-phantoms"
DEMO_PATIENTS = 200

#: Labels of the table on screen.
MAX_LABELS = 20


def run(
    config: RunConfig,
    *,
    source: str | None = None,
    demo: bool = False,
    n_patients: int | None = None,
    check_only: bool = False,
    out_dir: Path | None = None,
    export_split: Path | None = None,
    num_workers: int | None = None,
) -> int:
    """Prepare a dataset.

    Args:
        config: its sections data and runtime, and its seed.
        source: dataset root, or a folder that holds exactly one; with `demo`, where to draw it.
        demo: draw a synthetic dataset first.
        n_patients: of the demo set.
        check_only: neither pack nor remember; the exit code says whether all is right.
        out_dir: folder of prepare_report.json and the pictures.
        export_split: file for the split with salted patient hashes.
        num_workers: decoding threads; all cores when None.

    Returns:
        0.

    Raises:
        DataError: no dataset, or anything wrong with it; the report is written before.
        ConfigError: options that do not go together.
    """
    if n_patients is not None and not demo:
        raise ConfigError("--patients: only with --demo; real data has the patients that it has")
    root = _draw_demo(source, n_patients, config.seed) if demo else locate_dataset(source)
    # with --skip-bad a missing image is one of those that packing leaves out and names
    check_files = check_only or not config.data.skip_bad
    manifest, problems, notes = inspect_manifest(
        root, config.data, config.seed, check_files=check_files
    )
    console.say(dataset_line(manifest))
    for text in notes:
        console.note(text)
    findings = Findings(problems, notes=notes)
    _check_labels(manifest, config.data.labels, findings)
    summary = summarise(manifest)
    console.say(_title(summary))
    console.show_table(summary_table(summary))
    folder = out_dir or Path("artifacts") / "prepare" / manifest.name
    if check_only or not findings.problems:
        look_at_pixels(
            manifest, config, findings, folder, check_only=check_only, num_workers=num_workers
        )
    if export_split is not None and not findings.problems:
        write_shareable_split(manifest, export_split)
        findings.files.append(export_split)
    _write_report(manifest, findings, folder, summary)
    if findings.problems:
        looked = check_only or findings.pack is not None
        raise DataError(
            f"{join_problems(root, findings.problems)}\n"
            f"everything found is in {portable_path(folder / 'prepare_report.json')}"
            + ("" if looked else "; to have the images checked, too, add --check-only")
        )
    if not check_only:
        _remember(root, config)
    _say_the_end(manifest, findings, config, check_only=check_only)
    return 0


def _remember(root: Path, config: RunConfig) -> None:
    """For commands without --data-dir; a home folder that cannot be written costs only that."""
    try:
        remember_dataset(root, config.data.map)
    except ArtifactError as error:
        console.warn(f"not remembered, so name it with --data-dir ({str(error).split(';')[0]})")


def _draw_demo(place: str | None, n_patients: int | None, seed: int) -> Path:
    from pulmonet.data.phantoms.write import write_phantoms

    n_patients = DEMO_PATIENTS if n_patients is None else n_patients
    if n_patients < 2:
        raise ConfigError(f"--patients {n_patients}: a train and a valid patient make two at least")
    root = Path(place).expanduser() if place else DEMO_ROOT
    with console.steps("drawing phantoms", n_patients) as bar:
        write_phantoms(root, n_patients, seed, progress=steps_of(bar))
    return root


def _check_labels(manifest: Manifest, labels: tuple[str, ...], findings: Findings) -> None:
    """Labels that were asked for must be there; of the default five only in CheXpert's layout."""
    try:
        resolve_labels(manifest, labels)
    except DataError as error:
        if labels != DEFAULT_LABELS or manifest.source == "chexpert":
            findings.problems.append(str(error))
        else:
            there = resolve_labels(manifest, ("all",))
            text = f"labels: train with --labels all, or some of {list_first(there, 20)}"
            findings.notes.append(text)
            console.note(text)


def summary_table(summary: dict[str, Any]) -> Table:
    """Positives, negatives, uncertain and blank per split and label, of the frequent ones."""
    labels = most_frequent_labels(summary, MAX_LABELS)
    table = Table(header_style="bold")
    table.add_column("split")
    table.add_column("label")
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


def _title(summary: dict[str, Any]) -> str:
    parts = []
    for split, values in summary["splits"].items():
        patients = values["patients"]
        of_patients = "" if patients is None else f" of {count(patients, 'patient')}"
        parts.append(f"{split}: {count(values['images'], 'image')}{of_patients}")
    return ("SYNTHETIC phantoms; " if summary["synthetic"] else "") + "; ".join(parts)


def _write_report(
    manifest: Manifest, findings: Findings, folder: Path, summary: dict[str, Any]
) -> None:
    """prepare_report.json, and boxes.csv where the source has boxes of its own kind."""
    if manifest.source != "chexpert" and not findings.problems:
        boxes = read_boxes(manifest)
        if len(boxes):
            columns = {"path": "Path"}
            buffer = io.StringIO()
            boxes.rename(columns=columns).to_csv(
                buffer, index=False, float_format="%.5f", lineterminator="\n"
            )
            write_atomic(folder / "boxes.csv", buffer.getvalue())
            findings.files.append(folder / "boxes.csv")
    report_path = folder / "prepare_report.json"
    findings.files.append(report_path)
    report = PrepareReport(
        pulmonet=__version__,
        ok=not findings.problems,
        dataset=describe_dataset(manifest, portable_path(manifest.root)),
        problems=findings.problems,
        warnings=findings.warnings,
        notes=findings.notes,
        bad_images=findings.bad_images,
        same_pixels=findings.same_pixels,
        near_duplicates=findings.n_near_duplicates,
        pack=findings.pack,
        files=[portable_path(path) for path in findings.files],
        summary=summary,
    )
    document = report.model_dump(mode="json", by_alias=True)
    write_json(report_path, document)
    if console.wants_json():
        console.show_json(document)


def _say_the_end(
    manifest: Manifest, findings: Findings, config: RunConfig, *, check_only: bool
) -> None:
    for text in findings.warnings:
        console.warn(text)
    for path in findings.files:
        console.say(f"wrote {portable_path(path)}")
    if check_only or findings.pack is None:
        console.say("nothing wrong found" if not findings.warnings else "usable; see the warnings")
        return
    pack = findings.pack
    console.say(
        f"packed {count(pack.rows, 'image')} at {pack.side} px ({pack.megabytes:,} MB) in "
        f"{pack.folder}"
    )
    annotated = annotated_labels(manifest)
    command = ["pulmonet", "train", "--data-dir", portable_path(manifest.root)]
    command += [] if set(DEFAULT_LABELS) <= set(annotated) else ["--labels", "all"]
    for flag, value in (("--join", config.data.join), ("--splits", config.data.splits)):
        command += [] if value is None else [flag, value]
    command += ["--skip-bad"] * config.data.skip_bad
    # a leading ~ is the shell's to replace, so it stays outside of quotes
    words = [f"~/{shlex.quote(w[2:])}" if w.startswith("~/") else shlex.quote(w) for w in command]
    console.say(f"Ready. Next: {' '.join(words)}")
