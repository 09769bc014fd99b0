"""`explain --sanity`: whether heat maps depend on the weights and find what the score hangs on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table
from torch import Tensor, nn

from pulmonet.errors import ConfigError, DataError
from pulmonet.explain.checks.randomisation import weight_stages
from pulmonet.explain.checks.sanity import PASS_BELOW, cascade, map_correlations, road
from pulmonet.explain.maps.methods import explain_images, to_network_input
from pulmonet.explain.results import BadImage, Comparison, Sanity
from pulmonet.figures.sanity import draw_sanity
from pulmonet.files.write import write_atomic, write_json
from pulmonet.flows import console
from pulmonet.flows.explain.images import Source
from pulmonet.flows.explain.options import ExplainOptions
from pulmonet.models.trained import TrainedRun, load_run
from pulmonet.words import list_first

#: Randomised copies of the network per depth.
N_SEEDS = 3
#: Pairs of image and label that the deletion and insertion curves follow: about a second each.
MAX_ROAD_PAIRS = 8


def check_maps(
    options: ExplainOptions, trained: TrainedRun, sources: Sequence[Source], bad: list[BadImage]
) -> Sanity:
    """Cascading randomisation, ROAD, and the maps of another run where one is named.

    Images that cannot be read are named, added to `bad` and left out.

    Raises:
        DataError: none of the images can be read.
        ConfigError: the other run has none of the labels.
    """
    images = _read_all(sources, bad)
    pixels = _stack(images, trained)
    columns = [trained.labels.index(label) for label in options.labels]

    def method(network: nn.Module, inputs: Tensor, outputs: Sequence[int]) -> NDArray[np.float32]:
        return explain_images(
            network, inputs, outputs, method=options.method, layer=options.layer
        ).raw

    n_steps = len(weight_stages(trained.network)) * N_SEEDS
    with console.steps("Randomising weights", n_steps) as progress:
        result = cascade(
            trained.network, pixels, columns, method, n_seeds=N_SEEDS, progress=progress.advance
        )
    found = explain_images(
        trained.network, pixels, columns, method=options.method, layer=options.layer
    )
    # each image's highest-scoring label: removing evidence for what is absent shows nothing
    best = found.scores[:, columns].argmax(axis=1)[:MAX_ROAD_PAIRS]
    with console.steps("Removing pixels", len(best)) as progress:
        curve = road(
            trained.network,
            pixels,
            [(number, columns[column]) for number, column in enumerate(best)],
            np.stack([found.maps[number, column] for number, column in enumerate(best)]),
            progress=progress.advance,
        )
    against = None if options.against is None else _compare_runs(options, found.raw, images)
    result = result.model_copy(update={"road": curve, "against": against})
    write_json(options.folder / "sanity.json", result)
    write_atomic(options.folder / "sanity.png", draw_sanity(result, options.way))
    _show_sanity(options, result)
    return result


def _read_all(sources: Sequence[Source], bad: list[BadImage]) -> list[NDArray[np.uint8]]:
    images = []
    for source in sources:
        try:
            images.append(source.read())
        except DataError as error:
            bad.append(BadImage(image=source.name, reason=str(error)))
            if len(bad) == len(sources):
                raise
            console.warn(str(error))
    return images


def _stack(images: Sequence[NDArray[np.uint8]], trained: TrainedRun) -> Tensor:
    return torch.cat(
        [to_network_input(i, trained.image_size, trained.fit, trained.device) for i in images]
    )


def _compare_runs(
    options: ExplainOptions, raw: NDArray[np.float32], images: Sequence[NDArray[np.uint8]]
) -> Comparison:
    assert options.against is not None
    other = load_run(options.against, options.device)
    shared = [label for label in options.labels if label in other.labels]
    if not shared:
        raise ConfigError(
            f"--against {options.against.name}: that run has none of the labels "
            f"{list_first(options.labels)}"
        )
    theirs = explain_images(
        other.network,
        _stack(images, other),
        [other.labels.index(label) for label in shared],
        method=options.method,
        layer=options.layer,
    ).raw
    ours = raw[:, [options.labels.index(label) for label in shared]]
    if ours.shape != theirs.shape:
        raise ConfigError(
            f"--against {options.against.name}: its maps are {theirs.shape[2]} x "
            f"{theirs.shape[3]}, not {ours.shape[2]} x {ours.shape[3]}; compare runs of one "
            "network and image size"
        )
    correlations = map_correlations(ours, theirs)
    value = float(np.mean(correlations)) if correlations else None
    return Comparison(
        run=options.against.name,
        shuffled_labels=other.record.config.data.shuffle_labels,
        correlation=value,
        passed=value is not None and value < PASS_BELOW,
    )


def _show_sanity(options: ExplainOptions, result: Sanity) -> None:
    console.say("Rank correlation with the trained network's maps", style="bold")
    table = Table(box=None, pad_edge=False)
    table.add_column("Randomised down to")
    table.add_column("Mean", justify="right")
    table.add_column("10th to 90th percentile", justify="right")
    for stage in result.stages:
        mean = "–" if stage.mean is None else f"{stage.mean:.2f}"
        spread = "–" if stage.low is None else f"{stage.low:.2f} to {stage.high:.2f}"
        table.add_row(stage.stage, mean, spread)
    console.show_table(table)
    value = "undefined (constant maps)" if result.value is None else f"{result.value:.2f}"
    outcome = "PASSED" if result.passed else "FAILED"
    console.say(
        f"Sanity check {outcome}: {result.statistic} is {value}; passed below {result.threshold}."
    )
    if result.road is not None:
        console.say(
            f"ROAD: removing the map's lowest pixels first keeps the score "
            f"{result.road.gain:+.3f} higher on average than its highest first "
            f"({result.road.n} images; above 0 the map finds what the score hangs on)."
        )
    if result.against is not None and result.against.correlation is not None:
        kind = "trained on shuffled labels" if result.against.shuffled_labels else "not shuffled"
        outcome = "different maps" if result.against.passed else "SIMILAR maps"
        console.say(
            f"Against {result.against.run} ({kind}): {outcome}, mean rank correlation "
            f"{result.against.correlation:.2f}."
        )
    console.say(f"Figure: {options.folder / 'sanity.png'}")
