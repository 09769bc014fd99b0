"""What a report says, for tests: its tables by caption, its sections by title, their words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pulmonet.metrics.tables import Table
from pulmonet.report.collect import Context, collect
from pulmonet.report.pseudonyms import Identities
from pulmonet.report.render.blocks import Block, Bullets, Document, Section, Text, all_sections
from pulmonet.report.sections import build_document
from pulmonet.run.folder import RunDir
from report_factory import make_comparison


def _document(artifacts_dir: Path) -> Document:
    return build_document(Context(collect(artifacts_dir), Identities(b"k" * 32)))


def _blocks(artifacts_dir: Path) -> Iterator[Block]:
    sections = all_sections(_document(artifacts_dir).sections)
    return (block for section in sections for block in section.blocks)


def tables_of(artifacts_dir: Path) -> dict[str, Table]:
    """All tables by their captions."""
    blocks = _blocks(artifacts_dir)
    return {block.caption: block for block in blocks if isinstance(block, Table)}


def sections_of(artifacts_dir: Path) -> dict[str, Section]:
    """All sections by their titles."""
    found: dict[str, Section] = {}

    def walk(sections: Iterable[Section]) -> None:
        for section in sections:
            found[section.title] = section
            walk(section.children)

    walk(_document(artifacts_dir).sections)
    return found


def parts_of(markdown_path: Path) -> list[Path]:
    """report.md and the files beside it."""
    beside = markdown_path.with_name(f"{markdown_path.stem}_files")
    return [markdown_path, *sorted(beside.glob("*.md"))]


def whole_report(folder: Path) -> str:
    """What report.md and the files beside it say."""
    return "\n".join(path.read_text("utf-8") for path in parts_of(folder / "report.md"))


def words_of(section: Section) -> str:
    """Paragraphs and lists of a section, without those below it."""
    texts = [block.text for block in section.blocks if isinstance(block, Text)]
    items = [
        f"{lead} {text}"
        for block in section.blocks
        if isinstance(block, Bullets)
        for lead, text in block.items
    ]
    return "\n".join([*texts, *items])


def texts_of(artifacts_dir: Path) -> str:
    """All paragraphs of the report."""
    blocks = _blocks(artifacts_dir)
    return "\n".join(block.text for block in blocks if isinstance(block, Text))


def change_result(run_dir: RunDir, **changes: Any) -> None:
    """Rewrite the one evaluation of a run."""
    (path,) = run_dir.path.glob("evaluation_*.json")
    document = json.loads(path.read_text())
    document["runs"][0] |= changes
    path.write_text(json.dumps(document))


def compare(artifacts_dir: Path, a: str, b: str, **facts: Any) -> None:
    """As `evaluate` leaves two runs that it has compared."""
    pair = make_comparison(a, b).model_copy(update=facts).model_dump(mode="json")
    for name in (a, b):
        (path,) = (artifacts_dir / name).glob("evaluation_*.json")
        path.write_text(json.dumps(json.loads(path.read_text()) | {"comparisons": [pair]}))
