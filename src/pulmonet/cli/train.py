"""Signature of `pulmonet train`."""

from typing import Annotated, Any

import typer

from pulmonet.cli.flags_from_fields import DATASET_FLAGS, Config, Flag, Set, flags_of, parse_policy
from pulmonet.config.fields import RunConfig
from pulmonet.flows.options import TrainOptions


@flags_of(
    RunConfig,
    "settings",
    "model epochs batch_size lr image_size num_workers seed labels views subset subset_mode "
    "folds fold data_dir map_ join follow_links splits uncertain_policy dropout weights device "
    "boxes select_on skip_bad",
    model=Flag("model.name", ("--model", "-m")),
    **DATASET_FLAGS,
    uncertain_policy=Flag("targets.uncertain_policy", read=parse_policy),
    boxes=Flag("pointing.boxes", default="no boxes; --boxes alone is own"),
    select_on="select.on",
)
@flags_of(
    TrainOptions,
    "given",
    "out_dir name resume overwrite dry_run",
    name=Flag("name", default="the model's"),
)
def train(
    *,
    settings: dict[str, Any],
    amp: Annotated[
        bool | None,
        typer.Option("--amp/--no-amp", help="Mixed precision, or fp32. Default: what pays."),
    ] = None,
    given: dict[str, Any],
    config: Config = None,
    set_: Set = None,
) -> int:
    """Example: [bold]pulmonet train --model densenet121 --subset 0.01[/bold]"""
    from pulmonet.flows.train import flow as command

    if "model.name" in settings:
        settings["model.alternate"] = []  # a recipe's go with its own model
    if amp is not None:
        settings["runtime.amp"] = "on" if amp else "off"
    return command.run(config, settings, set_ or [], TrainOptions(**given))
