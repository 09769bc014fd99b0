"""A hyper-parameter sweep with Optuna: one `pulmonet train` process per trial, median pruning.

    pip install optuna
    python examples/optuna_sweep.py --trials 30 -- --config quick --set model.members=1

Everything after `--` goes to every `pulmonet train`. A trial is judged by the macro AUROC of the
last epoch in its training_log.csv, on a development share of the training patients
(select.on=dev), so that the validation rows stay untouched for the comparison at the end. Run the
same line again to add trials; run it in several terminals, or on several machines with a shared
--storage, to search in parallel. See docs/sweeps.md.
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import optuna
from training_process import TRAIN, RunFailedError, TrainingProcess

METRIC = "val_macro_auroc"


def suggest_settings(trial: optuna.Trial) -> list[str]:
    """The search space, as `section.field=value` for `--set`; put your own question here."""
    return [
        f"optim.lr={trial.suggest_float('lr', 1e-4, 3e-3, log=True):.3g}",
        f"optim.weight_decay={trial.suggest_float('weight_decay', 1e-4, 1e-1, log=True):.3g}",
        f"loss.pos_weight={trial.suggest_categorical('pos_weight', ['none', 'balanced'])}",
        f"augment.rotation_degrees={trial.suggest_float('rotation_degrees', 0, 15, step=5)}",
        f"augment.contrast={trial.suggest_float('contrast', 0, 0.3, step=0.1):.1f}",
    ]


def run_trial(
    trial: optuna.Trial, arguments: Sequence[str], out_dir: Path, train: Sequence[str] = TRAIN
) -> float:
    """Train once and give the last epoch's macro AUROC, no epoch having been picked.

    Raises:
        optuna.TrialPruned: worse than the median of earlier trials at the same epoch.
        RunFailedError: the run failed.
    """
    settings = [word for setting in suggest_settings(trial) for word in ("--set", setting)]
    name = f"trial-{trial.number:04d}"
    process = TrainingProcess(
        [*arguments, "--set", "select.on=dev", *settings], out_dir, name, train
    )
    trial.set_user_attr("command", shlex.join(process.command))
    last = math.nan
    try:
        for row in process.epochs():
            score = row.get(METRIC, math.nan)
            if math.isnan(score):
                continue
            last = score
            trial.report(score, step=int(row["epoch"]))
            if trial.should_prune():
                raise optuna.TrialPruned(f"{METRIC} {score:.4f} at epoch {int(row['epoch'])}")
    finally:
        process.stop()
    if math.isnan(last):
        raise RunFailedError(f"{name}: no {METRIC} in its log; see {process.output_path}")
    return last


def main(argv: Sequence[str] | None = None, train: Sequence[str] = TRAIN) -> optuna.Study:
    """Parse the command line, search, and print the best trial."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=20, help="trials to add (default 20)")
    parser.add_argument("--out-dir", type=Path, default=Path("artifacts/sweep"))
    parser.add_argument("--study", default="pulmonet", help="name of the study")
    parser.add_argument("--storage", help="Optuna storage URL; default: OUT_DIR/study.db")
    parser.add_argument("--seed", type=int, help="of the sampler")
    parser.add_argument("arguments", nargs="*", metavar="-- TRAIN_ARGUMENTS")
    options = parser.parse_args(argv)

    options.out_dir.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=options.study,
        storage=options.storage or f"sqlite:///{options.out_dir / 'study.db'}",
        load_if_exists=True,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=options.seed),
        # The first five trials run to their end; no trial is judged by its first epoch.
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2),
    )
    study.optimize(
        lambda trial: run_trial(trial, options.arguments, options.out_dir, train),
        n_trials=options.trials,
        catch=(RunFailedError,),
    )
    states = [trial.state.name.lower() for trial in study.trials]
    print(", ".join(f"{states.count(state)} {state}" for state in sorted(set(states))))
    if "complete" in states:
        best = study.best_trial
        print(f"best: {METRIC} {best.value:.4f}, trial {best.number}: {best.params}")
        config_path = options.out_dir / f"trial-{best.number:04d}" / "run_config.json"
        print(
            f"next: pulmonet train --config {config_path} --set select.on=valid "
            "--set select.checkpoint=last --name tuned"
        )
    return study


if __name__ == "__main__":
    states = {trial.state.name for trial in main().trials}
    sys.exit(0 if "COMPLETE" in states else "no trial was completed; see their .txt files")
