"""Signature of `pulmonet prepare`."""

from typing import Annotated, Any

import typer

from pulmonet.cli.flags_from_fields import DATASET_FLAGS, Config, Flag, Json, Set, flags_of
from pulmonet.config.fields import RunConfig
from pulmonet.flows.options import PrepareOptions


@flags_of(
    RunConfig,
    "settings",
    "image_size fit labels data_dir map_ join follow_links splits skip_bad num_workers seed",
    image_size=Flag("data.image_size", help="Largest size to train at, pixels. Default: 224."),
    labels=Flag("data.labels", help="Labels that must be there, or all; repeatable, takes commas."),
    **DATASET_FLAGS,
    num_workers=Flag("runtime.num_workers", help="Decoding threads. Default: all cores."),
)
@flags_of(
    PrepareOptions,
    "given",
    "demo patients check_only export_split out_dir",
    patients=Flag("n_patients", default="200"),
    out_dir=Flag("out_dir", ("--out-dir", "-o"), default="artifacts/prepare/NAME"),
)
def prepare(
    *,
    source: Annotated[
        str | None,
        typer.Argument(
            help="Dataset folder, or one that holds exactly one; several with commas. Default: "
            "./data, else the one prepared last."
        ),
    ] = None,
    given: dict[str, Any],
    settings: dict[str, Any],
    config: Config = None,
    set_: Set = None,
    json: Json = False,
) -> int:
    """Example: [bold]pulmonet prepare data/CheXpert-v1.0-small[/bold]"""
    from pulmonet.config.load import load_config
    from pulmonet.flows import console
    from pulmonet.flows.prepare.flow import run

    if json:
        console.reserve_stdout_for_json()
    if source:
        settings["data.data_dir"] = source
    run_config = load_config(config, settings, set_ or [])
    workers = settings.get("runtime.num_workers")
    return run(run_config, PrepareOptions(**given), num_workers=workers)
