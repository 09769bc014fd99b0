"""`pulmonet prepare`: find or draw a dataset, check it, sum it up, look at it, pack it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from pulmonet import __version__
from pulmonet.artifacts import portable_path, write_atomic, write_json
from pulmonet.commands import console
from pulmonet.commands.dataset import dataset_line
from pulmonet.config import RunConfig
from pulmonet.data.boxes import read_boxes
from pulmonet.data.images import fit_square, read_source_image
from pulmonet.data.manifest import Manifest
from pulmonet.data.packing import Pack, open_pack
from pulmonet.data.pictures import contact_sheet, dataset_figure
from pulmonet.data.prepare_report import PreparedPack, PrepareReport, describe_dataset
from pulmonet.data.sources import inspect_manifest, locate_dataset, remember_dataset
from pulmonet.data.sources.reading import join_problems
from pulmonet.data.split_files import write_shareable_split
from pulmonet.data.splits import annotated_labels, resolve_labels, summarise
from pulmonet.data.tables import count
from pulmonet.data.verification import (
    Read,
    Scan,
    decode_blocks,
    near_duplicates,
    pairs_csv,
    read_blocks,
    same_pixels,
    scan_images,
)
from pulmonet.errors import ConfigError, DataError, list_first
from pulmonet.labels import DEFAULT_LABELS

DEMO_ROOT = Path("data") / "pulmonet-phantoms"
DEMO_PATIENTS = 200
_SHEET_PAIRS = 20


@dataclass
class Findings:
    """What `prepare` found out; the content of prepare_report.json.

    Attributes:
        problems: what must be mended; any of them ends `prepare` with exit code 3.
        warnings: what deserves a look.
        notes: what was done.
        bad_images: path -> why it cannot be used.
        same_pixels: groups of paths with equal pixels.
        n_near_duplicates: pairs across splits.
        pack: folder and size of the pack; None with ``--check-only``.
        files: what was written.
    """

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    bad_images: dict[str, str] = field(default_factory=dict)
    same_pixels: list[list[str]] = field(default_factory=list)
    n_near_duplicates: int = 0
    pack: PreparedPack | None = None
    files: list[Path] = field(default_factory=list)


def run(
    config: RunConfig,
    *,
    source: str | None = None,
    demo: bool = False,
    n_patients: int | None = None,
    check_only: bool = False,
    out_dir: Path | None = None,
    export_split: Path | None = None,
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

    Returns:
        0.

    Raises:
        DataError: no dataset, or anything wrong with it; the report is written before.
        ConfigError: options that do not go together.
    """
    if n_patients is not None and not demo:
        raise ConfigError("--patients: only with --demo; real data has the patients that it has")
    root = _draw_demo(source, n_patients, config.seed) if demo else locate_dataset(source)
    manifest, problems, notes = inspect_manifest(root, config.data, config.seed, check_files=True)
    console.say(dataset_line(manifest))
    for text in notes:
        console.note(text)
    findings = Findings(problems, notes=notes)
    _check_labels(manifest, config.data.labels, findings)
    summary = summarise(manifest)
    console.show_table(summary_table(summary))
    folder = out_dir or Path("artifacts") / "prepare" / manifest.name
    if not findings.problems:
        _look_at_pixels(manifest, config, findings, folder, check_only=check_only)
    if export_split is not None and not findings.problems:
        write_shareable_split(manifest, export_split)
        findings.files.append(export_split)
    _write_report(manifest, findings, folder, summary)
    if findings.problems:
        raise DataError(
            f"{join_problems(root, findings.problems)}\n"
            f"everything found is in {portable_path(folder / 'prepare_report.json')}"
        )
    if not check_only:
        remember_dataset(root, config.data.map)
    _say_the_end(manifest, findings, check_only=check_only)
    return 0


def _draw_demo(place: str | None, n_patients: int | None, seed: int) -> Path:
    from pulmonet.data.phantom import write_phantoms

    n_patients = DEMO_PATIENTS if n_patients is None else n_patients
    if n_patients < 2:
        raise ConfigError(f"--patients {n_patients}: a train and a valid patient make two at least")
    root = Path(place).expanduser() if place else DEMO_ROOT
    with console.steps("drawing phantoms", n_patients) as bar:
        write_phantoms(root, n_patients, seed, progress=_steps_of(bar))
    return root


def _steps_of(bar: console.Steps) -> Callable[[int, int], None]:
    done = 0

    def progress(n_done: int, _total: int) -> None:
        nonlocal done
        bar.advance(n_done - done)
        done = n_done

    return progress


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


def _look_at_pixels(
    manifest: Manifest, config: RunConfig, findings: Findings, folder: Path, *, check_only: bool
) -> None:
    """Decode every image, into the pack unless `check_only`, and verify what was seen.

    The picture of the dataset is drawn where it was packed and nothing is wrong.
    """
    rows = np.arange(len(manifest), dtype=np.int64)
    if check_only:
        read: Read = partial(_read_squares, manifest)
        bad: dict[int, str] = {}
        with console.steps("checking images", len(rows)) as bar:
            workers = config.runtime.num_workers
            scan = scan_images(
                decode_blocks(manifest, rows, bad, num_workers=workers, progress=_steps_of(bar))
            )
    else:
        pack = _pack(manifest, rows, config, findings)
        read, bad = pack.read, pack.bad_rows
        good = np.setdiff1d(rows, np.fromiter(bad, np.int64, len(bad)))
        with console.steps("looking for duplicates", len(good)) as bar:
            scan = scan_images(read_blocks(good, read, _steps_of(bar)))
    paths = manifest.table["path"]
    findings.bad_images = {str(paths.iloc[row]): reason for row, reason in sorted(bad.items())}
    groups = same_pixels(manifest, scan)
    findings.same_pixels = [[str(paths.iloc[row]) for row in group] for group in groups]
    _judge_images(findings, len(manifest), config.data.skip_bad, check_only=check_only)
    _near_duplicates(manifest, scan, read, findings, folder)
    if not check_only and not findings.problems:
        picture = dataset_figure(summarise(manifest), _examples(manifest, scan, read))
        write_atomic(folder / "dataset.png", picture)
        findings.files.append(folder / "dataset.png")


