"""`train --dry-run`: what a run will take, from a few steps on real rows; nothing is written."""

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from pulmonet.choices import ENCODER
from pulmonet.data.batches.augment import apply
from pulmonet.data.batches.load import Batch
from pulmonet.data.images.read import read_source_image
from pulmonet.data.images.square import fit_square, pack_side
from pulmonet.data.pack.open import Pack, cache_dir, decoding_threads, pack_key
from pulmonet.errors import DataError
from pulmonet.files.system import peak_memory_bytes
from pulmonet.flows import console
from pulmonet.flows.train.plan import (
    Plan,
    first_config,
    first_targets,
    make_stages,
    rows_to_relabel,
    stage_engine,
)
from pulmonet.models.frozen import encoder_of
from pulmonet.models.inference import predict
from pulmonet.run.folder import RunDir
from pulmonet.training.stage import Stage
from pulmonet.training.step import train_step

#: Steps that are timed, behind a first one.
N_STEPS = 3


def _epochs_left(plan: Plan, run_dir: RunDir, *, resume: bool) -> int:
    """Those of all networks, with stage one of self-trained, that are not in the logs yet."""
    planned = [(plan.config.total_epochs, run_dir)]
    if len(rows_to_relabel(plan)):
        first = first_config(plan.config).optim.epochs
        planned.append((first, RunDir(run_dir.path / "stage1")))
    logs = (len(one.read_log()) if resume and one.log_path.exists() else 0 for _, one in planned)
    return sum(max(n - n_done, 0) for (n, _), n_done in zip(planned, logs, strict=True))


def rehearse(plan: Plan, run_dir: RunDir, *, resume: bool) -> int:
    """Do some steps, and say what they took and what all, or what is left of a run, will take.

    Of an ensemble each architecture does them; what is said of a step is the members' mean.

    Raises:
        DataError: an image that cannot be read, and --skip-bad was not given.
        TrainingError: out of memory with one image at a time.
    """
    config, on_gpu = plan.config, plan.device.type == "cuda"
    targets = first_targets(plan)
    places, images, decoding = _sample(plan)
    pixels = apply(images, None, config.data.image_size)
    batch = Batch(pixels, torch.from_numpy(targets[places]), plan.rows["train"][places])
    rows, side = np.concatenate(list(plan.rows.values())), int(images.shape[-1])
    stages = make_stages(plan, config, cast(Pack, None), targets, run_dir)
    stage_of = {stage.config.model.name: stage for stage in stages}
    members = config.model.architectures()
    timed = np.asarray([_time(plan, stage_of[name], batch) for name in members])
    step, scoring, _, n_bytes = np.average(timed, axis=0, weights=[*members.values()]).tolist()
    check = scoring * len(plan.rows[config.select.on])
    encoding = timed[:, 2].sum() * len(rows)
    memory = torch.cuda.max_memory_allocated(plan.device) if on_gpu else peak_memory_bytes()
    n_steps = -(-len(targets) // config.optim.batch_size)
    epoch = n_steps * step + check
    pack_dir, n_left = cache_dir() / "packs", 0
    for part, own, _ in plan.manifest.by_collection(rows):
        key = pack_key(part.root, part.table["path"].tolist(), side, config.data.fit)
        sums = pack_dir / key / "checksums.npy"
        n_left += len(own) - ((np.load(sums)[own] > 0).sum() if sums.exists() else 0)
    packing = n_left * decoding / decoding_threads()
    # best_model.pth, and in the checkpoint weights, averages of their gradients and the best ones
    n_bytes *= 5 * config.model.members
    free = [
        shutil.disk_usage(next(filter(Path.exists, path.absolute().parents))).free
        for path in (pack_dir, run_dir.path)
    ]
    facts: dict[str, Any] = {"n_images": len(batch), "step": step, "memory": memory}
    facts |= {"packing": packing, "encoding": encoding, "epoch": epoch, "n_steps": n_steps}
    facts |= {"check": check, "n_left": int(n_left), "n_bytes": n_bytes, "free": free}
    facts |= {"n_epochs": _epochs_left(plan, run_dir, resume=resume)}
    console.tell("rehearsal", on_gpu=on_gpu, side=side, **facts)
    return 0


def _time(plan: Plan, stage: Stage, batch: Batch) -> tuple[float, float, float, int]:
    """Seconds of a step, of an image scored, and encoded for a frozen encoder; bytes of weights."""
    engine, seconds, encoding = stage_engine(plan, stage, None), [], 0.0
    scored: nn.Module = engine.network
    if plan.config.model.freeze == ENCODER:
        encoder, start = encoder_of(engine.network), time.perf_counter()
        features = predict(encoder, [batch], device=plan.device, to_scores=torch.clone)
        encoding = (time.perf_counter() - start) / len(batch)
        batch = replace(batch, images=torch.from_numpy(features)[:, None, None])
        scored = engine.plain
    for number in range(1 + N_STEPS):
        start = time.perf_counter()
        loss, _ = train_step(engine, batch, learning_rate=plan.config.optim.lr, seed=number)
        float(loss)  # a GPU is awaited
        seconds.append(time.perf_counter() - start)
    start = time.perf_counter()
    predict(scored, [batch], device=plan.device, precision=plan.precision)
    scoring = (time.perf_counter() - start) / len(batch)
    state = engine.network.state_dict().values()
    n_bytes = sum(one.numel() * one.element_size() for one in state)
    return float(np.median(seconds[1:])), scoring, encoding, n_bytes


def _sample(plan: Plan) -> tuple[list[int], Tensor, float]:
    """Places among the training rows, their squares (B, 1, R, R), and seconds an image took."""
    data, rows = plan.config.data, plan.rows["train"]
    n_images = min(-(-plan.config.optim.batch_size // plan.processes.world_size), len(rows))
    places: list[int] = []
    squares = []
    start = time.perf_counter()
    for place in np.random.default_rng(plan.config.seed).permutation(len(rows)).tolist():
        try:
            image = read_source_image(plan.manifest, int(rows[place]))
        except DataError:
            if not data.skip_bad:
                raise
            continue
        squares.append(fit_square(image, pack_side(data.image_size), data.fit))
        places.append(place)
        if len(places) == n_images:
            break
    if not squares:
        raise DataError("none of the training images can be read")
    seconds = (time.perf_counter() - start) / len(places)
    return places, torch.from_numpy(np.stack(squares))[:, None], seconds
