"""Every fault of the suite: how it is made, which exit codes are right, what must be intact.

Two promises hold for all of them and are checked in `judge`: exit code 0 means that the results
are those of an undisturbed run; and after the fault is gone, the same command line ends with 0
and with those results.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fault_lab import COMMANDS, Lab, Running

#: What a command may end with when something outside it is broken; 1 would be a bug.
ORDERLY = frozenset({0, 3, 4})

#: Commands without the slow drawing of figures.
QUICK = ("prepare", "train", "evaluate", "explain", "report")


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        name: kind/command/detail, unique.
        command: what meets it.
        codes: exit codes that are right.
        plan: what is broken inside the process (`fault_server.inject`).
        before: breaks the world before the command starts.
        during: called while it runs.
        after: takes the fault away before the next run.
        broken: patterns of files that the fault itself spoils.
        killed: whether temporary files may be left behind.
        truthful: whether exit code 0 must come with the results of an undisturbed run.
        also: a command that runs at the same time; must end with one of `codes` too.
        kept: patterns of the user's files: nothing may change, remove or add them.
        names: pattern of what the message of an error must contain.
        warns: pattern of what is said however it ends.
    """

    name: str
    command: str
    codes: frozenset[int] = ORDERLY
    plan: dict[str, Any] = field(default_factory=dict)
    before: Callable[[Lab], None] | None = None
    during: Callable[[Lab, Running], None] | None = None
    after: Callable[[Lab], None] | None = None
    broken: tuple[str, ...] = ()
    killed: bool = False
    truthful: bool = True
    also: str | None = None
    kept: tuple[str, ...] = ()
    names: str = ""
    warns: str = ""


def judge(lab: Lab, fault: Fault) -> dict[str, Any]:
    """Meet one fault; its exit code and the promises that were broken."""
    try:
        lab.restore(fault.command)
        return _judge(lab, fault)
    finally:
        with contextlib.suppress(OSError):
            _undo_mounts(lab)


def _judge(lab: Lab, fault: Fault) -> dict[str, Any]:
    begun = time.monotonic()
    if fault.before:
        fault.before(lab)
    before = lab.snapshot()
    running = lab.start(fault.command, fault.plan)
    other = lab.start(fault.also, place="2") if fault.also else None
    if fault.during:
        fault.during(lab, running)
    code = lab.finish(running)
    codes = [code] + ([lab.finish(other)] if other else [])
    problems = _wrong_codes(lab, fault, codes)
    problems += lab.complaints(fault.command, before, _broken(fault), killed=fault.killed)
    problems += _touched(lab, fault, before)
    if code == 0 and fault.truthful and not _has_right_results(lab, fault.command):
        problems.append("exit code 0, but other results than undisturbed")
    if fault.after:
        fault.after(lab)
    before = lab.snapshot()
    again = lab.finish(lab.start(fault.command))
    problems += _touched(lab, fault, before, fault.broken)
    if again != 0:
        problems.append(f"the next run ended with {again}: {_last_line(lab.said())}")
    elif not _has_right_results(lab, fault.command):
        problems.append("the next run has other results than undisturbed")
    return {
        "name": fault.name,
        "codes": codes,
        "seconds": round(time.monotonic() - begun, 2),
        "problems": problems,
    }


def _touched(lab: Lab, fault: Fault, before: dict[str, str], gone: Sequence[str] = ()) -> list[str]:
    """The user's files that are others than they were; those of the patterns `gone` are none."""
    after = lab.snapshot() if fault.kept else before
    return [
        f"the user's own: {name}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
        and any(re.fullmatch(pattern, name) for pattern in fault.kept if pattern not in gone)
    ]


def _has_right_results(lab: Lab, command: str) -> bool:
    try:
        return lab.results(command) == lab.expected[command]
    except (OSError, ValueError):  # a file that is not there, or that cannot be read
        return False


def _broken(fault: Fault) -> tuple[str, ...]:
    from fault_lab import MAY_WRITE

    return fault.broken + (MAY_WRITE[fault.also] if fault.also else ())


