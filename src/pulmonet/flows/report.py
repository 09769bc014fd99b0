"""`pulmonet report`: the artifacts as a report that people read. Needs neither torch nor data."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from pulmonet.errors import ArtifactError
from pulmonet.files.write import write_atomic
from pulmonet.flows import console
from pulmonet.report.checklist.items import read_author_notes
from pulmonet.report.collect import Context, collect
from pulmonet.report.model_card import render_model_card
from pulmonet.report.pseudonyms import load_identities
from pulmonet.report.render.blocks import all_pictures
from pulmonet.report.render.html import render_html
from pulmonet.report.render.markdown import render_markdown
from pulmonet.report.sections import build_document


def run(
    *,
    artifacts_dir: Path,
    output: Path | None = None,
    html: bool = False,
    author_notes: Path | None = None,
    show_identifiers: bool = False,
) -> int:
    """Write report.md and its pictures, and the page when asked.

    Returns:
        0, or 4 when a damaged file was named and left out.

    Raises:
        ArtifactError: no readable run; the folder cannot be written.
        ConfigError: author notes that cannot be used.
    """
    notes = read_author_notes(author_notes) if author_notes is not None else {}
    collection = collect(artifacts_dir)
    context = Context(
        collection=collection,
        notes=notes,
        identities=load_identities(artifacts_dir, shown=show_identifiers),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
    document = build_document(context)
    markdown_path = output or artifacts_dir / "report.md"
    if markdown_path.suffix.lower() != ".md":
        markdown_path /= "report.md"
    folder = markdown_path.parent
    files_dir = folder / f"{markdown_path.stem}_files"
    pictures = {picture.name: picture.png for picture in all_pictures(document.sections)}
    for name, png in pictures.items():
        write_atomic(files_dir / name, png)
    write_atomic(markdown_path, render_markdown(document, quote(files_dir.name)))
    for path in files_dir.glob("*.png"):  # those of an earlier report may name patients
        if path.name not in pictures:
            with contextlib.suppress(OSError):
                path.unlink()
    write_atomic(folder / "MODEL_CARD.md", render_model_card(context))
    console.say(f"report: {markdown_path}")
    console.say(f"model card: {folder / 'MODEL_CARD.md'}")
    if html:
        page_path = markdown_path.with_suffix(".html")
        write_atomic(page_path, render_html(document))
        console.say(f"page: {page_path}")
    for problem in collection.problems:
        console.warn(f"left out {problem.where}: {problem.what}")
    return ArtifactError.exit_code if collection.problems else 0
