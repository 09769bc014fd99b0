"""The same sweep on a cluster with Ray Tune: one `pulmonet train` process per trial, ASHA.

    pip install "ray[tune]"
    python examples/ray_tune_sweep.py --trials 64 -- --config quick \\
        --set model.members=1

Everything after `--` goes to every `pulmonet train`. PulmoNet and the dataset have to be at the
same place on every node, and --out-dir on a file system that all nodes share. See docs/sweeps.md.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler

sys.path.insert(0, str(Path(__file__).resolve().parent))  # also on a worker
from training_process import TRAIN, TrainingProcess

METRIC = "val_macro_auroc"

#: The search space; the keys are `section.field`, as `--set` takes them.
SPACE = {
    "optim.lr": tune.loguniform(1e-4, 3e-3),
    "optim.weight_decay": tune.loguniform(1e-4, 1e-1),
    "loss.pos_weight": tune.choice(["none", "balanced"]),
    "augment.rotation_degrees": tune.choice([0, 5, 10, 15]),
}


class TrainingTrial(tune.Trainable):
    """One training; a Ray step is an epoch. Ray calls `cleanup` when it stops a trial early."""

    def setup(
        self, config: dict[str, Any], arguments: list[str], out_dir: str, train: list[str]
    ) -> None:
        settings = [word for key, value in config.items() for word in ("--set", f"{key}={value}")]
        self._process = TrainingProcess(
            [*arguments, "--set", "select.on=dev", *settings], Path(out_dir), self.trial_id, train
        )
        self._epochs: Iterator[dict[str, float]] = self._process.epochs()
        self._last: dict[str, float] = {}

    def step(self) -> dict[str, Any]:
        row = next(self._epochs, None)
        if row is None:
            return {METRIC: self._last.get(METRIC, math.nan), "done": True}
        self._last = {key: value for key, value in row.items() if not math.isnan(value)}
        return dict(self._last)

    def cleanup(self) -> None:
        self._process.stop()


def main(argv: list[str] | None = None, train: tuple[str, ...] = TRAIN) -> tune.ResultGrid:
    """Parse the command line, search, and print the best trial."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--out-dir", type=Path, default=Path("artifacts/sweep"))
    parser.add_argument("--cpus-per-trial", type=float, default=2)
    parser.add_argument("--gpus-per-trial", type=float, default=float(torch.cuda.is_available()))
    parser.add_argument("arguments", nargs="*", metavar="-- TRAIN_ARGUMENTS")
    options = parser.parse_args(argv)

    out_dir = options.out_dir.resolve()
    trainable = tune.with_parameters(
        TrainingTrial, arguments=options.arguments, out_dir=str(out_dir), train=list(train)
    )
    results = tune.Tuner(
        tune.with_resources(
            trainable, {"cpu": options.cpus_per_trial, "gpu": options.gpus_per_trial}
        ),
        param_space=SPACE,
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="max",
            num_samples=options.trials,
            scheduler=ASHAScheduler(grace_period=2, reduction_factor=2),
        ),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str(out_dir),
            # PulmoNet keeps its own checkpoints; a trial that Ray stopped is not taken up again.
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    ).fit()
    best = results.get_best_result(METRIC, "max", scope="all")
    print(f"best: {METRIC} {best.metrics_dataframe[METRIC].max():.4f}: {best.config}")
    return results


if __name__ == "__main__":
    main()
