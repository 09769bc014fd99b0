"""`pulmonet prepare`: find or draw a dataset, check it, sum it up, look at it, pack it."""

from pathlib import Path

from pulmonet import __version__
from pulmonet.config.fields import RunConfig
from pulmonet.data.boxes import read_boxes
from pulmonet.data.manifest import Manifest, fingerprint
from pulmonet.data.sources import remember_dataset
from pulmonet.data.sources.collections import find_collections, inspect_collections
from pulmonet.data.sources.read import join_problems
from pulmonet.data.splits.choose import resolve_labels
from pulmonet.data.splits.files import write_shareable_split
from pulmonet.data.summary import summarise
from pulmonet.errors import ArtifactError, ConfigError, DataError
from pulmonet.files.ledger import Ledger
from pulmonet.files.paths import expand, places_of, portable_path
from pulmonet.files.spreadsheet import table_text
from pulmonet.files.write import to_json
from pulmonet.flows import console
from pulmonet.flows.dataset import dataset_line, unread_text
from pulmonet.flows.options import PrepareOptions
from pulmonet.flows.prepare.pixels import look_at_pixels
from pulmonet.flows.prepare.report import PrepareReport
from pulmonet.flows.prepare.screen import say_the_end, summary_line, summary_table
from pulmonet.labels import DEFAULT_LABELS
from pulmonet.run.record import DatasetName
from pulmonet.words import list_first

DEMO_ROOT = Path("data") / "pulmonet-phantoms"
DEMO_PATIENTS = 200
#: What it may write into its folder, beside the images' own in a cache.
FILES = ["prepare_report.json", "boxes.csv", "dataset.png"]
FILES += ["near_duplicates.csv", "near_duplicates.png"]


def run(config: RunConfig, options: PrepareOptions, *, num_workers: int | None = None) -> int:
    """Prepare a dataset; gives 0.

    Raises:
        DataError: no dataset, or anything wrong with it; the report is written before.
        ConfigError: options that do not go together.
    """
    n_patients, check_only = options.n_patients, options.check_only
    if n_patients is not None and not options.demo:
        raise ConfigError("--patients: only with --demo; real data has the patients that it has")
    data = config.data
    if options.demo:
        place = _draw_demo(next(iter(places_of(data.data_dir)), None), n_patients, config.seed)
        data = data.model_copy(update={"data_dir": str(place)})
    found = find_collections(data)
    if options.export_split is not None and len(found.names) > 1:
        text = "of one collection; prepare each alone with it, and name the files as splits ="
        raise ConfigError(f"--export-split: {text} in a TOML file of the collections")
    # with --skip-bad a missing image is one of those that packing leaves out and names
    manifest, problems, notes = inspect_collections(
        *(found, data, config.seed), check_files=check_only or not data.skip_bad, keep_split=True
    )
    folder = options.out_dir or Path("artifacts") / "prepare" / manifest.name
    ledger = Ledger(folder, "choose another folder with --out-dir")
    ledger.check(*(folder / name for name in FILES))
    console.say(dataset_line(manifest))
    for text in notes:
        console.note(text)
    report = _begin_report(manifest, problems, notes)
    _check_labels(manifest, data.labels, report)
    console.say(summary_line(report.summary))
    console.show_table(summary_table(report.summary))

    if check_only or not report.problems:
        look_at_pixels(
            manifest, config, report, ledger, check_only=check_only, num_workers=num_workers
        )

    if options.export_split is not None and not report.problems:
        write_shareable_split(manifest, options.export_split)
        report.files.append(portable_path(options.export_split))
    _write_report(manifest, report, ledger)
    if report.problems:
        looked = check_only or report.pack is not None
        raise DataError(
            f"{join_problems(manifest.root, report.problems)}\n"
            f"everything found is in {portable_path(folder / 'prepare_report.json')}"
            + ("" if looked else "; to have the images checked, too, add --check-only")
        )
    if not check_only and not manifest.parts:
        try:
            remember_dataset(found.roots[0], found.configs[0].map)
        except ArtifactError as error:  # a home folder that cannot be written costs only that
            said = str(error).split(";")[0]
            console.warn(f"not remembered, so name it with --data-dir ({said})")
    say_the_end(manifest, report, config, check_only=check_only)
    return 0


def _draw_demo(place: str | None, n_patients: int | None, seed: int) -> Path:
    from pulmonet.data.phantoms.write import write_phantoms

    n_patients = DEMO_PATIENTS if n_patients is None else n_patients
    if n_patients < 2:
        raise ConfigError(f"--patients {n_patients}: a train and a valid patient make two at least")
    root = expand(place) if place else DEMO_ROOT
    with console.steps("drawing phantoms", n_patients) as bar:
        write_phantoms(root, n_patients, seed, progress=bar.reach)
    return root


def _begin_report(manifest: Manifest, problems: list[str], notes: list[str]) -> PrepareReport:
    root = " + ".join(portable_path(one.root) for one in manifest.parts or (manifest,))
    dataset = DatasetName(**manifest.facts(), root=root, fingerprint=fingerprint(manifest))
    return PrepareReport(
        pulmonet=__version__,
        ok=False,
        dataset=dataset,
        problems=problems,
        warnings=unread_text(manifest),
        notes=notes,
        summary=summarise(manifest),
    )


def _check_labels(manifest: Manifest, labels: tuple[str, ...], report: PrepareReport) -> None:
    """Labels that were asked for must be there; of the default five only in CheXpert's layout."""
    try:
        resolve_labels(manifest, labels)
    except DataError as error:
        if labels != DEFAULT_LABELS or manifest.source == "chexpert":
            report.problems.append(str(error))
            return
        there = resolve_labels(manifest, ("all",))
        text = f"labels: train with --labels all, or some of {list_first(there, 20)}"
        report.notes.append(text)
        console.note(text)


def _write_report(manifest: Manifest, report: PrepareReport, ledger: Ledger) -> None:
    """prepare_report.json, and boxes.csv where the source has boxes of its own kind."""
    report.ok = not report.problems
    if manifest.source != "chexpert" and report.ok:
        try:
            boxes = read_boxes(manifest, warnings=report.warnings)
            boxes = boxes[~boxes["path"].isin(report.bad_images)].rename(columns={"path": "Path"})
            if len(boxes):
                report.write(ledger, "boxes.csv", table_text(boxes, "%.5f"))
        except DataError as error:  # a file that does not hold boxes
            report.warnings.append(f"no boxes: {error}")
    path = ledger.folder / "prepare_report.json"
    report.files.append(portable_path(path))
    document = report.model_dump(mode="json", by_alias=True)
    ledger.write(path, to_json(document))
    if console.wants_json():
        console.show_json(document)
