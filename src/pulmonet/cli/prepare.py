"""Signature of `pulmonet prepare`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pulmonet.cli.flags_from_fields import DATASET_FLAGS, Config, Json, Set, flag, flags_of
from pulmonet.config.fields import RunConfig


@flags_of(
    RunConfig,
    "settings",
    "image_size fit labels data_dir map_ join follow_links splits skip_bad num_workers seed",
    image_size=flag("data.image_size", help="Largest size to train at, pixels. Default: 224."),
    labels=flag("data.labels", help="Labels that must be there, or all; repeatable, takes commas."),
    **DATASET_FLAGS,
    num_workers=flag("runtime.num_workers", help="Decoding threads. Default: all cores."),
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
    demo: Annotated[
        bool, typer.Option("--demo", help="Draw synthetic chest phantoms (SOURCE: where).")
    ] = False,
    patients: Annotated[
        int | None, typer.Option(help="Patients of the demo set. Default: 200.")
    ] = None,
    check_only: Annotated[
        bool, typer.Option("--check-only", help="Only check: exit code 0 or 3, no pack.")
    ] = False,
    settings: dict[str, Any],
    export_split: Annotated[
        Path | None, typer.Option(help="Write the split with salted patient hashes (.json).")
    ] = None,
    out_dir: Annotated[
        Path | None,
        typer.Option("--out-dir", "-o", help="Report folder. Default: artifacts/prepare/NAME."),
    ] = None,
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
    return run(
        load_config(config, settings, set_ or []),
        demo=demo,
        n_patients=patients,
        check_only=check_only,
        num_workers=settings.get("runtime.num_workers"),
        out_dir=out_dir,
        export_split=export_split,
    )