def _wrong_codes(lab: Lab, fault: Fault, codes: list[int]) -> list[str]:
    found = []
    for place, code in zip(("", "2"), codes, strict=False):
        said = lab.said(place)
        if code not in fault.codes:
            found.append(f"exit code {code}, not one of {sorted(fault.codes)}: {_last_line(said)}")
        wanted = (fault.names if 1 < code < 100 else "", fault.warns)
        missing = [one for one in wanted if not re.search(one, " ".join(said.split()))]
        found += [f"exit code {code} does not say {one}: {said[-500:]}" for one in missing]
        if "Traceback" in said:
            found.append(f"traceback: {said[said.index('Traceback') :][-1500:]}")
        mute = 2 in fault.plan.get("close", []) or fault.plan.get("limits", {}).get("FSIZE") == 0
        if 1 < code < 100 and not mute and "error:" not in said and "warning:" not in said:
            found.append(f"exit code {code} without a message")
    return found


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1][:300] if text.strip() else "(silence)"


# --- the list -------------------------------------------------------------------------------


def all_faults(lab: Lab, seed: int = 0) -> Iterator[Fault]:
    """The long form, in an order in which every kind comes early."""
    import fault_parts

    kinds = [
        list(kind)
        for kind in (
            _streams(),
            _limits(),
            _clocks(),
            _read_only(),
            _in_place(),
            _damage(seed),
            _images(),
            _together(),
            _signals(lab, seed),
            _kills(lab, seed),
            _full_disks(),
            _failing_writes(lab),
            _killed_writes(lab),
            fault_parts.deleted(lab),
            fault_parts.links(),
            fault_parts.beside(),
            fault_parts.stale(),
            fault_parts.liars(),
        )
    ]
    placed = [
        ((number + 0.5) / len(kind), fault) for kind in kinds for number, fault in enumerate(kind)
    ]
    yield from (fault for _, fault in sorted(placed, key=lambda pair: pair[0]))


def short_faults(lab: Lab) -> Iterator[Fault]:
    """A few of every kind, the quickest commands that show it."""
    wanted = (
        "stream/report/no-stdout",
        "stream/prepare/full-stdout",
        "limit/report/files-64",
        "limit/report/file-size-1000",
        "no-shm/train",
        "clock/report/back",
        "read-only/report/artifacts",
        "read-only/prepare/tiny",
        "in-place/report/artifacts/report.md",
        "in-place/prepare/cache",
        "damage/evaluate/artifacts/run/run_config.json/half",
        "damage/evaluate/artifacts/run/best_model.pth/bomb",
        "damage/report/artifacts/run/evaluation_tiny_valid.json/noise",
        "image/prepare/vanished",
        "together/report+report",
        "kill/prepare/0",
        "signal/report/SIGTERM/0",
        "full-disk/prepare/cache/262144",
        "write-fails/report/9/ENOSPC",
        "write-fails/report/3/EIO",
        "killed-write/report/5",
        "deleted/resume/last_checkpoint.pth",
        "link/explain/artifacts/run/explain/mine",
        "beside/report/artifacts/MODEL_CARD.md",
        "stale/report/calibration",
        "liar/prepare/dicom-jpeg-2000-size",
        "liar/evaluate/torch.load/panic",
    )
    by_name = {fault.name: fault for fault in all_faults(lab)}
    for name in wanted:
        if name in by_name or not name.startswith(("read-only", "full-disk", "no-shm")):
            yield by_name[name]  # kinds that need root are not there without it


def _failing_writes(lab: Lab) -> Iterator[Fault]:
    """The disk is full from the n-th write on, or one write fails; for every n."""
    for command in COMMANDS:
        if command not in lab.n_writes:
            continue
        step = 5 if command == "figures" else 1
        for n in range(1, lab.n_writes[command] + 1, step):
            yield Fault(
                f"write-fails/{command}/{n}/ENOSPC",
                command,
                plan={"fail_write": [n, "ENOSPC", True]},
            )
            if n % 3 == 0:
                yield Fault(
                    f"write-fails/{command}/{n}/EIO",
                    command,
                    plan={"fail_write": [n, "EIO", False]},
                )


def _killed_writes(lab: Lab) -> Iterator[Fault]:
    """SIGKILL at the n-th write."""
    for command in COMMANDS:
        if command not in lab.n_writes:
            continue
        for n in range(1, lab.n_writes[command] + 1, 5 if command == "figures" else 2):
            yield Fault(
                f"killed-write/{command}/{n}",
                command,
                frozenset({-signal.SIGKILL}),
                plan={"kill_write": n},
                killed=True,
            )


