"""What `pulmonet train` shows while it trains: a bar, a line per epoch, curves.png."""

from __future__ import annotations

import contextlib
import math
from typing import Any, Protocol

import pandas as pd

from pulmonet.config.schema import RunConfig
from pulmonet.figures.training import draw_curves
from pulmonet.files.write import write_atomic
from pulmonet.flows import console
from pulmonet.run.folder import RunDir
from pulmonet.training.distributed import Processes
from pulmonet.words import duration


class _Plan(Protocol):
    @property
    def processes(self) -> Processes: ...


class Display:
    """Entered for one stage of training; silent but on the first process."""

    def __init__(self, plan: _Plan, run_dir: RunDir, config: RunConfig) -> None:
        self._is_first = plan.processes.is_first
        self._run_dir = run_dir
        self._config = config
        self._bar: console.Steps | None = None
        self._open = contextlib.ExitStack()
        self._log: list[dict[Any, Any]] = []
        self._board: Any = None

    def __enter__(self) -> Display:
        if self._is_first and self._config.runtime.tensorboard:
            self._board = _tensorboard(self._run_dir)
        if self._run_dir.log_path.exists() and self._run_dir.last_checkpoint_path.exists():
            self._log = self._run_dir.read_log().to_dict("records")
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        if self._board is not None:
            self._board.close()

    def on_epoch_start(self, epoch: int, n_steps: int, done: int, pixels: int) -> None:
        """A bar for this epoch."""
        if not self._is_first:
            return
        name = f"epoch {epoch}/{self._config.total_epochs}{self._member(epoch)}"
        if pixels != self._config.data.image_size:
            name += f" at {pixels} px"
        self._bar = self._open.enter_context(console.steps(name, n_steps, done=done))

    def on_step(self, n_images: int, loss: float) -> None:
        """One more step on the bar."""
        if self._bar is not None:
            self._bar.advance(1, note=f"loss {loss:.4f}", n_images=n_images)

    def on_epoch(self, row: dict[str, float], is_best: bool) -> None:
        """A line of results, and the curves so far."""
        self._open.close()
        if not self._is_first:
            return
        auroc = row["val_macro_auroc"]
        best = "  best so far" if is_best and not math.isnan(auroc) else ""
        console.say(
            f"Epoch {int(row['epoch'])}/{self._config.total_epochs}{self._member(row['epoch'])}: "
            f"train loss {row['train_loss']:.4f}, validation loss {row['val_loss']:.4f}, "
            f"AUROC {'unknown' if math.isnan(auroc) else f'{auroc:.4f}'}, "
            f"{row['images_per_second']:.1f} images/s, {duration(row['seconds'])}{best}"
        )
        self._log = [old for old in self._log if old["epoch"] < row["epoch"]] + [row]
        figure = draw_curves(pd.DataFrame(self._log), self._run_dir.name)
        write_atomic(self._run_dir.curves_path, figure)
        if self._board is not None:
            for name, value in row.items():
                self._board.add_scalar(name, value, int(row["epoch"]))

    def _member(self, epoch: float) -> str:
        """Which network of an ensemble a 1-based epoch trains."""
        n_members = self._config.model.members
        if n_members == 1:
            return ""
        return f" (network {-(-int(epoch) // self._config.optim.epochs)} of {n_members})"


def _tensorboard(run_dir: RunDir) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        console.warn("runtime.tensorboard: not installed; pip install 'pulmonet[tensorboard]'")
        return None
    return SummaryWriter(str(run_dir.path / "tensorboard"))
