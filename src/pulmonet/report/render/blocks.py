"""What a report is made of, before it becomes markdown or a page.

Text in blocks is plain text: a renderer escapes it, so that a label called ``<script>`` stays a
word. Sections are built once (`pulmonet.report.sections`) and rendered twice.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pulmonet.metrics.tables import Table
from pulmonet.report.render.threshold_steps import ThresholdSteps


@dataclass(frozen=True)
class Text:
    """A paragraph; ``warning`` and ``note`` stand out, ``todo`` waits for the authors."""

    text: str
    kind: Literal["paragraph", "note", "warning", "todo"] = "paragraph"


@dataclass(frozen=True)
class Bullets:
    """A list; each item may start with a few words in bold."""

    items: tuple[tuple[str, str], ...]  # (lead, text); the lead may be empty
    numbered: bool = False


@dataclass(frozen=True)
class Code:
    """Lines to type, or output."""

    text: str


@dataclass(frozen=True)
class Picture:
    """A PNG that the report carries with it."""

    name: str  # of the file below ``report_files/``; carries no identifier
    png: bytes
    alt: str  # what somebody who cannot see it needs to know
    caption: str = ""


@dataclass(frozen=True)
class Series:
    """A line of a chart; None leaves a gap."""

    name: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    band: tuple[tuple[float, float, float], ...] = ()  # (x, low, high) at 95 %
    strong: bool = False
    points: tuple[tuple[float, float, float, float], ...] = ()  # (x, y, low, high), as circles


@dataclass(frozen=True)
class Chart:
    """Lines over one x axis; drawn as SVG on the page and as a picture in markdown."""

    key: str
    title: str
    x_name: str
    y_name: str
    series: tuple[Series, ...]
    mark_x: float | None = None  # a vertical line: the best epoch
    frame: tuple[float, float, float, float] | None = None  # both ends of x, then of y
    level: float | None = None  # a horizontal line in place of the diagonal: the prevalence


@dataclass(frozen=True)
class Charts:
    """Charts that stand side by side, with the pictures that markdown shows instead."""

    charts: tuple[Chart, ...]
    pictures: tuple[Picture, ...] = ()
    caption: str = ""


@dataclass(frozen=True)
class Choice:
    """Charts by finding, of which the page shows one's at a time; markdown has pictures."""

    charts: tuple[tuple[str, tuple[Chart, ...]], ...]
    caption: str


@dataclass(frozen=True)
class Exhibit:
    """One image with one run's heat maps, for the viewer."""

    run: str
    image: str  # its pseudonym, or its name, when identifiers were asked for
    grey: bytes  # the image as JPEG or PNG
    maps: tuple[Mapping[str, Any], ...]
    """By label: png (RGBA; None where not drawn), score, verdict in words, target, and more."""
    method: str = ""


@dataclass(frozen=True)
class Viewer:
    """The page's viewer; markdown shows `pictures`."""

    exhibits: tuple[Exhibit, ...]
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class ThresholdExplorer:
    """The page's slider; markdown says that the page has it."""

    steps: tuple[ThresholdSteps, ...]


Block = Text | Bullets | Table | Code | Picture | Charts | Choice | Viewer | ThresholdExplorer


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it; its key names its file."""

    key: str
    title: str
    blocks: tuple[Block, ...]
    children: tuple["Section", ...] = ()
    folded: bool = False  # whether the page shows only the heading until asked for more
    beside: bool = False  # whether Markdown has it in a file of its own, linked from here


@dataclass(frozen=True)
class Document:
    """The whole report."""

    title: str
    subtitle: str
    written: str
    version: str
    synthetic: bool
    sections: tuple[Section, ...]
    tiles: tuple[tuple[str, str, str], ...] = ()  # (name, value, detail), read first


def all_sections(sections: Iterable[Section]) -> Iterator[Section]:
    """Sections with those below them, in order."""
    for section in sections:
        yield section
        yield from all_sections(section.children)


def all_pictures(sections: Iterable[Section]) -> list[Picture]:
    """Every picture that markdown links to, in order."""
    return [
        picture
        for section in all_sections(sections)
        for block in section.blocks
        for picture in ([block] if isinstance(block, Picture) else getattr(block, "pictures", ()))
    ]
