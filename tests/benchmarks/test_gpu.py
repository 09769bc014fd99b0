"""`benchmarks/gpu.py` where there is no GPU: it ends, and no figure costs another."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("gpu")


def test_a_figure_that_fails_and_one_without_time_cost_no_other(
    gpu: ModuleType, tmp_path: Path
) -> None:
    path = tmp_path / "gpu.json"
    bench = gpu.Bench(torch.device("cpu"), 0.01, path, limit_seconds=60)

    def fail() -> dict[str, float]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    first = bench.take("first", lambda: {"images_per_second": bench.rate_of(lambda _: 3)})
    bench.take("broken", fail)
    last = bench.take("last", lambda: {"images_per_second": first["images_per_second"] / 2})
    bench.compare(last, first, "share_of_bound")
    bench.compare(bench.take("broken too", fail), first, "share_of_bound")
    bench._end = 0.0
    assert bench.take("late", fail) == {}
    bench.save()
    found = json.loads(path.read_text())
    assert list(found["results"]) == ["first", "broken", "last", "broken too"]
    assert found["results"]["broken"]["failed"].startswith("RuntimeError: CUDA error: an illegal")
    assert found["results"]["last"]["share_of_bound"] == 0.5
    assert found["results"]["first"]["images_per_second"] > 0
    assert found["no_time_for"] == ["late"]


def test_without_a_gpu_it_says_so_and_ends(
    gpu: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--json", str(tmp_path / "gpu.json")])
    gpu.main()
    assert capsys.readouterr().out == "no CUDA device here; nothing was measured\n"
    assert not (tmp_path / "gpu.json").exists()
