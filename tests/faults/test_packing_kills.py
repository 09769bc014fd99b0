"""The short form of `packing_kills`: real processes, real SIGKILLs, one small dataset."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import cv2
import pytest

from small_dataset import smooth_image

SCRIPT = Path(__file__).with_name("packing_kills.py")
HEADER = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,Atelectasis,Cardiomegaly,Consolidation,Edema,"
    "Pleural Effusion\n"
)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """packing_kills.py, which is no package's member, as a module."""
    spec = importlib.util.spec_from_file_location("packing_kills", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 images in CheXpert's layout; at 1024 px a block of the pack holds a dozen."""
    root = tmp_path_factory.mktemp("data") / "tiny"
    for split, patients in (("train", range(26)), ("valid", range(26, 30))):
        lines = []
        for patient in patients:
            path = f"{split}/patient{patient:05d}/study1/view1_frontal.png"
            (root / path).parent.mkdir(parents=True)
            cv2.imwrite(str(root / path), smooth_image(patient, 500, 600))
            values = f"Male,60,Frontal,AP,{patient % 2},{patient % 3 % 2},0,1,0"
            lines.append(f"tiny/{path},{values}\n")
        (root / f"{split}.csv").write_text(HEADER + "".join(lines), "utf-8")
    return root


@pytest.mark.slow
def test_killed_and_doubled_packs_equal_the_undisturbed_one(
    script: ModuleType, data_dir: Path, tmp_path: Path
) -> None:
    size = ("--image-size", "1024")
    expected, seconds = script.run_undisturbed(data_dir, tmp_path / "calm", *size)
    assert {"images.npy", "checksums.npy", "sources.npy", "index.csv"} <= set(expected)
    killed = script.run_with_kills(data_dir, tmp_path / "killed", 2, 1, seconds, *size)
    assert all(found == expected for found in killed)
    assert script.run_two_at_once(data_dir, tmp_path / "two", *size) == expected
