"""`pulmonet explain`: a trained run and X-rays become heat maps, scores and checks of them.

This half needs no torch: it settles run, labels and options, so that a wrong name answers at
once. `explain_flow` does the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path
from typing import Any

from pulmonet.errors import ConfigError, DataError
from pulmonet.explain.maps.variants import Variant, check_colour_map, choose_variants
from pulmonet.flows.console import configure, say
from pulmonet.labels import choose_labels
from pulmonet.run.folder import RunDir, best_run, find_run, list_runs
from pulmonet.run.record import RunRecord


@dataclass(frozen=True)
class ExplainOptions:
    """What to explain, settled.

    Attributes:
        run_dir: the run.
        further_runs: patient folds whose localisation scores are pooled with it.
        record: its run_config.json.
        labels: labels to explain, in the model's order.
        variants: methods and layers; several only with `boxes`.
        colour_map: as in `options.COLOUR_MAPS`.
        images: files, folders and globs, as typed.
        data_dir: dataset; None takes the run's own.
        columns: ``map``, ``join`` and ``splits`` of the dataset where they are not the run's own.
        split: of the dataset's rows; None takes valid.
        views: of the dataset's rows, as in the configuration.
        n_rows: how many rows; None takes what the flow needs.
        out_dir: where to write; None takes artifacts/<run>/explain/.
        boxes: boxes.csv or a CheXlocalize JSON: localisation scores.
        n_resamples: bootstrap resamples of the patients.
        sanity: run the sanity checks.
        against: a run to compare maps with.
        show_absent: draw maps of findings below their threshold too.
        dicom: also write DICOM Secondary Captures.
        device: auto, cpu, cuda, cuda:N or mps.
    """

    run_dir: RunDir
    further_runs: tuple[RunDir, ...]
    record: RunRecord
    labels: tuple[str, ...]
    variants: tuple[Variant, ...]
    colour_map: str
    images: tuple[str, ...]
    data_dir: str | None
    columns: Mapping[str, Any]
    split: str | None
    views: str
    n_rows: int | None
    out_dir: Path | None
    boxes: Path | None
    n_resamples: int
    sanity: bool
    against: RunDir | None
    show_absent: bool
    dicom: bool
    device: str

    @property
    def method(self) -> str:
        """The method of all pictures."""
        return self.variants[0].method

    @property
    def layer(self) -> str | None:
        """Its layer: dotted name of a module; None is the last feature map."""
        return self.variants[0].layer

    @property
    def way(self) -> str:
        """Method and, where one was named, layer: what stands over pictures."""
        return self.method if self.layer is None else f"{self.method} at {self.layer}"

    @property
    def folder(self) -> Path:
        """Where the files go."""
        return self.out_dir or self.run_dir.explain_dir

    @property
    def first_row_only(self) -> bool:
        """Whether nothing was named: the first validation row is explained, as ever."""
        named = self.images or self.n_rows is not None or self.split is not None
        return not named and not self.boxes and not self.sanity


def run(
    *,
    images: Sequence[str] = (),
    run_name: str | None = None,
    labels: Sequence[str] = (),
    class_indices: Sequence[int] = (),
    method: str = "gradcam",
    layer: str | None = None,
    colour_map: str = "plasma",
    artifacts_dir: Path = Path("artifacts"),
    data_dir: str | None = None,
    columns: Mapping[str, Any] | None = None,
    split: str | None = None,
    views: str | None = None,
    n_rows: int | None = None,
    out_dir: Path | None = None,
    boxes: Path | None = None,
    n_resamples: int = 1000,
    sanity: bool = False,
    against: str | None = None,
    show_absent: bool = False,
    dicom: bool = False,
    device: str = "auto",
    json_output: bool = False,
    quiet: bool = False,
) -> int:
    """Explain images, rows of a dataset, or the first validation row.

    Args are those of `ExplainOptions`, as typed.

    Returns:
        The exit code: 0, or 3 when some of several images could not be read.
    """
    if json_output:
        configure(json_output=True, quiet=quiet)
    variants = choose_variants(method, layer)
    check_colour_map(colour_map)
    if len(variants) > 1 and (boxes is None or sanity or against is not None):
        raise ConfigError(
            f"{', '.join(variant.name for variant in variants)}: several methods or layers go "
            "with --boxes only, and not with --sanity; name one"
        )
    _check_combination(images, split or views, n_rows, boxes)
    run_names = [part.strip() for part in (run_name or "").split(",") if part.strip()]
    if len(run_names) > 1 and boxes is None:
        raise ConfigError(
            f"--run {run_name}: several runs (patient folds) go with --boxes only; name one"
        )
    run_dir = choose_run(run_names[0] if run_names else None, artifacts_dir)
    record = run_dir.read_record()
    available = tuple(record.provenance.labels or record.config.data.labels)
    options = ExplainOptions(
        run_dir=run_dir,
        further_runs=tuple(find_run(name, artifacts_dir) for name in run_names[1:]),
        record=record,
        labels=choose_labels(labels, class_indices, available),
        variants=variants,
        colour_map=colour_map,
        images=tuple(images),
        data_dir=data_dir,
        columns=columns or {},
        split=split,
        views=views or record.config.data.views,
        n_rows=n_rows,
        out_dir=out_dir,
        boxes=boxes,
        n_resamples=n_resamples,
        sanity=sanity or against is not None,
        against=None if against is None else find_run(against, artifacts_dir),
        show_absent=show_absent,
        dicom=dicom,
        device=device,
    )
    if images and not any(Path(name).expanduser().exists() or has_magic(name) for name in images):
        raise DataError(f"{images[0]}: no such file; name JPEG, PNG or DICOM files, or a folder")
    from pulmonet.flows.explain.flow import explain

    return explain(options)


def choose_run(name: str | None, artifacts_dir: Path) -> RunDir:
    """The run that was named, else the one with the best validation AUROC, said aloud.

    Raises:
        ArtifactError: no such run, or none at all.
    """
    if name is not None:
        return find_run(name.replace("timm:", "timm-") if ":" in name else name, artifacts_dir)
    chosen = best_run(artifacts_dir)
    auroc = chosen.read_record().provenance.best_valid_macro_auroc
    n_runs = len(list_runs(artifacts_dir))
    why = "the only run" if n_runs == 1 else f"the best of {n_runs} runs"
    shown = "" if auroc is None else f" (validation AUROC {auroc:.3f})"
    say(f"Run: {chosen.name}, {why} in {artifacts_dir}{shown}; choose another with --run")
    return chosen


def _check_combination(
    images: Sequence[str],
    rows_of: str | None,
    n_rows: int | None,
    boxes: Path | None,
) -> None:
    if images and (rows_of is not None or n_rows is not None):
        raise ConfigError(
            "--split, --views and --rows take rows of the dataset; leave them out when naming "
            "images"
        )
    if images and boxes is not None:
        raise ConfigError(
            "--boxes scores rows of the dataset that the boxes belong to; name a --split instead "
            "of images"
        )
    if n_rows is not None and n_rows < 1:
        raise ConfigError(f"--rows {n_rows}: at least 1")
    if boxes is not None and boxes.suffix.lower() not in {".csv", ".json"}:
        raise ConfigError(
            f"--boxes {boxes}: give a boxes.csv, or a CheXlocalize segmentation .json"
        )
