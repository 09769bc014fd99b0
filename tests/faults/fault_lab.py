"""A small world to break: a dataset, a pack, a finished run with all its results.

`Lab.restore` puts it back as it was, `Lab.start` runs a command in it, `Lab.complaints` says
which promises were broken.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import signal
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))

import fault_server

import forked
from chexpert_factory import write_dataset

#: What each command is tried with; the same line again is "the next run".
COMMANDS: dict[str, list[str]] = {
    "prepare": ["prepare", "tiny"],
    "train": [
        *("train", "--model", "timm:test_resnet", "--weights", "none", "--image-size", "32"),
        *("--epochs", "3", "--batch-size", "8", "--data-dir", "tiny", "--name", "new"),
        *("--set", "runtime.threads=1", "--set", "runtime.checkpoint_minutes=0.0001", "--resume"),
    ],
    "evaluate": ["evaluate", "run", "--bootstrap", "100", "--no-figures", "--num-workers", "1"],
    "figures": ["evaluate", "run", "--bootstrap", "100", "--num-workers", "1"],
    "explain": ["explain", "--run", "run", "--data-dir", "tiny", "--label", "Edema"],
    "report": ["report", "--html"],
}

#: Further lines, tried with parts of a run that are gone or not ours.
COMMANDS_ON_RUNS: dict[str, list[str]] = {
    "resume": ["run" if word == "new" else word for word in COMMANDS["train"]],
    "longer": ["train", "--name", "run", "--resume", "--epochs", "4"],
    "start": [*COMMANDS["train"], "--weights", "given.pth"],
    "picture": ["explain", "given.jpg", "--run", "run", "--label", "Edema"],
}
COMMANDS_ON_RUNS["overwrite"] = [*COMMANDS_ON_RUNS["resume"][:-1], "--overwrite"]

#: Below the lab, what a command may write; all else must stay as it was.
MAY_WRITE: dict[str, tuple[str, ...]] = {
    "prepare": (r"cache/.*", r"user/.*", r"artifacts/prepare/.*"),
    "train": (r"cache/.*", r"user/.*", r"artifacts/new/.*"),
    "evaluate": (
        r"cache/.*",
        r"artifacts/run/(predictions|evaluation)_.*",
        r"artifacts/run/calibration\.json",
        r"artifacts/(final_evaluation_results\.(csv|md)|model_comparison\.png)",
        r"artifacts/((roc|precision_recall)_.*|trained_tested)\.png",
        r"artifacts/(run/)?\.pulmonet",
    ),
    "explain": (r"cache/.*", r"artifacts/run/(explain/.*|gradcam_.*|\.pulmonet)"),
    "report": (r"artifacts/(report.*|MODEL_CARD\.md|\.pseudonym_key|\.pulmonet)",),
}
MAY_WRITE |= {
    "resume": (r"cache/.*",),
    "longer": (r"cache/.*", r"artifacts/run/[^/]*"),
    "overwrite": (r"cache/.*", r"artifacts/run/.*"),
    "start": MAY_WRITE["train"],
    "picture": MAY_WRITE["explain"],
}
MAY_WRITE["figures"] = (
    *MAY_WRITE["evaluate"],
    r"artifacts/run/(roc|precision_recall|reliability|decision|score_histograms)_.*",
    r"artifacts/run/((calibration_)?subgroups|worst_cases|flow)_.*",
)

#: Written by libraries below the home folder, how long a command took, empty marks of a lock.
_ANYWHERE = re.compile(
    r"home/\.cache/(matplotlib|torch|huggingface)/.*|user/pulmonet/durations\.json"
    r"|(.*/)?(\.[^/]+)?\.lock(-\d+)?"
)

#: A temporary file of `write_atomic`: only a SIGKILL may leave one.
_TEMPORARY = re.compile(r"(.*/)?\.[^/]+\.[^/.]+\.tmp")


@dataclass
class Running:
    """A command that was started."""

    pid: int
    started: float


class Lab:
    """The world, and the server that runs commands in it."""

    def __init__(self, folder: Path, *, blank: bool = False) -> None:
        """`blank`: no command draws its figures, which takes half of the time."""
        self.folder, self.blank = folder, blank
        self.case = folder / "case"
        self.template = folder / "template"
        self._requests, theirs = forked.context().Pipe()
        log = str(folder / "server.log")
        self._server = forked.context().Process(target=fault_server.serve, args=(theirs, log))
        self._server.start()
        self.expected: dict[str, dict[str, str]] = {}
        self.seconds: dict[str, float] = {}
        self.n_writes: dict[str, int] = {}

    def close(self) -> None:
        """End the server."""
        self._requests.send(None)
        self._server.join(60)
        self._requests.close()

    # --- the world --------------------------------------------------------------------------

    def build(self, commands: Sequence[str]) -> None:
        """Make dataset, pack, run and results; note what each command gives undisturbed."""
        self.case.mkdir(parents=True)
        for name in ("home", "tmp"):
            (self.case / name).mkdir()
        write_dataset(self.case / "tiny")
        run = [word if word != "new" else "run" for word in COMMANDS["train"]]
        evaluate = "figures" if "figures" in commands else "evaluate"  # drawing takes long
        for argv in (COMMANDS["prepare"], run, COMMANDS[evaluate], COMMANDS["explain"]):
            self.must(argv)
        self.must(COMMANDS["report"])
        shutil.copytree(self.case, self.template)
        for command in commands:
            self._meet(command)

    def _meet(self, command: str) -> None:
        self.restore(command)
        counts = self.folder / "count"
        counts.write_text("0")
        begun = time.monotonic()
        code = self.finish(self.start(command, {"count_writes": str(counts)}))
        if code != 0:
            raise RuntimeError(f"{command} ended with {code}: {self.said()}")
        self.seconds[command] = time.monotonic() - begun
        self.n_writes[command] = int(counts.read_text())
        self.expected[command] = self.results(command)

    def restore(self, command: str) -> None:
        """The world as built; `prepare` and `train` have their work before them."""
        if command not in self.expected and command in COMMANDS_ON_RUNS:
            self.expected[command] = {}
            self._meet(command)
        if self.case.exists():
            shutil.rmtree(self.case)
        shutil.copytree(self.template, self.case)
        if command == "prepare":
            shutil.rmtree(self.case / "cache")
        if command == "start":
            weights = self.case / "artifacts" / "run" / "best_model.pth"
            shutil.copy2(weights, self.case / "given.pth")
        if command == "picture":
            (image,) = self.case.glob("tiny/valid/patient00025/*/*.jpg")
            shutil.copy2(image, self.case / "given.jpg")

    def argv(self, command: str) -> list[str]:
        """The words of one of the commands."""
        return (COMMANDS | COMMANDS_ON_RUNS)[command]

    def must(self, argv: Sequence[str]) -> None:
        """Run a command line that has to end with 0."""
        code = self.finish(self.start_argv(argv, {}))
        if code != 0:
            raise RuntimeError(f"{' '.join(argv)}: ended with {code}: {self.said()}")

    # --- running ----------------------------------------------------------------------------

    def _ask(self, request: dict[str, Any], seconds: float = 120) -> dict[str, Any]:
        self._requests.send(request)
        if not self._requests.poll(seconds):
            raise TimeoutError
        answer: dict[str, Any] = self._requests.recv()
        return answer

    def start(self, command: str, plan: dict[str, Any] | None = None, place: str = "") -> Running:
        """Start a command; `place` tells the output files of two at once apart."""
        return self.start_argv(self.argv(command), plan or {}, place)

    def environment(self) -> dict[str, str]:
        """Folders of this world only."""
        return {
            "HOME": str(self.case / "home"),
            "TMPDIR": str(self.case / "tmp"),
            "PULMONET_CACHE_DIR": str(self.case / "cache"),
            "XDG_DATA_HOME": str(self.case / "user"),
            "OMP_NUM_THREADS": "1",
        }

    def start_argv(self, argv: Sequence[str], plan: dict[str, Any], place: str = "") -> Running:
        """Start any command line."""
        request = {
            "argv": list(argv),
            "cwd": str(self.case),
            "env": self.environment(),
            "stdout": str(self.folder / f"stdout{place}"),
            "stderr": str(self.folder / f"stderr{place}"),
            "plan": plan | ({"blank": True} if self.blank else {}),
        }
        return Running(self._ask(request)["pid"], time.monotonic())

    def finish(self, running: Running, seconds: float = 120) -> int:
        """Its exit code; -signal when killed, -1000 when it hung and was killed by us."""
        try:
            return int(self._ask({"wait": running.pid}, seconds)["code"])
        except TimeoutError:
            os.kill(running.pid, signal.SIGKILL)
            self._requests.recv()
            return -1000

    def said(self, place: str = "") -> str:
        """What the last command wrote to stderr."""
        path = self.folder / f"stderr{place}"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    # --- looking ----------------------------------------------------------------------------

    def snapshot(self) -> dict[str, str]:
        """Digest of every file of the world, by its path below it."""
        return {
            path.relative_to(self.case).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.case.rglob("*"))
            if path.is_file()
        }

    def results(self, command: str) -> dict[str, str]:
        """What a command gives, without times: equal after a fault and the next run."""
        looks: dict[str, Callable[[], dict[str, str]]] = {
            "prepare": self._pack,
            "train": lambda: _training(self.case / "artifacts" / "new"),
            "evaluate": self._evaluation,
            "figures": self._evaluation,
            "explain": self._maps,
            "report": self._report,
            "resume": lambda: _training(self.case / "artifacts" / "run"),
            "longer": lambda: _training(self.case / "artifacts" / "run"),
            "overwrite": lambda: _training(self.case / "artifacts" / "run"),
            "start": lambda: _training(self.case / "artifacts" / "new"),
            "picture": lambda: {},
        }
        return looks[command]()

    def _pack(self) -> dict[str, str]:
        # a table that was damaged for a while leaves another pack beside: the images are others
        (undisturbed,) = (self.template / "cache" / "packs").iterdir()
        folder = self.case / "cache" / "packs" / undisturbed.name
        names = ("images.npy", "checksums.npy", "index.csv")
        return {name: _digest((folder / name).read_bytes()) for name in names}

    def _evaluation(self) -> dict[str, str]:
        run_dir = self.case / "artifacts" / "run"
        document = (run_dir / "evaluation_tiny_valid.json").read_text()
        predictions = (run_dir / "predictions_tiny_valid.csv").read_bytes()
        return {
            "predictions": _digest(predictions),
            "evaluation": _digest(re.sub(r"\d{4}-\d\d-\d\dT[^\"]*", "", document).encode()),
        }

    def _maps(self) -> dict[str, str]:
        (path,) = (self.case / "artifacts" / "run" / "explain").glob("*/maps.npz")
        with np.load(path, allow_pickle=False) as maps:
            return {name: _digest(maps[name].tobytes()) for name in ("labels", "raw", "scores")}

    def _report(self) -> dict[str, str]:
        text = (self.case / "artifacts" / "report.md").read_text()
        beside = sorted(set(re.findall(r"\((report_files/[^)#]+\.md)", text)))
        assert beside
        text = "\n".join([text, *((self.case / "artifacts" / name).read_text() for name in beside)])
        html = (self.case / "artifacts" / "report.html").read_text()
        return {
            "report.md": _digest(re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "", text).encode()),
            "report.html": str("</html>" in html),
        }

    def complaints(
        self, command: str, before: dict[str, str], broken: Sequence[str] = (), *, killed: bool
    ) -> list[str]:
        """Broken promises about files: altered, half written, left behind, outside.

        Args:
            command: the command that met the fault.
            before: `snapshot` from before it.
            broken: patterns of files that the fault itself damaged.
            killed: whether temporary files may be left.
        """
        found = []
        allowed = [*MAY_WRITE[command], *broken]
        after = self.snapshot()
        for name in sorted(before.keys() | after.keys()):
            if _ANYWHERE.fullmatch(name) or (killed and _TEMPORARY.fullmatch(name)):
                continue
            if _TEMPORARY.fullmatch(name) and name in after:
                found.append(f"left behind: {name}")
            elif before.get(name) != after.get(name) and not _matches(name, allowed):
                found.append(f"altered: {name}")
            elif (
                name in after
                and before.get(name) != after[name]
                and not _matches(name, broken)
                and not is_whole(self.case / name)
            ):
                found.append(f"half written: {name}")
        return found


def _training(run_dir: Path) -> dict[str, str]:
    """best_model.pth byte for byte, and the log without its timings."""
    timed = {"seconds", "images_per_second", "peak_memory_mb"}
    with (run_dir / "training_log.csv").open(newline="") as file:
        rows = [
            {key: value for key, value in row.items() if key not in timed}
            for row in csv.DictReader(file)
        ]
    return {
        "best_model.pth": _digest((run_dir / "best_model.pth").read_bytes()),
        "training_log.csv": _digest(json.dumps(rows).encode()),
    }


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def is_whole(path: Path) -> bool:
    """Whether a file has its end, as far as its kind shows it."""
    data = path.read_bytes()
    match path.suffix:
        case ".json":
            try:
                json.loads(data)
            except ValueError:
                return False
            return True
        case ".png":
            return data.startswith(b"\x89PNG") and data.endswith(b"IEND\xaeB`\x82")
        case ".csv" | ".md" | ".tex":
            return data.endswith(b"\n")
        case ".html":
            return b"</html>" in data[-64:]
        case ".pth" | ".npz":
            try:
                with zipfile.ZipFile(path) as archive:
                    return archive.testzip() is None
            except zipfile.BadZipFile:
                return False
    return True
