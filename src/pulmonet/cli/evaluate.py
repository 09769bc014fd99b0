"""Signature of `pulmonet evaluate`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pulmonet.cli.flags_from_fields import (
    RUN_DATASET_FLAGS,
    Json,
    dataset_of,
    flag,
    flags_of,
    split_commas,
)
from pulmonet.config.fields import RunConfig
from pulmonet.flows.evaluate.options import EvaluateOptions


@flags_of(RunConfig, "data", **RUN_DATASET_FLAGS)
@flags_of(
    EvaluateOptions,
    "given",
    models=flag("runs", "--models", "--model", "-m"),
    artifacts_dir="artifacts_dir",
    predictions=flag("predictions", read=tuple),
    ensemble="ensemble",
    ensemble_name="ensemble_name",
    arm=flag("arms", read=tuple),
    pool_folds="pool_folds",
    split=flag("split", default="valid, else the only one"),
    tta="tta",
    blank="blank",
    batch_size="batch_size",
    num_workers=flag("num_workers", default="the run's"),
    device="device",
    labels="labels",
    level="level",
    study_rule="study_rule",
    bootstrap="n_resamples",
    interval="interval",
    seed="seed",
    threshold="criteria",
    calibrator="calibrator",
    prevalence=flag("prevalence", read=split_commas),
    primary="primary",
    margin="margin",
    subgroup="subgroup_columns",
    plan=flag("plan", read=split_commas),
    figures="figures",
    export="export",
    verify="verify",
)
def evaluate(
    *,
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN", help="Runs by name or folder. Default: all."),
    ] = None,
    also: Annotated[
        list[str] | None, typer.Option("--run", hidden=True, help="The same as RUN.")
    ] = None,
    data: dict[str, Any],
    given: dict[str, Any],
    out_dir: Annotated[
        Path | None, typer.Option(hidden=True, help="The same as --artifacts-dir.")
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
    given["runs"] = [*(runs or []), *(also or []), *(given.get("runs") or [])]
    if out_dir is not None:
        given["artifacts_dir"] = out_dir
    options = check_options(EvaluateOptions, {**dataset_of(data), **given})
    if options.verify:
        from pulmonet.flows.verify import run
    elif options.plan:
        from pulmonet.flows.evaluate.plan import run
    else:
        from pulmonet.flows.evaluate.flow import run  # now: a wrong flag waits for no imports

    return run(options)
