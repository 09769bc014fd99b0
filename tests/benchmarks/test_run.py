"""`benchmarks/run`: figures with targets from the scripts' own documents; the growth picture."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


def load(name: str) -> ModuleType:
    loader = SourceFileLoader(f"benchmark_{Path(name).stem}", str(FOLDER / name))
    specification = importlib.util.spec_from_loader(loader.name, loader)
    assert specification
    module = importlib.util.module_from_spec(specification)
    sys.modules[loader.name] = module  # dataclasses look their module up
    loader.exec_module(module)
    return module


def entry(*values: float) -> dict[str, Any]:
    return {"values": list(values), "target": None, "more_is_better": False}


def test_every_script_is_there_and_read() -> None:
    run = load("run")
    for benchmark in run.BENCHMARKS:
        text = (FOLDER / f"{benchmark.name}.py").read_text()
        assert ('"--json"' in text) or not benchmark.json_option
        for option in (word for word in benchmark.arguments if word.startswith("--")):
            assert f'"{option}"' in text


def test_a_missed_target_shows(capsys: pytest.CaptureFixture[str]) -> None:
    run = load("run")
    document = {
        "date": "2026-11-24T00:00+00:00",
        "machine": {"cores": 2, "cpu": "x", "load_before": 0.1},
        "figures": {
            "a: ratio": {"values": [3.0, 2.0, 2.5], "target": 2.2, "more_is_better": True},
            "b: seconds": {"values": [0.4], "target": 0.3, "more_is_better": False},
            "c: watched": entry(1.0),
        },
    }
    assert run.show(document) == ["b: seconds"]
    shown = capsys.readouterr().out
    assert "| a: ratio | 2.5 | 2 to 3 | ≥ 2.2 | holds |" in shown
    assert "| b: seconds | 0.4 | 0.4 to 0.4 | ≤ 0.3 | MISSED |" in shown
    assert "| c: watched | 1 | 1 to 1 |  |  |" in shown


def test_readers_take_the_documents_apart() -> None:
    run = load("run")
    result = {"ratio": 2.0, "memory_ratio": 0.5}
    figures = run.read_step({"results": {"resnet50": result}})
    assert [(figure.name, figure.value) for figure in figures] == [
        ("resnet50 step, × classic", 2.0),
        ("resnet50 peak memory, ÷ classic", 0.5),
    ]
    assert figures[0].holds is None and not figures[1].more_is_better
    text = "images | labels\n| 234 | 5 | 1.0 | 2.0 | 532 | 100 |\nmore\n"
    (figure,) = run.read_bootstrap(text)
    assert (figure.name, figure.value, figure.holds) == ("234 images, × scikit-learn", 532.0, True)
    (figure,) = run.read_inference("... ratio 0.80 (wanted: 0.9)")
    assert figure.holds is False
    size = {"n_rows": 1000.0, "check_s": 0.5, "check_over_read_csv": 7.0, "peak_gb": 1.6}
    by_name = {figure.name: figure for figure in run.read_manifest({"results": [size]})}
    assert by_name["1,000 rows, peak MB"].value == 1600 and not by_name["1,000 rows, peak MB"].holds


def test_growth_curves_are_in_the_order_of_the_rows(tmp_path: Path, drawn_figures: None) -> None:
    growth = load("growth.py")
    figures = {
        "scale: 10,000 rows, write_s": entry(0.3, 0.2, 0.4),
        "scale: 1,000 rows, write_s": entry(0.03),
        "scale: 1,000 rows, read_s": entry(0.1),  # one size is no curve
        "scale: 1,000 rows, peak_mb": entry(150.0),
        "scale: 10,000 rows, peak_mb": entry(170.0),
        "startup: help, s": entry(0.2),
    }
    assert growth.curves_of(figures, growth.SECONDS) == {
        "write predictions": [(1000, 0.03), (10_000, 0.3)]
    }
    document = {"figures": figures, "machine": {"cores": 2, "cpu": "x"}, "date": "2026-11-24"}
    growth.draw(document, tmp_path / "growth.png")
    picture = cv2.imread(str(tmp_path / "growth.png"))
    assert picture.shape[1] >= 2 * picture.shape[0] and picture.std() > 10
