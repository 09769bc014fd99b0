"""What benchmarks take from the product is there: nobody runs them all before each change."""

from __future__ import annotations

import ast
import importlib
import importlib.util
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.stem)
def test_names_imported_from_the_product_exist(path: Path) -> None:
    missing = [
        f"{node.module}.{name.name}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pulmonet")
        for name in node.names
        if not hasattr(importlib.import_module(str(node.module)), name.name)
        and importlib.util.find_spec(f"{node.module}.{name.name}") is None
    ]
    assert not missing