def _pack(
    manifest: Manifest, rows: NDArray[np.int64], config: RunConfig, findings: Findings
) -> Pack:
    data = config.data
    with console.steps("packing images", len(rows)) as bar:
        pack = open_pack(
            manifest,
            rows,
            image_size=data.image_size,
            fit=data.fit,
            num_workers=config.runtime.num_workers,
            skip_bad=True,
            progress=_steps_of(bar),
        )
    n_bytes = len(rows) * pack.side**2
    findings.pack = PreparedPack(
        folder=portable_path(pack.folder),
        side=pack.side,
        fit=data.fit,
        rows=len(rows) - len(pack.bad_rows),
        megabytes=round(n_bytes / 1e6, 1),
    )
    return pack


def _read_squares(manifest: Manifest, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    return np.stack(
        [fit_square(read_source_image(manifest, row), 256, "stretch") for row in rows.tolist()]
    )


def _judge_images(findings: Findings, n_rows: int, skip_bad: bool, *, check_only: bool) -> None:
    """What was seen becomes problems or warnings.

    Unusable images stop `prepare` unless they are to be skipped. The same image under two names
    is wrong, too, and fails a check, but public sets have some (27 in PneumoniaMNIST): packing
    goes on.
    """
    if findings.bad_images:
        shown = list_first(findings.bad_images.values())
        text = (
            f"{len(findings.bad_images):,} of {count(n_rows, 'image')} cannot be used ({shown}); "
            "copy them again, remove their rows, or leave them out with --skip-bad"
        )
        (findings.warnings if skip_bad and not check_only else findings.problems).append(text)
    if findings.same_pixels:
        shown = list_first(" = ".join(group[:3]) for group in findings.same_pixels)
        text = (
            f"{count(len(findings.same_pixels), 'image')} with the same pixels under several "
            f"names ({shown}); keep one row each"
        )
        (findings.problems if check_only else findings.warnings).append(text)


def _near_duplicates(
    manifest: Manifest, scan: Scan, read: Read, findings: Findings, folder: Path
) -> None:
    pairs = near_duplicates(manifest, scan, read)
    findings.n_near_duplicates = len(pairs)
    if not pairs:
        return
    table, sheet = folder / "near_duplicates.csv", folder / "near_duplicates.png"
    write_atomic(table, pairs_csv(manifest, pairs))
    shown = pairs[:_SHEET_PAIRS]
    images = [read(np.asarray([pair.row_a, pair.row_b])) for pair in shown]
    paths = manifest.table["path"]
    captioned = [
        (str(paths.iloc[pair.row_a]), a, f"{paths.iloc[pair.row_b]} r={pair.correlation:.3f}", b)
        for pair, (a, b) in zip(shown, images, strict=True)
    ]
    write_atomic(sheet, contact_sheet(captioned))
    findings.files += [table, sheet]
    findings.warnings.append(
        f"{count(len(pairs), 'pair')} of images in different splits "
        f"{'looks' if len(pairs) == 1 else 'look'} the same; see "
        f"{portable_path(sheet)} (repeat films of one patient look alike, too); the pairs are in "
        f"{portable_path(table)}"
    )


def _examples(manifest: Manifest, scan: Scan, read: Read) -> list[tuple[str, NDArray[np.uint8]]]:
    """Up to eight images, spread over the dataset, each captioned with its positive labels."""
    if not len(scan.rows):
        return []
    rows = np.unique(scan.rows[np.linspace(0, len(scan.rows) - 1, 8).astype(np.int64)])
    positive = manifest.raw_labels(manifest.labels)[rows] == 1
    captions = [
        "no positive label"
        if not line.any()
        else list_first((manifest.labels[column] for column in np.flatnonzero(line)), 2)
        for line in positive
    ]
    return list(zip(captions, read(rows), strict=True))


def summary_table(summary: dict[str, Any]) -> Table:
    """Positives, negatives, uncertain and blank per split and label."""
    table = Table(title=_title(summary), title_justify="left", header_style="bold")
    table.add_column("split")
    table.add_column("label")
    for name in ("positive", "negative", "uncertain", "blank"):
        table.add_column(name, justify="right")
    for split, values in summary["splits"].items():
        table.add_section()
        for label in summary["labels"]:
            counts = [f"{value:,}" for value in values["labels"][label].values()]
            table.add_row(split, escape(label), *counts)
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


def _say_the_end(manifest: Manifest, findings: Findings, *, check_only: bool) -> None:
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
    labels = "" if set(DEFAULT_LABELS) <= set(annotated) else " --labels all"
    console.say(f"Ready. Next: pulmonet train --data-dir {portable_path(manifest.root)}{labels}")
