"""The first stage of `self-trained`: a model of its own, whose scores fill the uncertain labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pulmonet.config.schema import RunConfig
from pulmonet.errors import ArtifactError
from pulmonet.flows import console
from pulmonet.flows.train.plan import Plan, raw_labels
from pulmonet.labels import fill_uncertain
from pulmonet.models.device import place
from pulmonet.models.networks import build_network
from pulmonet.models.pretrained import read_state_dict
from pulmonet.training.stage import Stage
from pulmonet.training.validation import scores_of
from pulmonet.words import first_line


def rows_to_relabel(plan: Plan) -> NDArray[np.int64]:
    """Places among the training rows that have an uncertain label under ``self-trained``."""
    columns = [column for column, name in enumerate(plan.policies) if name == "self-trained"]
    raw = raw_labels(plan, "train", plan.taught)[:, columns]
    places = np.flatnonzero((raw == -1).any(axis=1))
    if columns and not len(places):
        console.say("self-trained: no training label is uncertain, so there is nothing to relabel")
    return places


def first_config(config: RunConfig) -> RunConfig:
    """How the first model of a run is trained: one network, at one size."""
    epochs = config.targets.self_trained_epochs or config.optim.epochs
    optim = config.optim.model_copy(update={"epochs": epochs, "growth": ()})
    return config.model_copy(update={"optim": optim, "model": config.model.member(0)})


def relabelled(plan: Plan, stage: Stage, places: NDArray[np.int64]) -> NDArray[np.float32]:
    """The targets of a trained stage, (n, L + A), its scores in place of uncertain labels.

    Raises:
        ArtifactError: its best weights do not fit; a resumed run finds whatever they are now.
    """
    n_labels, path = len(plan.labels), stage.run_dir.best_model_path
    network = build_network(stage.config.model.name, n_labels, 0.0)
    try:
        network.load_state_dict(read_state_dict(path))
    except RuntimeError as error:
        raise ArtifactError(
            f"{path}: not the weights of stage one ({first_line(error)}); start again with "
            "--overwrite"
        ) from None
    scores = np.zeros_like(stage.train_targets)
    network, rows = place(network, plan.device), stage.train_rows[places]
    scores[places, :n_labels] = scores_of(stage, rows, network, ["ones"] * n_labels, plan.device)
    raw = raw_labels(plan, "train", plan.taught)
    return fill_uncertain(stage.train_targets, raw, scores, plan.policies)
