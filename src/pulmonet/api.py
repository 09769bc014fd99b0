"""The Python API: ``pulmonet.load("artifacts/densenet121").explain(image, label="Edema")``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path

import numpy as np

from pulmonet.arrays import Floats32, Pixels
from pulmonet.data.batches.augment import tta_views
from pulmonet.data.images.decoding import Remark
from pulmonet.data.images.read import read_file
from pulmonet.data.images.square import placement
from pulmonet.explain.maps.methods import explain_images, to_network_input
from pulmonet.explain.maps.overlay import blend, place_map
from pulmonet.explain.maps.variants import check_colour_map, check_method
from pulmonet.explain.results import LabelExplanation
from pulmonet.explain.verdicts import judge_images
from pulmonet.files.paths import expand
from pulmonet.labels import choose_labels, resolve_label
from pulmonet.models.inference import mean_scores, unlabelled
from pulmonet.models.published import named_run
from pulmonet.models.trained import TrainedRun, load_run

#: A grey X-ray (H, W) uint8, or the path of one (JPEG, PNG, DICOM).
Image = Pixels | str | Path


@dataclass(frozen=True, eq=False)
class Explanation:
    """Scores and heat maps of one image.

    Attributes:
        labels: L labels explained, in the model's order.
        scores: (L,) float32 in [0, 1].
        raw: (L, h, w) float32: signed, before ReLU and scaling, at the method's resolution.
        maps: (L, S, S) float32 in [0, 1] over the square that the network saw.
        image: (H, W) uint8, the X-ray.
        method: name of the method.
        fit: how the image became the square.
        distance: how far the image is from those trained on; None where that is not known.
        unlike: ``unlike the images that this model was trained on (…)``; empty where it is not.
        verdicts: by label what `explain` writes into explanations.json: calibrated probability,
            threshold, whether the score reaches it, and why there is no verdict.
    """

    labels: tuple[str, ...]
    scores: Floats32
    raw: Floats32
    maps: Floats32
    image: Pixels
    method: str
    fit: str
    distance: float | None = None
    unlike: str = ""
    verdicts: Mapping[str, LabelExplanation] = field(default_factory=dict)

    def overlay(self, label: str | None = None, colour_map: str = "plasma") -> Pixels:
        """(H, W, 3) RGB overlay of one label (the first when None) at the image's resolution.

        Raises:
            ConfigError: no such label among those explained, or no such colour map.
        """
        check_colour_map(colour_map)
        name = self.labels[0] if label is None else resolve_label(label, self.labels)
        position = self.labels.index(name)
        height, width = self.image.shape
        where = placement(height, width, self.fit)
        return blend(self.image, place_map(self.maps[position], height, width, where), colour_map)


@dataclass(frozen=True, eq=False)
class Model:
    """A trained run (network, record, device): scores and explanations of X-rays."""

    run: TrainedRun

    @property
    def labels(self) -> tuple[str, ...]:
        """The L labels, in the order of the scores."""
        return self.run.labels

    def predict(
        self, images: Image | Sequence[Image], batch_size: int = 32, tta: str = "none"
    ) -> Floats32:
        """Scores of one image or several.

        Args:
            images: one image or a sequence of them: (H, W) uint8 arrays or paths.
            batch_size: images per pass.
            tta: none, or the mean over views of each image: jitter or flip
                (`pulmonet.data.batches.augment.tta_views`).

        An image unlike those trained on is a warning of the logger ``pulmonet``, by its number.

        Returns:
            (N, L) float32 in [0, 1]; N is 1 for a single image.

        Raises:
            ConfigError: no such `tta`.
            DataError: an image that cannot be read.
            ValueError: not grey uint8 pixels; an image with channels, which is no stack; batches of
                less than one image.
        """
        shape = images.shape if isinstance(images, np.ndarray) else ()
        if len(shape) == 3 and shape[2] in (1, 3, 4):
            raise ValueError(f"an image with channels {shape}: expected (H, W) uint8 grey pixels")
        if batch_size < 1:
            raise ValueError(f"batch_size {batch_size}: expected 1 or more")
        views = tta_views(tta)
        is_one = isinstance(images, str) or len(shape) == 2 or not isinstance(images, Iterable)
        # a stack (N, H, W) counts as N images
        several: list[Image] = [images] if is_one else list(images)  # type: ignore[arg-type,list-item]
        found = [np.zeros((0, len(self.labels)), np.float32)]
        for start in range(0, len(several), batch_size):
            pairs = [_read(image) for image in several[start : start + batch_size]]
            for number, (image, remark) in enumerate(pairs, start):
                self.run.measure(image, f"image {number}", remark)
            part = [image for image, _ in pairs]
            inputs = (to_network_input(part, self.run, view) for view in views)
            found.append(mean_scores([self.run.scores([unlabelled(one)]) for one in inputs]))
        return np.concatenate(found)

    def explain(
        self,
        image: Image,
        label: str | Sequence[str] | None = None,
        method: str = "gradcam",
        layer: str | None = None,
    ) -> Explanation:
        """Scores and heat maps of one image.

        Args:
            image: (H, W) uint8, or a path.
            label: one label, several, or None for all.
            method: gradcam, gradcam++, hirescam, layercam, scorecam, integrated-gradients or
                occlusion.
            layer: dotted name of a module of the network; None is the last feature map.

        Raises:
            ArtifactError: a damaged calibration.json.
            ConfigError: no such label, method or layer.
            DataError: an image that cannot be read.
        """
        names = [] if label is None else [label] if isinstance(label, str) else list(label)
        labels = choose_labels(names, [], self.labels)
        columns = [self.labels.index(name) for name in labels]
        pixels, remark = _read(image)
        square = self.run.square(pixels)
        sight, unlike = self.run.measure(square, "image", remark)
        inputs = to_network_input([square], self.run)
        found = explain_images(self.run.network, inputs, columns, method=method, layer=layer)
        scores = found.scores[:1, columns]
        run = replace(self.run)  # reads its calibration.json as it is by now
        (judged,) = judge_images(run, ["image"], labels, scores, [sight])
        return Explanation(
            labels=labels,
            scores=scores[0],
            raw=found.raw[0],
            maps=found.maps[0],
            image=pixels,
            method=check_method(method, layer),
            fit=self.run.fit,
            distance=sight.distance,
            unlike=unlike,
            verdicts=judged.labels,
        )


def load(
    path_or_name: str | Path = "densenet121",
    device: str = "auto",
    artifacts_dir: str | Path = "artifacts",
) -> Model:
    """Load a trained run.

    Args:
        path_or_name: a run folder, a run's name below `artifacts_dir`, or a published network
            (``xrv:densenet121-res224-all``), of which a run is made there.
        device: auto, cpu, cuda, cuda:N or mps.
        artifacts_dir: the folder that holds the runs.

    Raises:
        ArtifactError: no such run, or a damaged one.
        TrainingError: no such device on this machine.
    """
    return Model(load_run(named_run(str(path_or_name), Path(artifacts_dir)), device))


def _read(image: Image) -> tuple[Pixels, Remark]:
    if isinstance(image, str | PathLike):
        return read_file(expand(image))
    if not isinstance(image, np.ndarray):
        kind = type(image).__name__
        raise ValueError(f"image of type {kind}: expected a path, or (H, W) uint8 grey pixels")
    if image.ndim != 2 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"image {image.dtype} {image.shape}: expected (H, W) uint8 grey pixels")
    return image, Remark.NONE
