"""`scripts/structure`, on a copy of the source that is made worse."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: Tests of what is no single module: pages, recipes, scripts, and the statistics as a whole.
OF_NO_MODULE = {"changelog", "docs", "recipes", "structure", "simulations", "many_rows", "document"}


def test_each_unit_test_stands_where_its_module_does() -> None:
    unit, source = ROOT / "tests" / "unit", ROOT / "src" / "pulmonet"
    lost = [
        path.relative_to(unit)
        for path in unit.rglob("test_*.py")
        if path.stem[5:] not in OF_NO_MODULE
        and not (source / path.parent.relative_to(unit) / f"{path.stem[5:]}.py").exists()
    ]
    assert lost == []


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(
        ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "templates")
    )
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "structure", tmp_path / "scripts")
    return tmp_path


def structure(root: Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("grimp")
    return subprocess.run(
        [sys.executable, root / "scripts" / "structure"],
        env={"PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_source_has_no_circle_and_no_long_file() -> None:
    done = structure(ROOT)
    assert done.returncode == 0, done.stdout
    assert done.stdout == "no import circle, no file over 400 lines\n"


def test_a_circle_within_functions_and_a_long_file_are_named(copy: Path) -> None:
    package = copy / "src" / "pulmonet"
    with (package / "errors.py").open("a") as file:
        file.write("\n\ndef late() -> None:\n    from pulmonet import labels  # noqa\n")
    (package / "long.py").write_text("x = 1\n" * 401)
    done = structure(copy)
    assert done.returncode == 1
    assert "pulmonet/long.py: 401 lines, more than 400" in done.stdout
    assert "import circle: " in done.stdout
    assert "pulmonet.errors" in done.stdout
