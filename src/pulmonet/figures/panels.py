"""Heat maps for people: the panel of one label, the contact sheet of several, the strip."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from pulmonet.arrays import Pixels
from pulmonet.data.images.square import shrink
from pulmonet.explain.results import LabelExplanation
from pulmonet.figures.style import new_figure, render, show
from pulmonet.words import NOTICE

#: Longest side of an X-ray inside a panel, pixels; the overlay file keeps the full resolution.
PANEL_SIDE = 640
SHEET_CELL = 180  # pixels, so that many fit into memory
ROWS_PER_SHEET = 20


def draw_panel(
    image: Pixels,
    overlay: Pixels | None,
    label: str,
    found: LabelExplanation,
    colour_map: str = "plasma",
    *,
    method: str = "gradcam",
    subtitle: str = "",
) -> bytes:
    """X-ray and overlay side by side, with colour bar, label, score and threshold, as PNG.

    The image is (H, W) grey, the overlay (H, W, 3) RGB, or None for a finding below its threshold:
    then words take its place, so that no picture suggests a lesion. `method` is named over it, with
    its layer where one was chosen; `subtitle` is image and run, in small print.
    """
    height, width = image.shape
    shown = 4.2 * min(1.0, width / height), 4.2 * min(1.0, height / width)
    beside = 1.5 if overlay is not None else 0.3  # room for the colour bar
    total = 2 * shown[0] + beside
    lines = _numbers(found, width=int(14 * total))
    above = 0.62 + 0.15 * len(lines)  # inches
    tall = shown[1] + above + 0.5
    figure = Figure(figsize=(total, tall), dpi=110, facecolor="white")
    grid = GridSpec(
        1, 3, figure=figure, width_ratios=[1, 1, 0.04], wspace=0.04,
        left=0.02, right=1 - 0.65 * beside / total,
        bottom=0.5 / tall, top=1 - above / tall,
    )  # fmt: skip
    left, right = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    show(left, shrink(image, PANEL_SIDE), "X-ray")
    words = "no map drawn" if overlay is None else method
    show(right, shrink(image if overlay is None else overlay, PANEL_SIDE), words)
    if overlay is None or found.empty:
        words = found.verdict().replace(" (", "\n(")
        words = words if overlay is None else "no positive evidence\n(empty map)"
        right.text(
            0.5, 0.5, words, transform=right.transAxes, ha="center", va="center",
            fontsize=13, color="white", bbox={"facecolor": "black", "alpha": 0.6, "pad": 6},
        )  # fmt: skip
    if overlay is not None:
        bar = figure.colorbar(
            ScalarMappable(Normalize(0, 1), cmap=colour_map), cax=figure.add_subplot(grid[0, 2])
        )
        bar.set_label("evidence, fraction of the map's maximum", fontsize=8)
        bar.ax.tick_params(labelsize=7)
    headline = f"{label}: {found.verdict()}"
    figure.text(0.02, 0.985, headline, va="top", fontsize=12, fontweight="bold")
    figure.text(0.02, 0.985 - 0.3 / tall, "\n".join(lines), va="top", fontsize=9)
    figure.text(0.02, 0.02, f"{subtitle}\n{NOTICE}".strip(), va="bottom", fontsize=7, color="0.3")
    return render(figure)


def _numbers(found: LabelExplanation, width: int) -> list[str]:
    """Score, probability, threshold; what conformal thresholds say, AUROC or reason, reference."""
    numbers = [f"score {found.score:.3f}"]
    if found.probability is not None:
        numbers.append(f"calibrated probability {found.probability:.2f}")
    if found.threshold is not None:
        numbers.append(f"threshold {found.threshold:.3f}")
    known = {None: "", True: "reference standard: positive", False: "reference standard: negative"}
    words = found.decision(), found.grounds(), known[found.reference]
    beside = "; ".join(filter(None, words))
    return ["   ".join(numbers), *textwrap.wrap(beside, width)]


@dataclass(frozen=True)
class SheetRow:
    """One image of a contact sheet, grey, and by label its RGB overlay or None."""

    name: str
    image: Pixels
    labels: Mapping[str, LabelExplanation]
    overlays: Mapping[str, Pixels | None]


def draw_contact_sheet(rows: Sequence[SheetRow], *, title: str = "") -> bytes:
    """Images below each other, at most `ROWS_PER_SHEET`, their labels beside each other, as PNG."""
    n_columns = 1 + len(rows[0].labels)
    inches, head = 1.8, 0.9
    total = (inches + 0.64) * len(rows) + head
    figure = Figure(figsize=(inches * n_columns, total), dpi=100, facecolor="white")
    grid = GridSpec(
        len(rows), n_columns, figure=figure, wspace=0.04, hspace=0.36,
        left=0.01, right=0.99, bottom=0.06 / total, top=1 - head / total,
    )  # fmt: skip
    for number, row in enumerate(rows):
        pictures: list[tuple[Pixels, str, str]] = [(row.image, row.name, "black")]
        for label, found in row.labels.items():
            overlay, colour = row.overlays[label], "0.5" if found.present is False else "black"
            picture = row.image if overlay is None else overlay
            pictures.append((picture, found.caption(label), colour))
        for column, (picture, words, colour) in enumerate(pictures):
            # the end of a text too long for its place: file names differ there
            shown = [text if len(text) <= 30 else "…" + text[-29:] for text in words.split("\n")]
            axes = figure.add_subplot(grid[number, column])
            show(axes, shrink(picture, SHEET_CELL), "\n".join(shown), colour)
    figure.text(0.01, 1 - 0.08 / total, f"{title}\n{NOTICE}".strip(), va="top", fontsize=8)
    return render(figure)


def draw_heat_map_strip(name: str, xray: Pixels, overlays: Sequence[tuple[str, Pixels]]) -> bytes:
    """An (H, W) X-ray, its name, and its overlays with words above, side by side, as PNG.

    They are (H, W, 3) RGB; (H, W) grey where no map is drawn.
    """
    pictures = [(name, xray), *overlays]
    height, width = xray.shape
    above = 0.26 + 0.13 * max(words.count("\n") for words, _ in pictures)  # inches
    figure = new_figure(1.9 * len(pictures), 1.9 * height / width + above)
    panels = figure.subplots(1, len(pictures), squeeze=False)[0]
    for axes, (words, picture) in zip(panels, pictures, strict=True):
        show(axes, picture, words)
        axes.set_anchor("S")  # an image centred in its place would push its words over the edge
    return render(figure)