def _kills(lab: Lab, seed: int) -> Iterator[Fault]:
    """SIGKILL at a random moment."""
    rng = random.Random(seed)
    for number in range(10):
        for command in QUICK:
            delay = rng.uniform(0, lab.seconds[command])
            yield Fault(
                f"kill/{command}/{number}",
                command,
                frozenset({0, -signal.SIGKILL}),
                during=_after(delay, signal.SIGKILL),
                killed=True,
            )


def _signals(lab: Lab, seed: int) -> Iterator[Fault]:
    """SIGTERM and SIGINT at a random moment: 143 and 130, or done already."""
    rng = random.Random(seed + 1)
    for number in range(4):
        for name, code in (("SIGTERM", 143), ("SIGINT", 130)):
            for command in QUICK:
                which = signal.Signals[name]
                delay = 0.05 + rng.uniform(0, lab.seconds[command])
                yield Fault(
                    f"signal/{command}/{name}/{number}",
                    command,
                    frozenset({0, code}),
                    during=_after(delay, which),
                )


def _after(seconds: float, which: signal.Signals) -> Callable[[Lab, Running], None]:
    def act(lab: Lab, running: Running) -> None:
        if which != signal.SIGKILL:
            _wait_for_handler(running.pid)
        time.sleep(max(0.0, running.started + seconds - time.monotonic()))
        os.kill(running.pid, which)  # its parent has not waited yet: the number is still its own

    return act


def _wait_for_handler(pid: int) -> None:
    """Until `main` catches SIGTERM (bit 14 of SigCgt on Linux), or the process has ended."""
    status = Path(f"/proc/{pid}/status")
    for _ in range(1000):
        text = status.read_text() if status.exists() else ""
        caught = [line.split()[1] for line in text.splitlines() if line.startswith("SigCgt")]
        if not caught or int(caught[0], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.005)


def _streams() -> Iterator[Fault]:
    """Standard streams closed, broken, full."""
    for command in QUICK:
        done = frozenset({0})
        yield Fault(f"stream/{command}/no-stdin", command, done, {"close": [0]})
        yield Fault(f"stream/{command}/no-stdout", command, frozenset({0, 4}), {"close": [1]})
        yield Fault(f"stream/{command}/no-stderr", command, done, {"close": [2]})
        yield Fault(
            f"stream/{command}/no-streams", command, frozenset({0, 4}), {"close": [0, 1, 2]}
        )
        yield Fault(
            f"stream/{command}/broken-pipe", command, done, {"broken_stdout": True}, truthful=False
        )
        yield Fault(
            f"stream/{command}/full-stdout",
            command,
            frozenset({0, 4}),
            {"full_stdout": True},
            truthful=False,
        )


def _limits() -> Iterator[Fault]:
    """Few open files, small files, no shared memory."""
    for command in QUICK:
        done = frozenset({0})
        for n in (1000, 64, 32):
            yield Fault(f"limit/{command}/files-{n}", command, done, {"limits": {"NOFILE": n}})
        few = {"limits": {"NOFILE": 12}}
        yield Fault(f"limit/{command}/files-12", command, ORDERLY | {5}, few)
        for size in (0, 1000, 20_000, 300_000):
            yield Fault(
                f"limit/{command}/file-size-{size}", command, plan={"limits": {"FSIZE": size}}
            )
        if os.geteuid() == 0:
            yield Fault(f"no-shm/{command}", command, done, {"no_shm": True})


def _clocks() -> Iterator[Fault]:
    """Clocks that jump back, stand in the future, or give files times in the future or 1970."""
    for command in QUICK:
        done = frozenset({0})
        for kind in ("back", "future"):
            yield Fault(f"clock/{command}/{kind}", command, done, {"clock": kind})
        for kind, when in (("future", 4_100_000_000), ("1970", 0)):
            yield Fault(f"clock/{command}/mtimes-{kind}", command, done, before=_mtimes(when))


def _mtimes(when: float) -> Callable[[Lab], None]:
    def act(lab: Lab) -> None:
        for path in lab.case.rglob("*"):
            os.utime(path, (when, when))

    return act


def _read_only() -> Iterator[Fault]:
    """A folder that cannot be written; mounts, since permissions do not bite root."""
    if os.geteuid() != 0:
        return
    for command in QUICK:
        for folder in ("cache", "artifacts", "artifacts/run", "tiny", "user", "home"):
            needed = folder.startswith("artifacts") or (command == "prepare" and folder == "cache")
            yield Fault(
                f"read-only/{command}/{folder}",
                command,
                frozenset({0, 3, 4}) if needed else frozenset({0}),
                {"read_only": [folder]},
                before=_make_folder(folder),
                truthful=not needed,
            )


