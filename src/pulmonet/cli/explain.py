"""Signature of `pulmonet explain`."""

from typing import Annotated, Any

import typer

from pulmonet.cli.flags_from_fields import RUN_DATASET_FLAGS, Json, dataset_of, flag, flags_of
from pulmonet.config.fields import RunConfig
from pulmonet.flows.explain.options import ExplainOptions


@flags_of(RunConfig, "data", **RUN_DATASET_FLAGS)
@flags_of(
    ExplainOptions,
    "given",
    run=flag("run", "--run", "--model", "-m", default="best validation AUROC"),
    label=flag("labels", default="all"),
    class_idx="class_indices",
    method="method",
    layer=flag("layer", default="last, the last feature map"),
    split="split",
    rows="n_rows",
    boxes="boxes",
    sanity="sanity",
    against="against",
    artifacts_dir="artifacts_dir",
    out_dir=flag("out_dir", default="artifacts/<run>/explain, with --no-maps artifacts/<run>"),
    colour_map=flag("colour_map", "--colour-map", "--color-map"),
    no_maps=flag("no_maps", "--no-maps"),
    parquet="parquet",
    show_absent="show_absent",
    dicom="dicom",
    anonymous="anonymous",
    bootstrap="n_resamples",
    device="device",
)
def explain(
    *,
    images: Annotated[
        list[str] | None, typer.Argument(help=ExplainOptions.model_fields["images"].description)
    ] = None,
    given: dict[str, Any],
    data: dict[str, Any],
    json: Json = False,
) -> int:
    """Example: [bold]pulmonet explain image.jpg --label Edema[/bold]"""
    from pulmonet.flows import console
    from pulmonet.flows.explain.flow import run
    from pulmonet.flows.options import check_options

    if json:
        console.reserve_stdout_for_json()
    typed = {"images": images or (), **given, **dataset_of(data)}
    flags = {"n_rows": "--rows", "class_indices": "--class-idx"}
    return run(check_options(ExplainOptions, typed, flags))
