"""A small world in which people work, and what must hold after each of their steps.

A step is plain data, ``{"do": "train", "run": "a", ...}``, so that a sequence of them can be drawn
by hypothesis (`sequence_rules`), kept as JSON (``kept_sequences.json``) and played again. Commands
are real processes (`fault_server`); a model that reads the files itself tells what they may do.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fault_lab import Lab, is_whole

from chexpert_factory import write_dataset

Step = dict[str, Any]

RUNS = ("a", "b", "c")
#: Signals that end a command in order, and their exit codes.
SIGNALS = {"SIGKILL": -9, "SIGTERM": 143, "SIGINT": 130, "SIGHUP": 129}
_TIMED = {"seconds", "images_per_second", "peak_memory_mb"}
_RESULTS = r"(predictions|evaluation|roc|precision_recall|reliability|decision|score_histograms|"
_RESULTS += r"(calibration_)?subgroups|flow|worst_cases)_.*|calibration\.json|\.pulmonet"
_TEMPORARY = re.compile(r"(.*/)?\.[^/]+\.[^/.]+\.tmp")
_LOCK = re.compile(r"(.*/)?\.(.*\.)?lock")
_HOME = re.compile(r"home/\.cache/(matplotlib|torch|huggingface)/.*")

#: What people put beside PulmoNet's files, or in their place.
PLANTED = (
    *("artifacts/report.md", "artifacts/MODEL_CARD.md", "artifacts/report_files/mine.png"),
    *("artifacts/report_files/a_curves.png", "artifacts/final_evaluation_results.md"),
    *("artifacts/a/notes.txt", "artifacts/a/explain/mine.png", "artifacts/b/stage1/notes.txt"),
    *("artifacts/a/explain/explanations.json", "artifacts/prepare/tiny/dataset.png"),
    *("artifacts/prepare/tiny/notes.txt", "artifacts/ensemble/notes.txt", "mine/report.md"),
    *("artifacts/model_comparison.png", "artifacts/c/notes.txt", "artifacts/a/gradcam_Edema.png"),
)
LINKED = ("artifacts/report_files", "artifacts/a/explain", "artifacts/final_evaluation_results.md")
LINKED += ("artifacts/report.md", "artifacts/prepare/tiny/dataset.png")
_OF_RUN = ("run_config.json", "best_model.pth", "last_checkpoint.pth", "training_log.csv")
_OF_RUN += ("calibration.json", "evaluation_tiny_valid.json", "predictions_tiny_valid.csv")
_OF_RUN += ("explain", ".pulmonet", "")
DELETED = (
    *(f"artifacts/{run}/{name}".rstrip("/") for run in ("a", "b") for name in _OF_RUN),
    *("artifacts/final_evaluation_results.csv", "artifacts/final_evaluation_results.md"),
    *("artifacts/report.md", "artifacts/report_files", "artifacts/.pulmonet", "artifacts/ensemble"),
    *("artifacts", "artifacts/prepare", "cache", "user", "tiny/valid.csv", "artifacts/a+flip"),
)
RENAMED = (
    *(("artifacts/a", "artifacts/b"), ("artifacts/b", "artifacts/a"), ("artifacts/a", "kept")),
    *(("artifacts/b", "artifacts/d"), ("artifacts/d", "artifacts/b"), ("kept", "artifacts/a")),
    *(("tiny", "moved"), ("moved", "tiny"), ("artifacts", "old"), ("old", "artifacts")),
)

#: Best weights and log by how a run was trained, over all sequences: equal work, equal bits.
_bits: dict[tuple[Any, ...], tuple[str | None, str]] = {}


@dataclass
class Run:
    """What lies in a run's folder, as the model reads it."""

    status: str
    epochs: int
    seed: int
    tables: str | None
    """The dataset's tables as the run saw them first, where the model has watched."""
    root: str
    recorded: str | None
    best: str | None
    log: list[list[str]]
    last: bool
    folder: dict[str, str] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """Whether its weights are there, and those that it says."""
        return self.best is not None and self.recorded in (None, self.best)


