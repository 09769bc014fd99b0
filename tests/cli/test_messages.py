"""Messages that say what was tried and the one thing to do, as their users met them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from chexpert_factory import write_dataset
from pulmonet import __version__
from pulmonet.cli.main import main
from pulmonet.config.load import load_config
from pulmonet.errors import ConfigError
from run_factory import make_run

SMALL = (
    *("--model", "timm:test_resnet", "--weights", "none", "--epochs", "1", "--image-size", "32"),
    *("--batch-size", "8", "--no-amp"),
)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset below the current folder; the run `base` in ./artifacts knows it."""
    monkeypatch.chdir(tmp_path)
    root = write_dataset(tmp_path / "tiny", n_train=10, n_valid=6)
    make_run(tmp_path / "artifacts", model="timm:test_resnet", data_dir=root, name="base")
    return root


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("name", ["run.toml", "RUN.TOML", "run.json"])
def test_a_config_with_a_byte_order_mark_is_read(tmp_path: Path, name: str) -> None:
    text = '{"seed": 7}' if name.endswith("json") else "seed = 7\n[data]\nimage_size = 64\n"
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    assert load_config(str(tmp_path / name)).seed == 7


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("run.yaml", b"seed: 7\n", "YAML is not read; write it as TOML"),
        ("run.yml", b"seed: 7\n", "YAML is not read; write it as TOML"),
        ("run.toml", "seed = 7\n".encode("utf-16"), "not valid TOML .* save it as UTF-8 text"),
        ("run.toml", b"seed: 7\n", "not valid TOML .* fix the file"),
        ("run.json", b"seed = 7\n", r"not valid JSON .* fix the file"),
        ("run.cfg", b"seed = 7\n", "a name that ends in .toml is read as TOML, others as JSON"),
    ],
)
def test_a_config_of_another_kind_is_told_so(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=f"{name}: .*{words}"):
        load_config(str(tmp_path / name))


def test_a_prevalence_of_no_label_is_refused_before_the_work(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "base", "--prevalence", "Edemma=0.1"]) == 2
    captured = capsys.readouterr()
    assert "--prevalence Edemma: not among the labels evaluated" in captured.err
    assert "(did you mean 'Edema'?)" in captured.err
    assert captured.out == "", "nothing was scored for it"
    only = ["--labels", "Edema", "--bootstrap", "100"]
    assert main(["evaluate", "base", *only, "--prevalence", "Cardiomegaly=0.1"]) == 2
    assert "choose from Edema" in capsys.readouterr().err
    assert main(["evaluate", "base", *only, "--prevalence", "oedema=0.1"]) == 0


@pytest.mark.parametrize("flags", [[], ["--html"]])
def test_a_report_goes_to_the_page_that_is_named(
    data: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    assert main(["report", "-o", "out/mine.html", *flags]) == 0
    assert "<!doctype html>" in Path("out/mine.html").read_text()
    assert Path("out/mine.md").is_file() and Path("out/MODEL_CARD.md").is_file()
    assert "page: out/mine.html" in capsys.readouterr().out


def test_a_report_of_another_kind_is_refused_and_a_folder_may_have_a_dot(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "-o", "out.pdf"]) == 2
    assert "--output out.pdf: a report is .md or .html" in capsys.readouterr().err
    assert main(["report", "-o", "report.v2"]) == 0
    assert Path("report.v2/report.md").is_file()


@pytest.mark.parametrize(
    "change", [{"schema": 2, "provenance.pulmonet": __version__}, {"provenance.pulmonet": "99.1.0"}]
)
def test_a_run_of_a_newer_version_is_told_so(
    data: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any]
) -> None:
    path = Path("artifacts/base/run_config.json")
    record = json.loads(path.read_text())
    record["config"]["data"]["new_field"] = 1
    for key, value in change.items():
        place = record["provenance"] if "." in key else record
        place[key.rpartition(".")[2]] = value
    path.write_text(json.dumps(record))
    assert main(["evaluate", "base"]) == 4
    words = said(capsys)
    assert "run_config.json: written by a newer pulmonet" in words
    assert "pip install --upgrade pulmonet" in words
    assert "--overwrite" not in words


