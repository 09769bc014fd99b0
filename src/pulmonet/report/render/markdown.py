"""The report as markdown: GitHub's flavour, every character of the artifacts escaped."""

import re
from collections.abc import Iterable

from pulmonet.report.render import blocks

#: Folder beside report.md that holds its pictures; beside mine.md it is mine_files.
FILES_DIR = "report_files"
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~&$@])")
_LEADS = {"paragraph": "", "note": "> **Note.** "}
_LEADS |= {"warning": "> **Warning.** ", "todo": "> **TODO.** "}


def render_markdown(document: blocks.Document, files_dir: str = FILES_DIR) -> str:
    """The whole report; pictures are linked below `files_dir`, a folder beside it."""
    made = f"PulmoNet {escape(document.version)} on {escape(document.written)}"
    subtitle = f"{escape(document.subtitle)}. Written by {made} from the artifacts alone."
    lines = [f"# {escape(document.title)}", "", subtitle, ""]
    if document.synthetic:
        lines += ["**SYNTHETIC data: phantoms, no patients.**", ""]
    lines += render_sections(document.sections, files_dir)
    return "\n".join(lines).rstrip() + "\n"


def render_sections(
    sections: tuple[blocks.Section, ...], files_dir: str = FILES_DIR, level: int = 2
) -> list[str]:
    """Sections as lines, from `level` down."""
    lines: list[str] = []
    for section in sections:
        lines += [f"{'#' * min(level, 6)} {escape(section.title)}", ""]
        for block in section.blocks:
            lines += [*_block(block, files_dir), ""]
        lines += render_sections(section.children, files_dir, level + 1)
    return lines


def escape(text: str) -> str:
    """A paragraph's plain text as markdown that shows the same; code in backticks is code."""
    parts = re.split(r"(`[^`\n]+`)", " ".join(text.split()))
    parts[::2] = [_SPECIAL.sub(r"\\\1", part) for part in parts[::2]]
    # A line that starts like a list or a rule would become one.
    text = re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", "".join(parts))
    return re.sub(r"^([-+=])", r"\\\1", text)


def escape_inline(text: str) -> str:
    """Plain text inside a line or a table cell: nothing in it is markup."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _block(block: blocks.Block, files_dir: str) -> list[str]:
    match block:
        case blocks.Text():
            return [f"{_LEADS[block.kind]}{escape(block.text)}"]
        case blocks.Bullets():
            marks = [f"{n}." if block.numbered else "-" for n, _ in enumerate(block.items, 1)]
            leads = [f"**{escape_inline(lead)}** " if lead else "" for lead, _ in block.items]
            items = zip(marks, leads, block.items, strict=True)
            return [f"{mark} {lead}{escape(text)}" for mark, lead, (_, text) in items]
        case blocks.Table():
            return _table(block)
        case blocks.Code():
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", block.text)), default=0))
            return [f"{fence}sh", block.text, fence]
        case blocks.Picture():
            return _picture(block, files_dir)
        case blocks.Charts() if not block.pictures:
            return ["The page (`pulmonet report --html`) draws the curves."]
        case blocks.Charts():
            return [*_pictures(block, files_dir)[:-1], *_caption(block.caption)]
        case blocks.Choice():
            return []
        case blocks.Viewer():
            return _pictures(block, files_dir)
        case blocks.ThresholdExplorer():
            return ["The page (`pulmonet report --html`) has a slider for thresholds."]


def _table(table: blocks.Table) -> list[str]:
    sorts = zip(*([cell.sort for cell in row] for row in table.rows), strict=True)
    cells = (
        [f"{'**TODO** ' * (cell.kind == 'todo')}{escape_inline(cell.text)}" for cell in row]
        for row in table.rows
    )
    aligns = [":--" if set(column) == {None} else "--:" for column in sorts]
    lines = [
        f"**{escape_inline(table.caption)}**",
        "",
        _row(map(escape_inline, table.columns)),
        _row(aligns or [":--"] * len(table.columns)),
        *map(_row, cells),
    ]
    if table.notes:
        lines += ["", *(f"*{escape(note)}*  " for note in table.notes)]
    return lines


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _pictures(block: blocks.Charts | blocks.Viewer, files_dir: str) -> list[str]:
    return [line for picture in block.pictures for line in (*_picture(picture, files_dir), "")]


def _picture(picture: blocks.Picture, files_dir: str) -> list[str]:
    link = f"![{escape_inline(picture.alt)}]({files_dir}/{picture.name})"
    return [link, *_caption(picture.caption)]


def _caption(text: str) -> list[str]:
    return ["", f"*{escape(text)}*"] if text else []
