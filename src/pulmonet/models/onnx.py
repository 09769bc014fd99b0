"""A trained run as one ONNX file that carries labels, preprocessing and thresholds.

The graph takes grey pixels and gives scores: normalisation and sigmoid are inside, so that a
program in any language needs only to read an image, resize it and look up the names.
Needs the extra ``onnx``.
"""

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from pulmonet import __version__
from pulmonet.errors import ConfigError
from pulmonet.files.ledger import Ledger
from pulmonet.metrics.calibration.fit import Calibration
from pulmonet.models.trained import TrainedRun
from pulmonet.words import NOTICE

OPSET = 18


def check_onnx_installed() -> None:
    """ConfigError, before the long work, when onnx or onnxscript is not installed."""
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        text = f"--export onnx: {' and '.join(missing)} not installed; pip install 'pulmonet[onnx]'"
        raise ConfigError(text)


def export_onnx(run: TrainedRun, calibration: Calibration | None, path: Path) -> None:
    """Write `run` as ONNX.

    Input ``images``: float32 (B, 1, S, S), grey, 0 to 255. Output ``scores``: float32 (B, L) in
    [0, 1]. Metadata, each value JSON: labels, image_size, fit, preprocessing, thresholds,
    calibrators, model, run, checkpoint_sha256, pulmonet, notice. The run's network is left on the
    CPU; without a calibration thresholds and calibrators stay empty.

    Raises:
        ConfigError: the extra is missing.
        ArtifactError: the file cannot be written.
    """
    check_onnx_installed()
    import onnx

    network = OrderedDict(network=run.network.to("cpu").eval(), scores=nn.Sigmoid())
    logger = logging.getLogger("torch.onnx")
    # the exporter prints its progress and warns of its own internals
    with contextlib.ExitStack() as quiet:
        quiet.callback(logger.setLevel, logger.level)  # a caller's own level comes back
        logger.setLevel(logging.ERROR)
        quiet.enter_context(warnings.catch_warnings(action="ignore"))
        quiet.enter_context(contextlib.redirect_stdout(io.StringIO()))
        program = torch.onnx.export(
            nn.Sequential(network),
            (torch.zeros(2, 1, run.image_size, run.image_size),),
            input_names=["images"],
            output_names=["scores"],
            dynamic_shapes={"input": {0: torch.export.Dim("batch", min=1)}},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    model = cast(torch.onnx.ONNXProgram, program).model_proto
    _forget_origins(model)
    onnx.helper.set_model_props(model, _metadata(run, calibration))
    model.producer_name, model.producer_version = "pulmonet", __version__
    content = cast(bytes, model.SerializeToString())
    Ledger(path.parent, "move it away").write(path, content, by_name=True)


def _metadata(run: TrainedRun, calibration: Calibration | None) -> dict[str, str]:
    entries = {} if calibration is None else calibration.labels
    values: dict[str, Any] = {
        "labels": list(run.labels),
        "image_size": run.image_size,
        "fit": run.fit,
        "preprocessing": "grey, 8 bit; made square by `fit`, area filter, image_size pixels; "
        "float32 0 to 255. The network's normalisation and sigmoid are in the graph.",
        "thresholds": {
            label: {name: value for name, value in entry.thresholds.items() if value is not None}
            for label, entry in entries.items()
        },
        "calibrators": {
            label: entry.calibrator.model_dump(mode="json")
            for label, entry in entries.items()
            if entry.calibrator is not None
        },
        "model": run.record.config.model.summary(),
        "run": run.run_dir.name,
        "checkpoint_sha256": run.sha256,
        "pulmonet": __version__,
        "notice": NOTICE,
    }
    return {key: json.dumps(value, ensure_ascii=False) for key, value in values.items()}


def _forget_origins(part: Any) -> None:
    """Without the exporter's stack traces, which hold this machine's paths, in any depth."""
    for name in {"doc_string", "metadata_props"} & {*part.DESCRIPTOR.fields_by_name}:
        part.ClearField(name)
    for field, value in part.ListFields():
        if field.message_type is not None:
            for one in [value] if hasattr(value, "ListFields") else value:
                _forget_origins(one)
