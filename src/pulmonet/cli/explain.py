"""Signature of `pulmonet explain`."""

from typing import Annotated, Any

import typer

from pulmonet.cli.flags_from_fields import RUN_DATASET_FLAGS, Flag, Json, dataset_of, flags_of
from pulmonet.config.fields import RunConfig
from pulmonet.flows.explain.options import ExplainOptions


@flags_of(RunConfig, "data", **RUN_DATASET_FLAGS)
@flags_of(
    ExplainOptions,
    "given",
    "run label class_idx method layer split rows boxes sanity against artifacts_dir out_dir "
    "colour_map no_maps parquet show_absent boxes_out dicom anonymous bootstrap device",
    run=Flag("run", ("--run", "--model", "-m"), default="best validation AUROC"),
    label=Flag("labels", default="all"),
    class_idx="class_indices",
    layer=Flag("layer", default="last, the last feature map"),
    rows="n_rows",
    out_dir=Flag("out_dir", default="artifacts/<run>/explain, with --no-maps artifacts/<run>"),
    colour_map=Flag("colour_map", ("--colour-map", "--color-map")),
    bootstrap="n_resamples",
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
    flags = {"n_rows": "--rows", "class_indices": "--class-idx", "n_resamples": "--bootstrap"}
    return run(check_options(ExplainOptions, typed, flags))
