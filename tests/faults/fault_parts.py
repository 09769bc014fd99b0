"""Faults of people's own making: parts of a run that are gone, links, files of theirs, other
weights, and files that lie.

`fault_list.all_faults` has them beside its own; each is met and judged as those are.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fault_lab import Lab
from fault_list import Fault, put_back, remove

from hostile_files import deflated_zeros, pictures, write_checkpoints

RUN, MINE = "artifacts/run", "mine"

#: Memory that hostile files may have: what the process has and 1 GB, or 2 GB altogether.
MEMORY = {"limits": {"DATA": 2 << 30}}

#: Where each command writes: files and folders that a link, or a file of the user's, may stand for.
OUTPUTS: dict[str, tuple[str, ...]] = {
    "prepare": ("artifacts/prepare/tiny", "artifacts/prepare/tiny/dataset.png"),
    "evaluate": (
        *(f"{RUN}/predictions_tiny_valid.csv", f"{RUN}/evaluation_tiny_valid.json"),
        *(f"{RUN}/calibration.json", f"{RUN}/.pulmonet", "artifacts/.pulmonet"),
        *("artifacts/final_evaluation_results.csv", "artifacts/final_evaluation_results.md"),
    ),
    "explain": (
        *(f"{RUN}/explain", f"{RUN}/explain/explanations.json", f"{RUN}/gradcam_Edema.png"),
        *(f"{RUN}/explain/patient00025_study1_view1_frontal", f"{RUN}/.pulmonet"),
    ),
    "report": (
        *("artifacts/report.md", "artifacts/report.html", "artifacts/MODEL_CARD.md"),
        *("artifacts/report_files", "artifacts/report_files/run_curves.png"),
        *("artifacts/.pulmonet", "artifacts/.pseudonym_key"),
    ),
    "train": ("artifacts/new", "artifacts/new/.lock", "artifacts/new/best_model.pth"),
    "overwrite": (f"{RUN}/best_model.pth", f"{RUN}/explain", f"{RUN}/.lock", f"{RUN}/stage1"),
    "resume": (f"{RUN}/.lock", f"{RUN}/last_checkpoint.pth"),
}

#: Of these the name alone makes them PulmoNet's; files of the user's cannot be told apart.
BY_NAME = ("predictions", "evaluation", "calibration", ".pulmonet", ".pseudonym", "best_", "final")


def _exact(name: str) -> str:
    return name.replace(".", r"\.") + "(/.*)?"


def deleted(lab: Lab) -> Iterator[Fault]:
    """Each file of a finished run in turn is gone."""
    for path in sorted((lab.template / RUN).rglob("*")):
        name = path.relative_to(lab.template).as_posix()
        is_training = path.name in {"best_model.pth", "run_config.json", "training_log.csv"}
        is_training |= path.name == "last_checkpoint.pth"
        for command in ("resume", "evaluate", "explain", "report"):
            yield Fault(
                f"deleted/{command}/{path.relative_to(lab.template / RUN)}",
                command,
                frozenset({0, 4}),
                before=_deleting(name),
                after=put_back(name),
                broken=(_exact(name),),
                # without seen.npz it is said that nothing is known of what was trained on
                truthful=command != "report" and path.name != "seen.npz",
                names=path.name if is_training else "",
                warns=path.name if (command, path.name) == ("evaluate", "seen.npz") else "",
            )
        if is_training:
            for command in ("longer", "overwrite"):
                yield Fault(
                    f"deleted/{command}/{path.name}",
                    command,
                    frozenset({0, 4}),
                    before=_deleting(name),
                    after=lambda lab, command=command: lab.restore(command),  # type: ignore[misc]
                    names=path.name,
                )


def _deleting(name: str) -> Callable[[Lab], None]:
    return lambda lab: remove(lab.case / name)


# --- links, and files of the user's ------------------------------------------------------------


def links() -> Iterator[Fault]:
    """A link in the place of an output: to files of the user's, to nowhere, to itself."""
    for command, names in OUTPUTS.items():
        for name in names:
            for kind in ("mine", "nowhere", "loop"):
                yield Fault(
                    f"link/{command}/{name}/{kind}",
                    command,
                    frozenset({0, 2, 3, 4}),
                    before=_linking(name, kind),
                    after=put_back(name),
                    broken=(_exact(name), rf"{MINE}/new/.*"),
                    # a run's own folder may be a link
                    kept=(rf"{MINE}/(?!new/).*", rf"{MINE}/new/(note\.txt|holiday\.png)"),
                    truthful=False,
                    names="" if name.endswith(".pulmonet") else Path(name).name,
                )
    for command in ("prepare", "train", "evaluate", "explain", "report"):
        for name in ("artifacts", "cache", RUN):
            if (command, name) != ("prepare", "cache"):
                yield Fault(
                    f"link/{command}/{name}/moved",
                    command,
                    frozenset({0}),
                    before=_moving(name),
                    broken=(r"disk/.*", _exact(name)),
                    kept=(r"disk/note\.txt",),
                )


