"""Every fixed set of names that a user can choose from, once; nothing is imported here."""

from __future__ import annotations

from typing import Literal, get_args

TORCHVISION_MODELS = ("densenet121", "resnet50", "efficientnet_b0")

UncertainPolicy = Literal[
    "ones", "zeros", "ignore", "ones-lsr", "zeros-lsr", "multiclass", "self-trained"
]
UNCERTAIN_POLICIES: tuple[str, ...] = get_args(UncertainPolicy)
BlankPolicy = Literal["zeros", "ignore"]

Views = Literal["all", "frontal", "AP", "PA", "lateral"]
SPLITS = ("train", "valid", "test")
#: How an image becomes square.
FITS = ("stretch", "pad", "crop")

#: Test-time augmentation: over how many views of an image scores are averaged, by its name.
TTA_VIEWS = {"none": 1, "jitter": 5, "flip": 2}
Tta = Literal["none", "jitter", "flip"]

Level = Literal["image", "study"]
StudyRule = Literal["max", "mean"]
IntervalKind = Literal["percentile", "bca"]
CalibratorKind = Literal["platt", "temperature", "isotonic"]

#: Heat-map methods that read a layer and its gradient.
GRADIENT_METHODS = ("gradcam", "gradcam++", "hirescam", "layercam")
#: Methods that work on the pixels and take no layer.
PIXEL_METHODS = ("integrated-gradients", "occlusion")
#: All of them; how the names of heat maps begin.
METHODS = (*GRADIENT_METHODS, "scorecam", *PIXEL_METHODS)
#: What ``--layer`` calls the last feature map, beside other layers.
LAST_LAYER = "last"

#: Perceptually even maps first; jet is there on request, its bands suggest edges that are none.
COLOUR_MAPS = ("plasma", "inferno", "magma", "viridis", "cividis", "turbo", "jet")

#: What ``--device`` takes; N counts the GPUs from 0.
DEVICES = ("auto", "cpu", "cuda", "cuda:N", "mps")