def test_a_damaged_record_of_this_version_is_still_damaged(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path("artifacts/base/run_config.json")
    path.write_text(path.read_text().replace('"seed"', '"sead"', 1))
    assert main(["evaluate", "base"]) == 4
    assert "newer" not in said(capsys)


def test_a_shells_list_of_the_artifacts_folder(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree("artifacts/base", "artifacts/ensemble")
    Path("artifacts/ensemble/run_config.json").unlink()
    Path("artifacts/notes.md").write_text("# Notes\n")
    listed = sorted(str(path) for path in Path("artifacts").iterdir())
    assert main(["evaluate", *listed, "--bootstrap", "100"]) == 0
    words = said(capsys)
    assert "passed over, since they are no runs: artifacts/ensemble, artifacts/notes.md" in words
    assert main(["evaluate", "artifacts/ensemble"]) == 4
    assert "error: artifacts/ensemble: holds no run (no run_config.json)" in said(capsys)
    assert main(["evaluate", "artifacts/bass"]) == 4
    assert "error: artifacts/bass: no such run (did you mean 'base'?)" in said(capsys)
    assert main(["evaluate", "artifacts/base", "artifacts/bass"]) == 4


def test_a_name_that_is_too_long_is_a_usage_error(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--data-dir", str(data), *SMALL, "--name", "a" * 300]) == 2
    assert "--name aaaaaaaaaaaaaaaaaaaa...: 300 letters; at most 200" in said(capsys)
    for flags in (["prepare", "b" * 300], ["train", "--out-dir", "b" * 300, "--name", "c"]):
        assert main(flags) == 2
        assert "longer than a name may be; choose a shorter one" in said(capsys)


def test_a_dataset_that_is_gone_is_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(data)
    assert main(["evaluate", "base"]) == 3
    words = said(capsys)
    assert f"{data}: the dataset that the run was trained on is not there any more" in words
    assert "--data-dir (no dataset: looked in " in words
    write_dataset(Path("data") / "tiny", n_train=10, n_valid=6)
    assert main(["evaluate", "base", "--bootstrap", "100"]) == 0
    assert f"{data} is not there any more: data/tiny is taken" in said(capsys)


def test_resuming_on_other_data_names_the_table_and_what_differs(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--data-dir", str(data), *SMALL, "--name", "r"]
    assert main(command) == 0
    more = [*command, "--resume", "--epochs", "2"]
    table = pd.read_csv(data / "train.csv", dtype=str, keep_default_na=False)
    table.iloc[:-1].to_csv(data / "train.csv", index=False)
    capsys.readouterr()
    assert main(more) == 4
    words = said(capsys)
    assert "--resume artifacts/r: the dataset" in words and "train images 10 -> 9" in words
    assert "changed since it began: train.csv" in words
    assert main([*more, "--set", "optim.lr=0.5"]) == 2
    assert "the run was started with another optim.lr" in said(capsys)


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_dataset_without_training_rows_is_not_to_be_trained_on(
    data: Path, capsys: pytest.CaptureFixture[str], split: str
) -> None:
    (data / "train.csv").unlink()
    (data / "valid.csv").rename(data / f"{split}.csv")
    assert main(["prepare", str(data)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("Ready for evaluation, not for training (no row in split train")
    assert last.endswith(f"Next: pulmonet evaluate RUN --data-dir {data}")


def test_labels_without_a_value_are_summed_up(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(data / "valid.csv", dtype=str, keep_default_na=False)
    table.assign(Edema="").to_csv(data / "valid.csv", index=False)
    assert main(["prepare", str(data), "--check-only"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("Edema") == 2 and "Fracture" in shown
    assert len(shown.splitlines()) < 26