def _linking(name: str, kind: str) -> Callable[[Lab], None]:
    def act(lab: Lab) -> None:
        path, mine = lab.case / name, lab.case / MINE
        target = mine / Path(name).name
        mine.mkdir()
        if kind == "mine" and (path.is_dir() or name in ("artifacts/new", f"{RUN}/stage1")):
            if path.is_dir():
                shutil.copytree(path, target)
            target.mkdir(exist_ok=True)
            for file in [*target.rglob("*.*"), target / "note.txt", target / "holiday.png"]:
                file.write_text("mine\n") if not file.is_dir() else None
        elif kind == "mine":
            target.write_text("mine\n")
        remove(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(path if kind == "loop" else target)

    return act


def _moving(name: str) -> Callable[[Lab], None]:
    def act(lab: Lab) -> None:
        (lab.case / "disk").mkdir()
        (lab.case / "disk" / "note.txt").write_text("mine\n")
        target = (lab.case / name).rename(lab.case / "disk" / Path(name).name)
        (lab.case / name).symlink_to(target)

    return act


def beside() -> Iterator[Fault]:
    """Files of the user's: in the place of outputs, and among them under other names."""
    for command, names in OUTPUTS.items():
        for name in names:
            if Path(name).name.startswith(BY_NAME) or name.endswith("last_checkpoint.pth"):
                continue
            yield Fault(
                f"beside/{command}/{name}",
                command,
                frozenset({0, 3, 4}),
                before=_writing(name),
                after=put_back(name),
                broken=(_exact(name),),
                kept=(_exact(name),) if "artifacts/new" not in name else (),
                truthful=False,
                names=Path(name).name,
            )
        folders = {Path(name).parent for name in names} | {Path("artifacts"), Path("cache")}
        if command == "report":
            folders.add(Path("artifacts/report_files"))
        for folder in sorted(folders - {Path("artifacts/new")}):
            mine = [f"{folder}/{name}" for name in ("holiday.png", "notes.md", "mine.csv")]
            yield Fault(
                f"beside/{command}/{folder}/others",
                command,
                frozenset({0}),
                before=_writing(*mine),
                kept=tuple(_exact(name) for name in mine),
            )


def _writing(*names: str) -> Callable[[Lab], None]:
    def act(lab: Lab) -> None:
        for name in names:
            remove(lab.case / name)
            (lab.case / name).parent.mkdir(parents=True, exist_ok=True)
            (lab.case / name).write_text("mine\n")

    return act


# --- stale parts ------------------------------------------------------------------------------

#: Parts of a run, as patterns below its folder.
PARTS = {
    "evaluation": ("evaluation_*", "predictions_*"),
    "evaluation-alone": ("evaluation_*",),
    "predictions": ("predictions_*",),
    "calibration": ("calibration.json",),
    "maps": ("explain", "gradcam_*"),
    "weights": ("best_model.pth",),
    "log": ("training_log.csv",),
    "checkpoint": ("last_checkpoint.pth",),
    "training": ("best_model.pth", "run_config.json", "training_log.csv", "last_checkpoint.pth"),
    "all-but-calibration": ("[!c]*",),
}


def stale() -> Iterator[Fault]:
    """Parts of another training of the same run: nothing of theirs passes for this one's."""
    for part, patterns in PARTS.items():
        for command in ("resume", "evaluate", "explain", "report"):
            # another training's log has other numbers for the same rows, and evaluate says so
            unlike = (command, part) == ("evaluate", "log")
            warns = "training log has a mean AUROC" if unlike else ""
            if command == "report" and part not in {"log", "checkpoint", "predictions", "weights"}:
                warns = "SHA-256|digest|differ"
            yield Fault(
                f"stale/{command}/{part}",
                command,
                frozenset({0, 4}),
                before=_exchanging(patterns),
                after=_restore_run,
                broken=(rf"{RUN}/.*",),
                truthful=command in {"evaluate", "explain"}
                and part not in {"weights", "training", "all-but-calibration"}
                and not unlike,
                warns=warns,
            )
    yield Fault(
        "stale/report/comparison",
        "report",
        frozenset({0, 4}),
        before=_compared_then_trained,
        after=lambda lab: lab.restore("report"),
        broken=(r"artifacts/.*",),
        truthful=False,
        warns="SHA-256",
    )


def _other(lab: Lab) -> Path:
    """The run's folder as another seed gives it, made once."""
    other = lab.folder / "other"
    if not other.exists():
        kept = lab.case.rename(lab.folder / "aside")
        shutil.copytree(lab.template, lab.case)
        lines = [[*lab.argv("overwrite"), "--seed", "5"], lab.argv("evaluate"), lab.argv("explain")]
        for line in lines:
            lab.must(line)
        shutil.copytree(lab.case / RUN, other)
        shutil.rmtree(lab.case)
        kept.rename(lab.case)
    return other


def _exchanging(patterns: tuple[str, ...]) -> Callable[[Lab], None]:
    return lambda lab: _copy_parts(patterns, _other(lab), lab.case / RUN)


def _restore_run(lab: Lab) -> None:
    _copy_parts(("*",), lab.template / RUN, lab.case / RUN)


def _copy_parts(patterns: tuple[str, ...], source: Path, target: Path) -> None:
    for pattern in patterns:
        for path in source.glob(pattern):
            remove(target / path.name)
            if path.is_dir():
                shutil.copytree(path, target / path.name)
            else:
                shutil.copy2(path, target / path.name)


def _compared_then_trained(lab: Lab) -> None:
    shutil.copytree(_other(lab), lab.case / "artifacts" / "second")
    lab.must([*lab.argv("evaluate")[:1], "second", *lab.argv("evaluate")[1:]])
    _copy_parts(PARTS["training"], lab.template / RUN, lab.case / "artifacts" / "second")


# --- files that lie -----------------------------------------------------------------------------


def liars() -> Iterator[Fault]:
    """Hostile files within a bound of memory, and decoders that panic or get none."""
    image = "tiny/train/patient00003/study1/view1_frontal.jpg"
    for name, make in pictures().items():
        yield Fault(
            f"liar/prepare/{name}",
            "prepare",
            frozenset({0, 3}),
            MEMORY,
            before=_put(image, make),
            after=put_back(image),
            broken=(_exact(image),),
            truthful=False,
            names="view1_frontal.jpg",
        )
        yield Fault(
            f"liar/picture/{name}",
            "picture",
            frozenset({0, 3}),
            MEMORY,
            before=_put("given.jpg", make),
            after=lambda lab: lab.restore("picture"),
            truthful=False,
            names="given.jpg",
        )
    for name in CHECKPOINTS:
        for command, place in (("start", "given.pth"), ("evaluate", f"{RUN}/best_model.pth")):
            yield Fault(
                f"liar/{command}/{name}",
                command,
                frozenset({4}),
                MEMORY,
                before=_put_weights(place, name),
                after=lambda lab, command=command: lab.restore(command),  # type: ignore[misc]
                broken=(_exact(place), _exact(f"{RUN}/run_config.json")),
                names=Path(place).name,
            )
    for name, make in TABLES.items():
        for command, place in TABLE_PLACES:
            yield Fault(
                f"liar/{command}/{Path(place).name}/{name}",
                command,
                frozenset({0, 2, 3, 4}),
                MEMORY,
                before=_put(place, make),
                after=put_back(place),
                broken=(_exact(place),),
                truthful=False,
                names=Path(place).name,
            )
    for call, command, code in (
        ("cv2.imdecode", "prepare", 3),
        ("cv2.imdecode", "picture", 3),
        ("torch.load", "evaluate", 4),
        ("torch.load", "start", 4),
    ):
        for kind, codes in (("panic", {code}), ("MemoryError", {code, 5})):
            plan = {"break_call": [call, kind]}
            yield Fault(f"liar/{command}/{call}/{kind}", command, frozenset(codes), plan)


#: Names of `write_checkpoints`, which are made when they are needed.
CHECKPOINTS = (
    *("deflated.pth", "bytes.pth", "tensor.pth", "numpy.pth", "legacy.pth", "many.pth"),
    "claims.safetensors",
)

#: Tables and documents that unfold or nest without end.
TABLES: dict[str, Callable[[], bytes]] = {
    "gzip": lambda: b"\x1f\x8b\x08\0\0\0\0\0\0\3" + deflated_zeros(3 << 30, raw=True) + bytes(8),
    "nested": lambda: b"[" * 5_000_000,
    "columns": lambda: b"a," * 3_000_000 + b"\n1\n",
    "line": lambda: b"Path,Edema\n" + b"x" * 100_000_000 + b",1\n",
    "zeros": lambda: bytes(50_000_000),
    "digits": lambda: b'{"seed": ' + b"9" * 5_000_000 + b"}",
}
TABLE_PLACES = (
    ("prepare", "tiny/train.csv"),
    ("evaluate", f"{RUN}/run_config.json"),
    ("report", f"{RUN}/evaluation_tiny_valid.json"),
    ("report", f"{RUN}/predictions_tiny_valid.csv"),
    ("report", f"{RUN}/training_log.csv"),
)


def _put(name: str, make: Callable[[], bytes]) -> Callable[[Lab], None]:
    def act(lab: Lab) -> None:
        (lab.case / name).write_bytes(make())

    return act


def _put_weights(place: str, name: str) -> Callable[[Lab], None]:
    """Also into the run's record, so that no digest keeps the file from being opened."""

    def act(lab: Lab) -> None:
        folder = lab.folder / "checkpoints"
        if not folder.exists():
            folder.mkdir()
            write_checkpoints(folder)
        content = (folder / name).read_bytes()
        (lab.case / place).write_bytes(content)
        path = lab.case / RUN / "run_config.json"
        record: dict[str, Any] = json.loads(path.read_text())
        record["provenance"]["checkpoint_sha256"] = hashlib.sha256(content).hexdigest()
        path.write_text(json.dumps(record, indent=1) + "\n")

    return act
