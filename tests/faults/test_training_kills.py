"""A real training process, killed and resumed: the same bits as the undisturbed one."""

from __future__ import annotations

from pathlib import Path

import pytest
from training_kills import EMA, ENSEMBLE, run_undisturbed, run_with_kills

from chexpert_factory import write_dataset


@pytest.mark.slow
@pytest.mark.parametrize(("extra", "n_kills"), [(EMA, 2), (ENSEMBLE, 3)], ids=["ema", "ensemble"])
def test_killed_and_resumed_run_ends_in_the_same_bits(
    tmp_path: Path, extra: tuple[str, ...], n_kills: int
) -> None:
    data = write_dataset(tmp_path / "tiny", n_train=64)
    expected = run_undisturbed(data, tmp_path / "calm", *extra)
    found, hits = run_with_kills(data, tmp_path / "killed", n_kills, 1, 6.0, *extra)
    assert hits == n_kills
    assert found == expected
