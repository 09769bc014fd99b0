"""What `explain` left in a run folder, made ready for a report.

A panel of `explain` has the image's path in its small print. A report therefore lays the maps
over the X-ray itself, from ``xray.png`` and ``maps.npz``, and never copies a panel.
"""

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import Any

import cv2
import matplotlib
import numpy as np
from PIL import Image

from pulmonet.arrays import Array, Floats32, Pixels
from pulmonet.data.images.read import decode
from pulmonet.data.images.square import Placement, placement, shrink
from pulmonet.errors import ArtifactError
from pulmonet.explain import results
from pulmonet.explain.maps.overlay import blend, place_map
from pulmonet.files.read import check_plain, read_array
from pulmonet.files.write import bytes_of
from pulmonet.labels import file_name_of
from pulmonet.report.stale import Reader
from pulmonet.run.folder import RunDir
from pulmonet.run.record import Record, read_model

_EARLIER = "explained by an earlier call"
_REMEDY = "remove it and run `pulmonet explain` again"  # which replaces no damaged file
#: Images with maps per run that are read.
MAX_IMAGES = 200
#: Longest side of an X-ray and of a map inside the page, pixels, and how many of each may be so
#: large: more are smaller, so that all of them fit (1.5 MB of X-rays, as many of maps).
XRAY_SIDE, N_LARGE_XRAYS = 512, 30
MAP_SIDE, N_LARGE_MAPS = 160, 200
#: Levels of a map inside the page: 64 are smooth to the eye and pack into a few kilobytes.
MAP_LEVELS = 64
MAX_LABELS = 20


@dataclass(frozen=True)
class ExplainedImage:
    """One image's folder; what explanations.json no longer tells is None or empty."""

    folder: str  # its name; it can hold a patient's id
    image: str | None
    method: str
    labels: tuple[str, ...]
    found: Mapping[str, results.LabelExplanation]
    """By label: score and verdict; `overlay` is None where no map is to be drawn."""
    maps: Array  # (L, S, S) in [0, 1], float16, S at most `MAP_SIDE`
    xray: Pixels | None  # (H, W) grey, at most `XRAY_SIDE`; None where it was not kept


@dataclass(frozen=True)
class HeatMaps:
    """Everything below a run's heat maps."""

    images: tuple[ExplainedImage, ...] = ()  # those of the newest call first
    n_images: int = 0  # how many there are, shown or not
    localization: results.Localization | None = None
    sanity: results.Sanity | None = None

    def __bool__(self) -> bool:
        return bool(self.images)


def find_heat_maps(run_dir: RunDir, attempt: Reader) -> HeatMaps:
    """The heat maps of a run; what is of other weights is left out, and named."""
    folder = run_dir.explain_dir

    def fresh(name: str, model: type[Record]) -> Any:
        read = partial(read_model, model=model, what="what `explain` writes", remedy=_REMEDY)
        found: Any = attempt(folder / name, read)
        runs = getattr(found, "runs", None) or [run_dir.name]
        digest = getattr(found, "checkpoint_sha256", None)
        return found if attempt.is_fresh(folder / name, digest, "explain", *runs) else None

    newest: results.Explanations | None = fresh("explanations.json", results.Explanations)
    images = newest.images if newest else []
    described = {PurePath(image.maps).parent.name: image for image in images if image.maps}
    found = sorted(folder.glob("*/maps*.npz"))
    found.sort(key=lambda path: path.parent.name not in described)
    explained = []
    for path in found[:MAX_IMAGES]:
        one = described.get(path.parent.name)
        # earlier versions did not write it into the maps
        is_newest = one is not None and PurePath(one.maps or "").name == path.name
        method = newest.method if newest and is_newest else ""
        explained.append(attempt(path, partial(_read_image, attempt, method=method, described=one)))
    return HeatMaps(
        images=tuple(image for image in explained if image is not None),
        n_images=len(found),
        localization=fresh("localization.json", results.Localization),
        sanity=fresh("sanity.json", results.Sanity),
    )


