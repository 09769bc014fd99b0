"""SIGINT and SIGTERM during training: finish the step, save, then end."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from pulmonet.training.distributed import Processes, any_process

#: Steps after which several processes ask each other whether one was told to stop.
STEPS_PER_QUESTION = 10


class Interrupted(Exception):  # noqa: N818 - an outcome that the user asked for, no error
    """The run was stopped by a signal after saving; `exit_code` is 128 + its number."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.exit_code = 128 + signal_number


class SignalWatch:
    """The first signal that asked the process to end, kept for the loop; a second SIGINT ends."""

    def __init__(self) -> None:
        self.received = 0

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """A signal came."""
        if number == signal.SIGINT and self.received:
            os._exit(130)  # files are replaced whole, so there is nothing to tidy
        self.received = self.received or number
        sys.stderr.write("\nstopping after this step, saving (Ctrl-C again ends at once) …\n")


def stop_requested(watch: SignalWatch, processes: Processes, step: int, n_steps: int) -> bool:
    """Whether to stop after a 1-based step of `n_steps`; all processes get the same answer."""
    if not processes.are_many:
        return bool(watch.received)
    is_due = step % STEPS_PER_QUESTION == 0 or step == n_steps
    return is_due and any_process(bool(watch.received), processes)
