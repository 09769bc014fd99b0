"""A real training process, killed and resumed: the same bits as the undisturbed one."""

from __future__ import annotations

from pathlib import Path

import pytest
from training_kills import EMA, ENSEMBLE, run_undisturbed, run_with_kills

from chexpert_factory import write_dataset


@pytest.mark.slow
def test_killed_and_resumed_run_ends_in_the_same_bits(tmp_path: Path) -> None:
    """An ensemble of two architectures with averaged weights: all that a checkpoint holds."""
    extra = (*ENSEMBLE, *EMA)
    data = write_dataset(tmp_path / "tiny", n_train=64)
    expected, seconds = run_undisturbed(data, tmp_path / "calm", *extra)
    found, hits = run_with_kills(data, tmp_path / "killed", 3, 1, seconds / 2, *extra)
    assert hits == 3
    assert found == expected
