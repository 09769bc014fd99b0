"""Every fixed set of names that a user can choose from, once; nothing is imported here."""

from __future__ import annotations

from typing import Literal, get_args

# --- networks and where they run ----------------------------------------------------------------

TorchvisionModel = Literal["densenet121", "resnet50", "efficientnet_b0"]
TORCHVISION_MODELS: tuple[str, ...] = get_args(TorchvisionModel)
#: What ``--device`` takes; N counts the GPUs from 0.
DEVICES = ("auto", "cpu", "cuda", "cuda:N", "mps")
Precision = Literal["auto", "on", "off"]
ExportFormat = Literal["onnx"]

# --- rows and images ----------------------------------------------------------------------------

Split = Literal["train", "valid", "test"]
SPLITS: tuple[str, ...] = get_args(Split)
Views = Literal["all", "frontal", "AP", "PA", "lateral"]
SubsetMode = Literal["patient", "image"]
#: How an image becomes square.
Fit = Literal["stretch", "pad", "crop"]
FITS: tuple[str, ...] = get_args(Fit)
Geometry = Literal["jitter", "original", "none"]
Tta = Literal["none", "jitter", "flip"]
#: Test-time augmentation: over how many views of an image scores are averaged, by its name.
TTA_VIEWS: dict[str, int] = {"none": 1, "jitter": 5, "flip": 2}

# --- training -----------------------------------------------------------------------------------

UncertainPolicy = Literal[
    "ones", "zeros", "ignore", "ones-lsr", "zeros-lsr", "multiclass", "self-trained"
]
UNCERTAIN_POLICIES: tuple[str, ...] = get_args(UncertainPolicy)
BlankPolicy = Literal["zeros", "ignore"]
Optimiser = Literal["adam", "adamw", "sgd", "pesg"]
Schedule = Literal["constant", "cosine", "one-cycle"]
Loss = Literal["bce", "balanced-bce", "focal", "asymmetric", "aucm"]
PositiveWeight = Literal["none", "balanced"]
SelectOn = Literal["valid", "dev"]
KeptCheckpoint = Literal["best", "last"]

# --- evaluation ---------------------------------------------------------------------------------

Level = Literal["image", "study"]
StudyRule = Literal["max", "mean"]
IntervalKind = Literal["percentile", "bca"]
CalibratorKind = Literal["platt", "temperature", "isotonic"]
#: Operating points that need no value, and those written ``sensitivity=0.9``.
Criterion = Literal["youden", "f1"]
CRITERIA: tuple[str, ...] = get_args(Criterion)
CriterionWithValue = Literal["sensitivity", "specificity", "ppv"]
CRITERIA_WITH_VALUE: tuple[str, ...] = get_args(CriterionWithValue)

# --- explanation --------------------------------------------------------------------------------

#: Heat-map methods that read a layer and its gradient.
GradientMethod = Literal["gradcam", "gradcam++", "hirescam", "layercam"]
GRADIENT_METHODS: tuple[str, ...] = get_args(GradientMethod)
#: Methods that work on the pixels and take no layer.
PixelMethod = Literal["integrated-gradients", "occlusion"]
PIXEL_METHODS: tuple[str, ...] = get_args(PixelMethod)
#: All of them; how the names of heat maps begin.
METHODS = (*GRADIENT_METHODS, "scorecam", *PIXEL_METHODS)
#: What ``--layer`` calls the last feature map, beside other layers.
LAST_LAYER = "last"
#: Perceptually even maps first; jet is there on request, its bands suggest edges that are none.
ColourMap = Literal["plasma", "inferno", "magma", "viridis", "cividis", "turbo", "jet"]
COLOUR_MAPS: tuple[str, ...] = get_args(ColourMap)