def _read_image(
    reader: Reader, path: Path, *, method: str, described: results.ImageExplanation | None
) -> ExplainedImage | None:
    """Maps with the X-ray beside them; None where they are of other weights."""
    digest = None
    try:
        with contextlib.suppress(KeyError):  # of an earlier version
            digest = str(read_array(path, "checkpoint_sha256"))
            method = str(read_array(path, "method"))
        labels = tuple(str(label) for label in read_array(path, "labels"))[:MAX_LABELS]
        scores = np.asarray(read_array(path, "scores"), np.float32)[:MAX_LABELS]
        maps = np.asarray(read_array(path, "maps"), np.float32)[:MAX_LABELS]
    except (KeyError, ValueError) as error:
        what = f"not heat maps ({error}); {_REMEDY}"
        raise ArtifactError(f"{path}: {what}") from None
    if maps.ndim != 3 or not labels or len(maps) != len(labels) or len(scores) != len(labels):
        raise ArtifactError(f"{path}: maps of the wrong shape; {_REMEDY}")
    if not reader.is_fresh(path, digest, "explain", path.parents[2].name):
        return None
    xray, xray_path = None, path.with_name("xray.png")
    if xray_path.exists():
        check_plain(xray_path)
        xray = shrink(decode(xray_path.read_bytes(), str(xray_path))[0], XRAY_SIDE)
    side = min(MAP_SIDE, maps.shape[-1])
    sized = [cv2.resize(heat, (side, side), interpolation=cv2.INTER_AREA) for heat in maps]
    found = dict(described.labels) if described else {}
    for label, score, heat in zip(labels, scores.tolist(), maps, strict=True):
        drawn = next(path.parent.glob(f"*_{file_name_of(label)}_overlay.png"), None)
        told = {"score": score, "panel": "", "reason": _EARLIER, "empty": not heat.any()}
        told["overlay"] = drawn and drawn.name
        found.setdefault(label, results.LabelExplanation.model_validate(told))
    return ExplainedImage(
        folder=path.parent.name,
        image=described.image if described else None,
        method=method,
        labels=labels,
        found=found,
        maps=np.clip(np.nan_to_num(np.asarray(sized, np.float16), nan=0.0), 0.0, 1.0),
        xray=xray,
    )


def sides_for(n_xrays: int, n_maps: int) -> tuple[int, int]:
    """Longest sides on a page of so many X-rays and maps, pixels."""
    shares = math.sqrt(N_LARGE_XRAYS / max(n_xrays, 1)), math.sqrt(N_LARGE_MAPS / max(n_maps, 1))
    return round(XRAY_SIDE * min(1.0, shares[0])), round(MAP_SIDE * min(1.0, shares[1]))


def xray_jpeg(xray: Pixels, side: int) -> bytes:
    """The X-ray as JPEG, at most `side` pixels on its longer side; no metadata."""
    done, buffer = cv2.imencode(".jpg", shrink(xray, side), [cv2.IMWRITE_JPEG_QUALITY, 85])
    if not done:
        raise ArtifactError("an X-ray of `explain` cannot be written as JPEG; explain it again")
    return bytes(buffer.tobytes())


def lay_map(heat: Array, height: int, width: int, fit: str, side: int) -> Floats32:
    """The network's (S, S) map where it lies in an image of height × width pixels.

    Returns:
        (h, w), its longer side `side` pixels, in [0, 1]; 0 where the network did not look.
    """
    box = placement(height, width, fit)
    scale = side / max(height, width)
    small_height, small_width = max(1, round(height * scale)), max(1, round(width * scale))
    x, y = small_width / width, small_height / height
    small = Placement(box.x0 * x, box.y0 * y, box.x1 * x, box.y1 * y)
    placed = place_map(heat.astype(np.float32), small_height, small_width, small)
    return np.nan_to_num(placed, nan=0.0)


def map_png(placed: Floats32) -> bytes:
    """A map as a palette PNG in plasma's colours, transparent where the map is 0."""
    levels = np.round(placed * (MAP_LEVELS - 1)).astype(np.uint8)
    shares = np.linspace(0, 1, MAP_LEVELS)
    colours = matplotlib.colormaps["plasma"](shares, bytes=True)[:, :3]
    image = Image.fromarray(levels)
    image.putpalette(colours.tobytes(), "RGB")
    clear = np.round(shares * 255).astype(np.uint8).tobytes()
    return bytes_of(lambda file: image.save(file, "PNG", transparency=clear, optimize=True))


def draw_overlay(xray: Pixels, placed: Floats32) -> Pixels:
    """(h, w, 3) RGB: the X-ray with the map's colours over it, at the X-ray's size."""
    heat = cv2.resize(placed, xray.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return blend(xray, np.asarray(heat, np.float32))
