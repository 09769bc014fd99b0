"""Commands that repeat a run."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from pulmonet.cli.main import main
from pulmonet.flows.evaluate import flow
from pulmonet.flows.evaluate.options import EvaluateOptions
from pulmonet.report.render.blocks import Code
from report_factory import make_run
from report_reader import change_result, compare, sections_of

LABELS = ("Edema", "Pleural Effusion")


def commands_of(artifacts_dir: Path) -> list[str]:
    section = sections_of(artifacts_dir)["Commands, digests, versions"]
    (code,) = [block.text for block in section.blocks if isinstance(block, Code)]
    return code.splitlines()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[EvaluateOptions]:
    """What `evaluate` was asked for, which then does nothing."""
    found: list[EvaluateOptions] = []

    def run(options: EvaluateOptions) -> int:
        found.append(options)
        return 0

    monkeypatch.setattr(flow, "run", run)
    return found


def test_how_to_reproduce_repeats_training_and_evaluation(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, "a")
    change_result(run_dir, blank="ignore")
    lines = commands_of(tmp_path)
    again = "pulmonet train --config a/run_config.json --out-dir . --name a-again"
    assert again in lines
    assert lines[-2] == "# evaluation of a on CheXpert-v1.0-small valid"
    how = "--blank ignore --threshold youden"
    assert lines[-1] == f"pulmonet evaluate a --artifacts-dir . --split valid {how}"


def test_each_dataset_is_named_and_all_that_decides_the_numbers(
    tmp_path: Path, asked: list[EvaluateOptions]
) -> None:
    run_dir = make_run(tmp_path, "a", labels=LABELS)
    make_run(tmp_path, "b", labels=LABELS)
    compare(tmp_path, "a", "b", label="Edema", primary=True, margin=0.05)
    (path,) = run_dir.path.glob("evaluation_*.json")
    document = json.loads(path.read_text())
    (result,) = document["runs"]
    for item in result["labels"].values():
        (point,) = item["operating_points"]
        point["deployment_prevalence"] = 0.05
        item["operating_points"] = [point, point | {"criterion": "ppv=0.5"}]
        item["calibrated"] = item["calibration"] | {"calibrator": "isotonic"}
    result["study"]["rule"] = "mean"
    result["subgroups"][0]["column"] = "device's maker"
    path.write_text(json.dumps(document))
    for name, labels in (("nih cxr", LABELS), ("padchest", LABELS[:1])):
        result |= {"dataset": name, "external": True, "dataset_fingerprint": "e" * 64}
        result["labels"] = {label: result["labels"][label] for label in labels}
        run_dir.evaluation_path(name, "valid").write_text(
            json.dumps({**document, "comparisons": []})
        )
    typed = [line for line in commands_of(tmp_path) if line.startswith("pulmonet evaluate")]
    assert len(typed) == len({*typed}) == 4  # that of b has other settings
    for line in typed:
        assert main(shlex.split(line)[1:]) == 0, line
    own, nih, padchest, b = asked
    assert (own.runs, own.data_dir, own.primary, own.margin) == (("a", "b"), None, "Edema", 0.05)
    assert (nih.runs, nih.data_dir, nih.labels) == (("a",), "the folder of nih cxr", ())
    assert (padchest.data_dir, padchest.labels) == ("the folder of padchest", LABELS[:1])
    for options in (own, nih, padchest):
        assert options.criteria == ("youden", "ppv=0.5") and options.calibrator == "isotonic"
        assert options.prevalence == {"": 0.05} and options.study_rule == "mean"
        assert options.subgroup_columns == ("device's maker",)
    assert b.runs == ("a", "b") and b.study_rule == "max"


def test_scores_of_files_are_named_as_files(tmp_path: Path, asked: list[EvaluateOptions]) -> None:
    """In the folder of a run, with a split that is no dataset's."""
    run_dir = make_run(tmp_path, "a")
    change_result(run_dir, split="all", rows_used_for=["unknown (scores from a file)"])
    assert main(shlex.split(commands_of(tmp_path)[-1])[1:]) == 0
    (options,) = asked
    assert [str(one) for one in options.predictions] == ["a=the file of its scores"]
    assert options.split is None and not options.runs
