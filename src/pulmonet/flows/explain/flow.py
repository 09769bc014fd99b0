"""The flow of `pulmonet explain`: images to heat maps, pictures and one JSON document."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table

from pulmonet.choices import PIXEL_METHODS
from pulmonet.data.manifest import Manifest
from pulmonet.data.splits.choose import select_rows
from pulmonet.errors import DataError
from pulmonet.explain.dicom_capture import check_dicom_installed
from pulmonet.explain.maps.variants import Variant
from pulmonet.explain.results import (
    BadImage,
    Explanations,
    ImageExplanation,
    LabelExplanation,
    Localization,
    Sanity,
)
from pulmonet.figures.panels import ROWS_PER_SHEET, SheetRow, draw_contact_sheet
from pulmonet.files.paths import portable_path
from pulmonet.files.write import write_atomic, write_json
from pulmonet.flows import console
from pulmonet.flows.calibration import calibration_of
from pulmonet.flows.explain.boxes import score_localization
from pulmonet.flows.explain.images import (
    Source,
    read_run_dataset,
    sources_from_arguments,
    sources_from_rows,
)
from pulmonet.flows.explain.one_image import explain_one
from pulmonet.flows.explain.options import ExplainOptions
from pulmonet.flows.explain.sanity import check_maps
from pulmonet.metrics.calibration.fit import Calibration
from pulmonet.models.trained import TrainedRun, load_run
from pulmonet.words import NOTICE, count

#: Lines of the table on screen; explanations.json has them all.
MAX_TABLE_IMAGES = 10


@dataclass
class _Output:
    """What came of the images, collected on the way."""

    images: list[ImageExplanation] = field(default_factory=list)
    bad: list[BadImage] = field(default_factory=list)
    sheets: list[str] = field(default_factory=list)
    rows: list[SheetRow] = field(default_factory=list)


def explain(options: ExplainOptions) -> int:
    """Do all that the options ask for.

    Returns:
        0, or 3 when some of several images could not be read.

    Raises:
        DataError: no dataset, no image, or the only image is unreadable.
    """
    if options.dicom:
        check_dicom_installed()
    manifest = None
    if not options.images:
        manifest = read_run_dataset(
            options.record, options.data_dir, options.columns, options.split, announce=True
        )
    sources = _choose_sources(options, manifest)
    trained = load_run(options.run_dir, options.device)
    calibration = calibration_of(trained)
    console.say(_describe(options, trained))
    if any(variant.method == "scorecam" for variant in options.variants):
        console.note("scorecam runs the network once per channel: minutes an image on a CPU")
    _say_synthetic(options, manifest)
    output = _Output()
    if sources and not (options.sanity or options.boxes):
        _explain_sources(options, trained, calibration, sources, output, manifest)
    localization = sanity = None
    if options.boxes is not None and manifest is not None:
        localization = score_localization(options, trained, manifest)
    if options.sanity:
        sanity = check_maps(options, trained, sources, output.bad)
    document = _document(options, trained, manifest, output, localization, sanity)
    if document.images:  # a check alone leaves what is known of explained images as it is
        write_json(
            options.folder / "explanations.json", document.model_dump(mode="json", by_alias=True)
        )
    _report(options, document)
    return DataError.exit_code if output.bad else 0


# --- what is explained ----------------------------------------------------------------------


def _choose_sources(options: ExplainOptions, manifest: Manifest | None) -> list[Source]:
    if manifest is None:
        return sources_from_arguments(options.images)
    if options.boxes is not None and not options.sanity:
        return []  # the regions decide which rows
    rows = select_rows(manifest, options.split or "valid", options.views)
    default = 1 if options.first_row_only else (8 if options.sanity else len(rows))
    return sources_from_rows(manifest, [int(row) for row in rows[: options.n_rows or default]])


def _describe(options: ExplainOptions, trained: TrainedRun) -> str:
    names = ", ".join(run.name for run in (options.run_dir, *options.further_runs))
    ways = ", ".join(map(_way, options.variants))
    return (
        f"Explaining with {names} ({trained.record.config.model.summary()}), {ways}, "
        f"on {trained.device}"
    )


def _way(variant: Variant) -> str:
    if variant.method in PIXEL_METHODS:
        return variant.method
    layer = "the last feature map" if variant.layer is None else f"layer {variant.layer}"
    return f"{variant.method} at {layer}"


def _say_synthetic(options: ExplainOptions, manifest: Manifest | None) -> None:
    facts = options.record.provenance.dataset
    if manifest is not None and manifest.synthetic:
        console.say("The images are SYNTHETIC phantoms: nothing here says anything about patients.")
    elif facts is not None and facts.synthetic:
        console.say(
            "This model was trained on SYNTHETIC phantoms: its answers about X-rays of people "
            "mean nothing."
        )


# --- images to pictures -----------------------------------------------------------------------


def _explain_sources(
    options: ExplainOptions,
    trained: TrainedRun,
    calibration: Calibration | None,
    sources: Sequence[Source],
    output: _Output,
    manifest: Manifest | None,
) -> None:
    synthetic = manifest is not None and manifest.synthetic
    with console.steps("Explaining", len(sources)) as progress:
        for source in sources:
            try:
                image = source.read()
            except DataError as error:
                if len(sources) == 1:
                    raise
                console.warn(str(error))
                output.bad.append(BadImage(image=source.name, reason=str(error)))
            else:
                found, row = explain_one(
                    options, trained, calibration, source, image, synthetic=synthetic
                )
                output.images.append(found)
                if len(sources) > 1:
                    output.rows.append(row)
                if len(output.rows) == ROWS_PER_SHEET:
                    _write_sheet(options, output, synthetic=synthetic)
            progress.advance()
    if output.rows:
        _write_sheet(options, output, synthetic=synthetic)
    if not output.images:
        raise DataError(
            f"none of {len(sources)} images could be read; the first: {output.bad[0].reason}"
        )


def _write_sheet(options: ExplainOptions, output: _Output, *, synthetic: bool) -> None:
    number = len(output.sheets) + 1
    name = "contact_sheet.png" if number == 1 else f"contact_sheet_{number}.png"
    kind = "; SYNTHETIC phantoms" if synthetic else ""
    title = f"run {options.run_dir.name}, {options.way}{kind}"
    write_atomic(options.folder / name, draw_contact_sheet(output.rows, title=title))
    output.sheets.append(name)
    output.rows.clear()


# --- what is said -----------------------------------------------------------------------------


def _document(
    options: ExplainOptions,
    trained: TrainedRun,
    manifest: Manifest | None,
    output: _Output,
    localization: Localization | None,
    sanity: Sanity | None,
) -> Explanations:
    return Explanations(
        run=options.run_dir.name,
        model=trained.record.config.model.summary(),
        method=options.method,
        layer=options.layer,
        colour_map=options.colour_map,
        folder=portable_path(options.folder),
        dataset=None if manifest is None else manifest.name,
        synthetic=None if manifest is None else manifest.synthetic,
        contact_sheets=output.sheets,
        images=output.images,
        bad_images=output.bad,
        localization=localization,
        sanity=sanity,
    )


def _report(options: ExplainOptions, document: Explanations) -> None:
    if len(document.images) == 1:
        console.say(document.images[0].image)
    if document.images:
        console.show_table(scores_table(document.images[:MAX_TABLE_IMAGES]))
    rest = len(document.images) - MAX_TABLE_IMAGES
    if rest > 0:
        console.say(f"… and {rest:,} more images; all scores are in explanations.json")
    pairs = [pair for image in document.images for pair in image.labels.values()]
    drawn = [pair for pair in pairs if pair.overlay is not None]
    if pairs:
        first = os.path.normpath(options.folder / (drawn or pairs)[0].panel)
        if drawn:
            n_images = count(len(document.images), "image")
            console.say(f"{count(len(drawn), 'heat map')} of {n_images}, e.g. {first}")
        else:
            console.say(f"No map is drawn of an absent finding (--show-absent draws it): {first}")
    for name in document.contact_sheets[:1]:
        console.say(f"Contact sheet: {options.folder / name}")
    written = {
        "explanations.json": document.images,
        "localization.json": document.localization,
        "sanity.json": document.sanity,
    }
    paths = ", ".join(str(options.folder / name) for name, found in written.items() if found)
    console.say(f"All of it as data: {paths}")
    if any(label.threshold is None for image in document.images for label in image.labels.values()):
        console.note("no thresholds or calibrated probabilities yet: `pulmonet evaluate` sets them")
    if 0 < len(drawn) < len(pairs):
        console.note("no maps are drawn of absent findings; --show-absent draws them")
    console.say(NOTICE, style="dim")
    if document.bad_images:
        n_good = len(document.images) or (document.sanity.n_images if document.sanity else 0)
        n_bad = len(document.bad_images)
        console.warn(f"{n_bad:,} of {n_bad + n_good:,} images could not be read")
    if console.wants_json():
        console.show_json(document.model_dump(mode="json", by_alias=True))


def scores_table(images: Sequence[ImageExplanation]) -> Table:
    """Scores of one image or a few, at most as wide as the terminal."""
    table = Table(box=None, pad_edge=False)
    several = len(images) > 1
    if several:
        table.add_column("Image", no_wrap=True, max_width=max(30, console.stdout().width - 60))
    table.add_column("Label", overflow="fold")
    for name in ("Score", "Prob.", "Thr." if several else "Threshold"):
        table.add_column(name, justify="right")
    table.add_column("Finding")
    for image in images:
        # the folder's name rather than the path: `view1_frontal.jpg` says little
        name = image.image if image.maps is None else Path(image.maps).parent.name
        for label, found in image.labels.items():
            numbers = (f"{found.score:.3f}", _number(found.probability), _number(found.threshold))
            cells = (label, *numbers, _finding_words(found, short=several))
            table.add_row(*((name, *cells) if several else cells))
            name = ""
    return table


def _finding_words(found: LabelExplanation, *, short: bool) -> str:
    absent = "absent" if short else "absent (score below threshold)"
    words = {None: "–", True: "present", False: absent}[found.present]
    drawn = found.overlay is not None
    return f"{words}; empty map" if found.empty and drawn and not short else words


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
