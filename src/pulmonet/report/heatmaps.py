"""What `explain` left in a run folder, made ready for a report.

A panel of `explain` has the image's path in its small print. A report therefore lays the maps
over the X-ray itself, from ``xray.png`` and ``maps.npz``, and never copies a panel unless the
identifiers were asked for.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pulmonet.choices import METHODS
from pulmonet.data.images.read import decode_grey
from pulmonet.data.images.square import placement
from pulmonet.errors import ArtifactError, ConfigError, DataError
from pulmonet.files.read import check_plain, read_array, read_text
from pulmonet.run.folder import RunDir

#: Images per run that a report shows; fewer where many runs share the page.
MAX_IMAGES = 6
#: Longest side of an X-ray and of a map inside the page, pixels.
XRAY_SIDE = 512
MAP_SIDE = 160
#: Levels of a map inside the page: 64 are smooth to the eye and pack into a few kilobytes.
MAP_LEVELS = 64
MAX_LABELS = 20


@dataclass(frozen=True)
class Panel:
    """A finished picture of one label's heat map; its small print names the image."""

    label: str
    method: str
    png: bytes


@dataclass(frozen=True)
class ExplainedImage:
    """One image's folder.

    Attributes:
        folder: name of the folder; it can hold a patient's id.
        image: the image as it was named, where explanations.json still tells.
        method: likewise.
        labels: L labels.
        scores: (L,) in [0, 1].
        thresholds: per label, where the run has them.
        maps: (L, S, S) float32 in [0, 1].
        xray: (H, W) grey, None where it was not kept.
    """

    folder: str
    image: str | None
    method: str
    labels: tuple[str, ...]
    scores: NDArray[np.float32]
    thresholds: Mapping[str, float]
    maps: NDArray[np.float32]
    xray: NDArray[np.uint8] | None


@dataclass(frozen=True)
class HeatMaps:
    """Everything below a run's heat maps.

    Attributes:
        panels: pictures of the first validation row.
        images: explained images, those of the newest call first.
        n_images: how many there are, shown or not.
        localization: localization.json, as it is.
        sanity: sanity.json, as it is.
    """

    panels: tuple[Panel, ...] = ()
    images: tuple[ExplainedImage, ...] = ()
    n_images: int = 0
    localization: Mapping[str, Any] | None = None
    sanity: Mapping[str, Any] | None = None
    fit: str = "stretch"


Attempt = Callable[[Path, Callable[[Path], Any]], Any]


def find_heat_maps(
    run_dir: RunDir, labels: Sequence[str], fit: str, attempt: Attempt, max_images: int = MAX_IMAGES
) -> HeatMaps:
    """The heat maps of a run; `attempt` reads a file or notes why it could not be read."""
    panels = []
    for method in METHODS:
        for label in labels:
            path = run_dir.heat_map_path(label, method)
            png = attempt(path, Path.read_bytes)
            if png is not None:
                panels.append(Panel(label, method, png))
    newest = attempt(run_dir.explain_dir / "explanations.json", _read_explanations) or {}
    described = {
        parts[0]: image
        for image in newest.get("images") or []
        if isinstance(image, dict) and (parts := Path(str(image.get("maps"))).parts)
    }
    found = sorted(path.parent for path in run_dir.explain_dir.glob("*/maps.npz"))
    folders = sorted(found, key=lambda folder: folder.name not in described)
    images = []
    for folder in folders[:max_images]:
        described_image = described.get(folder.name, {})
        method = str(newest.get("method", "")) if described_image else ""
        image = attempt(
            folder / "maps.npz", partial(_read_image, described=described_image, method=method)
        )
        if image is not None:
            images.append(image)
    return HeatMaps(
        panels=tuple(panels),
        images=tuple(images),
        n_images=len(folders),
        localization=attempt(run_dir.explain_dir / "localization.json", _read_table),
        sanity=attempt(run_dir.explain_dir / "sanity.json", _read_table),
        fit=fit,
    )


def _read_table(path: Path) -> dict[str, Any]:
    value = json.loads(read_text(path))
    if not isinstance(value, dict):
        raise ArtifactError(f"{path}: no table in it; run `pulmonet explain` again")
    return value


def _read_explanations(path: Path) -> dict[str, Any]:
    value = _read_table(path)
    if not isinstance(value.get("images") or [], list):
        raise ArtifactError(f"{path}: no explanations in it; run `pulmonet explain` again")
    return value


