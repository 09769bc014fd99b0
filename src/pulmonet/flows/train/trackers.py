"""Who else follows a training, where asked for: TensorBoard, MLflow. The same numbers for both."""

import contextlib
import logging
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pulmonet.flows import console
from pulmonet.training.stage import Stage
from pulmonet.words import first_line

#: Takes an epoch's row of training_log.csv, and its number.
Tracker = Callable[[Mapping[str, float], int], None]


def open_trackers(stage: Stage, stack: contextlib.ExitStack) -> list[Tracker]:
    """The trackers of a folder that are wanted and installed, closed with `stack`."""
    runtime, found = stage.config.runtime, []
    openers = {"tensorboard": _open_tensorboard, "mlflow": _open_mlflow}
    for name in filter(partial(getattr, runtime), openers):
        with _unstopped(name):
            found.append(openers[name](stage, stack))
    return found


@contextlib.contextmanager
def _unstopped(name: str) -> Iterator[None]:
    """A tracker that is not installed, or a server that does not answer, ends no training."""
    try:
        yield
    except ImportError:
        console.warn(f"runtime.{name}: not installed; pip install 'pulmonet[{name}]'")
    except Exception as error:
        console.warn(f"tracker: {first_line(error)}; the training goes on")


def _open_tensorboard(stage: Stage, stack: contextlib.ExitStack) -> Tracker:
    from torch.utils.tensorboard import SummaryWriter

    board: Any = SummaryWriter(str(stage.run_dir.path / "tensorboard"))
    stack.callback(board.close)

    def log(row: Mapping[str, float], epoch: int) -> None:
        for name, value in row.items():
            board.add_scalar(name, value, epoch)

    return log


def _open_mlflow(stage: Stage, stack: contextlib.ExitStack) -> Tracker:
    """A run in MLFLOW_EXPERIMENT_NAME at MLFLOW_TRACKING_URI; a resumed one goes on in its own.

    Without these it is `pulmonet`, in ``./mlruns``: below a folder called artifacts MLflow finds
    nothing.
    """
    if "MLFLOW_TRACKING_URI" not in os.environ:  # later MLflow 3 wants to be asked for a folder
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    folder, name = stage.run_dir, os.environ.get("MLFLOW_EXPERIMENT_NAME", "pulmonet")
    place = os.environ.get("MLFLOW_TRACKING_URI")
    client = MlflowClient(place or Path("mlruns").absolute().as_uri())
    known = client.get_experiment_by_name(name)
    experiment = client.create_experiment(name) if known is None else known.experiment_id
    start = folder.read_record().provenance.start if folder.exists() else stage.fingerprint
    tags = {"pulmonet.run": folder.name, "pulmonet.start": start}
    same = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    earlier = client.search_runs([experiment], same)
    run = earlier[0] if earlier else client.create_run(experiment, run_name=folder.name, tags=tags)
    number = run.info.run_id
    if not earlier:
        flat = stage.config.flat().items()
        client.log_batch(number, params=[Param(key, str(value)[:500]) for key, value in flat])
    client.update_run(number, "RUNNING")

    def log(row: Mapping[str, float], epoch: int) -> None:
        known = {key: value for key, value in row.items() if math.isfinite(value)}
        now = int(1000 * time.time())
        metrics = [Metric(re.sub(r"[^\w. /-]", "_", k), v, now, epoch) for k, v in known.items()]
        with _unstopped("mlflow"):
            client.log_batch(number, metrics=metrics)

    def close(kind: type[BaseException] | None, *_: object) -> None:
        with _unstopped("mlflow"):
            for path in filter(Path.exists, (folder.log_path, folder.curves_path)):
                client.log_artifact(number, str(path))
            client.set_terminated(number, "FINISHED" if kind is None else "KILLED")

    stack.push(close)
    return log
