"""Cases of ../shared/cases about training on nothing, a patient's CD, and what is left."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from field_cases import case_folder
from pulmonet.cli.main import main
from pulmonet.run.folder import RunDir
from run_factory import make_run

LABELS = ["Cardiomegaly", "Edema", "Consolidation", "Atelectasis", "Pleural Effusion"]
SMALL = (
    *("--image-size", "32", "--no-amp", "--weights", "none", "--model", "timm:test_resnet"),
    *("--epochs", "1"),
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def real_rows(shared_data: Path, root: Path, value: float) -> None:
    """Real X-rays whose training labels are all `value`."""
    for name, n_rows in (("train", 12), ("valid", 40)):
        table = pd.read_csv(shared_data / "nih-cxr" / f"{name}.csv").iloc[:n_rows]
        if name == "train":
            table[LABELS] = value
        root.mkdir(exist_ok=True)
        table.to_csv(root / f"{name}.csv", index=False)
        for path in table["Path"]:
            inside = path.split("/", 1)[1]
            (root / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(shared_data / "nih-cxr" / inside, root / inside)


def test_nothing_to_learn(
    here: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real_rows(shared_data, here / "allunc", -1.0)
    ignored = ["--uncertain-policy", "ignore", "--name", "ign"]
    assert main(["train", "--data-dir", "allunc", *SMALL, *ignored]) == 3
    assert "no known value of Atelectasis" in capsys.readouterr().err
    assert not Path("artifacts/ign").exists()

    real_rows(shared_data, here / "allneg", 0.0)
    assert main(["train", "--data-dir", "allneg", *SMALL, "--name", "neg"]) == 0
    assert "no positive among 12 known values of train" in capsys.readouterr().err
    facts = RunDir(Path("artifacts/neg")).read_record().provenance
    assert set(facts.one_class("train")) == set(LABELS)
    assert main(["report"]) == 0
    assert "nothing could be learned in training of" in Path("artifacts/report.md").read_text()


def test_explain_dicom_cd_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pydicom")
    case = case_folder("explain-dicom-cd-folder")
    make_run(here / "artifacts", model="timm:test_resnet", name="run")
    assert main(["explain", str(case), "--run", "run", "--label", "Edema"]) == 0
    said = capsys.readouterr()
    assert "1 DICOMDIR" in said.err
    folders = [path.name for path in Path("artifacts/run/explain").glob("*/")]
    assert len(folders) == 2 and all(name.endswith("IM000001") for name in folders)
