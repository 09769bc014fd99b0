"""The report as Markdown: GitHub's flavour, every character of the artifacts escaped.

A section that stands beside is a file of its own, and every table a CSV and a LaTeX file.
"""

from functools import cache
from typing import Any

from pulmonet.files.templates import environment
from pulmonet.metrics.tables import Table, escape, escape_inline, to_csv, to_latex, to_markdown
from pulmonet.report.render import blocks
from pulmonet.report.texts import TEMPLATES
from pulmonet.report.wording import safe_name


def render_markdown(document: blocks.Document, stem: str = "report") -> dict[str, str]:
    """All files by their paths: ``report.md``, and those below ``report_files/``."""
    files_dir = f"{stem}_files"
    parts = _template().module
    found = {f"{stem}.md": parts.report(document, files_dir)}
    for section in blocks.all_sections(document.sections):
        if section.beside:
            found[f"{files_dir}/{section.key}.md"] = parts.aside(section, stem, document.synthetic)
        for block in section.blocks:
            if isinstance(block, Table):
                path = f"{files_dir}/tables/{section.key}-{block.key or safe_name(block.caption)}"
                found |= {f"{path}.csv": to_csv(block), f"{path}.tex": to_latex(block)}
    return found


def render_sections(sections: tuple[blocks.Section, ...]) -> str:
    """Sections in one text, from the second level down."""
    return str(_template().module.sections(sections, 2, ""))


@cache
def _template() -> Any:
    made = environment(TEMPLATES)
    made.filters |= {"prose": escape, "inline": escape_inline, "table": to_markdown}
    made.filters["kind"] = lambda block: type(block).__name__.lower()
    return made.get_template("report.md.j2")
