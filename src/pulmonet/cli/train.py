"""Signature of `pulmonet train`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pulmonet.cli.flags_from_fields import DATASET_FLAGS, Config, Set, flag, flags_of, parse_policy
from pulmonet.config.fields import RunConfig


@flags_of(
    RunConfig,
    "settings",
    "model epochs batch_size lr image_size num_workers seed labels views subset subset_mode "
    "folds fold data_dir map_ join follow_links splits uncertain_policy dropout weights device "
    "boxes select_on skip_bad",
    model=flag("model.name", "--model", "-m"),
    **DATASET_FLAGS,
    uncertain_policy=flag("targets.uncertain_policy", read=parse_policy),
    boxes=flag("pointing.boxes", default="no boxes; --boxes alone is own"),
    select_on="select.on",
)
def train(
    *,
    settings: dict[str, Any],
    amp: Annotated[
        bool | None,
        typer.Option("--amp/--no-amp", help="Mixed precision, or fp32. Default: what pays."),
    ] = None,
    out_dir: Annotated[Path, typer.Option(help="Artifacts folder.")] = Path("artifacts"),
    name: Annotated[str | None, typer.Option(help="Name of the run. Default: the model's.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished run.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run that exists.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it takes, after a few steps; write nothing.")
    ] = False,
    config: Config = None,
    set_: Set = None,
) -> int:
    """Example: [bold]pulmonet train --model densenet121 --subset 0.01[/bold]"""
    from pulmonet.flows.train import flow as command

    if "model.name" in settings:
        settings["model.alternate"] = []  # a recipe's go with its own model
    if amp is not None:
        settings["runtime.amp"] = "on" if amp else "off"
    return command.run(
        source=config,
        flags=settings,
        assignments=set_ or [],
        out_dir=out_dir,
        name=name,
        resume=resume,
        overwrite=overwrite,
        dry_run=dry_run,
    )