def _read_image(path: Path, described: Mapping[str, Any], method: str) -> ExplainedImage:
    """maps.npz with the X-ray beside it.

    Raises:
        ArtifactError: not what `explain` writes.
    """
    try:
        labels = tuple(str(label) for label in read_array(path, "labels"))[:MAX_LABELS]
        scores = np.asarray(read_array(path, "scores"), np.float32)[:MAX_LABELS]
        maps = np.asarray(read_array(path, "maps"), np.float32)[:MAX_LABELS]
    except (KeyError, ValueError) as error:
        raise ArtifactError(
            f"{path}: not heat maps ({error}); run `pulmonet explain` again"
        ) from None
    if maps.ndim != 3 or not labels or len(maps) != len(labels) or len(scores) != len(labels):
        raise ArtifactError(f"{path}: maps of the wrong shape; run `pulmonet explain` again")
    maps = np.clip(np.nan_to_num(maps, nan=0.0), 0.0, 1.0)
    per_label = described.get("labels")
    thresholds = {
        str(label): float(facts["threshold"])
        for label, facts in (per_label.items() if isinstance(per_label, dict) else ())
        if isinstance(facts, dict) and isinstance(facts.get("threshold"), float)
    }
    xray_path = path.with_name("xray.png")
    xray = _read_xray(xray_path) if xray_path.exists() else None
    return ExplainedImage(
        folder=path.parent.name,
        image=str(described["image"]) if "image" in described else None,
        method=method,
        labels=labels,
        scores=scores,
        thresholds=thresholds,
        maps=maps,
        xray=xray,
    )


def _read_xray(path: Path) -> NDArray[np.uint8]:
    """xray.png as (H, W) uint8.

    Raises:
        OSError: it cannot be read.
        ArtifactError: no PNG, or too large a one.
    """
    check_plain(path)
    try:
        return decode_grey(path.read_bytes(), str(path))
    except DataError as error:
        raise ArtifactError(str(error)) from None


# --- for the page ---------------------------------------------------------------------------


def xray_jpeg(xray: NDArray[np.uint8]) -> bytes:
    """The X-ray as JPEG, at most `XRAY_SIDE` pixels on its longer side; no metadata."""
    done, buffer = cv2.imencode(".jpg", shrink(xray, XRAY_SIDE), [cv2.IMWRITE_JPEG_QUALITY, 85])
    if not done:
        raise ArtifactError("an X-ray of `explain` cannot be written as JPEG; explain it again")
    return bytes(buffer.tobytes())


def shrink(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """An (H, W) image with its longer side at most `side` pixels."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def lay_map(
    heat: NDArray[np.float32], height: int, width: int, fit: str, side: int
) -> NDArray[np.float32]:
    """The network's square map where it lies in the image, as a small (h, w) map.

    Args:
        heat: (S, S) in [0, 1].
        height: of the image, pixels.
        width: of the image, pixels.
        fit: how the image became square.
        side: longer side of the result, pixels.

    Returns:
        float32 in [0, 1]; 0 where the network did not look.
    """
    try:
        box = placement(height, width, fit)
    except ConfigError as error:
        raise ArtifactError(str(error)) from None
    scale = side / max(height, width)
    out_height, out_width = max(1, round(height * scale)), max(1, round(width * scale))
    columns = ((np.arange(out_width) + 0.5) / out_width * width - box.x0) / (box.x1 - box.x0)
    rows = ((np.arange(out_height) + 0.5) / out_height * height - box.y0) / (box.y1 - box.y0)
    grid_x, grid_y = np.meshgrid(columns * heat.shape[1] - 0.5, rows * heat.shape[0] - 0.5)
    placed = cv2.remap(
        np.ascontiguousarray(heat, np.float32),
        grid_x.astype(np.float32),
        grid_y.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    inside = ((rows >= 0) & (rows <= 1))[:, None] & ((columns >= 0) & (columns <= 1))[None, :]
    return np.where(inside, placed, 0.0).astype(np.float32)


def map_png(placed: NDArray[np.float32], colour_map: str = "plasma") -> bytes:
    """A map as a palette PNG: colour of `colour_map`, transparent where the map is 0."""
    levels = np.round(placed * (MAP_LEVELS - 1)).astype(np.uint8)
    shares = np.linspace(0, 1, MAP_LEVELS)
    colours = matplotlib.colormaps[colour_map](shares, bytes=True)[:, :3]
    image = Image.fromarray(levels)
    image = image.convert("L")
    indexed = Image.frombytes("P", image.size, image.tobytes())
    indexed.putpalette(colours.astype(np.uint8).tobytes(), "RGB")
    buffer = io.BytesIO()
    transparency = np.round(shares * 255).astype(np.uint8).tobytes()
    indexed.save(buffer, "PNG", transparency=transparency, optimize=True)
    return buffer.getvalue()


def draw_overlay(
    xray: NDArray[np.uint8], placed: NDArray[np.float32], colour_map: str = "plasma"
) -> NDArray[np.uint8]:
    """(h, w, 3) RGB: the X-ray with the map's colours over it, at the X-ray's size."""
    height, width = xray.shape
    heat = cv2.resize(placed, (width, height), interpolation=cv2.INTER_LINEAR)
    colours = matplotlib.colormaps[colour_map](heat, bytes=True)[..., :3]
    share = 0.6 * heat[..., None]
    mixed = xray[..., None] * (1 - share) + colours * share
    return np.asarray(np.round(mixed), np.uint8)
