"""TensorBoard and MLflow get an epoch's row of training_log.csv."""

import csv
import sys
from pathlib import Path

import pytest

from chexpert_factory import write_dataset
from pulmonet.cli.main import main


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    monkeypatch.chdir(tmp_path)
    data = write_dataset(tmp_path / "films", n_train=16, n_valid=6)
    command = ["train", "--data-dir", str(data), "--out-dir", str(tmp_path / "artifacts")]
    command += ["--model", "timm:test_resnet", "--weights", "none", "--image-size", "32"]
    return [*command, "--batch-size", "8", "--epochs", "2", "--name", "tracked"]


def read_log(tmp_path: Path) -> list[dict[str, str]]:
    with (tmp_path / "artifacts" / "tracked" / "training_log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.filterwarnings("default")
def test_a_real_file_store_of_mlflow_has_parameters_numbers_and_files(
    command: list[str], tmp_path: Path
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    assert main([*command, "--set", "runtime.mlflow=true"]) == 0
    assert main([*command, "--set", "runtime.mlflow=true", "--resume", "--epochs", "3"]) == 0
    client = mlflow.MlflowClient((tmp_path / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("pulmonet")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "tracked"
    assert run.info.status == "FINISHED"
    assert run.data.params["optim.batch_size"] == "8"
    assert run.data.params["model.name"] == "timm:test_resnet"
    rows = read_log(tmp_path)
    assert len(rows) == 3
    for name in ("train_loss", "val_loss", "val_macro_auroc", "val_auc_Pleural Effusion"):
        history = client.get_metric_history(run.info.run_id, name)
        expected = {n: float(row[name]) for n, row in enumerate(rows, 1) if row[name]}
        found = {one.step: one.value for one in history}
        assert found == pytest.approx(expected), name
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"training_log.csv", "curves.png"}


@pytest.mark.filterwarnings("default")
def test_a_store_that_does_not_answer_ends_no_training(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "file").as_uri())
    assert main([*command, "--set", "runtime.mlflow=true"]) == 0
    assert "the training goes on" in capsys.readouterr().err
    assert len(read_log(tmp_path)) == 2


@pytest.mark.parametrize("name", ["mlflow", "tensorboard"])
def test_one_that_is_not_installed_is_told_and_ends_no_training(
    command: list[str],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = {"mlflow": "mlflow", "tensorboard": "torch.utils.tensorboard"}[name]
    monkeypatch.setitem(sys.modules, module, None)
    assert main([*command, "--set", f"runtime.{name}=true"]) == 0
    error = capsys.readouterr().err
    assert f"runtime.{name}: not installed; pip install 'pulmonet[{name}]'" in error
