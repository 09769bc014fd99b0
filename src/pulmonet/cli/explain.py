"""Signature of `pulmonet explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pulmonet.cli.options import RUN_DATASET_FLAGS, dataset_of, flags_of, split_commas
from pulmonet.config.schema import RunConfig


@flags_of(RunConfig, "data", **RUN_DATASET_FLAGS)
def explain(
    *,
    images: Annotated[
        list[str] | None,
        typer.Argument(
            help="X-rays: JPEG, PNG or DICOM files, folders, globs. Without any: the first "
            "validation row."
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            "--model",
            "-m",
            help="Run. Default: best validation AUROC. With --boxes also folds: a,b,c.",
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="Label to explain; repeatable, takes commas. Default: all."),
    ] = None,
    class_idx: Annotated[
        list[int] | None,
        typer.Option(metavar="<int>", help="Label by its position, from 0; repeatable."),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="gradcam, gradcam++, hirescam, layercam, scorecam, integrated-gradients or "
            "occlusion. With --boxes also several: a,b."
        ),
    ] = "gradcam",
    layer: Annotated[
        str | None,
        typer.Option(
            help="Module to read maps from, e.g. layer3. Default: last, the last feature map. "
            "With --boxes also several: a,b."
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Explain rows of the dataset: train, valid or test.")
    ] = None,
    rows: Annotated[int | None, typer.Option(help="How many of the split's rows.")] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(help="boxes.csv or CheXlocalize JSON: how well maps point at findings."),
    ] = None,
    sanity: Annotated[
        bool, typer.Option("--sanity", help="Check that maps depend on the weights.")
    ] = False,
    against: Annotated[
        str | None, typer.Option(help="With --sanity: a run to compare maps with.")
    ] = None,
    artifacts_dir: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path(
        "artifacts"
    ),
    data: dict[str, Any],
    out_dir: Annotated[
        Path | None, typer.Option(help="Where to write. Default: artifacts/<run>/explain.")
    ] = None,
    colour_map: Annotated[
        str,
        typer.Option(
            "--colour-map",
            "--color-map",
            help="plasma, inferno, magma, viridis, cividis, turbo or jet.",
        ),
    ] = "plasma",
    show_absent: Annotated[
        bool, typer.Option("--show-absent", help="Draw maps of findings below threshold too.")
    ] = False,
    dicom: Annotated[
        bool, typer.Option("--dicom", help="Also write DICOM Secondary Captures.")
    ] = False,
    bootstrap: Annotated[int, typer.Option(help="With --boxes: resamples of the patients.")] = 1000,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    json_output: Annotated[
        bool, typer.Option("--json", help="One JSON document on stdout.")
    ] = False,
) -> int:
    """Example: [bold]pulmonet explain image.jpg --label Edema[/bold]"""
    from pulmonet.flows import console
    from pulmonet.flows.explain import options as command

    if json_output:
        console.reserve_stdout_for_json()
    return command.run(
        images=images or [],
        run_name=run,
        labels=split_commas(label) or [],
        class_indices=class_idx or [],
        method=method,
        layer=layer,
        colour_map=colour_map,
        artifacts_dir=artifacts_dir,
        **dataset_of(data),
        split=split,
        n_rows=rows,
        out_dir=out_dir,
        boxes=boxes,
        n_resamples=bootstrap,
        sanity=sanity,
        against=against,
        show_absent=show_absent,
        dicom=dicom,
        device=device,
    )
