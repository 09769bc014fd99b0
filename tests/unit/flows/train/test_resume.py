"""Whether and how a run goes on; said without torch."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pulmonet.config.load import parse_config
from pulmonet.errors import ArtifactError, ConfigError
from pulmonet.flows.train.resume import (
    CHANGEABLE,
    check_resumable,
    check_same_start,
    is_complete,
    resumed_config,
)
from pulmonet.run.folder import RunDir
from run_factory import make_run

ASK = """
import sys
from pulmonet.cli.main import main
code = main(sys.argv[1:])
print(code, sorted({"torch", "pandas", "cv2", "sklearn"} & set(sys.modules)))
"""


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    made = make_run(tmp_path_factory.mktemp("runs"), model="timm:test_resnet")
    made.write_log([{"epoch": 1}])
    return made


@pytest.mark.parametrize("name", ["best_model.pth", "training_log.csv"])
def test_a_finished_run_without_a_part_is_not_complete(tmp_path: Path, name: str) -> None:
    run_dir = make_run(tmp_path, model="timm:test_resnet")
    run_dir.write_log([{"epoch": 1}])
    record = run_dir.read_record()
    assert is_complete(record, record.config, run_dir)
    (run_dir.path / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name}: missing from a finished run"):
        is_complete(record, record.config, run_dir)


def config_with(run_dir: RunDir, section: str, **changes: Any) -> Any:
    content = run_dir.read_record().config.model_dump(mode="json")
    content[section] |= changes
    return parse_config(content)


def test_what_a_resumed_run_may_change(run_dir: RunDir) -> None:
    record = run_dir.read_record()
    others = {"device": "cpu", "num_workers": 7, "checkpoint_minutes": 3.0, "tensorboard": True}
    assert {f"runtime.{name}" for name in others} < CHANGEABLE
    config = config_with(run_dir, "runtime", **others)
    check_resumable(record, config, run_dir)
    assert is_complete(record, config, run_dir)
    longer = config_with(run_dir, "optim", epochs=record.config.optim.epochs + 1)
    check_resumable(record, longer, run_dir)
    assert not is_complete(record, longer, run_dir)


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("optim", {"lr": 0.5}, r"another optim\.lr \(0\.0001 -> 0\.5\); leave that out"),
        ("optim", {"epochs": 1}, "--epochs 1 is fewer than the run's 5; it can only be raised"),
        ("data", {"fit": "pad", "image_size": 96}, r"data\.image_size \(.*data\.fit \(stretch"),
    ],
)
def test_what_it_may_not(
    run_dir: RunDir, section: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_resumable(run_dir.read_record(), config_with(run_dir, section, **changes), run_dir)


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        ((), 4, "holds a finished run; choose another --name, or replace it with --overwrite"),
        (("--resume",), 0, "finished already after 5 epochs"),
        (("--resume", "--epochs", "1"), 2, "it can only be raised"),
    ],
)
def test_a_run_that_exists_answers_without_torch(
    run_dir: RunDir, flags: tuple[str, ...], code: int, message: str
) -> None:
    config = ("--config", str(run_dir.config_path), "--name", run_dir.name)
    command = ["train", *config, "--out-dir", str(run_dir.path.parent), *flags]
    line = [sys.executable, "-c", ASK, *command]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=Path.home())
    assert done.stdout.splitlines()[-1] == f"{code} []"
    assert message in done.stdout + done.stderr


def test_a_recipe_leaves_open_what_the_run_began_with(run_dir: RunDir, tmp_path: Path) -> None:
    """Such as a setting whose default was another in the version that began the run."""
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[pointing]\ntemperature = 2.0\n[data]\nimage_size = 96\n")
    content = json.loads(run_dir.config_path.read_text())
    content["config"]["pointing"]["weight"] = 0.5
    begun = RunDir(tmp_path / "begun")
    begun.path.mkdir()
    begun.config_path.write_text(json.dumps(content))
    config = resumed_config(begun, str(recipe), {"optim.lr": 0.5}, ["seed=3"])
    before, after = begun.read_record().config.flat(), config.flat()
    assert before["pointing.weight"] == 0.5
    assert {key: value for key, value in after.items() if value != before[key]} == {
        **{"pointing.temperature": 2.0, "data.image_size": 96, "optim.lr": 0.5, "seed": 3}
    }


@pytest.mark.parametrize(
    ("now", "is_refused"),
    [
        ({"sha256": "a", "of b0": {"sha256": "b"}}, False),
        ({"sha256": "a", "of b0": {"sha256": "c"}}, True),
        ({"sha256": "c", "of b0": {"sha256": "b"}}, True),
        ({"sha256": "a", "of b0": {"source": "timm"}}, False),  # no file whose digest were known
    ],
)
def test_first_weights_of_each_architecture_are_the_same_files(
    run_dir: RunDir, now: dict[str, Any], is_refused: bool
) -> None:
    record = run_dir.read_record()
    record.provenance.weights.update({"sha256": "a", "of b0": {"sha256": "b"}})
    refusal = pytest.raises(ArtifactError, match="none is not the file that the run began with")
    with refusal if is_refused else contextlib.nullcontext():
        check_same_start(record, now, run_dir)
