"""The notebook of the examples, its cells run one after the other in a folder of their own."""

import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "phantoms.ipynb"


def test_it_goes_from_data_to_a_heat_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    book = json.loads(NOTEBOOK.read_text("utf-8"))
    cells = ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] for cell in book["cells"] if "outputs" in cell), "kept clean"
    settings = 'PATIENTS, EPOCHS, MODEL, PIXELS = 200, 10, "resnet50", 64'
    assert cells[0].endswith(settings)
    small = 'PATIENTS, EPOCHS, MODEL, PIXELS = 20, 1, "timm:test_resnet", 32'
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    space: dict[str, Any] = {}
    for cell in [cells[0].replace(settings, small), *cells[1:]]:
        exec(compile(cell, str(NOTEBOOK), "exec"), space)
    assert len(space["log"]) == 1
    assert list(space["scores"].columns) == list(space["model"].labels)
    assert space["scores"].shape[0] == len(space["valid"]) > 0
    assert space["scores"].to_numpy().min() >= 0
    assert space["overlay"].shape == (*space["explanation"].image.shape, 3)
    assert np.ptp(space["overlay"]) > 0
    assert space["right"].get_title().startswith(space["box"]["label"])
    space["plt"].close("all")
