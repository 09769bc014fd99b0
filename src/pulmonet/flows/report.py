"""`pulmonet report`: the artifacts as a report that people read. Needs neither torch nor data."""

import webbrowser
from datetime import UTC, datetime
from math import isnan
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from pulmonet.errors import ArtifactError, ConfigError
from pulmonet.files.ledger import Ledger
from pulmonet.flows import console
from pulmonet.flows.options import ReportOptions
from pulmonet.report.checklist.items import read_author_notes
from pulmonet.report.collect import Context, collect
from pulmonet.report.model_card import render_model_card
from pulmonet.report.pseudonyms import load_identities
from pulmonet.report.render.blocks import all_pictures
from pulmonet.report.render.html import render_html
from pulmonet.report.render.markdown import render_markdown
from pulmonet.report.sections import build_document
from pulmonet.run.folder import list_runs, no_run
from pulmonet.words import count, duration

#: What drawing the maps of an explained image takes on one core.
SECONDS_PER_IMAGE = 0.3


def run(options: ReportOptions) -> int:
    """Write report.md and its pictures, and the page when asked or when `output` names one.

    Gives 0, or 4 when a damaged file was named and left out, or `verify` found a difference. With
    `list_runs` it only shows these.

    Raises:
        ArtifactError: no readable run; the folder cannot be written.
        ConfigError: author notes that cannot be used, or another kind of file as `output`.
    """
    artifacts_dir, output = options.artifacts_dir, options.output
    if options.list_runs:
        return show_runs(artifacts_dir)
    markdown_path, page_path = _paths(output or artifacts_dir)
    notes = read_author_notes(options.author_notes) if options.author_notes is not None else {}
    collection = collect(artifacts_dir)
    console.begin()
    n_images = sum(len(run.heat_maps.images) for run in collection.runs)
    if (expected := n_images * SECONDS_PER_IMAGE) > console.LONG:
        console.note(f"drawing {n_images:,} explained images takes about {duration(expected)}")
    verdicts: dict[str, str] = {}
    if options.verify:
        from pulmonet.flows.evaluate.options import EvaluateOptions
        from pulmonet.flows.verify import verify as verify_all

        verdicts = verify_all(collection, artifacts_dir, EvaluateOptions())
    context = Context(
        collection=collection,
        notes=notes,
        identities=load_identities(artifacts_dir, shown=options.show_identifiers),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        verdicts=verdicts,
    )
    document = build_document(context)
    folder = markdown_path.parent
    files_dir = folder / f"{markdown_path.stem}_files"
    pages: dict[Path, bytes | str] = {
        files_dir / picture.name: picture.png for picture in all_pictures(document.sections)
    }
    for name, text in render_markdown(document, markdown_path.stem).items():
        pages[folder / name] = text
    pages[folder / "MODEL_CARD.md"] = render_model_card(context)
    if with_page := options.html or options.show or page_path == output:
        pages[page_path] = render_html(document)
    ledger = Ledger(folder, "choose another folder with --output")
    ledger.check(*pages)
    for path, content in pages.items():
        ledger.write(path, content)
    # those of an earlier report may name patients
    if not with_page and ledger.owns(page_path):
        console.note(f"{page_path}: the page of an earlier report is removed; --html writes it")
    ledger.remove(*(path for path in (page_path, *files_dir.rglob("*")) if path not in pages))
    console.say(f"report: {markdown_path}")
    console.say(f"model card: {folder / 'MODEL_CARD.md'}")
    if with_page:
        console.say(f"page: {page_path}")
    if options.show and not webbrowser.open(page_path.resolve().as_uri()):
        console.warn(f"no browser was found: open {page_path} yourself")
    for problem in (*collection.stale, *collection.problems):
        console.warn(f"left out {problem.where}: {problem.what}")
    differs = any(verdict.startswith("differs") for verdict in verdicts.values())
    return ArtifactError.exit_code if collection.problems or differs else 0


def show_runs(artifacts_dir: Path) -> int:
    """A line for each run: model, data, state, validation AUROC, day of its start.

    Gives 0, or 4 when a damaged one was named. ArtifactError: there is none.
    """
    runs, n_damaged = list_runs(artifacts_dir), 0
    if not runs:
        raise ArtifactError(no_run(artifacts_dir))
    table = Table("Run", "Model", "Data", "State", box=None, pad_edge=False)
    table.add_column("AUROC\n(validation)", justify="right")
    table.add_column("Started", no_wrap=True)
    for run_dir in runs:
        try:
            record = run_dir.read_record()
            log = run_dir.read_log() if run_dir.log_path.exists() else None
        except ArtifactError as error:
            console.warn(str(error))
            n_damaged += 1
            continue
        facts, state = record.provenance, str(record.provenance.status)
        if state != "finished":
            n_done = 0 if log is None else len(log)
            state = f"{state}, {n_done} of {count(record.config.total_epochs, 'epoch')}"
        auroc = facts.best_valid_macro_auroc
        if auroc is None and log is not None:
            auroc = log["val_macro_auroc"].max()
        shown = "–" if auroc is None or isnan(auroc) else f"{auroc:.3f}"
        data = facts.dataset.name if facts.dataset else "–"
        model = record.config.model.summary()
        table.add_row(escape(run_dir.name), model, escape(data), state, shown, facts.start[:10])
    console.show_table(table)
    return ArtifactError.exit_code if n_damaged else 0


def _paths(output: Path) -> tuple[Path, Path]:
    """report.md and the page: in a folder, or beside the one of them that `output` names."""
    suffix = "" if output.is_dir() else output.suffix.lower()
    if suffix in {".pdf", ".docx", ".txt"}:
        text = f"--output {output}: a report is .md or .html; print the page to get a {suffix} file"
        raise ConfigError(text)
    if suffix in {".html", ".htm"}:
        return output.with_suffix(".md"), output
    markdown_path = output if suffix == ".md" else output / "report.md"
    return markdown_path, markdown_path.with_suffix(".html")
