"""What a frozen encoder makes of each image of a run, once: `pulmonet.data.pack.features`."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from pulmonet.choices import ENCODER
from pulmonet.data.batches.load import ResidentPack, evaluation_batches
from pulmonet.data.pack.features import Features
from pulmonet.data.pack.open import explain_os
from pulmonet.errors import DataError
from pulmonet.files.system import locked
from pulmonet.flows import console
from pulmonet.flows.train.plan import Plan, first_network
from pulmonet.models.frozen import encoder_of
from pulmonet.models.inference import predict
from pulmonet.training.losses import output_names
from pulmonet.training.stage import Stage

#: Images a pass. Each pass has as many, since the last bits of a feature depend on their number.
BATCH_SIZE = 32
#: Rows that a kill can cost.
BLOCK_ROWS = 32 * BATCH_SIZE


def with_features(plan: Plan, stages: Sequence[Stage]) -> list[Stage]:
    """The stages, with features where the encoder is frozen. DataError: no room, no image."""
    if plan.config.model.freeze != ENCODER:
        return list(stages)
    outputs = output_names(plan.taught, plan.policies)
    return [replace(stage, features=_features_of(stage, plan.device, outputs)) for stage in stages]


def room_on(device: torch.device) -> float:
    """Bytes that pixels may take there: of a GPU's free memory, the rest is the network's."""
    return torch.cuda.mem_get_info(device)[0] * 2 / 3 if device.type == "cuda" else 0


def with_resident(plan: Plan, stages: Sequence[Stage]) -> list[Stage]:
    """The stages, their pixels in the GPU's memory where ``runtime.resident`` and room allow."""
    stage, device = stages[0], plan.device
    if not plan.config.runtime.resident or stage.features is not None:
        return list(stages)
    rows = np.unique(np.concatenate([stage.train_rows, stage.select_rows]))
    needed, room = len(rows) * stage.pack.side**2, room_on(device)
    if needed > room:
        what = f"{needed / 1e9:.2f} GB of pixels, and {room / 1e9:.2f} GB of GPU memory for them"
        console.warn(f"runtime.resident: {what}; they are read from the pack")
        return list(stages)
    pack = ResidentPack(stage.pack, rows, device)
    return [replace(one, pack=pack) for one in stages]


def _features_of(stage: Stage, device: torch.device, outputs: Sequence[str]) -> Features:
    """The features of all rows of a stage: what is not there yet is computed, of plain images."""
    pack, config, side = stage.pack, stage.config, stage.config.data.image_size
    encoder = encoder_of(first_network(config, outputs, device, stage.number)[0])
    packs = [one.key for one in getattr(pack, "packs", [pack])]
    made_by = f"{config.model.name} {side} {device.type} {torch.__version__} {packs}"
    made_by += " stride 16" * (config.model.output_stride == 16)
    digest = hashlib.sha256(made_by.encode())
    for key, tensor in encoder.state_dict().items():
        digest.update(key.encode() + tensor.cpu().contiguous().numpy().tobytes())
    rows = np.unique(np.concatenate([stage.train_rows, stage.select_rows]))
    n_features = encoder(torch.zeros(1, 1, side, side, device=device)).shape[-1]
    try:
        with locked(pack.folder / ".lock-features"):
            features = Features(pack, digest.hexdigest()[:24], n_features)
            missing = features.missing(rows)
            with console.steps("Features", len(missing)) as bar:
                for start in range(0, len(missing), BLOCK_ROWS):
                    part = missing[start:][:BLOCK_ROWS]
                    whole = np.resize(part, -(-len(part) // BATCH_SIZE) * BATCH_SIZE)
                    batches = evaluation_batches(
                        pack, whole, image_size=side, batch_size=BATCH_SIZE, device=device
                    )
                    values = predict(encoder, batches, device=device, to_scores=torch.clone)
                    features.write(part, values[: len(part)])
                    bar.advance(len(part))
    except OSError as error:
        raise DataError(explain_os(pack.folder, error)) from None
    return features
