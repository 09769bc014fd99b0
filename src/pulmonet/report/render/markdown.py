"""The report as markdown: GitHub's flavour, every character of the artifacts escaped."""

from __future__ import annotations

import re

from pulmonet.report.render.blocks import (
    Block,
    Bullets,
    Cell,
    Charts,
    Code,
    Document,
    Picture,
    Section,
    Table,
    Text,
    ThresholdExplorer,
    Viewer,
)

#: Folder beside report.md that holds its pictures; beside mine.md it is mine_files.
FILES_DIR = "report_files"
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~&$@])")
_LEADS = {
    "paragraph": "",
    "note": "> **Note.** ",
    "warning": "> **Warning.** ",
    "todo": "> **TODO.** ",
}


def render_markdown(document: Document, files_dir: str = FILES_DIR) -> str:
    """The whole report; pictures are linked below `files_dir`, a folder beside it."""
    lines = [
        f"# {escape(document.title)}",
        "",
        f"{escape(document.subtitle)}. Written by PulmoNet {escape(document.version)} on "
        f"{escape(document.written)} from the artifacts alone.",
        "",
    ]
    if document.synthetic:
        lines += ["**SYNTHETIC data: phantoms, no patients.**", ""]
    lines += render_sections(document.sections, files_dir)
    return "\n".join(lines).rstrip() + "\n"


def render_sections(sections: tuple[Section, ...], files_dir: str = FILES_DIR) -> list[str]:
    """Sections as lines, from level 2 down."""
    return [line for section in sections for line in _section(section, 2, files_dir)]


def escape(text: str) -> str:
    """A paragraph's plain text as markdown that shows the same; code in backticks is code."""
    parts = re.split(r"(`[^`\n]+`)", " ".join(text.split()))
    parts = [
        part if position % 2 else _SPECIAL.sub(r"\\\1", part) for position, part in enumerate(parts)
    ]
    # A line that starts like a list or a rule would become one.
    text = re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", "".join(parts))
    return re.sub(r"^([-+=])", r"\\\1", text)


def escape_inline(text: str) -> str:
    """Plain text inside a line or a table cell: nothing in it is markup."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _section(section: Section, level: int, files_dir: str) -> list[str]:
    lines = [f"{'#' * min(level, 6)} {escape(section.title)}", ""]
    for block in section.blocks:
        lines += [*_block(block, files_dir), ""]
    for child in section.children:
        lines += _section(child, level + 1, files_dir)
    return lines


def _block(block: Block, files_dir: str) -> list[str]:
    match block:
        case Text():
            return [f"{_LEADS[block.kind]}{escape(block.text)}"]
        case Bullets():
            return _bullets(block)
        case Table():
            return _table(block)
        case Code():
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", block.text)), default=0))
            return [f"{fence}sh", block.text, fence]
        case Picture():
            return _picture(block, files_dir)
        case Charts() if not block.pictures:
            return ["The page (`pulmonet report --html`) draws the curves."]
        case Charts():
            return [*_pictures(block, files_dir)[:-1], *_caption(block.caption)]
        case Viewer():
            return _pictures(block, files_dir)
        case ThresholdExplorer():
            return ["The page (`pulmonet report --html`) has a slider for thresholds."]


def _bullets(block: Bullets) -> list[str]:
    lines = []
    for position, (lead, text) in enumerate(block.items, start=1):
        mark = f"{position}." if block.numbered else "-"
        bold = f"**{escape_inline(lead)}** " if lead else ""
        lines.append(f"{mark} {bold}{escape(text)}")
    return lines


def _table(table: Table) -> list[str]:
    sorts = zip(*([cell.sort for cell in row] for row in table.rows), strict=True)
    aligns = [":--" if set(column) == {None} else "--:" for column in sorts]
    lines = [
        f"**{escape_inline(table.caption)}**",
        "",
        _row([escape_inline(column) for column in table.columns]),
        _row(aligns or [":--"] * len(table.columns)),
        *(_row([_cell(cell) for cell in row]) for row in table.rows),
    ]
    if table.notes:
        lines += ["", *(f"*{escape_inline(note)}*  " for note in table.notes)]
    return lines


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    text = escape_inline(cell.text)
    return f"**TODO** {text}" if cell.kind == "todo" else text


def _pictures(block: Charts | Viewer, files_dir: str) -> list[str]:
    return [line for picture in block.pictures for line in (*_picture(picture, files_dir), "")]


def _picture(picture: Picture, files_dir: str) -> list[str]:
    link = f"![{escape_inline(picture.alt)}]({files_dir}/{picture.name})"
    return [link, *_caption(picture.caption)]


def _caption(text: str) -> list[str]:
    return ["", f"*{escape_inline(text)}*"] if text else []
