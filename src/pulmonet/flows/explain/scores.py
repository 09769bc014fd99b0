"""`explain --no-maps`: the scores of any number of images, in little memory."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby, islice

import numpy as np
import pandas as pd
import torch

from pulmonet.arrays import Pixels
from pulmonet.data.images.decoding import Remark
from pulmonet.data.images.square import fit_square
from pulmonet.data.likeness import Sight
from pulmonet.errors import ArtifactError, DataError
from pulmonet.explain.results import BadImage, Explanations, ImageExplanation
from pulmonet.explain.score_table import KINDS, MADE_BY, ScoreTable, seen_in
from pulmonet.explain.verdicts import judge_images
from pulmonet.files.spreadsheet import plain_cells
from pulmonet.files.write import changing
from pulmonet.flows import console
from pulmonet.flows.explain.images import Source, read_sources
from pulmonet.flows.explain.options import Settled
from pulmonet.flows.explain.screen import show_scores
from pulmonet.models.inference import unlabelled
from pulmonet.models.trained import TrainedRun
from pulmonet.words import count, list_first

#: Images a pass, as in `evaluate`: the last digits of a score depend on the others in the pass.
BATCH_SIZE = 32


@contextlib.contextmanager
def open_table(
    task: Settled, trained: TrainedRun, sources: Sequence[Source]
) -> Iterator[ScoreTable]:
    """scores.csv, held against other commands; `sources` are the images of this call.

    Raises:
        ArtifactError: its rows are of other weights, settings or labels, or one of an image that
            has changed since; without --no-maps such a table is begun anew.
    """
    fitted = trained.calibration and trained.calibration.model_dump(mode="json")
    limit = trained.likeness and trained.likeness.limit
    settings = json.dumps([trained.image_size, trained.fit, fitted, limit], sort_keys=True).encode()
    made_by = task.run_dir.name, trained.sha256[:12], hashlib.sha256(settings).hexdigest()[:12]
    path = task.folder / "scores.csv"
    table = ScoreTable(path, task.labels, made_by)
    with changing(path):
        reason = table.why_stale()
        states = ((one.name, one.state()) for one in sources if one.name in table.known)
        changed = [name for name, state in states if table.known[name] != state]
        if changed and not reason:
            reason = f"{count(len(changed), 'image')} changed since: {list_first(changed)}"
        if reason and task.no_maps:
            text = f"{path}: {reason}; move it away, or choose another folder with --out-dir"
            raise ArtifactError(text)
        if reason:
            table.start_over()
        yield table
        task.ledger.note(path)
        if task.parquet:
            as_text = dict.fromkeys(("path", *MADE_BY), str)
            cells = pd.read_csv(path, dtype=as_text, keep_default_na=False, na_values=[""])
            content = plain_cells(cells).to_parquet(index=False)
            task.ledger.write(path.with_suffix(".parquet"), content)


def score_images(
    task: Settled, trained: TrainedRun, sources: Sequence[Source], found: Explanations
) -> int:
    """Score all images that have no row yet; say and show what is in the table of all of them.

    Returns 0, or 3 where some of several images could not be read. `found` has the facts of the
    JSON. DataError: none can be read; ArtifactError: as `open_table`.
    """
    with open_table(task, trained, sources) as table:
        bad = _add_rows(task, trained, table, sources)
    references = {source.name: source.reference for source in sources}

    def images() -> Iterator[ImageExplanation]:
        rows = (row for row in islice(table.rows(), 1, None) if row[0] in references)
        while part := list(islice(rows, 1000)):
            scores = np.asarray([row[1 : -9 : len(KINDS)] for row in part], np.float32)
            names_of, sights = [row[0] for row in part], [seen_in(row) for row in part]
            for image in judge_images(trained, names_of, task.labels, scores, sights):
                for label, one in image.labels.items():
                    image.labels[label] = one.model_copy(
                        update={"reference": references[image.image].get(label)}
                    )
                yield image

    show_scores(table.path, images(), len(bad))
    if console.wants_json():
        document = found.model_copy(update={"bad_images": bad})
        plain = document.model_dump(mode="json", by_alias=True)
        console.show_json(plain, (image.model_dump(mode="json") for image in images()))
    return DataError.exit_code if bad else 0


def _add_rows(
    task: Settled, trained: TrainedRun, table: ScoreTable, sources: Sequence[Source]
) -> list[BadImage]:
    """Passes take the same images whatever was done before, so that scores have the same digits."""
    side, outputs = trained.image_size, [trained.labels.index(label) for label in task.labels]
    number = {source.folder: place // BATCH_SIZE for place, source in enumerate(sources)}
    undone = {number[source.folder] for source in sources if source.name not in table.known}
    due = [source for source in sources if number[source.folder] in undone]
    n_more = len(sources) - len(due)
    bad: list[BadImage] = []

    def square(image: Pixels, remark: Remark) -> tuple[Pixels, Sight]:
        whole = trained.square(image)
        return fit_square(whole, side, "stretch"), Sight(trained.distance(whole), remark)

    with console.steps("Scoring", len(sources), done=n_more) as bar:
        advance = partial(bar.advance, n_images=1)
        images = read_sources(due, bad, advance, prepare=square, n_more=n_more)
        for _, group in groupby(images, lambda pair: number[pair[0].folder]):
            part, found = zip(*group, strict=True)
            squares, sights = zip(*found, strict=True)
            pixels = torch.from_numpy(np.stack(squares))[:, None]
            scores = trained.scores([unlabelled(pixels)])[:, outputs]
            names = [source.name for source in part]
            states = [source.state() for source in part]
            table.add(judge_images(trained, names, task.labels, scores, sights), states)
    return bad
