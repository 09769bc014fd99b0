"""What the documentation tells a reader to type: commands, Python, and files, page by page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
#: The pages that a reader follows; decisions (docs/adr) tell nobody to type anything.
PAGES = tuple(
    path.relative_to(ROOT).as_posix()
    for path in sorted(
        [
            ROOT / "README.md",
            ROOT / "CONTRIBUTING.md",
            *DOCS.glob("*.md"),
            *DOCS.glob("experiments/*.md"),
        ]
    )
)
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.S | re.M)
_INDENTED = re.compile(r"(?<=\n\n)(?: {4}\S.*\n)+")
_INLINE = re.compile(r"`(pulmonet\s[^`]+)`")
_SHELL = {"sh", "bash", "console", "powershell"}
_COMPOUND = re.compile(r"\s*(for|if|while) |#!")


@dataclass(frozen=True)
class Documented:
    """One thing to type.

    Attributes:
        page: path of the page below the repository's root.
        kind: command (one line), script (several lines of shell), python, toml, or inline (a
            command within a sentence).
        text: without prompt, comment and line continuations.
    """

    page: str
    kind: str
    text: str


def documented(page: str) -> list[Documented]:
    """Everything on one page, blocks in their order, then what stands within sentences."""
    text = (ROOT / page).read_text("utf-8")
    found = []
    blocks = [(match.start(), match[1], match[2]) for match in FENCE.finditer(text)]
    prose = FENCE.sub(lambda match: " " * len(match[0]), text)
    blocks += [(match.start(), "sh", match[0]) for match in _INDENTED.finditer(prose)]
    for _, language, block in sorted(blocks):
        if language in _SHELL:
            found += _shell(page, block)
        elif language in {"python", "toml"}:
            found.append(Documented(page, language, block))
    for match in _INLINE.finditer(_INDENTED.sub("", prose)):
        found.append(Documented(page, "inline", " ".join(match[1].split())))
    return found


def _shell(page: str, block: str) -> list[Documented]:
    if _COMPOUND.match(block):
        return [Documented(page, "script", block)]
    lines = [line.strip() for line in block.replace("\\\n", "").splitlines()]
    bare = [" ".join(re.sub(r"(^|\s)#.*", "", line).split()).removeprefix("$ ") for line in lines]
    return [Documented(page, "command", line) for line in bare if line]
