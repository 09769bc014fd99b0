"""Every label policy on phantoms whose uncertain labels have a known truth: a table.

    python benchmarks/policies_on_phantoms.py --patients 300 --seeds 3 --json policies.json

A check of the software, not evidence about X-rays: we chose how phantoms are hedged. A policy is
as good as its guess about the uncertain labels, so the table stands beside the share of them that
is truly positive. The row `truth` is trained on the true labels instead and shows what there is
to be won.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from pulmonet.cli.main import main as pulmonet
from pulmonet.data.phantoms.write import write_phantoms
from pulmonet.labels import DEFAULT_LABELS, UNCERTAIN_POLICIES
from pulmonet.run.folder import RunDir

PUBLISHED = (
    "Atelectasis=ones,Edema=ones,Consolidation=self-trained,"
    "Cardiomegaly=multiclass,Pleural Effusion=multiclass"
)


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def truly_positive(root: Path) -> dict[str, tuple[int, float]]:
    """Per label: uncertain training labels, and the share of them that is truly positive."""
    truth = {row["Path"]: row for row in read_rows(root / "truth.csv")}
    shares = {}
    for label in DEFAULT_LABELS:
        values = [
            float(truth[row["Path"]][label])
            for row in read_rows(root / "train.csv")
            if row[label] and float(row[label]) == -1
        ]
        shares[label] = (len(values), float(np.mean(values)) if values else float("nan"))
    return shares


def write_true_copy(root: Path, copy: Path) -> None:
    """The same dataset with the truth as training labels."""
    shutil.copytree(root, copy)
    truth = {row["Path"]: row for row in read_rows(root / "truth.csv")}
    rows = read_rows(root / "train.csv")
    with (copy / "train.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            true = {label: truth[row["Path"]][label] for label in DEFAULT_LABELS}
            writer.writerow({**row, **true})


def train(
    data_dir: Path, out_dir: Path, name: str, policy: str, seed: int, extra: list[str]
) -> float:
    """Train once; the last epoch's macro AUROC on the validation rows, whose labels are true."""
    with (out_dir / f"{name}.txt").open("w") as output, contextlib.redirect_stdout(output):
        code = pulmonet(
            [
                *("train", "--data-dir", str(data_dir), "--out-dir", str(out_dir), "--name", name),
                *("--uncertain-policy", policy, "--seed", str(seed), *extra),
                *("--set", "select.checkpoint=last"),
            ]
        )
    if code != 0:
        raise SystemExit(f"{name}: exit code {code}; see {out_dir / name}.txt")
    return float(RunDir(out_dir / name).read_log()["val_macro_auroc"].iloc[-1])


def run(n_patients: int, n_seeds: int, extra: list[str], folder: Path) -> dict[str, object]:
    """Everything, as a JSON-ready value."""
    root = folder / "phantoms"
    write_phantoms(root, n_patients)
    true_root = folder / "truth" / root.name  # the same name: paths start with it
    write_true_copy(root, true_root)
    cases = [(policy, root, policy) for policy in UNCERTAIN_POLICIES]
    cases += [("per label (Irvin et al.)", root, PUBLISHED), ("truth", true_root, "ones")]
    aurocs: dict[str, list[float]] = {}
    for number, (name, data_dir, policy) in enumerate(cases):
        for seed in range(n_seeds):
            run_name = f"case{number}-seed{seed}"
            value = train(data_dir, folder, run_name, policy, seed, extra)
            aurocs.setdefault(name, []).append(value)
    return {
        "n_patients": n_patients,
        "train_arguments": extra,
        "uncertain": truly_positive(root),
        "macro_auroc": aurocs,
    }


def as_markdown(result: dict[str, object]) -> str:
    """The two tables."""
    uncertain, aurocs = result["uncertain"], result["macro_auroc"]
    assert isinstance(uncertain, dict)
    assert isinstance(aurocs, dict)
    lines = ["| label | uncertain training labels | of them truly positive |", "|---|---|---|"]
    lines += [f"| {label} | {n} | {share:.2f} |" for label, (n, share) in uncertain.items()]
    lines += ["", "| policy | macro AUROC, mean | lowest | highest |", "|---|---|---|---|"]
    for policy, values in aurocs.items():
        lines.append(
            f"| {policy} | {np.mean(values):.3f} | {min(values):.3f} | {max(values):.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--patients", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "extra",
        nargs="*",
        metavar="-- TRAIN_ARGUMENTS",
        help="default: a small ResNet at 96 px, 8 epochs",
    )
    options = parser.parse_args()
    extra = options.extra or [
        *("--model", "timm:test_resnet", "--weights", "none", "--image-size", "96"),
        *("--epochs", "8", "--lr", "3e-3", "--set", "optim.schedule=one-cycle"),
        *("--set", "optim.name=adamw", "--set", "loss.pos_weight=balanced"),
    ]
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PULMONET_CACHE_DIR"] = str(Path(folder) / "cache")
        os.environ["XDG_DATA_HOME"] = str(Path(folder) / "data")
        result = run(options.patients, options.seeds, extra, Path(folder))
    result["seconds"] = round(time.monotonic() - start)
    print(as_markdown(result))
    print(f"\n{result['seconds']} s, {options.seeds} seeds, {options.patients} phantom patients")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
