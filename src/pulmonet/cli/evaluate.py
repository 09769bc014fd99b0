"""Signature of `pulmonet evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pulmonet.cli.options import (
    RUN_DATASET_FLAGS,
    Json,
    dataset_of,
    flag,
    flags_of,
    split_commas,
)
from pulmonet.config.schema import RunConfig
from pulmonet.flows.evaluate.export import check_format
from pulmonet.flows.evaluate.options import ScoringOptions, choose_combination
from pulmonet.metrics.options import EvaluationOptions


@flags_of(RunConfig, "data", **RUN_DATASET_FLAGS)
@flags_of(
    ScoringOptions,
    "scoring",
    split=flag("split", default="valid, else the only one"),
    tta="tta",
    blank="blank",
    batch_size="batch_size",
    num_workers=flag("num_workers", default="the run's"),
    device="device",
)
@flags_of(
    EvaluationOptions,
    "options",
    level="level",
    study_rule="study_rule",
    bootstrap="n_resamples",
    interval="interval",
    seed="seed",
    threshold="criteria",
    calibrator="calibrator",
    prevalence=flag("prevalence", read=split_commas),
    subgroup="subgroup_columns",
)
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
    scoring: dict[str, Any],
    labels: Annotated[
        list[str] | None, typer.Option(help="Only these labels; repeatable, takes commas.")
    ] = None,
    options: dict[str, Any],
    figures: Annotated[
        bool, typer.Option("--figures/--no-figures", help="Draw ROC, reliability and the others.")
    ] = True,
    export: Annotated[
        str | None,
        typer.Option(help="onnx: also write model.onnx into each run's folder."),
    ] = None,
    json: Json = False,
) -> int:
    """Example: [bold]pulmonet evaluate densenet121 resnet50 --split valid[/bold]

    Without torch or data: [bold]pulmonet evaluate --predictions scores.csv[/bold]
    """
    from pulmonet.flows import console
    from pulmonet.flows.options import check_options

    if json:
        console.reserve_stdout_for_json()
    how = check_options(EvaluationOptions, options)
    scored_how = check_options(ScoringOptions, {**dataset_of(data), **scoring})
    combination = choose_combination(
        scored_how, ensemble=ensemble, ensemble_name=ensemble_name, pool_folds=pool_folds
    )
    if export is not None:
        check_format(export, predictions or [])
    from pulmonet.flows.evaluate import flow  # now: a wrong flag need not wait for its imports

    return flow.run(
        runs=[*(runs or []), *(split_commas(models) or [])],
        artifacts_dir=out_dir or artifacts_dir,
        predictions=predictions or [],
        labels=split_commas(labels) or [],
        options=how,
        scoring=scored_how,
        combination=combination,
        figures=figures,
        export=export is not None,
    )
