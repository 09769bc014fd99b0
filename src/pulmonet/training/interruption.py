"""SIGINT and SIGTERM during training: finish the step, save, then end."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from pulmonet.files.system import STOP_SIGNALS, on_signals


class Interrupted(Exception):  # noqa: N818 - an outcome that the user asked for, no error
    """The run was stopped by a signal after saving; `exit_code` is 128 + its number."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.exit_code = 128 + signal_number


class SignalWatch:
    """While entered, the first SIGINT or SIGTERM is kept for the loop; a second SIGINT ends."""

    def __init__(self) -> None:
        self.received = 0
        self._handling = on_signals(STOP_SIGNALS, self._receive)

    def __enter__(self) -> SignalWatch:
        self._handling.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._handling.__exit__(None, None, None)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received:
            # files are replaced whole, so there is nothing to tidy
            os._exit(130)
        self.received = self.received or number
        sys.stderr.write("\nstopping after this step, saving (Ctrl-C again ends at once) …\n")
