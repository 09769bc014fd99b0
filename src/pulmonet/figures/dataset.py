"""Pictures of a dataset: its summary on one page, and pairs of images to look at."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.patches import Patch

from pulmonet.arrays import Pixels
from pulmonet.data.summary import most_frequent_labels
from pulmonet.figures import style
from pulmonet.words import count

#: Label values in the order and colour in which they are stacked.
_VALUES = {"positive": "#b2402f", "uncertain": "#e3a857", "negative": "#7a9cb8", "blank": "#e4e4e4"}
#: Labels that a picture has room for (PadChest has 190), and lines that it has for fewer.
_MAX_LABELS = 30
_MIN_LABEL_ROWS = 8

_SPLIT_COLOURS = {"train": "#31688e", "valid": "#e07b39", "test": "#5a9a57"}


def dataset_figure(summary: dict[str, Any], examples: Sequence[tuple[str, Pixels]] = ()) -> bytes:
    """What `summarise` gives as one PNG: labels per split, age, view and sex.

    Above, up to eight examples: (caption, (H, W) uint8 image).
    """
    splits = summary["splits"]
    figure = style.new_figure(12, 8.6 if examples else 6.4)
    body: Any = figure
    if examples:
        parts: Any = figure.subfigures(2, 1, height_ratios=(1.0, 3.6))
        strip, body = parts
        padded = [*examples, *[("", np.full((1, 1), 255))] * 8][:8]
        for axis, (caption, image) in zip(strip.subplots(1, 8), padded, strict=True):
            style.show(axis, image, "\n".join(textwrap.wrap(caption, 24)[:3]))
            axis.title.set_in_layout(False)
    title = f"{summary['name']}: " + ", ".join(
        f"{split} {count(values['images'], 'image')}"
        + (f" of {count(values['patients'], 'patient')}" if values["patients"] is not None else "")
        for split, values in splits.items()
    )
    figure.suptitle(title + ("  (SYNTHETIC)" if summary["synthetic"] else ""), fontsize=12)
    left, right = np.ravel(body.subfigures(1, 2, width_ratios=(1.9, 1.0)))
    _draw_labels(left, summary)
    axes = right.subplots(3, 1, height_ratios=(1.5, 1, 1))
    histograms = {split: values["age"]["histogram"] for split, values in splits.items()}
    _draw_bars(axes[0], histograms, "age in years")
    _draw_bars(axes[1], {split: values["views"] for split, values in splits.items()}, "view")
    _draw_bars(axes[2], {split: values["sex"] for split, values in splits.items()}, "sex")
    handles = [Patch(color=_SPLIT_COLOURS.get(split), label=split) for split in splits]
    axes[0].legend(handles=handles, frameon=False, fontsize=8, loc="upper right")
    return style.render(figure)


def _draw_labels(figure: Any, summary: dict[str, Any]) -> None:
    labels, splits = most_frequent_labels(summary, _MAX_LABELS), summary["splits"]
    axes = np.atleast_1d(figure.subplots(1, len(splits), sharey=True))
    for axis, (split, values) in zip(axes, splits.items(), strict=True):
        start = np.zeros(len(labels))
        for name, colour in _VALUES.items():
            counts = np.asarray([values["labels"][label][name] for label in labels], float)
            share = counts / max(1, values["images"])
            axis.barh(labels, share, left=start, color=colour, label=name, height=0.75)
            start += share
        for place, label in enumerate(labels):
            number = f"{values['labels'][label]['positive']:,}"
            axis.text(0.98, place, number, va="center", ha="right", size=8)
        style.dress(axis, f"{split} (n positive)")
        axis.set_xlim(0, 1)
    axes[0].set_ylim(max(len(labels), _MIN_LABEL_ROWS) - 0.5, -0.5)
    n_all = len(summary["labels"])
    some = f"; the {len(labels)} most frequent of {n_all} labels" if len(labels) < n_all else ""
    axes[0].set_xlabel(f"fraction of images{some}", fontsize=8)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False, fontsize=8)


def _draw_bars(axis: Any, counts: dict[str, dict[str, int]], title: str) -> None:
    """Grouped bars: fraction of a split's images in each class."""
    style.dress(axis, title)
    names = list(dict.fromkeys(name for values in counts.values() for name in values))
    if not any(n for values in counts.values() for name, n in values.items() if name != "unknown"):
        axis.set_axis_off()
        axis.text(0.5, 0.5, "not known", ha="center", va="center", size=9)
        return
    width = 0.8 / max(1, len(counts))
    for number, (split, values) in enumerate(counts.items()):
        total = max(1, sum(values.values()))
        heights = [values.get(name, 0) / total for name in names]
        places = np.arange(len(names)) + (number - (len(counts) - 1) / 2) * width
        axis.bar(places, heights, width, color=_SPLIT_COLOURS.get(split), label=split)
    axis.set_xticks(range(len(names)), names, fontsize=7, rotation=0 if len(names) < 6 else 45)
    axis.set_ylabel("fraction", fontsize=8)


def contact_sheet(pairs: Sequence[tuple[str, Pixels, str, Pixels]]) -> bytes:
    """Pairs of (H, W) uint8 images, each after its caption, two pairs a line, as one PNG."""
    figure, grid = style.print_grid(2 * len(pairs), 0.4, n_columns=4)
    tiles = [tile for a, first, b, second in pairs for tile in ((a, first), (b, second))]
    for axes, (caption, image) in zip(grid, tiles, strict=True):
        lines = textwrap.wrap(caption.replace("/", "/ "), 30)[:3]  # paths break at folders
        style.show(axes, image, "\n".join(lines).replace("/ ", "/"))
    return style.render(figure)
