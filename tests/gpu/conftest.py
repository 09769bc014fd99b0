"""What needs a CUDA device: skipped without one, under two minutes with it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

if torch.cuda.is_available():  # before cuBLAS takes its memory: all tests then have as much
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def pytest_runtest_setup() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture(autouse=True)
def _settings_of_this_test_alone() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()
