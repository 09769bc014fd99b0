"""The losses of the steps, looked at now and then: a look waits for the device."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pulmonet.errors import TrainingError
from pulmonet.training.checkpoint import Progress
from pulmonet.training.engine import Engine
from pulmonet.words import list_first

#: Steps between two looks at the loss on a GPU.
STEPS_PER_LOOK = 20


class LossesSeen:
    """Losses of the last steps, left on the device until the next look at them.

    A look adds them to the progress and ends the run at a non-finite one, with its step and
    rows; no checkpoint is written without a look before it.
    """

    def __init__(self, engine: Engine, progress: Progress, paths: Sequence[str]) -> None:
        self._engine = engine
        self._progress = progress
        self._paths = paths
        self._waiting: list[tuple[int, NDArray[np.int64], Tensor, Tensor, Tensor | None]] = []
        self.last = progress.loss_sum / progress.known_sum if progress.known_sum else float("nan")

    def add(
        self, rows: NDArray[np.int64], loss_sum: Tensor, known: Tensor, skipped: Tensor | None
    ) -> None:
        """The step that was just counted in the progress: rows (B,), scalars on the device."""
        self._waiting.append((self._progress.step, rows, loss_sum, known, skipped))

    def are_due(self, n_steps: int) -> bool:
        """Whether it is time for a look, in an epoch of `n_steps`."""
        step, every = self._progress.step, STEPS_PER_LOOK
        return self._engine.device.type == "cpu" or step % every == 0 or step == n_steps

    def look(self) -> None:
        """Read the waiting losses.

        Raises:
            TrainingError: a non-finite loss (fp16: more non-finite losses or gradients in a row
                than allowed).
        """
        progress, engine = self._progress, self._engine
        allowed = engine.config.runtime.nonfinite_limit if engine.scaler is not None else 0
        for number, rows, loss_sum, known, skipped in self._waiting:
            total, count = float(loss_sum), int(known)
            is_finite = math.isfinite(total)
            if is_finite:
                progress.loss_sum += total
                progress.known_sum += count
                self.last = total / max(count, 1)
            if is_finite and not (skipped is not None and bool(skipped)):
                progress.n_skipped_in_a_row = 0
                continue
            progress.n_skipped_in_a_row += 1
            progress.n_skipped += 1
            if progress.n_skipped_in_a_row > allowed:
                what = "gradient" if is_finite else "loss"
                paths = list_first([self._paths[int(row)] for row in rows])
                raise TrainingError(
                    f"epoch {progress.epoch + 1}, step {number}: the {what} is not finite; "
                    f"rows of the batch: {paths}; lower --lr, set optim.clip_norm, try --no-amp or "
                    "other --weights; the last good checkpoint is kept"
                )
        self._waiting.clear()
