"""What `explain` left in a run folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulmonet.artifacts import RunDir
from pulmonet.labels import file_name_of

METHODS = (
    "gradcam",
    "gradcam++",
    "hirescam",
    "layercam",
    "scorecam",
    "integrated-gradients",
    "occlusion",
)


@dataclass(frozen=True)
class Panel:
    """A finished picture of one label's heat map."""

    label: str
    method: str
    png: bytes


@dataclass(frozen=True)
class HeatMaps:
    """Pictures of the first validation row, and explained images."""

    panels: tuple[Panel, ...] = ()


def find_heat_maps(
    run_dir: RunDir,
    labels: tuple[str, ...],
    attempt: Callable[[Path, Callable[[Path], Any]], Any],
) -> HeatMaps:
    """The heat maps of a run; `attempt` reads a file or notes why it could not be read."""
    panels = []
    for method in METHODS:
        for label in labels:
            path = run_dir.path / f"{file_name_of(method)}_{file_name_of(label)}.png"
            png = attempt(path, Path.read_bytes)
            if png is not None:
                panels.append(Panel(label, method, png))
    return HeatMaps(tuple(panels))
