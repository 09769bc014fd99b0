"""Signature of `pulmonet evaluate`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pulmonet.cli.flags_from_fields import (
    RUN_DATASET_FLAGS,
    Flag,
    Json,
    dataset_of,
    flags_of,
    split_commas,
)
from pulmonet.config.fields import RunConfig
from pulmonet.flows.evaluate.options import EvaluateOptions


@flags_of(RunConfig, "data", **RUN_DATASET_FLAGS)
@flags_of(
    EvaluateOptions,
    "given",
    "models artifacts_dir predictions ensemble ensemble_name arm pool_folds split tta blank "
    "batch_size num_workers device labels level study_rule bootstrap interval seed threshold "
    "calibrator prevalence primary margin subgroup plan figures no_figures export verify",
    models=Flag("runs", ("--models", "--model", "-m")),
    predictions=Flag("predictions", read=tuple),
    arm=Flag("arms", read=tuple),
    split=Flag("split", default="valid, else the only one"),
    num_workers=Flag("num_workers", default="the run's"),
    bootstrap="n_resamples",
    threshold="criteria",
    prevalence=Flag("prevalence", read=split_commas),
    subgroup="subgroup_columns",
    plan=Flag("plan", read=split_commas),
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
