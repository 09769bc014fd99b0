"""`pulmonet report --list`: a line for each run."""

from pathlib import Path

import pytest

from chexpert_factory import write_dataset
from pulmonet.cli.main import main
from pulmonet.run.folder import RunDir
from run_factory import make_run


def report(artifacts: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(["report", "--list", "--artifacts-dir", str(artifacts)])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_runs_with_model_data_state_auroc_and_date(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, artifacts = write_dataset(tmp_path / "films", n_train=8, n_valid=6), tmp_path / "runs"
    command = ["train", "--data-dir", str(data), "--model", "timm:test_resnet", "--out-dir"]
    command += [str(artifacts), "--weights", "none", "--image-size", "32", "--epochs", "2"]
    assert main([*command, "--name", "whole"]) == 0
    make_run(artifacts, model="timm:test_resnet", name="begun")
    record = RunDir(artifacts / "begun").read_record()
    facts = {"status": "interrupted", "best_valid_macro_auroc": None}
    begun = record.provenance.model_copy(update=facts)
    RunDir(artifacts / "begun").write_record(record.config, begun)
    log = [{"epoch": 1, "val_macro_auroc": 0.61}, {"epoch": 2, "val_macro_auroc": 0.58}]
    RunDir(artifacts / "begun").write_log(log)
    capsys.readouterr()
    code, out, err = report(artifacts, capsys)
    assert code == 0
    assert err == ""
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    whole = RunDir(artifacts / "whole").read_record().provenance
    assert f"{whole.best_valid_macro_auroc:.3f}" in lines["whole"]
    assert whole.start[:10] in lines["whole"]
    assert "films" in lines["whole"]
    assert "finished" in lines["whole"]
    n_epochs = record.config.total_epochs
    assert f"interrupted, 2 of {n_epochs}" in " ".join(out.split())
    assert "0.610" in lines["begun"]
    assert "2026-01-01" in lines["begun"]
    assert not (artifacts / "report.md").exists(), "nothing is written"


def test_a_damaged_run_is_named_and_the_others_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path, model="timm:test_resnet", name="good")
    make_run(tmp_path, model="timm:test_resnet", name="bad").config_path.write_text("{")
    code, out, err = report(tmp_path, capsys)
    assert code == 4
    assert "good" in out
    assert "bad/run_config.json" in err


def test_no_run_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = report(tmp_path, capsys)
    assert code == 4
    assert "no trained run; train one" in err
