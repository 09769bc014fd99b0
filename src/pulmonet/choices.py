"""Every fixed set of names that a user can choose from, once.

But for the uncertainty policies, which stand beside what they do, in `labels`.
"""

from typing import Literal, get_args

TORCHVISION_MODELS = ("densenet121", "resnet50", "efficientnet_b0")
#: What ``model.freeze`` takes beside a stage's name: all but the classifier.
ENCODER = "encoder"
#: What ``--device`` takes; N counts the GPUs from 0.
DEVICES = ("auto", "cpu", "cuda", "cuda:N", "mps")
Precision = Literal["auto", "on", "off"]
#: How torch.compile works; both are modes of torch's.
CompileMode = Literal["default", "reduce-overhead"]
ExportFormat = Literal["onnx"]
FigureFormat = Literal["png", "pdf", "svg"]

Split = Literal["train", "valid", "test"]
SPLITS: tuple[str, ...] = get_args(Split)
Views = Literal["all", "frontal", "AP", "PA", "lateral"]
SubsetMode = Literal["patient", "image"]
#: What an epoch goes over: each row once, or as many from each collection.
Balance = Literal["rows", "collections"]
#: How an image becomes square.
Fit = Literal["stretch", "pad", "crop"]
Geometry = Literal["jitter", "original", "none"]
Tta = Literal["none", "jitter", "flip"]
#: Test-time augmentation: over how many views of an image scores are averaged, by its name.
TTA_VIEWS: dict[str, int] = {"none": 1, "jitter": 5, "flip": 2}

#: How results of several runs tell what they are made of, before the runs' names.
COMBINATIONS = {"ensemble": "mean of the scores of ", "out-of-fold": "out of fold, by "}

BlankPolicy = Literal["zeros", "ignore"]
Optimiser = Literal["adam", "adamw", "sgd", "pesg"]
Schedule = Literal["constant", "cosine", "one-cycle"]
Loss = Literal["bce", "balanced-bce", "focal", "asymmetric", "aucm"]
PositiveWeight = Literal["none", "balanced"]
#: How the pointing loss compares a class map with its boxes.
PointingForm = Literal["mass", "cells", "lse", "pcam"]
#: What ``--boxes`` calls the dataset's own boxes.
OWN_BOXES = "own"
SelectOn = Literal["valid", "dev"]
KeptCheckpoint = Literal["best", "last"]

Level = Literal["image", "study"]
StudyRule = Literal["max", "mean"]
IntervalKind = Literal["logit", "percentile", "bca"]
CalibratorKind = Literal["platt", "temperature", "isotonic"]
#: Operating points that need no value, and those written ``sensitivity=0.9``.
CRITERIA = ("youden", "f1")
CRITERIA_WITH_VALUE = ("sensitivity", "specificity", "ppv")

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

#: Keys of ``--map``; what each says: docs/data.md.
MAP_KEYS = (
    *("path", "patient", "study", "split", "view", "sex", "age", "findings", "separator", "labels"),
    *("csv", "folder", "strip", "join", "extension"),
)
