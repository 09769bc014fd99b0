"""Pictures for people: the side-by-side panel of one label and the contact sheet of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from numpy.typing import NDArray

from pulmonet.explain.maps.overlay import encode_png
from pulmonet.words import NOTICE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Longest side of an X-ray inside a panel, pixels; the overlay file keeps the full resolution.
PANEL_SIDE = 640
SHEET_CELL = 180
ROWS_PER_SHEET = 20


@dataclass(frozen=True)
class Finding:
    """What the model says of one label on one image.

    Attributes:
        label: its name.
        score: in [0, 1].
        probability: calibrated; None where the run has no calibration.
        threshold: the score from which on the finding counts as present; None where unknown.
    """

    label: str
    score: float
    probability: float | None = None
    threshold: float | None = None

    @property
    def present(self) -> bool | None:
        """Whether the score reaches the threshold; None without one."""
        return None if self.threshold is None else self.score >= self.threshold

    @property
    def verdict(self) -> str:
        """Present or absent, by which side of the threshold; ``no threshold`` without one."""
        above, below = "present (score above threshold)", "absent (score below threshold)"
        words = {True: above, False: below, None: "no threshold"}
        return words[self.present]

    def numbers(self) -> str:
        """Score, probability and threshold as one line of text."""
        parts = [f"score {self.score:.3f}"]
        if self.probability is not None:
            parts.append(f"calibrated probability {self.probability:.2f}")
        parts.append(
            "no threshold yet: pulmonet evaluate sets one"
            if self.threshold is None
            else f"threshold {self.threshold:.3f}"
        )
        return "   ".join(parts)


def draw_panel(
    image: NDArray[np.uint8],
    overlay: NDArray[np.uint8] | None,
    finding: Finding,
    *,
    colour_map: str = "plasma",
    method: str = "gradcam",
    subtitle: str = "",
    empty: bool = False,
) -> bytes:
    """X-ray and overlay side by side, with colour bar, label, score and threshold, as PNG.

    Args:
        image: (H, W) grey.
        overlay: (H, W, 3) RGB, or None where the finding is absent: then the words take its
            place, so that no picture suggests a lesion.
        finding: label, score, threshold.
        colour_map: of the overlay.
        method: named over the overlay, with its layer where one was chosen.
        subtitle: image and run, in small print.
        empty: the map is all zero: nothing spoke for the label.
    """
    height, width = image.shape
    shown = 4.2 * min(1.0, width / height), 4.2 * min(1.0, height / width)
    beside = 1.5 if overlay is not None else 0.3  # room for the colour bar
    total = 2 * shown[0] + beside
    figure = Figure(figsize=(total, shown[1] + 1.35), dpi=110, facecolor="white")
    grid = GridSpec(
        1, 3, figure=figure, width_ratios=[1, 1, 0.04], wspace=0.04,
        left=0.02, right=1 - 0.65 * beside / total,
        bottom=0.5 / (shown[1] + 1.35), top=1 - 0.75 / (shown[1] + 1.35),
    )  # fmt: skip
    left, right = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    _show(left, image, PANEL_SIDE)
    left.set_title("X-ray", fontsize=9)
    _show(right, image if overlay is None else overlay, PANEL_SIDE)
    right.set_title(method if overlay is not None else "no map drawn", fontsize=9)
    if overlay is None or empty:
        words = (
            "absent\n(score below threshold)"
            if overlay is None
            else "nothing in the image\nspeaks for it"
        )
        right.text(
            0.5, 0.5, words, transform=right.transAxes, ha="center", va="center",
            fontsize=13, color="white", bbox={"facecolor": "black", "alpha": 0.6, "pad": 6},
        )  # fmt: skip
    if overlay is not None:
        bar = figure.colorbar(
            ScalarMappable(Normalize(0, 1), cmap=colour_map), cax=figure.add_subplot(grid[0, 2])
        )
        bar.set_label("evidence, share of the map's maximum", fontsize=8)
        bar.ax.tick_params(labelsize=7)
    headline = finding.label + ("" if finding.present is None else f": {finding.verdict}")
    figure.text(0.02, 0.985, headline, va="top", fontsize=12, fontweight="bold")
    figure.text(0.02, 0.985 - 0.3 / (shown[1] + 1.35), finding.numbers(), va="top", fontsize=9)
    figure.text(0.02, 0.02, f"{subtitle}\n{NOTICE}".strip(), va="bottom", fontsize=7, color="0.3")
    return _png(figure)


@dataclass(frozen=True)
class SheetRow:
    """One image of a contact sheet: its name, the X-ray and one (overlay, finding) a label.

    Attributes:
        name: of the image.
        image: (H, W) grey.
        cells: overlay, None where no map is drawn, and finding.
        empty: the labels whose maps are all zero.
    """

    name: str
    image: NDArray[np.uint8]
    cells: Sequence[tuple[NDArray[np.uint8] | None, Finding]]
    empty: frozenset[str] = frozenset()


def draw_contact_sheet(rows: Sequence[SheetRow], *, title: str = "") -> bytes:
    """Images below each other, labels beside each other, as PNG.

    Args:
        rows: at most `ROWS_PER_SHEET`, all with the same labels.
        title: above all.
    """
    n_columns = 1 + len(rows[0].cells)
    inches = 1.8
    head = 0.55
    total = (inches + 0.32) * len(rows) + head
    figure = Figure(figsize=(inches * n_columns, total), dpi=100, facecolor="white")
    grid = GridSpec(
        len(rows), n_columns, figure=figure, wspace=0.04, hspace=0.2,
        left=0.01, right=0.99, bottom=0.06 / total, top=1 - head / total,
    )  # fmt: skip
    for number, row in enumerate(rows):
        pictures: list[tuple[NDArray[np.uint8], str, str]] = [(row.image, row.name, "black")]
        for overlay, finding in row.cells:
            present = finding.present
            words = f"{finding.label} {finding.score:.2f}"
            if present is False:
                words += " absent"
            elif finding.label in row.empty:
                words += " empty map"
            colour = "0.5" if present is False else "black"
            pictures.append((row.image if overlay is None else overlay, words, colour))
        for column, (picture, words, colour) in enumerate(pictures):
            axes = figure.add_subplot(grid[number, column])
            _show(axes, picture, SHEET_CELL)
            # the end of a text too long for its place: file names differ there
            shown = words if len(words) <= 34 else "…" + words[-33:]
            axes.set_title(shown, fontsize=7, pad=2, color=colour)
    figure.text(0.01, 1 - 0.08 / total, f"{title}\n{NOTICE}".strip(), va="top", fontsize=8)
    return _png(figure)


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image as large as a contact sheet needs it, so that many fit into memory."""
    return _shrink(image, SHEET_CELL)


def _show(axes: Axes, picture: NDArray[np.uint8], side: int) -> None:
    small = _shrink(picture, side)
    axes.imshow(small, cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
    axes.set_axis_off()


def _shrink(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    longest = max(image.shape[:2])
    if longest <= side:
        return image
    height, width = (max(1, round(length * side / longest)) for length in image.shape[:2])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)


def _png(figure: Figure) -> bytes:
    """The figure drawn and encoded by OpenCV, in a third of the time of matplotlib's savefig."""
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    return encode_png(np.ascontiguousarray(pixels))
