"""`explain --sanity`: whether heat maps depend on the weights and find what the score hangs on."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from pulmonet.arrays import Floats32, Pixels
from pulmonet.data.images.decoding import Remark
from pulmonet.errors import ConfigError
from pulmonet.explain.checks import sanity
from pulmonet.explain.maps.methods import Maps, explain_images, to_network_input
from pulmonet.explain.results import BadImage, Comparison, Sanity
from pulmonet.figures.sanity import draw_sanity
from pulmonet.files.write import to_json
from pulmonet.flows import console
from pulmonet.flows.explain.images import Source, read_sources
from pulmonet.flows.explain.options import Settled
from pulmonet.flows.explain.screen import show_sanity
from pulmonet.models.published import named_run
from pulmonet.models.trained import TrainedRun, load_run

#: Randomised copies of the network per depth.
N_SEEDS = 3
#: Pairs of image and label that the deletion and insertion curves follow: about a second each.
MAX_ROAD_PAIRS = 8


def check_maps(
    task: Settled, trained: TrainedRun, sources: Sequence[Source], bad: list[BadImage]
) -> Sanity:
    """Cascading randomisation, ROAD, and the maps of another run where one is named.

    Raises:
        DataError: none of the images can be read; others are named, and added to `bad`.
        ConfigError: the other run's maps have another size.
    """
    read = (both for _, both in read_sources(sources, bad, lambda: None))
    images, remarks = zip(*read, strict=True)
    pixels = to_network_input(images, trained)
    columns = [trained.labels.index(label) for label in task.labels]
    way, given = task.variants[0], (trained.network, pixels, columns)
    explain = partial(explain_images, method=way.method, layer=way.layer)
    found = explain(*given)
    other = _compare_runs(task, explain, found.raw, images)  # first: it may be refused
    n_steps = len(sanity.weight_stages(trained.network)) * N_SEEDS
    with console.steps("Randomising weights", n_steps) as progress:
        raw_of, advance = lambda *given: explain(*given).raw, progress.advance
        result = sanity.cascade(*given, raw_of, n_seeds=N_SEEDS, progress=advance)
    # each image's highest-scoring label: removing evidence for what is absent shows nothing
    best = found.scores[:, columns].argmax(axis=1)[:MAX_ROAD_PAIRS]
    with console.steps("Removing pixels", len(best)) as progress:
        pairs = [(number, columns[column]) for number, column in enumerate(best)]
        maps = found.maps[np.arange(len(best)), best]
        curve = sanity.road(trained.network, pixels, pairs, maps, progress=progress.advance)
    more = {"road": curve, "against": other, "checkpoint_sha256": trained.sha256}
    result = result.model_copy(update=more | {"method": str(task.way)})
    task.ledger.write(task.folder / "sanity.json", to_json(result))
    drawn = draw_sanity(result, task.way, any(one & Remark.PHANTOM for one in remarks))
    task.ledger.write(task.folder / "sanity.png", drawn)
    show_sanity(result, task.folder / "sanity.png")
    return result


def _compare_runs(
    task: Settled, explain: Callable[..., Maps], raw: Floats32, images: Sequence[Pixels]
) -> Comparison | None:
    if task.against is None:
        return None
    other = load_run(named_run(task.against, task.artifacts_dir), task.device)
    shared = [label for label in task.labels if label in other.labels]
    columns = [other.labels.index(label) for label in shared]
    theirs = explain(other.network, to_network_input(images, other), columns).raw
    ours = raw[:, [task.labels.index(label) for label in shared]]
    if ours.shape != theirs.shape:
        raise ConfigError(
            f"--against {other.run_dir.name}: its maps are {theirs.shape[2]} x "
            f"{theirs.shape[3]}, not {ours.shape[2]} x {ours.shape[3]}; compare runs of one "
            "network and image size"
        )
    correlations = sanity.map_correlations(ours, theirs)
    found = sanity.summarise(other.run_dir.name, correlations, len(images))
    return Comparison(
        run=other.run_dir.name,
        shuffled_labels=other.record.config.data.shuffle_labels,
        correlation=found.mean,
        passed=None if sanity.why_undecided(ours) else found.is_below(sanity.PASS_BELOW),
    )
