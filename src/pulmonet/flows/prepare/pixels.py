"""What `prepare` does with the pixels: decode or pack them all, and look for what is wrong."""

import tomllib
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from pulmonet.arrays import Pixels
from pulmonet.config.fields import RunConfig
from pulmonet.data import duplicates
from pulmonet.data.duplicates import Read, Scan
from pulmonet.data.images.decoding import Remark
from pulmonet.data.images.file import file_of
from pulmonet.data.manifest import Manifest
from pulmonet.data.pack.open import Pack, open_packs
from pulmonet.data.sources.read import inside_paths, unusable_files
from pulmonet.data.tables import Column
from pulmonet.figures.dataset import contact_sheet, dataset_figure
from pulmonet.files.ledger import Ledger
from pulmonet.files.paths import portable_path
from pulmonet.flows import console
from pulmonet.flows.prepare.report import PreparedPack, PrepareReport
from pulmonet.report.texts import entries
from pulmonet.words import count, list_first

_SHEET_PAIRS = 20

#: What is said of images with a remark, and whether it is a warning.
_REMARKS = tomllib.loads(Path(__file__).with_name("remarks.toml").read_text("utf-8"))


def look_at_pixels(
    manifest: Manifest,
    config: RunConfig,
    report: PrepareReport,
    ledger: Ledger,
    *,
    check_only: bool,
    num_workers: int | None,
) -> None:
    """Decode every image, into the pack unless `check_only`, and verify what was seen.

    The picture of the dataset is drawn where it was packed and nothing is wrong.
    """
    rows = np.arange(len(manifest), dtype=np.int64)
    if check_only:
        if report.problems and not manifest.parts:  # what is not there is a problem already
            paths = inside_paths(manifest.table["path"])
            gone = unusable_files(manifest.root, paths, follow_links=manifest.follow_links)
            is_gone = paths.map(file_of).isin([path for names in gone for path in names])
            rows = paths.index.to_numpy(np.int64)[~is_gone]
        read: Read = partial(duplicates.read_squares, manifest)
        bad: dict[int, str] = {}
        remarks: dict[int, Remark] = {}
        look = partial(duplicates.decode_squares, manifest, bad, remarks, num_workers)
        with console.steps("checking images", len(rows)) as bar:
            scan = duplicates.scan_images(rows, look, bar.reach)
    else:
        pack = _pack(manifest, config, report, num_workers)
        read, bad = pack.read, pack.bad_rows
        good = np.setdiff1d(rows, np.fromiter(bad, np.int64, len(bad)))
        with console.steps("looking for duplicates", len(good)) as bar:
            scan = duplicates.scan_images(good, lambda block: (block, read(block)), bar.reach)
        remarks = dict(zip(good.tolist(), map(Remark, pack.remarks(good).tolist()), strict=True))
    paths = manifest.table["path"]
    report.bad_images = {str(paths.iloc[row]): reason for row, reason in sorted(bad.items())}
    groups = duplicates.same_pixels(manifest, scan)
    report.same_pixels = [[str(paths.iloc[row]) for row in group] for group in groups]
    for row in scan.rows[scan.few_greys].tolist():
        remarks[row] |= Remark.FEW_GREYS
    _tell_remarks(report, paths, remarks)
    n_left = Counter(manifest.table["split"].drop(labels=list(bad)).tolist())
    _near_duplicates(manifest, scan, read, report, ledger)
    _judge_images(report, n_left, config.data.skip_bad, check_only=check_only)
    if not check_only and not report.problems:
        picture = dataset_figure(report.summary, _examples(manifest, scan, read))
        report.write(ledger, "dataset.png", picture)


def _pack(
    manifest: Manifest, config: RunConfig, report: PrepareReport, num_workers: int | None
) -> Pack:
    data, n_rows = config.data, len(manifest)
    with console.steps("packing images", n_rows) as bar:
        pack = open_packs(
            manifest,
            np.arange(n_rows, dtype=np.int64),
            image_size=data.image_size,
            fit=data.fit,
            num_workers=num_workers,
            skip_bad=True,
            progress=bar.reach,
        )
    report.pack = PreparedPack(
        folder=portable_path(pack.folder),
        side=pack.side,
        fit=data.fit,
        rows=n_rows - len(pack.bad_rows),
        megabytes=round(n_rows * pack.side**2 / 1e6, 1),
    )
    return pack


def _tell_remarks(report: PrepareReport, paths: Column, remarks: dict[int, Remark]) -> None:
    """What was done to images, as notes; which do not look like a picture, as warnings."""
    marked = [(str(paths.iloc[row]), found) for row, found in sorted(remarks.items()) if found]
    for name, remark in _REMARKS.items():
        names = [path for path, found in marked if found & Remark[name]]
        if not names:
            continue
        report.remarks[name.lower()] = names
        said = f"{count(len(names), 'image')} {remark['text']} ({list_first(names, 3)})"
        (report.warnings if remark["is_warning"] else report.notes).append(said)
        if not remark["is_warning"]:
            console.note(said)


def _judge_images(
    report: PrepareReport, n_left: Mapping[str, int], skip_bad: bool, *, check_only: bool
) -> None:
    """Problems or warnings; the same image twice stops a check alone. `n_left` is by split."""
    images = {name: split["images"] for name, split in report.summary["splits"].items()}
    empty = [name for name in images if not n_left.get(name, 0)]
    facts = {
        "is_lost": not sum(n_left.values()) or bool({"train", "valid"} & {*empty}),
        "reasons": list_first(reason.partition(";")[0] for reason in report.bad_images.values()),
        "alike": list_first(" = ".join(group[:3]) for group in report.same_pixels),
    }
    facts |= {"images": images, "empty": empty, "skip_bad": skip_bad, "check_only": check_only}
    for entry in entries("prepare_images", report=report, n_left=n_left, **facts):
        kind, _, text = entry.partition(": ")
        getattr(report, kind).append(text)


def _near_duplicates(
    manifest: Manifest, scan: Scan, read: Read, report: PrepareReport, ledger: Ledger
) -> None:
    pairs = duplicates.near_duplicates(manifest, scan, read)
    report.near_duplicates = len(pairs)
    if not pairs:
        return
    report.write(ledger, "near_duplicates.csv", duplicates.pairs_csv(manifest, pairs))
    captioned, kind = [], "SYNTHETIC " * manifest.synthetic
    for pair in pairs[:_SHEET_PAIRS]:
        rows = np.asarray([pair.row_a, pair.row_b])
        (a, b), (path_a, path_b) = read(rows), manifest.table["path"].iloc[rows]
        captioned.append((f"{kind}{path_a}", a, f"{path_b} r={pair.correlation:.3f}", b))
    report.write(ledger, "near_duplicates.png", contact_sheet(captioned))


def _examples(manifest: Manifest, scan: Scan, read: Read) -> list[tuple[str, Pixels]]:
    """Up to eight images, spread over the dataset, each captioned with its positive labels."""
    if not len(scan.rows):
        return []
    rows = np.unique(scan.rows[np.linspace(0, len(scan.rows) - 1, 8).astype(np.int64)])
    positive = manifest.raw_labels(manifest.labels)[rows] == 1
    names = np.asarray(manifest.labels, object)
    captions = [list_first(names[line], 2) or "no positive label" for line in positive]
    return list(zip(captions, read(rows), strict=True))
