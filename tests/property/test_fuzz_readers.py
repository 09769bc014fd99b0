"""Hostile inputs to every reader, the short form; `tests/faults/run_fuzz.py` is the long one."""

from __future__ import annotations

import os
from typing import Any

import pytest
from fuzz_targets import TARGETS, empty_folder
from hypothesis import HealthCheck, given, settings

#: Examples a target: together a few seconds.
N_EXAMPLES = {
    "large liars": 1,
    "images": 150,
    "dicom": 100,
    "liars": 12,
    "medmnist": 25,
    "packs": 10,
    "recipes": 20,
    "run_config": 60,
    "evaluation": 40,
    "predictions": 60,
    "tables": 30,
    "weights": 40,
    "calibration": 40,
    "segmentations": 30,
    "artifacts": 15,
    "boxes": 30,
    "command line": 25,
}


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.filterwarnings("ignore:::pydicom")
def test_a_sound_value_or_the_readers_own_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("PULMONET_CACHE_DIR", "XDG_DATA_HOME", "HOME"):  # a target may set them
        monkeypatch.setenv(variable, os.environ.get(variable, ""))
    target = TARGETS[name]

    @settings(max_examples=N_EXAMPLES[name], deadline=None, suppress_health_check=list(HealthCheck))
    @given(value=target.inputs)
    def run(value: Any) -> None:
        with empty_folder() as folder:
            target.check(value, folder)

    run()
