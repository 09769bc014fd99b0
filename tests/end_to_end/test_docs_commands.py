"""What the documentation tells a reader to type is typed here, page by page, and ends as promised.

Every `pulmonet ...` line of README.md, CONTRIBUTING.md and docs goes through the real
command line, in a folder that has what the page presupposes: blocks in their order, then what
stands within sentences. Python and TOML blocks are executed and read. What is made smaller, so
that all pages together take a minute, is listed first; what is not run at all is in `NOT_RUN`,
each with its reason. A documented line that is neither run nor listed fails.
"""

from __future__ import annotations

import functools
import hashlib
import http.server
import os
import re
import shlex
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import pandas as pd
import pydicom
import pytest
import torch
from torchvision import models

from documented import PAGES, Documented, documented
from evaluation_factory import write_predictions
from pulmonet.cli.main import main
from pulmonet.config.load import load_config
from pulmonet.data.phantoms.write import MARKER, write_phantoms
from pulmonet.report.checklist.items import read_author_notes
from small_networks import NETWORKS

pytestmark = pytest.mark.slow

#: Flags put behind those of the page, where the last one counts.
SMALLER = {
    "prepare": ["--image-size", "64"],
    "train": ["--image-size", "64", "--epochs", "1"],
    "evaluate": ["--bootstrap", "100", "--no-figures"],
}
SMALLER_DEMO = ["--patients", "8"]
SMALLER_ROWS = ["--rows", "2"]
SMALLER_PYTHON = ("S = 224", "S = 64")
#: Patients of the drawn stand-in for CheXpert.
N_PATIENTS = 10


#: The page on which figures are drawn; on the others `evaluate` writes none.
WITH_FIGURES = "README.md"

#: Lines that are not run, as patterns of the whole line, and why.
NOT_RUN = {
    r"pipx install .*|pip install .*|wsl .*": "installs software",
    r"scripts/(demo|check|test|docs)": "minutes: CI and every newcomer run them",
    r"benchmarks/.*|(nice -n 19 )?python benchmarks/.*|scripts/mutation .*": "up to hours",
    r"python tests/faults/.*": "the long forms of tests/faults, hours",
    r"python examples/optuna_sweep.py .*": "30 trainings; tests/examples/test_optuna_sweep.py",
    r"python examples/ray_tune_sweep.py .*": "needs Ray; the page says that it was not run",
    r"torchrun .*": "several processes; tests/end_to_end/test_distributed.py",
    r"#!/bin/bash\n#SBATCH (.|\n)*": "needs Slurm",
    r"pulmonet --install-completion": "writes into the start-up file of the reader's shell",
    r"pulmonet explain --run phantoms .*": "the network of benchmarks/phantom_localisation.py",
    r"pulmonet .*xrv:.*": "fetches a published network",
    r"pulmonet (train|evaluate) .* --data-dir \.\./shared/.*": "networks of benchmarks/unlike.py",
    r"pulmonet (prepare|train) --data-dir (data/nih|collections\.toml)( .*)?|"
    r"pulmonet evaluate both|same_patients = (.|\n)*": "collections; tests/cli/test_collections.py",
    r"pulmonet train --boxes gt_annotations_val\.json.*": "contours; tests/cli/test_train_boxes.py",
    r"pulmonet explain --run quick-s1-.*": "the networks of benchmarks/study.py, an hour",
}

#: Exit codes other than 0 that the text leads one to expect: {(page, line): code}.
EXPECTED: dict[tuple[str, str], int] = {}

#: Pages whose `train` lines are alternatives: each replaces the run of the one before.
ALTERNATIVES = {
    "docs/augmentation.md",
    "docs/commands.md",
    "docs/label-policies.md",
    "docs/losses.md",
}

#: What lies in a page's folder at first: nothing, CheXpert in ./data, or (all other pages) also
#: the runs densenet121 and resnet50, trained and evaluated.
EMPTY = {"README.md", "docs/quick-start.md", "docs/experiments/evaluation-statistics.md"}
UNTRAINED = {"docs/chexpert.md", "docs/migrating.md"}