def _make_folder(name: str) -> Callable[[Lab], None]:
    return lambda lab: (lab.case / name).mkdir(parents=True, exist_ok=True)


def _in_place() -> Iterator[Fault]:
    """A file where a folder should be, a folder where a file should be."""
    files_for_folders = {
        "prepare": ("cache", "artifacts", "artifacts/prepare", "user"),
        "train": ("cache", "artifacts", "artifacts/new", "tiny"),
        "evaluate": ("cache", "artifacts/run", "tiny"),
        "explain": ("cache", "artifacts/run/explain", "tiny/valid"),
        "report": ("artifacts", "artifacts/report_files"),
    }
    folders_for_files = {
        "prepare": ("tiny/train.csv", "user/pulmonet/last_dataset.json"),
        "train": ("artifacts/new/best_model.pth", "artifacts/new/training_log.csv"),
        "evaluate": (
            "artifacts/run/best_model.pth",
            "artifacts/run/run_config.json",
            "artifacts/run/predictions_tiny_valid.csv",
            "artifacts/run/calibration.json",
            "artifacts/final_evaluation_results.csv",
            "artifacts/final_evaluation_results.md",
        ),
        "explain": ("artifacts/run/gradcam_Edema.png", "artifacts/run/explain/explanations.json"),
        "report": (
            "artifacts/report.md",
            "artifacts/report.html",
            "artifacts/MODEL_CARD.md",
            "artifacts/run/training_log.csv",
            "artifacts/run/evaluation_tiny_valid.json",
            "artifacts/run/explain/explanations.json",
            "artifacts/.pseudonym_key",
        ),
    }
    for kind, table in (("file", files_for_folders), ("folder", folders_for_files)):
        for command, names in table.items():
            for name in names:
                yield Fault(
                    f"in-place/{command}/{name}",
                    command,
                    frozenset({0, 2, 3, 4}),
                    before=_replace(name, kind),
                    after=put_back(name),
                    broken=(rf"{name}(/.*)?",),
                    truthful=False,
                )


def _replace(name: str, kind: str) -> Callable[[Lab], None]:
    def act(lab: Lab) -> None:
        path = lab.case / name
        remove(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "file":
            path.write_text("a file\n")
        else:
            path.mkdir()
            (path / "something").write_text("in it\n")

    return act


def put_back(pattern: str) -> Callable[[Lab], None]:
    """What the template has of a file or folder, or nothing."""

    def act(lab: Lab) -> None:
        # a link to nowhere is not found as a pattern
        for path in {*lab.case.glob(pattern), lab.case / pattern}:
            remove(path)
        for source in lab.template.glob(pattern):
            target = lab.case / source.relative_to(lab.template)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_symlink():
                target.unlink()
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copy2(source, target)

    return act


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# --- damage ---------------------------------------------------------------------------------

#: Files by what reads them. The codes are those of damage that leaves the file unreadable.
_DAMAGED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("artifacts/run/run_config.json", ("evaluate", "explain", "report")),
    ("artifacts/run/best_model.pth", ("evaluate", "explain")),
    ("artifacts/run/training_log.csv", ("report",)),
    ("artifacts/run/predictions_tiny_valid.csv", ("report", "evaluate")),
    ("artifacts/run/evaluation_tiny_valid.json", ("report", "evaluate")),
    ("artifacts/run/calibration.json", ("report", "evaluate", "explain")),
    ("artifacts/run/curves.png", ("report",)),
    ("artifacts/run/explain/explanations.json", ("report", "explain")),
    ("artifacts/run/explain/*/maps.npz", ("report",)),
    ("artifacts/run/explain/*/xray.png", ("report",)),
    ("artifacts/final_evaluation_results.csv", ("evaluate", "report")),
    ("artifacts/.pseudonym_key", ("report",)),
    ("cache/packs/*/images.npy", ("train", "evaluate", "explain")),
    ("cache/packs/*/checksums.npy", ("train", "evaluate", "explain")),
    ("cache/packs/*/sources.npy", ("train", "evaluate")),
    ("cache/packs/*/index.csv", ("train",)),
    ("cache/packs/*/pack.json", ("train",)),
    ("tiny/train.csv", ("prepare", "train", "evaluate")),
    ("tiny/valid.csv", ("prepare", "evaluate", "explain")),
    ("user/pulmonet/last_dataset.json", ("evaluate",)),
)


