"""One vocabulary of label names: what the sources call a finding, and what PulmoNet calls it.

The names are CheXpert's 14 observations and, for what these do not cover, NIH ChestX-ray14's.
What has no counterpart keeps its own name. ``docs/labels.md`` shows this table; a test holds
the two together.
"""

from __future__ import annotations

from functools import cache

from pulmonet.labels import CHEXPERT_LABELS

#: Vocabulary name -> what sources call it, letter case and ``_`` for a space aside.
VOCABULARY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(CHEXPERT_LABELS, ()),
    "No Finding": ("normal",),
    "Enlarged Cardiomediastinum": ("enlarged cardiomediastinal silhouette",),
    "Cardiomegaly": (),
    "Lung Opacity": ("opacity", "airspace opacity"),
    "Edema": ("pulmonary edema", "oedema", "pulmonary oedema"),
    "Pleural Effusion": ("effusion",),
    "Fracture": ("fractures",),
    "Support Devices": ("support device",),
    "Emphysema": ("pulmonary emphysema",),
    "Fibrosis": ("pulmonary fibrosis",),
    "Hernia": ("hiatal hernia",),
    "Infiltration": ("infiltrates", "infiltrate"),
    "Mass": ("pulmonary mass",),
    "Nodule": ("pulmonary nodule",),
    "Pleural Thickening": (),
    "Nodule/Mass": ("nodule mass",),
}


def _fold(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).lower()


@cache
def _by_folded() -> dict[str, str]:
    folded = {_fold(label): label for label in VOCABULARY}
    for label, aliases in VOCABULARY.items():
        for alias in aliases:
            folded.setdefault(_fold(alias), label)
    return folded


def align(name: str) -> str:
    """The vocabulary's name for a source's label; the source's own where there is none."""
    return _by_folded().get(_fold(name), name.strip())


def as_markdown() -> str:
    """The vocabulary as the table of ``docs/labels.md``."""
    lines = ["| label | also read as | of CheXpert's 14 |", "|---|---|---|"]
    for label, aliases in VOCABULARY.items():
        also = ", ".join(aliases) or "-"
        lines.append(f"| {label} | {also} | {'yes' if label in CHEXPERT_LABELS else '-'} |")
    return "\n".join(lines) + "\n"
