"""The flow of `pulmonet explain`: a trained run and X-rays become heat maps, scores, checks."""

from pulmonet.errors import DataError
from pulmonet.files.paths import portable_path
from pulmonet.files.write import to_json
from pulmonet.flows import console
from pulmonet.flows.explain.options import ExplainOptions, settle


def run(options: ExplainOptions) -> int:
    """Explain images, rows of a dataset, or the first validation row; or check maps of them.

    Returns the exit code: 0, or 3 when some of several images could not be read. Raises ConfigError
    for an unknown name or options that do not go together, DataError where nothing can be read.
    """
    task = settle(options)
    # torch and all that is slow to import only now: a wrong name has been answered
    from pulmonet.explain.results import BadImage, Explanations
    from pulmonet.flows.dataset import Datasets
    from pulmonet.flows.explain import boxes, images, pictures, scores, screen
    from pulmonet.flows.explain.sanity import check_maps
    from pulmonet.models.trained import load_run

    names = ("explanations.json", "contact_sheet.png", "localization.json", "sanity.json")
    if not task.no_maps:
        task.ledger.check(*(task.folder / name for name in names), task.folder / "sanity.png")
    if task.boxes_out:
        _ = task.tuned_shares  # what is missing is said before the long work
    datasets = Datasets()
    chosen = None if task.images else datasets.rows_of(task.record, task)
    manifest = None if chosen is None else chosen.manifest
    sources = images.choose_sources(task, chosen)
    trained = load_run(task.run_dir, task.device)
    screen.say_what(task, trained, manifest)
    found = Explanations(
        run=task.run_dir.name,
        model=trained.record.config.model.summary(),
        method=task.variants[0].method,
        layer=task.variants[0].layer,
        colour_map=task.colour_map,
        folder=portable_path(task.folder),
        dataset=None if manifest is None else manifest.name,
        synthetic=None if manifest is None else manifest.synthetic,
        checkpoint_sha256=trained.sha256,
    )
    if task.no_maps:
        return scores.score_images(task, trained, sources, found)
    bad: list[BadImage] = []
    parts: dict[str, object] = {"bad_images": bad}
    if task.boxes is not None and chosen is not None:
        parts["localization"] = boxes.score_localization(task, trained, chosen, datasets)
    if task.sanity:
        parts["sanity"] = check_maps(task, trained, sources, bad)
    elif task.boxes is None:
        with scores.open_table(task, trained, sources) as table:
            parts |= pictures.explain_sources(task, trained, sources, bad, table)
    found = found.model_copy(update=parts)
    document = found.model_dump(mode="json", by_alias=True)
    if found.images:  # a check alone leaves what is known of explained images as it is
        task.ledger.write(task.folder / "explanations.json", to_json(document))
    screen.say_all(task, found)
    if console.wants_json():
        console.show_json(document)
    return DataError.exit_code if bad else 0
