"""How predictions, their bootstrap and a report of them grow with the rows of an evaluation.

    python benchmarks/scale.py --rows 1000 10000 100000 1000000 --json scale.json

Each size runs in a process of its own: five labels, three images a patient. What grows with
the rows of a dataset stands elsewhere: `manifest.py` (reading, subsets), `pack_scale.py` (packs).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from sizes import peak_mb, run_sizes, write_sizes

LABELS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")

#: Resamples that are timed; the figure is scaled to 1,000.
N_RESAMPLES = 20


def measure(n_rows: int, folder: Path) -> dict[str, float]:
    """Seconds and peak memory of one size, in this process."""
    import numpy as np

    from pulmonet.config.fields import RunConfig
    from pulmonet.files.write import write_atomic
    from pulmonet.flows import console
    from pulmonet.flows.options import ReportOptions
    from pulmonet.flows.report import run as report
    from pulmonet.metrics.ranking.intervals import bootstrap_ranking
    from pulmonet.run.folder import RunDir
    from pulmonet.run.predictions import Predictions
    from pulmonet.run.record import Provenance

    figures = {"n_rows": float(n_rows), "start_mb": peak_mb()}
    rng = np.random.default_rng(0)
    targets = (rng.random((n_rows, 5)) < 0.2).astype(np.float32)
    scores = (1 / (1 + np.exp(-rng.normal(size=(n_rows, 5)) - targets))).astype(np.float32)
    units = np.arange(n_rows) // 3
    predictions = Predictions(
        run="run",
        dataset="scale",
        split="valid",
        labels=LABELS,
        paths=tuple(
            f"valid/patient{row // 3:07d}/study1/view{row % 3}.jpg" for row in range(n_rows)
        ),
        patients=tuple(f"patient{row // 3:07d}" for row in range(n_rows)),
        studies=None,
        targets=targets,
        scores=scores,
    )
    run_dir = RunDir(folder / "run")
    provenance = Provenance(
        status="finished",
        pulmonet="0",
        versions={},
        device="cpu",
        labels=list(LABELS),
        start="2026-01-01T00:00:00+00:00",
    )
    run_dir.write_record(RunConfig(), provenance)
    started = time.perf_counter()

    def note(name: str) -> None:
        nonlocal started
        figures[name] = time.perf_counter() - started
        started = time.perf_counter()

    write_atomic(run_dir.predictions_path("scale", "valid"), predictions.to_csv())
    note("write_s")
    Predictions.read(run_dir.predictions_path("scale", "valid"))
    note("read_s")
    figures["read_mb"] = peak_mb()
    bootstrap_ranking(targets, [scores], units, n_resamples=N_RESAMPLES, seed=0)
    note("bootstrap_s")
    figures["bootstrap_s"] *= 1000 / N_RESAMPLES
    console.configure(quiet=True)
    started = time.perf_counter()
    report(ReportOptions(artifacts_dir=folder, html=True))
    note("report_s")
    figures["peak_mb"] = peak_mb()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--json", type=Path, help="write the result here, too")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.rows[0], options.one)))
        return
    write_sizes(options.json, "scale", run_sizes(__file__, options.rows))


if __name__ == "__main__":
    main()
