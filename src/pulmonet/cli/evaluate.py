"""Signature of `pulmonet evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pulmonet.cli.options import RUN_DATASET_FLAGS, dataset_of, flags_of, split_commas
from pulmonet.config.schema import RunConfig


@flags_of(RunConfig, "data", **RUN_DATASET_FLAGS)
def evaluate(
    *,
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN", help="Runs by name or folder. Default: all."),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option("--models", "--model", "-m", help="Runs, too; repeatable, takes commas."),
    ] = None,
    artifacts_dir: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path(
        "artifacts"
    ),
    out_dir: Annotated[
        Path | None, typer.Option(hidden=True, help="The same as --artifacts-dir.")
    ] = None,
    data: dict[str, Any],
    split: Annotated[
        str | None, typer.Option(help="train, valid or test. Default: valid, else the only one.")
    ] = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="<path>",
            help="Evaluate saved scores instead: CSV with LABEL and LABEL_score, as FILE or "
            "NAME=FILE; repeatable.",
        ),
    ] = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="One more row: the mean of the runs' scores.")
    ] = False,
    ensemble_name: Annotated[
        str | None, typer.Option(help="Its name, and --ensemble. Default: ensemble.")
    ] = None,
    pool_folds: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="One more row, NAME: runs of all patient folds, each scored on its own fold.",
        ),
    ] = None,
    tta: Annotated[
        str,
        typer.Option(
            help="Test-time augmentation: none, jitter (mean over 5 views: small zooms and "
            "rotations) or flip."
        ),
    ] = "none",
    level: Annotated[str, typer.Option(help="image or study.")] = "image",
    study_rule: Annotated[str, typer.Option(help="Images of a study: max or mean.")] = "max",
    labels: Annotated[
        list[str] | None, typer.Option(help="Only these labels; repeatable, takes commas.")
    ] = None,
    blank: Annotated[
        str, typer.Option(help="What a blank label counts as: zeros (negative) or ignore.")
    ] = "zeros",
    bootstrap: Annotated[int, typer.Option(help="Resamples of the patients.")] = 1000,
    interval: Annotated[str, typer.Option(help="percentile or bca.")] = "percentile",
    seed: Annotated[int, typer.Option(help="Seed of the resamples and folds.")] = 42,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            help="Operating points: youden, f1, sensitivity=0.9, specificity=0.9, ppv=0.5; "
            "repeatable, takes commas."
        ),
    ] = None,
    calibrator: Annotated[str, typer.Option(help="platt, temperature or isotonic.")] = "platt",
    prevalence: Annotated[
        list[str] | None,
        typer.Option(help="Where it is to be used: 0.05, or per label Edema=0.05; repeatable."),
    ] = None,
    subgroup: Annotated[
        list[str] | None,
        typer.Option(help="Further columns to split by, beside sex, age and view; repeatable."),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Images a forward pass.")] = 32,
    num_workers: Annotated[int | None, typer.Option(help="Loader threads.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    figures: Annotated[
        bool, typer.Option("--figures/--no-figures", help="Draw ROC, reliability and the others.")
    ] = True,
    export: Annotated[
        str | None,
        typer.Option(help="onnx: also write model.onnx into each run's folder."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> int:
    """Example: [bold]pulmonet evaluate densenet121 resnet50 --split valid[/bold]

    Without torch or data: [bold]pulmonet evaluate --predictions scores.csv[/bold]
    """
    from pulmonet.flows import console
    from pulmonet.flows.evaluate import flow as command
    from pulmonet.flows.evaluate.combine import choose_combination

    if json:
        console.reserve_stdout_for_json()
    if export is not None:
        from pulmonet.flows.evaluate.export import check_format

        check_format(export, predictions or [])
    options = command.make_options(
        bootstrap=bootstrap,
        seed=seed,
        interval=interval,
        level=level,
        study_rule=study_rule,
        thresholds=split_commas(threshold) or [],
        calibrator=calibrator,
        prevalence=split_commas(prevalence) or [],
        subgroups=split_commas(subgroup) or [],
    )
    artifacts_dir = out_dir or artifacts_dir
    names = [*(runs or []), *(split_commas(models) or [])]
    combination = choose_combination(
        ensemble=ensemble, ensemble_name=ensemble_name, pool_folds=pool_folds, tta=tta
    )
    code = command.run(
        runs=names,
        artifacts_dir=artifacts_dir,
        predictions=predictions or [],
        options=options,
        labels=split_commas(labels) or [],
        combination=combination,
        figures=figures,
        data={
            **dataset_of(data),
            "split": split,
            "blank": blank,
            "batch_size": batch_size,
            "num_workers": num_workers,
            "device": device,
            "tta": tta,
        },
    )
    if export is not None:
        from pulmonet.flows.evaluate.export import run as export_runs

        code = export_runs(names, artifacts_dir) or code
    return code
