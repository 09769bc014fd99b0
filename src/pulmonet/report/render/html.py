"""The report as one page: all styles, scripts, pictures and numbers inline, nothing fetched.

Autoescape is on for every template, so a label called ``<script>`` stays a word. The page's
content security policy allows no network at all and only the two inline blocks whose digests
it names.
"""

import base64
import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from pulmonet.report.render import blocks
from pulmonet.report.render.charts import draw_chart

_TEMPLATES = Path(__file__).parents[1] / "templates"
_WITH_INTERVAL = re.compile(r"([−-]?[\d.]+) (\([^()]*\))")


def render_html(document: blocks.Document) -> str:
    """The page as text, complete in itself."""
    texts = [(_TEMPLATES / name).read_text("utf-8") for name in ("page.css", "page.js")]
    style, script = (
        f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
        for text in texts
    )
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{style}'; script-src '{script}'"
    )
    found = _page_data(document)
    data = json.dumps(found, separators=(",", ":"), allow_nan=False, default=data_uri)
    for mark in "<>&":  # nothing that a label holds can end the script element
        data = data.replace(mark, f"\\u{ord(mark):04x}")
    return _template().render(
        document=document,
        style=Markup(texts[0]),
        script=Markup(texts[1]),
        policy=policy,
        data=Markup(data),
        forest_scale=forest_scale,
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "kind": lambda block: type(block).__name__.lower(),
        "prose": _prose,
        "cell": _cell,
        "draw": draw_chart,
        "data_uri": data_uri,
    }
    return environment.get_template("page.html.j2")


def data_uri(content: bytes) -> str:
    """A picture as a data URI; its type is read from its first bytes."""
    kind = "image/jpeg" if content.startswith(b"\xff\xd8") else "image/png"
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _prose(text: str) -> Markup:
    """Plain text; what stands in backticks is set as code."""
    parts = re.split(r"`([^`\n]+)`", text)
    parts[1::2] = [Markup("<code>{}</code>").format(part) for part in parts[1::2]]
    return Markup("").join(parts)


def _cell(cell: blocks.Cell) -> Markup:
    """A cell's text with its interval in a quieter tone."""
    found = _WITH_INTERVAL.fullmatch(cell.text)
    if found is None:
        return escape(cell.text)
    return Markup('{} <span class="interval">{}</span>').format(*found.groups())


def forest_scale(table: blocks.Table) -> tuple[float, float] | None:
    """The common scale of a table's bars: (low, high), None where there is nothing to draw."""
    if not table.forest:
        return None
    ends = [end for row in table.rows for cell in row for end in cell.interval or ()]
    return (min(ends), max(ends)) if ends and max(ends) - min(ends) >= 1e-6 else None


def _page_data(document: blocks.Document) -> dict[str, Any]:
    """What the script needs: curves, thresholds, heat maps."""
    charts: dict[str, Any] = {}
    thresholds: list[Any] = []
    exhibits: list[Any] = []
    for block in blocks.all_blocks(document.sections):
        match block:
            case blocks.Charts():
                charts |= {chart.key: _chart_data(chart) for chart in block.charts}
            case blocks.ThresholdExplorer():
                for steps in block.steps:
                    rounded = [float(f"{value:.6g}") for value in steps.thresholds]
                    thresholds.append(vars(steps) | {"thresholds": rounded})
            case blocks.Viewer():
                exhibits += [
                    vars(exhibit) | {"maps": [vars(item) for item in exhibit.maps]}
                    for exhibit in block.exhibits
                ]
    return {"charts": charts, "thresholds": thresholds, "exhibits": exhibits}


def _chart_data(chart: blocks.Chart) -> dict[str, Any]:
    drawing = draw_chart(chart)
    return {
        "frame": [drawing[side] for side in ("left", "right", "top", "bottom")],
        "x": drawing["x_range"],
        "y": drawing["y_range"],
        "xName": chart.x_name,
        "whole": chart.x_name == "epoch",
        "series": [
            {
                "name": series.name,
                "x": [round(x, 4) for x in series.x],
                "y": [None if y is None else round(y, 4) for y in series.y],
            }
            for series in chart.series
        ],
    }