@dataclass
class Command:
    """A command line, where it may write, and what is known of it."""

    argv: list[str]
    writes: tuple[str, ...]
    step: Step
    codes: set[int] = field(default_factory=set)
    """What it may end with; worked out before it starts."""


@dataclass(frozen=True)
class Seen:
    """What a command did."""

    code: int
    said: str
    runs: dict[str, Run]
    """As they were before it."""
    before: dict[str, str]
    after: dict[str, str]
    alone: bool


class World:
    """One small world; `do` takes a step and gives the promises that it broke."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.root = lab, lab.case
        self.users: dict[str, str] = {}
        self.tables: dict[str, str] = {}
        self.counts: Counter[str] = Counter()
        self.codes: Counter[int] = Counter()

    # --- the world --------------------------------------------------------------------------

    def begin(self, *, trained: bool) -> None:
        """Two datasets and nothing else, or a run `a` with all its results too."""
        template = self.lab.folder / f"template-{trained}"
        if self.root.exists():
            shutil.rmtree(self.root)
        if template.exists():
            shutil.copytree(template, self.root, symlinks=True)
        else:
            for name in ("home/pictures", "tmp"):
                (self.root / name).mkdir(parents=True)
            for name, seed in (("tiny", 0), ("other", 1)):
                write_dataset(self.root / name, n_train=12, n_valid=8, seed=seed)
            (self.root / "home" / "pictures" / "mine.png").write_bytes(b"my own")
            if trained:
                first = [
                    {"do": "prepare", "data": "tiny", "out": None},
                    {
                        "do": "train",
                        "run": "a",
                        "mode": "new",
                        "epochs": 1,
                        "seed": 0,
                        "keep": True,
                    },
                    {"do": "evaluate", "runs": ["a"], "split": "valid", "how": "plain"},
                    {"do": "explain", "run": "a", "what": "first"},
                    {"do": "report", "out": None, "html": True},
                ]
                self._take_over()
                broken = [(step, problems) for step in first if (problems := self.do(step))]
                assert not broken, broken
            shutil.copytree(self.root, template, symlinks=True)
        self._take_over()
        if trained:
            self.tables["artifacts/a"] = self._tables()

    def _take_over(self) -> None:
        seen = self.snapshot()
        mine = ("tiny/", "other/", "home/pictures/")
        self.users = {name: what for name, what in seen.items() if name.startswith(mine)}
        self.tables = {}

    def snapshot(self) -> dict[str, str]:
        """Digest of every file, and where links lead, but of caches."""
        found = {}
        for folder, folders, files in os.walk(self.root):
            place = Path(folder).relative_to(self.root)
            if place == Path():
                folders[:] = [name for name in folders if name not in {"cache", "user", "tmp"}]
            links = [name for name in folders if Path(folder, name).is_symlink()]
            for name in (*files, *links):
                path = Path(folder, name)
                is_link = path.is_symlink()
                what = f"-> {path.readlink()}" if is_link else _digest(path)
                found[(place / name).as_posix()] = what
        return found

    def run(self, name: str) -> Run | None:
        """The run in ``artifacts/name``; None if there is none."""
        folder = self.root / "artifacts" / name
        path = folder / "run_config.json"
        if not path.exists():
            return None
        record = json.loads(path.read_text())
        config, facts = record["config"], record["provenance"]
        best, log = folder / "best_model.pth", folder / "training_log.csv"
        return Run(
            status=facts["status"],
            epochs=config["optim"]["epochs"],
            seed=config["seed"],
            tables=self.tables.get(f"artifacts/{name}"),
            root=facts["dataset"]["root"],
            recorded=facts["checkpoint_sha256"],
            best=_digest(best) if best.exists() else None,
            log=_read_log(log) if log.exists() else [],
            last=(folder / "last_checkpoint.pth").exists(),
            folder={
                name: _digest(folder / name)
                for name in ("run_config.json", "best_model.pth", "training_log.csv")
                if (folder / name).exists()
            },
        )

    def run_names(self) -> list[str]:
        """All folders with a run, sorted."""
        return sorted(path.parent.name for path in self.root.glob("artifacts/*/run_config.json"))

    def _tables(self) -> str:
        parts = [self.root / "tiny" / name for name in ("train.csv", "valid.csv")]
        return "".join(_digest(part) if part.exists() else "gone" for part in parts)

    def _is_in_way(self, *patterns: str) -> bool:
        """Whether something of the user's has a name, or holds one, that a command would write."""
        beside = [name for name in self.users if not name.startswith(("tiny/", "other/", "home/"))]
        return any(re.fullmatch(pattern, name) for pattern in patterns for name in beside)

    def runs(self) -> dict[str, Run]:
        """All runs by name."""
        return {name: run for name in self.run_names() if (run := self.run(name)) is not None}

    # --- steps ------------------------------------------------------------------------------

    def do(self, step: Step) -> list[str]:
        """Take one step; what was broken by it, in words."""
        self.counts[step["do"]] += 1
        act = getattr(self, f"_do_{step['do']}", None)
        if act is not None:
            act(step)
            return []
        steps = [step["first"], step["second"]] if step["do"] == "together" else [step]
        return self._run_all([self.command(one) for one in steps], step.get("kill"))

    def _run_all(self, commands: Sequence[Command], kill: Any = None) -> list[str]:
        before, runs = self.snapshot(), self.runs()
        for command in commands:
            command.codes = getattr(self, f"_codes_{command.step['do']}")(command.step, runs)
            if len(commands) > 1:  # a folder in use, a run that the other has just made
                command.codes |= {0, 4}
            if kill:
                command.codes.add(SIGNALS[kill[0]])
        return self.judge(commands, self.finish(commands, kill), before, runs)

    def finish(self, commands: Sequence[Command], kill: Any = None) -> list[int]:
        """Run commands, several at once; their exit codes."""
        plan: dict[str, Any] = {"blank": True}
        if kill:
            plan |= {"kill_write": kill[1], "kill_signal": kill[0]}
        going = [
            self.lab.start_argv(command.argv, plan, str(number))
            for number, command in enumerate(commands)
        ]
        return [self.lab.finish(one) for one in going]

    def judge(
        self,
        commands: Sequence[Command],
        codes: Sequence[int],
        before: dict[str, str],
        runs: dict[str, Run],
    ) -> list[str]:
        """What commands broke that ended with `codes`; `before`, `runs`: how it was before them."""
        self.codes.update(codes)
        after, found = self.snapshot(), []
        for number, (command, code) in enumerate(zip(commands, codes, strict=True)):
            said, told = self.lab.said(str(number)), f"{' '.join(command.argv)}: "
            if code not in command.codes:
                found.append(f"{told}exit code {code}, not {sorted(command.codes)}: {said[-600:]}")
            if "Traceback" in said:
                found.append(f"{told}{said[said.index('Traceback') :][-1500:]}")
            if 1 < code < 100 and "error:" not in said and "warning:" not in said:
                found.append(f"{told}exit code {code} without a message")
        allowed = [pattern for command in commands for pattern in command.writes]
        found += self._files_broken(before, after, allowed, killed=-9 in codes)
        for number, (command, code) in enumerate(zip(commands, codes, strict=True)):
            seen = Seen(code, self.lab.said(str(number)), runs, before, after, len(commands) == 1)
            if check := getattr(self, f"_check_{command.step['do']}", None):
                found += check(command.step, seen)
        return found

    def _files_broken(
        self, before: dict[str, str], after: dict[str, str], allowed: list[str], *, killed: bool
    ) -> list[str]:
        found = []
        for name, what in self.users.items():
            if after.get(name) != what:
                found.append(f"the user's {name} was {'changed' if name in after else 'removed'}")
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) == after.get(name) or name in self.users or _HOME.fullmatch(name):
                continue
            if _TEMPORARY.fullmatch(name) or _LOCK.fullmatch(name):
                if name in after and not killed:
                    found.append(f"left behind: {name}")
            elif not any(re.fullmatch(pattern, name) for pattern in allowed):
                found.append(f"altered: {name}")
            elif name in after and not is_whole(self.root / name):
                found.append(f"half written: {name}")
        return found

    # --- command lines ----------------------------------------------------------------------

    def command(self, step: Step) -> Command:
        make = getattr(self, f"_{step['do']}")
        argv, writes = make(step)
        return Command(argv, (r"mine/?", *writes), step)

    def _prepare(self, step: Step) -> tuple[list[str], tuple[str, ...]]:
        out = step["out"] or f"artifacts/prepare/{step['data']}"
        argv = ["prepare", step["data"], *(("--out-dir", out) if step["out"] else ())]
        names = (
            r"(prepare_report\.json|boxes\.csv|dataset\.png|near_duplicates\.(csv|png)|\.pulmonet)"
        )
        return argv, (rf"{out}/{names}",)

    def _train(self, step: Step) -> tuple[list[str], tuple[str, ...]]:
        argv = [
            *("train", "--model", "timm:test_resnet", "--weights", "none", "--image-size", "32"),
            *("--batch-size", "8", "--labels", "Edema,Atelectasis", "--data-dir", "tiny"),
            *("--epochs", str(step["epochs"]), "--seed", str(step["seed"]), "--name", step["run"]),
            *("--set", "runtime.threads=1", "--set", "runtime.checkpoint_minutes=0.0001"),
            *(() if step["keep"] else ("--set", "runtime.keep_checkpoint=false")),
            *(() if step["mode"] == "new" else (f"--{step['mode']}",)),
        ]
        own = (
            r"(run_config\.json|best_model\.pth|last_checkpoint\.pth|training_log\.csv|curves\.png"
            r"|seen\.npz|\.pulmonet)"
        )
        folder = rf"artifacts/{step['run']}"
        return argv, (rf"{folder}/{own if step['mode'] != 'overwrite' else '.*'}",)

    def _evaluate(self, step: Step) -> tuple[list[str], tuple[str, ...]]:
        names, how = step["runs"] or self.run_names(), step["how"]
        argv = ["evaluate", *step["runs"], "--split", step["split"], "--bootstrap", "100"]
        argv += ["--num-workers", "1"]
        argv += [] if how == "figures" else ["--no-figures"]
        argv += ["--ensemble"] if how == "ensemble" else []
        argv += ["--tta", "flip"] if how == "flip" else []
        argv += ["--data-dir", "other"] if how == "other" else []
        folders = [f"{re.escape(name)}{'.flip' if how == 'flip' else ''}" for name in names]
        folders += ["ensemble"] if how == "ensemble" else []
        table = r"artifacts/(final_evaluation_results\.(csv|md)|model_comparison\.png|\.pulmonet)"
        several = r"artifacts/((roc|precision_recall)_.*|trained_tested)\.png"
        return argv, (table, several, *(rf"artifacts/{folder}/({_RESULTS})" for folder in folders))

    def _explain(self, step: Step) -> tuple[list[str], tuple[str, ...]]:
        argv = ["explain", *(("--run", step["run"]) if step["run"] else ()), "--label", "Edema"]
        argv += {"first": [], "rows": ["--rows", "2"], "sanity": ["--sanity", "--rows", "1"]}.get(
            step["what"], ["tiny/valid/patient00014/study1/view1_frontal.jpg", "--out-dir", "mine"]
        )
        if step["what"] == "image":
            return argv, (r"mine/.*",)
        run = step["run"] or "[abcd]"
        return argv, (rf"artifacts/{run}/(explain/.*|gradcam_.*\.png|\.pulmonet)",)

    def _report(self, step: Step) -> tuple[list[str], tuple[str, ...]]:
        out = step["out"] or "artifacts"
        argv = ["report", *(("--output", out) if step["out"] else ())]
        argv += ["--html"] if step["html"] else []
        names = r"(report\.(md|html)|report_files/.*\.(png|md|csv|tex)|MODEL_CARD\.md|\.pulmonet)"
        return argv, (rf"{out}/{names}", r"artifacts/\.pseudonym_key")

    # --- exit codes -------------------------------------------------------------------------

    def _codes_prepare(self, step: Step, _: dict[str, Run]) -> set[int]:
        folder = self.root / step["data"]
        if not folder.exists():
            return {3}
        if not (folder / "valid.csv").exists():
            return {0, 3}
        out = step["out"] or f"artifacts/prepare/{step['data']}"
        names = rf"{out}/(prepare_report\.json|dataset\.png)"
        return {4} if self._is_in_way(names) else self._orderly(out)

    def _orderly(self, *folders: str) -> set[int]:
        """0, and 4 where the user has taken away the list of what is PulmoNet's."""
        for folder in folders:
            path = self.root / folder
            has_files = path.is_dir() and any(one.is_file() for one in path.rglob("*"))
            if has_files and not (path / ".pulmonet").exists():
                return {0, 4}
        return {0}

    def _codes_train(self, step: Step, runs: dict[str, Run]) -> set[int]:
        run, mode = runs.get(step["run"]), step["mode"]
        folder = self.root / "artifacts" / step["run"]
        if run is not None and mode == "new":
            return {4}
        if run is not None and mode == "resume":
            if run.seed != step["seed"] or step["epochs"] < run.epochs:
                return {2}
            is_done = run.status == "finished"
            if is_done and step["epochs"] == run.epochs:
                return {0}
            if not run.last and (is_done or run.best or run.log):
                return {4}
            if is_done and run.best and run.recorded != run.best:
                return {4}
        if run is None and any((folder / name).exists() for name in _OF_RUN[1:4]):
            return {4}
        if not (self.root / "tiny").exists():
            return {3}
        if not (self.root / "tiny" / "valid.csv").exists():
            return {0, 3, 4}
        if run is not None and mode == "resume" and run.tables != self._tables():
            return {4} if run.tables else {0, 4}
        return {0}

    def _codes_evaluate(self, step: Step, runs: dict[str, Run]) -> set[int]:
        names, how = step["runs"] or list(runs), step["how"]
        if not names or any(name not in runs for name in names):
            return {4}
        if how == "ensemble" and len(names) < 2:
            return {2}
        in_way = [r"artifacts/final_evaluation_results\.md"]
        in_way += [r"artifacts/model_comparison\.png"] if how == "figures" else []
        if self._is_in_way(*in_way):
            return {4}
        if not all(runs[name].usable for name in names):
            return {4}
        data = self.root / ("other" if how == "other" else "tiny")
        if not data.exists():
            return {3}
        is_same = {runs[name].tables for name in names} == {self._tables()}
        if how != "other" and not is_same:
            return {0, 3}
        # results of other members, or the user's files, in the place of new ones
        return self._orderly("artifacts") | ({0, 4} if how in {"ensemble", "flip"} else set())

    def _codes_explain(self, step: Step, runs: dict[str, Run]) -> set[int]:
        name, is_image = step["run"], step["what"] == "image"
        if name is not None and name not in runs:
            return {4}
        chosen = [runs[name]] if name else list(runs.values())
        if not all(run.usable for run in chosen):
            return {4} if name or not any(run.best for run in chosen) else {0, 3, 4}
        if not chosen:
            return {4}
        if not (self.root / "tiny").exists():
            return {3}
        is_same = {run.tables for run in chosen} == {self._tables()}
        if not is_image and not is_same:
            return {0, 3}
        folders = (
            ["mine"] if is_image else [f"artifacts/{one}" for one in ([name] if name else runs)]
        )
        in_way = r"mine/.*" if is_image else r"artifacts/[abcd]/(explain|explain/.*json|grad.*)"
        return {0, 4} if self._is_in_way(in_way) else self._orderly(*folders)

    def _codes_report(self, step: Step, runs: dict[str, Run]) -> set[int]:
        out = step["out"] or "artifacts"
        if not runs:
            return {4}
        in_way = [rf"{out}/(report\.md|MODEL_CARD\.md)", *([rf"{out}/report\.html"] * step["html"])]
        if self._is_in_way(*in_way):
            return {4}
        damaged = any(run.best and run.recorded not in (None, run.best) for run in runs.values())
        if damaged:
            return {4}
        unsure = self._is_in_way(rf"{out}/report_files(/.*)?", r"artifacts/.*\.json")
        return {0, 4} if unsure else self._orderly(out)

    # --- what must hold ---------------------------------------------------------------------

    def _check_train(self, step: Step, seen: Seen) -> list[str]:
        name = step["run"]
        was, place, found = seen.runs.get(name), f"artifacts/{name}", []
        overwrites = step["mode"] == "overwrite" and seen.code not in {2, 3, 4}
        is_new = was is None or (overwrites and self.run(name) != was)  # a kill may come before
        if is_new:
            self.tables[place] = self._tables()
        now = self.run(name)
        if was is not None and not overwrites and seen.alone:
            longer = step["mode"] == "resume" and step["epochs"] > was.epochs
            goes_on = step["mode"] == "resume" and (was.status != "finished" or longer)
            if now is None:
                found.append(f"{place}: the run is gone")
            elif seen.code in {2, 3, 4} or not goes_on:
                if now.folder != was.folder:
                    found.append(f"{place}: changed with exit code {seen.code}")
            elif now.log[: len(was.log)] != was.log:
                found.append(f"{place}: its log has lost epochs")
        if seen.code == 0 and seen.alone and now is not None:
            found += self._check_trained(step, now, was)
        return found

    def _check_trained(self, step: Step, now: Run, was: Run | None) -> list[str]:
        place, found = f"artifacts/{step['run']}", []
        if now.status != "finished" or now.best is None:
            return [f"{place}: exit code 0, but it is {now.status} or without weights"]
        if was is not None and was.folder == now.folder:
            return []  # finished already
        if now.recorded != now.best:
            found.append(f"{place}: recorded digest {now.recorded}, but {now.best} lies there")
        if now.epochs != step["epochs"] or len(now.log) != 1 + now.epochs:
            found.append(f"{place}: {now.epochs} epochs and {len(now.log) - 1} rows of its log")
        if now.last != step["keep"]:
            found.append(f"{place}: last_checkpoint.pth {'kept' if now.last else 'gone'}")
        if now.tables is not None:
            key = (now.seed, now.epochs, now.tables)
            bits = (now.best, json.dumps(now.log))
            if _bits.setdefault(key, bits) != bits:
                found.append(f"{place}: other bits than another run of the same work")
        return found

    def _is_fresh(self, digest: str | None, members: Sequence[str]) -> bool:
        """Whether a digest is that of the members' weights now; without any, it is believed."""
        weights = {name: run.best for name, run in self.runs().items()}
        now = [weights.get(name.removesuffix("+flip")) for name in members]
        if not digest or None in now:
            return True
        if len(now) == 1:
            return digest == now[0]
        return digest == hashlib.sha256("\n".join(sorted(map(str, now))).encode()).hexdigest()

    def _check_evaluate(self, step: Step, seen: Seen) -> list[str]:
        table = "artifacts/final_evaluation_results.csv"
        if seen.code != 0 and (
            table not in seen.after or seen.before.get(table) == seen.after[table]
        ):
            return []
        found = []
        with (self.root / table).open(newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            digest = row.get("Checkpoint_SHA256", "").lstrip("'")
            made_of = row.get("Combines", "").partition("; ")[0]
            prefix = "mean of the scores of "
            members = [row["Model"].lstrip("'")]
            if made_of.startswith(prefix):
                members = made_of.removeprefix(prefix).split(", ")
            if not self._is_fresh(digest, members) and not row["Stale"]:
                found.append(f"{table}: {row['Model']}, {row['Dataset']} is stale and not named so")
        if seen.code != 0 or not seen.alone:
            return found
        data = "other" if step["how"] == "other" else "tiny"
        ends = "+flip" if step["how"] == "flip" else ""
        for name in step["runs"] or list(seen.runs):
            own = [
                row
                for row in rows
                if (row["Model"], row["Dataset"], row["Split"])
                == (name + ends, data, step["split"])
            ]
            if (
                len(own) != 1
                or own[0]["Checkpoint_SHA256"] != seen.runs[name].best
                or own[0]["Stale"]
            ):
                found.append(f"{table}: no good row of {name}{ends}: {own}")
            folder = self.root / "artifacts" / f"{name}{ends}"
            document = json.loads((folder / f"evaluation_{data}_{step['split']}.json").read_text())
            result = document["runs"][0]
            scores = folder / f"predictions_{data}_{step['split']}.csv"
            if result["checkpoint_sha256"] != seen.runs[name].best:
                found.append(f"{name}: evaluation of other weights")
            if result["predictions_sha256"] != _digest(scores):
                found.append(f"{name}: evaluation of other predictions")
        return found

    def _check_explain(self, step: Step, seen: Seen) -> list[str]:
        if seen.code != 0 or not step["run"] or step["what"] == "sanity" or not seen.alone:
            return []
        found, best = [], seen.runs[step["run"]].best
        folder = self.root / "artifacts" / step["run"]
        place = self.root / "mine" if step["what"] == "image" else folder / "explain"
        document = json.loads((place / "explanations.json").read_text())
        if document["checkpoint_sha256"] != best:
            found.append(f"{place}: maps of other weights")
        path = folder / "calibration.json"
        kept = json.loads(path.read_text()) if path.exists() else {"checkpoint_sha256": None}
        threshold = document["images"][0]["labels"]["Edema"]["threshold"]
        if kept["checkpoint_sha256"] not in (None, best):
            if threshold is not None:
                found.append(f"{place}: a threshold of other weights")
            if "calibration.json: left out" not in seen.said:
                found.append(f"{path}: of other weights, and nothing was said")
        return found

    def _check_report(self, step: Step, seen: Seen) -> list[str]:
        if seen.code != 0 or not seen.alone:
            return []
        found, n_stale = [], 0
        pages = [self.root / (step["out"] or "artifacts") / "report.md"]
        pages += [pages[0].with_suffix(".html")] if step["html"] else []
        text = {page: page.read_text("utf-8") for page in pages}
        for path in sorted(self.root.glob("artifacts/*/evaluation_*.json")):
            where = path.relative_to(self.root / "artifacts").as_posix()
            result = json.loads(path.read_text())["runs"][0]
            if result["run"] != path.parent.name:
                continue
            digest = result["checkpoint_sha256"]
            value = result["macro"]["auroc"]["value"]
            fresh = self._is_fresh(digest, result["members"] or [result["run"]])
            n_stale += not fresh
            named = f"left out {where}: of other weights (SHA-256 {digest[:12]}" in seen.said
            if fresh == named:
                found.append(f"{where}: {'fresh' if fresh else 'stale'}, but named: {named}")
            if fresh and value is not None:
                shown = f"{value:.3f}"
                found += [
                    f"{page.name}: no {shown} of {where}"
                    for page in pages
                    if shown not in text[page]
                ]
        for page in pages:
            if n_stale and "STALE" not in text[page]:
                found.append(f"{page.name}: stale evaluations are not named")
        if "left out" not in seen.said and any("STALE" in content for content in text.values()):
            found.append("the report names something stale, and the screen does not")
        return found

    # --- what people do ---------------------------------------------------------------------

    def _forget(self, place: str) -> None:
        self.users = {name: what for name, what in self.users.items() if not _below(name, place)}
        self.tables = {name: what for name, what in self.tables.items() if not _below(name, place)}

    def _is_behind_link(self, place: str) -> bool:
        parents = [self.root / part for part in Path(place).parents]
        return any(part.is_symlink() or part.is_file() for part in parents)

    def _do_plant(self, step: Step) -> None:
        path = self.root / step["place"]
        if self._is_behind_link(step["place"]) or path.is_symlink() or path.is_dir():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"mine, {step['place']}\n")
        self.users[step["place"]] = _digest(path)

    def _do_link(self, step: Step) -> None:
        path = self.root / step["place"]
        if self._is_behind_link(step["place"]) or os.path.lexists(path):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        pictures = self.root / "home" / "pictures"
        path.symlink_to(pictures if not path.suffix else pictures / "mine.png")
        self.users[step["place"]] = f"-> {path.readlink()}"

    def _do_delete(self, step: Step) -> None:
        path = self.root / step["place"]
        if self._is_behind_link(step["place"]) or not os.path.lexists(path):
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
        self._forget(step["place"])

    def _do_rename(self, step: Step) -> None:
        source, target = step["places"]
        if not (self.root / source).exists() or os.path.lexists(self.root / target):
            return
        (self.root / target).parent.mkdir(parents=True, exist_ok=True)
        (self.root / source).rename(self.root / target)
        for known in (self.users, self.tables):
            for name in [name for name in known if _below(name, source)]:
                known[target + name.removeprefix(source)] = known.pop(name)

    def _do_copy(self, step: Step) -> None:
        source, target = (f"artifacts/{name}" for name in step["runs"])
        if not (self.root / source).exists() or (self.root / target).exists():
            return
        shutil.copytree(self.root / source, self.root / target, symlinks=True)
        for known in (self.users, self.tables):
            for name in [name for name in known if _below(name, source)]:
                known[target + name.removeprefix(source)] = known[name]

    def _do_put(self, step: Step) -> None:
        """The weights of one run in the place of another's; with `all`, its record and log too."""
        source, target = (self.root / "artifacts" / name for name in step["runs"])
        names = _OF_RUN[:4] if step["all"] else _OF_RUN[1:2]
        if self.run(source.name) is None or self.run(target.name) is None:
            return
        for name in names:
            if (source / name).exists():
                shutil.copy2(source / name, target / name)
            else:
                (target / name).unlink(missing_ok=True)
        if step["all"]:
            self.tables.pop(f"artifacts/{target.name}", None)
            if f"artifacts/{source.name}" in self.tables:
                self.tables[f"artifacts/{target.name}"] = self.tables[f"artifacts/{source.name}"]

    def _do_change(self, step: Step) -> None:
        """The last row of a table is taken away, or its last label turned."""
        path = self.root / "tiny" / f"{step['table']}.csv"
        if not path.exists():
            return
        lines = path.read_text().splitlines()
        if len(lines) > 8:
            path.write_text("\n".join(lines[:-1]) + "\n")
            self.users[f"tiny/{path.name}"] = _digest(path)


def _below(name: str, place: str) -> bool:
    return name == place or name.startswith(f"{place}/")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read_log(path: Path) -> list[list[str]]:
    """Rows of the log, the header first, without timings."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    keep = [number for number, name in enumerate(rows[0]) if name not in _TIMED]
    return [[row[number] for number in keep] for row in rows]


def play(world: World, steps: Sequence[Step], *, trained: bool) -> list[str]:
    """A whole sequence; the first broken promises, with the step's number."""
    world.begin(trained=trained)
    for number, step in enumerate(steps, 1):
        if problems := world.do(step):
            return [f"step {number} {json.dumps(step)}: {problem}" for problem in problems]
    return []