# --- what the pages presuppose --------------------------------------------------------------


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def weights_urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Addresses of seeded weights with ImageNet's 1,000 outputs, on a mirror on this machine."""
    folder = tmp_path_factory.mktemp("mirror")
    names = {}
    for model, build in NETWORKS.items():
        torch.manual_seed(0)
        plain = folder / model
        torch.save(build().state_dict(), plain)
        digest = hashlib.sha256(plain.read_bytes()).hexdigest()[:8]
        names[model] = plain.rename(folder / f"{model}-{digest}.pth").name
    handler = functools.partial(QuietHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    yield {model: f"{address}/{name}" for model, name in names.items()}
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms in CheXpert's layout, without the mark of a synthetic set."""
    root = tmp_path_factory.mktemp("drawn") / "CheXpert-v1.0-small"
    write_phantoms(root, N_PATIENTS, 42)
    (root / MARKER).unlink()
    return root


@dataclass
class Reader:
    """Types what a page says, in a folder of its own."""

    page: str
    folder: Path
    drawn: Path
    weights_urls: dict[str, str]
    monkeypatch: pytest.MonkeyPatch
    names: dict[str, object] = field(default_factory=dict)

    def type(self, line: str) -> int:
        """The exit code of a documented ``pulmonet ...`` line, made smaller."""
        arguments = shlex.split(line)[1:]
        smaller = [] if "--verify" in arguments else list(SMALLER.get(arguments[0], []))
        if "--help" in arguments:
            smaller = []
        elif "--demo" in arguments:
            smaller += SMALLER_DEMO
        elif arguments[0] == "train" and self.page in ALTERNATIVES:
            smaller += ["--overwrite"]
        elif arguments[0] == "evaluate" and self.page == WITH_FIGURES:
            smaller.remove("--no-figures")
        elif "--folds" in arguments:  # of five runs, not of fifteen networks
            smaller += ["--set", "model.members=1"]
        elif {"--rows", "--boxes", "--sanity"} & set(arguments):
            smaller += SMALLER_ROWS + ["--bootstrap", "100"] * ("--boxes" in arguments)
        model = arguments[arguments.index("--model") + 1] if "--model" in arguments else ""
        url = self.weights_urls.get(model, self.weights_urls["densenet121"])
        self.monkeypatch.setenv("PULMONET_WEIGHTS_URL", url)
        return main([*arguments, *smaller])

    def put_chexpert(self, name: str = "data/CheXpert-v1.0-small") -> Path:
        """The dataset at `name`; its tables say so."""
        root = self.folder / name
        shutil.copytree(self.drawn, root, copy_function=os.link)
        for table in root.glob("*.csv"):
            text = table.read_text().replace(f"{self.drawn.name}/", f"{root.name}/")
            table.unlink()  # a link: the original stays as it is
            table.write_text(text)
        return root

    def put_images(self) -> None:
        """X-rays of one's own, as JPEG, PNG and DICOM, alone and in folders."""
        self.folder.joinpath("folder").mkdir()
        self.folder.joinpath("x").mkdir()
        for name, source in zip(
            ("image.jpg", "a.jpg", "folder/c.jpg", "x/d.jpg"),
            sorted(self.drawn.rglob("*frontal.jpg")),
            strict=False,
        ):
            shutil.copy(source, self.folder / name)
        pixels = cv2.imread(str(self.folder / "image.jpg"), cv2.IMREAD_GRAYSCALE)
        assert pixels is not None
        cv2.imwrite(str(self.folder / "a.png"), pixels)
        example = pydicom.Dataset()
        example.update(
            {"Rows": pixels.shape[0], "Columns": pixels.shape[1]}
            | {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0}
            | {"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"}
            | {"Modality": "CR", "PixelData": pixels.tobytes()}
        )
        example["PixelData"].VR = "OB"
        example.file_meta = pydicom.dataset.FileMetaDataset()
        example.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        example.file_meta.MediaStorageSOPClassUID = pydicom.uid.ComputedRadiographyImageStorage
        example.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        example.save_as(self.folder / "b.dcm", enforce_file_format=True)


def put_scores(reader: Reader) -> None:
    """Somebody's saved scores."""
    (source,) = (reader.folder / "artifacts" / "densenet121").glob("predictions_*.csv")
    shutil.copy(source, reader.folder / "scores.csv")


def put_two_scores(reader: Reader) -> None:
    """The same file under two names: an ensemble of it and itself."""
    (source,) = (reader.folder / "artifacts" / "densenet121").glob("predictions_*.csv")
    for name in ("one", "two"):
        (reader.folder / name).mkdir()
        shutil.copy(source, reader.folder / name / "scores.csv")


def put_other_folds(reader: Reader) -> None:
    page = documented(reader.page)
    (line,) = [step.text for step in page if "--fold 0 --name quick-0" in step.text]
    for fold in "1234":
        other = line.replace("--fold 0", f"--fold {fold}").replace("quick-0", f"quick-{fold}")
        assert reader.type(other) == 0


def put_two_recipes(reader: Reader) -> None:
    """Out-of-fold scores of two recipes, of the name that the page gives the data."""
    (source,) = (reader.folder / "artifacts" / "quick").glob("predictions_*.csv")
    for recipe in ("quick", "strong"):
        place = reader.folder / "artifacts" / recipe / "predictions_nih-cxr_out-of-fold.csv"
        place.parent.mkdir(exist_ok=True)
        shutil.copy(source, place)


def put_big_scores(reader: Reader) -> None:
    run = reader.folder / "artifacts" / "seed1"
    shutil.copy(next(run.glob("predictions_*.csv")), reader.folder / "big.csv")


def put_seeds(reader: Reader) -> None:
    """Of the three seeds the page writes the first one out."""
    page = documented(reader.page)
    (line,) = [step.text for step in page if "--seed 1 --name seed1" in step.text]
    for seed in "23":
        assert reader.type(line.replace("--seed 1", f"--seed {seed}") + f" --name seed{seed}") == 0


def put_arms(reader: Reader) -> None:
    artifacts = reader.folder / "artifacts"
    for name in ("a-0", "a-1", "a-2", "b-0", "b-1", "b-2"):
        shutil.copytree(artifacts / "densenet121", artifacts / name)


def put_boxes(reader: Reader) -> None:
    shutil.copy(reader.drawn / "boxes.csv", reader.folder)


def put_own(reader: Reader) -> None:
    reader.put_chexpert("my-xrays")
    (reader.folder / "my-xrays" / "boxes.csv").unlink()
    shutil.rmtree(reader.folder / "artifacts")


def put_foreign_columns(reader: Reader) -> None:
    """One CSV with names of its own; the run of the page's first lines stays."""
    root = reader.folder / "my-xrays"
    tables = [pd.read_csv(root / name) for name in ("train.csv", "valid.csv")]
    table = pd.concat(tables).rename(columns={"Path": "FileName"})
    table["PatientID"] = table["FileName"].str.extract(r"(patient\d+)")
    for name in ("train.csv", "valid.csv", "truth.csv"):
        (root / name).unlink()
    table.to_csv(root / "xrays.csv", index=False)


def put_other_collection(reader: Reader) -> None:
    root = reader.put_chexpert("other-xrays")
    (root / "valid.csv").rename(root / "test.csv")
    (root / "train.csv").unlink()


def put_sites(reader: Reader) -> None:
    table = pd.read_csv(reader.folder / "my-xrays" / "xrays.csv")
    patients = table["PatientID"].drop_duplicates()
    sites = ["north" if number % 2 else "south" for number in range(len(patients))]
    pd.DataFrame({"PatientID": patients, "site": sites}).to_csv("table.csv", index=False)


def put_sweep(reader: Reader) -> None:
    run = reader.folder / "artifacts" / "densenet121"
    shutil.copytree(run, reader.folder / "artifacts" / "sweep" / "trial-0007")


def put_notes(reader: Reader) -> None:
    (block,) = [step.text for step in documented(reader.page) if step.kind == "toml"]
    (reader.folder / "notes.toml").write_text(block)
    assert read_author_notes(reader.folder / "notes.toml")


#: What a line presupposes that no line before it makes.
BEFORE: dict[tuple[str, str], Callable[[Reader], object]] = {
    ("docs/commands.md", "pulmonet evaluate --predictions scores.csv"): put_scores,
    ("docs/evaluation.md", "pulmonet evaluate --predictions scores.csv"): put_scores,
    ("docs/evaluation.md", "pulmonet evaluate --predictions scores.csv --plan width=0.1"): (
        lambda reader: write_predictions(reader.folder / "scores.csv")
    ),
    (
        "docs/evaluation.md",
        "pulmonet evaluate a-0 a-1 a-2 b-0 b-1 b-2 --arm a=a-0,a-1,a-2 --arm b=b-0,b-1,b-2 "
        "--primary Edema --margin 0.02",
    ): put_arms,
    (
        "docs/evaluation.md",
        "pulmonet evaluate --predictions a=one/scores.csv --predictions b=two/scores.csv "
        "--ensemble-name both",
    ): put_two_scores,
    (
        "docs/evaluation.md",
        "pulmonet evaluate quick-0 quick-1 quick-2 quick-3 quick-4 --pool-folds quick",
    ): put_other_folds,
    (
        "docs/evaluation.md",
        "pulmonet evaluate --predictions quick=artifacts/quick/predictions_nih-cxr_out-of-fold.csv "
        "--predictions strong=artifacts/strong/predictions_nih-cxr_out-of-fold.csv "
        "--artifacts-dir quick-or-strong",
    ): put_two_recipes,
    (
        "docs/experiments/evaluation-statistics.md",
        "pulmonet evaluate seed1 seed2 seed3 crippled",
    ): put_seeds,
    (
        "docs/experiments/evaluation-statistics.md",
        "pulmonet evaluate --predictions big.csv --no-figures",
    ): put_big_scores,
    ("docs/explanations.md", "pulmonet explain --boxes boxes.csv"): put_boxes,
    ("README.md", "pulmonet train --model densenet121 --subset 0.01 --name first"): (
        Reader.put_chexpert
    ),
    ("docs/quick-start.md", "pulmonet train --model densenet121 --subset 0.01"): (
        Reader.put_chexpert
    ),
    (
        "docs/reports.md",
        "pulmonet report --html --author-notes notes.toml --output for-my-colleague",
    ): put_notes,
    ("docs/your-own-data.md", "pulmonet prepare my-xrays"): put_own,
    (
        "docs/your-own-data.md",
        "pulmonet prepare my-xrays --map path=FileName --map patient=PatientID",
    ): put_foreign_columns,
    (
        "docs/your-own-data.md",
        "pulmonet evaluate densenet121 --data-dir other-xrays --split test",
    ): put_other_collection,
    (
        "docs/your-own-data.md",
        "pulmonet train --data-dir my-xrays --join table.csv --name by-site",
    ): put_sites,
    (
        "docs/sweeps.md",
        "pulmonet train --config artifacts/sweep/trial-0007/run_config.json "
        "--set select.on=valid --set select.checkpoint=last --name tuned --set model.members=3",
    ): put_sweep,
}


@pytest.fixture
def open_page(
    request: pytest.FixtureRequest,
    drawn: Path,
    weights_urls: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str], Reader]:
    """A reader in front of a page."""
    for model, build in NETWORKS.items():
        monkeypatch.setattr(models, model, build)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))

    folder = tmp_path_factory.mktemp("reader")

    def open_(page: str) -> Reader:
        monkeypatch.chdir(folder)
        if page == WITH_FIGURES:
            request.getfixturevalue("drawn_figures")
        reader = Reader(page, folder, drawn, weights_urls, monkeypatch)
        reader.put_images()
        if page not in EMPTY:
            reader.put_chexpert()
        return reader

    return open_


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Empty at first; the first page that presupposes runs leaves them here for the others."""
    return tmp_path_factory.mktemp("finished")


def put_runs(reader: Reader, finished: Path) -> None:
    """The runs densenet121 and resnet50, trained and evaluated, in ./artifacts."""
    if not (finished / "artifacts").exists():
        for line in ("train --model densenet121", "train --model resnet50", "evaluate"):
            assert reader.type(f"pulmonet {line}") == 0
        shutil.copytree("artifacts", finished / "artifacts")
    else:
        shutil.copytree(finished / "artifacts", reader.folder / "artifacts")


# --- typing -----------------------------------------------------------------------------------

SKIPPED = re.compile("|".join(f"(?:{pattern})" for pattern in NOT_RUN))


def follow(reader: Reader, step: Documented) -> None:
    """Do what one step says; an exit code that is not the promised one fails."""
    if SKIPPED.fullmatch(step.text) or is_name(step):
        return
    if before := BEFORE.get((step.page, step.text)):
        before(reader)
    if step.kind == "python":
        exec(compile(step.text.replace(*SMALLER_PYTHON), step.page, "exec"), reader.names)
    elif step.kind == "toml":
        read_toml(reader, step.text)
    elif step.kind == "script":
        for line in lines_of(reader, step.text):
            assert reader.type(line) == 0, line
    elif step.text.startswith("pulmonet "):
        expected = EXPECTED.get((step.page, step.text), 0)
        for line in written_out(step.text):
            assert reader.type(line) == expected, line
    else:
        pytest.fail(f"{step.page}: nobody runs `{step.text}`; list it in NOT_RUN with its reason")


def is_name(step: Documented) -> bool:
    """``pulmonet train`` within a sentence names the command."""
    return step.kind == "inline" and re.fullmatch(r"pulmonet [a-z]+", step.text) is not None


def written_out(line: str) -> list[str]:
    """``pulmonet COMMAND --help`` for each command."""
    commands = ("prepare", "train", "evaluate", "explain", "report")
    return [line.replace("COMMAND", name) for name in commands] if "COMMAND" in line else [line]


def lines_of(reader: Reader, script: str) -> list[str]:
    """The `pulmonet` lines that a script of shell comes to, as sh expands them."""
    stand_in = reader.folder / "bin" / "pulmonet"
    stand_in.parent.mkdir()
    stand_in.write_text('#!/bin/sh\necho pulmonet "$@"\n')
    stand_in.chmod(0o755)
    path = f"{stand_in.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", script], env={"PATH": path}, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def read_toml(reader: Reader, block: str) -> None:
    """Author notes, or a configuration; one that says what it is for is used so."""
    path = reader.folder / "my.toml"
    path.write_text(block)
    if reader.page == "docs/reports.md":
        assert read_author_notes(path)
        return
    load_config(str(path))
    if line := re.search(r"for: (pulmonet train --config my\.toml)", block):
        assert reader.type(f"{line[1]} --name my") == 0


@pytest.mark.parametrize("page", [page for page in PAGES if documented(page)])
def test_what_a_page_says_to_type_works(
    page: str,
    open_page: Callable[[str], Reader],
    finished: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    steps = [step for step in documented(page) if not SKIPPED.fullmatch(step.text)]
    if not steps:
        pytest.skip("nothing on this page is run; see NOT_RUN")
    reader = open_page(page)
    if page not in EMPTY | UNTRAINED:
        put_runs(reader, finished)
    for step in steps:
        capsys.readouterr()
        follow(reader, step)


def test_lists_hold_nothing_that_is_gone() -> None:
    steps = [step for page in PAGES for step in documented(page)]
    for pattern in NOT_RUN:
        assert any(re.fullmatch(pattern, step.text) for step in steps), pattern
    known = {(step.page, step.text) for step in steps}
    assert set(BEFORE) | set(EXPECTED) <= known
    assert EMPTY | UNTRAINED | ALTERNATIVES | {WITH_FIGURES} <= set(PAGES)


def test_an_unknown_line_fails(open_page: Callable[[str], Reader]) -> None:
    reader = open_page("docs/faq.md")
    with pytest.raises(pytest.fail.Exception, match="nobody runs `make install`"):
        follow(reader, Documented("docs/faq.md", "command", "make install"))
    with pytest.raises(AssertionError, match="trian"):
        follow(reader, Documented("docs/faq.md", "command", "pulmonet trian"))
