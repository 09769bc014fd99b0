"""Commands that repeat a run."""

from __future__ import annotations

from pathlib import Path

from pulmonet.report.render.blocks import Code
from report_factory import make_run
from report_reader import change_result, sections_of


def test_how_to_reproduce_repeats_training_and_evaluation(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, "a")
    change_result(run_dir, blank="ignore")
    section = sections_of(tmp_path)["Commands, digests, versions"]
    (code,) = [block.text for block in section.blocks if isinstance(block, Code)]
    lines = code.splitlines()
    again = "pulmonet train --config a/run_config.json --out-dir . --name a-again"
    assert again in lines
    evaluated = "pulmonet evaluate a --artifacts-dir . --split valid --blank ignore"
    assert evaluated in lines
