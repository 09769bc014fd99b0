"""Left out where no test looks: the pixels and panels of figures, and waiting for disks.

Drawing is half of the time of most commands, and making the panels is half of the rest. Every call
of matplotlib is made all the same, on one panel for all of a figure.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from matplotlib.figure import Figure

_ORIGINAL = {name: getattr(Figure, name) for name in ("__init__", "draw", "subplots")}


def _make_small(self: Figure, *arguments: Any, **named: Any) -> None:
    _ORIGINAL["__init__"](self, *arguments, **named)
    self.dpi = 8


def _make_one_panel(
    self: Figure, nrows: int = 1, ncols: int = 1, *, squeeze: bool = True, **_: Any
) -> Any:
    panels = np.full((nrows, ncols), self.add_subplot())
    if not squeeze:
        return panels
    return panels.item() if panels.size == 1 else panels.squeeze()


def leave_figures_blank() -> None:
    """In this process, from here on."""
    Figure.__init__ = _make_small  # type: ignore[method-assign]
    Figure.draw = lambda *_: None  # type: ignore[method-assign]
    Figure.subplots = _make_one_panel  # type: ignore[method-assign]


def draw_figures() -> None:
    """The contrary."""
    for name, function in _ORIGINAL.items():
        setattr(Figure, name, function)


def leave_disks_alone() -> None:
    """Nobody cuts the power: what was written is there, and need not be on the disk."""
    os.fsync = os.fdatasync = lambda _: None
