"""The report as one page: all styles, scripts, pictures and numbers inline, nothing fetched.

Autoescape is on for every template, so a label called ``<script>`` stays a word. The page's
content security policy allows no network at all and only the two inline blocks whose digests
it names.
"""

import base64
import hashlib
import re
from functools import cache

from jinja2 import Template
from markupsafe import Markup

from pulmonet.files.templates import environment
from pulmonet.report.render import blocks
from pulmonet.report.render.charts import draw_chart
from pulmonet.report.texts import TEMPLATES


def render_html(document: blocks.Document) -> str:
    """The page as text, complete in itself."""
    texts = [(TEMPLATES / name).read_text("utf-8") for name in ("page.css", "page.js")]
    style, script = (
        f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
        for text in texts
    )
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{style}'; script-src '{script}'"
    )
    return _template().render(
        document=document, style=Markup(texts[0]), script=Markup(texts[1]), policy=policy
    )


@cache
def _template() -> Template:
    made = environment(TEMPLATES, autoescape=True)
    made.filters |= {
        "kind": lambda block: type(block).__name__.lower(),
        "prose": _prose,
        "draw": draw_chart,
        "data_uri": data_uri,
        "vars": vars,
    }
    how = {"separators": (",", ":"), "allow_nan": False, "default": data_uri}
    made.policies["json.dumps_kwargs"] = how
    return made.get_template("page.html.j2")


def data_uri(content: bytes) -> str:
    """A picture as a data URI; its type is read from its first bytes."""
    kind = "image/jpeg" if content.startswith(b"\xff\xd8") else "image/png"
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _prose(text: str) -> Markup:
    """Plain text; what stands in backticks is set as code."""
    parts = re.split(r"`([^`\n]+)`", text)
    parts[1::2] = [Markup("<code>{}</code>").format(part) for part in parts[1::2]]
    return Markup("").join(parts)