def _damage(seed: int) -> Iterator[Fault]:
    """Files that are empty, cut, flipped, noise, gone, or a bomb."""
    for pattern, commands in _DAMAGED:
        kinds = ["empty", "half", "flip0", "flip1", "noise", "gone"]
        if pattern.endswith((".pth", ".npz", ".npy")):
            kinds.append("bomb")
        of_pack = pattern.startswith("cache/")
        for command in commands:
            for kind in kinds:
                yield Fault(
                    f"damage/{command}/{pattern}/{kind}",
                    command,
                    frozenset({0}) if of_pack else frozenset({0, 2, 3, 4}),
                    before=_spoil(pattern, kind, seed),
                    after=None if of_pack else put_back(pattern),
                    broken=(pattern.replace(".", r"\.").replace("*", "[^/]*"),),
                    truthful=of_pack,
                )
    for kind in ("empty", "half", "flip0", "noise", "gone", "bomb"):
        yield Fault(
            f"damage/train/artifacts/new/last_checkpoint.pth/{kind}",
            "train",
            frozenset({0, 4}),
            before=_half_trained(kind, seed),
            after=lambda lab: shutil.rmtree(lab.case / "artifacts" / "new"),
            broken=(r"artifacts/new/.*",),
        )


def _half_trained(kind: str, seed: int) -> Callable[[Lab], None]:
    def act(lab: Lab) -> None:
        lab.finish(lab.start("train", {"kill_write": 2 * lab.n_writes["train"] // 3}))
        for left in (lab.case / "artifacts" / "new").glob(".*.tmp"):  # by this kill, as it may
            left.unlink()
        _spoil("artifacts/new/last_checkpoint.pth", kind, seed)(lab)

    return act


class Bomb:
    """Whoever unpickles it writes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.mark}",))


def bomb_bytes(suffix: str, mark: Path) -> bytes:
    """A file of this kind with a pickle inside that writes `mark` when it is loaded."""
    import io

    import numpy as np

    buffer = io.BytesIO()
    if suffix == ".pth":
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Bomb(mark)))
            archive.writestr("archive/version", "3\n")
            archive.writestr("archive/byteorder", "little")
    else:
        array = np.array([Bomb(mark)], dtype=object)
        if suffix == ".npz":
            np.savez(buffer, labels=array, maps=array, raw=array, scores=array)
        else:
            np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def _spoil(pattern: str, kind: str, seed: int) -> Callable[[Lab], None]:
    def act(lab: Lab) -> None:
        for path in lab.case.glob(pattern):
            data = bytearray(path.read_bytes())
            rng = random.Random(f"{seed} {kind} {path.name}")
            if kind == "gone":
                path.unlink()
                continue
            if kind == "empty":
                data = bytearray()
            elif kind == "half":
                del data[len(data) // 2 :]
            elif kind == "noise":
                data = bytearray(rng.randbytes(len(data)))
            elif kind == "bomb":
                data = bytearray(bomb_bytes(path.suffix, lab.case / "tmp" / "BOMB"))
            else:
                for _ in range(3):
                    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            times = path.stat()
            path.write_bytes(data)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    return act


def _images() -> Iterator[Fault]:
    """Images that vanish, shrink or change, before or while they are read."""
    one = "tiny/train/patient00003/study1/view1_frontal.jpg"
    spoilt = (r"tiny/train/patient00003/.*",)
    for name, act in (
        ("vanished", lambda lab: (lab.case / one).unlink()),
        ("empty", lambda lab: (lab.case / one).write_bytes(b"")),
        ("cut", lambda lab: _cut(lab.case / one)),
        ("folder", _replace(one, "folder")),
        ("loop", lambda lab: _loop(lab.case / one)),
    ):
        yield Fault(
            f"image/prepare/{name}",
            "prepare",
            frozenset({3}),
            before=act,
            after=put_back(one),
            broken=spoilt,
        )
    for delay in (0.02, 0.05, 0.1, 0.2):
        yield Fault(
            f"image/prepare/vanishes-{delay}",
            "prepare",
            frozenset({0, 3}),
            during=_later(delay, lambda lab: shutil.rmtree(lab.case / "tiny" / "train")),
            after=put_back("tiny/train"),
            broken=(r"tiny/train/.*",),
            truthful=False,
        )
        yield Fault(
            f"image/prepare/changes-{delay}",
            "prepare",
            frozenset({0, 3}),
            during=_later(delay, _change_images),
            after=put_back("tiny/train"),
            broken=(r"tiny/train/.*",),
            truthful=False,
        )
        yield Fault(
            f"image/train/csv-changes-{delay}",
            "train",
            frozenset({0, 2, 3, 4}),
            during=_later(delay, lambda lab: _cut(lab.case / "tiny" / "train.csv")),
            after=_fresh_data,
            broken=(r"tiny/train\.csv",),
            truthful=False,
        )


def _fresh_data(lab: Lab) -> None:
    put_back("tiny/train.csv")(lab)
    shutil.rmtree(lab.case / "artifacts" / "new", ignore_errors=True)


def _later(seconds: float, act: Callable[[Lab], None]) -> Callable[[Lab, Running], None]:
    def wait_and_act(lab: Lab, running: Running) -> None:
        time.sleep(max(0.0, running.started + seconds - time.monotonic()))
        act(lab)

    return wait_and_act


def _change_images(lab: Lab) -> None:
    """Every training image becomes another one's bytes, many times."""
    images = sorted((lab.case / "tiny" / "train").rglob("*.jpg"))
    for _ in range(5):
        for first, second in itertools.pairwise(images):
            first.write_bytes(second.read_bytes())


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def _together() -> Iterator[Fault]:
    """Two commands at once: both end as documented."""
    pairs = [(command, command) for command in QUICK]
    pairs += [
        ("prepare", "train"),
        ("train", "report"),
        ("train", "evaluate"),
        ("evaluate", "report"),
        ("evaluate", "explain"),
        ("explain", "report"),
    ]
    for first, second in pairs:
        for number in range(3):
            yield Fault(
                f"together/{first}+{second}" + (f"/{number}" if number else ""),
                first,
                frozenset({0, 4}) if "train" in {first, second} else frozenset({0}),
                also=second,
                truthful=(first, second) != ("report", "report"),
                broken=(r"artifacts/report.*",) if second == "report" else (),
            )


# --- full disks -----------------------------------------------------------------------------


def _full_disks() -> Iterator[Fault]:
    """Real file systems with too little room (Linux, root)."""
    if os.geteuid() != 0 or sys.platform != "linux":
        return
    for command in ("prepare", "train", "evaluate", "explain"):
        for room in (0, 4096, 16_384, 65_536, 262_144, 1_048_576, 2_097_152):
            yield _full_disk(command, "cache", room, empty=True)
    for command in ("train", "evaluate", "explain", "report"):
        for room in (0, 4096, 16_384, 65_536, 262_144, 524_288, 1_048_576, 3_145_728):
            yield _full_disk(command, "artifacts", room, empty=False)


def _full_disk(command: str, folder: str, room: int, *, empty: bool) -> Fault:
    return Fault(
        f"full-disk/{command}/{folder}/{room}",
        command,
        before=_mount_small(folder, room, empty=empty),
        after=_make_room(folder),
    )


def _mount_small(folder: str, room: int, *, empty: bool) -> Callable[[Lab], None]:
    def act(lab: Lab) -> None:
        target = lab.case / folder
        kept = lab.folder / "kept"
        remove(kept)
        if empty:
            remove(target)
            kept.mkdir()
        else:
            target.rename(kept)
        target.mkdir()
        used = 4096 + sum(4096 * (1 + path.stat().st_size // 4096) for path in kept.rglob("*"))
        size = f"size={used + room}"
        _run("mount", "-t", "tmpfs", "-o", size, "tmpfs", str(target))
        shutil.copytree(kept, target, dirs_exist_ok=True)

    return act


def _make_room(folder: str) -> Callable[[Lab], None]:
    return lambda lab: _run("mount", "-o", "remount,size=256m", str(lab.case / folder))


def _undo_mounts(lab: Lab) -> None:
    if os.geteuid() != 0:
        return
    for folder in ("cache", "artifacts"):
        while os.path.ismount(lab.case / folder):
            _run("umount", "-l", str(lab.case / folder))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def count_by_kind(names: Sequence[str]) -> dict[str, int]:
    """How many faults of each kind, by the first part of their names."""
    counts: dict[str, int] = {}
    for name in names:
        kind = name.split("/")[0]
        counts[kind] = counts.get(kind, 0) + 1
    return counts
