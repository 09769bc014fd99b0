"""The shipped recipes: valid, found by name, and what their headers promise."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from pulmonet.config.load import load_config, recipe_names


def _text(name: str) -> str:
    return (resources.files("pulmonet") / "recipes" / f"{name}.toml").read_text("utf-8")


def test_the_recipes_are_shipped() -> None:
    assert recipe_names() == ["large", "original", "quick", "strong"]


@pytest.mark.parametrize("name", ["large", "original", "quick", "strong"])
def test_a_recipe_loads_by_name_and_says_its_command(name: str) -> None:
    config = load_config(name)
    assert sum(epochs for _, epochs in config.optim.growth) <= config.optim.epochs
    header = re.match(r"(#.*\n)+", _text(name))
    assert header is not None
    assert f"pulmonet train --config {name}" in header.group()


def test_original_is_the_old_training() -> None:
    config = load_config("original")
    assert (config.optim.name, config.optim.lr, config.optim.schedule) == ("adam", 1e-4, "constant")
    assert (config.loss.name, config.loss.pos_weight) == ("bce", "none")
    assert (config.targets.uncertain_policy, config.targets.blank) == ("ones", "zeros")
    assert (config.augment.geometry, config.augment.flip) == ("original", 0.5)
    assert config.augment.crop_scale == (0.8, 1.0)
    assert (config.data.image_size, config.data.fit, config.optim.batch_size) == (224, "crop", 32)
    assert load_config("original", {"model.name": "resnet50"}).model.name == "resnet50"


def test_large_is_what_was_published_and_says_that_we_did_not_measure_it() -> None:
    config, words = load_config("large"), " ".join(_text("large").replace("#", " ").split())
    assert (config.model.name, config.model.members, config.data.image_size) == (
        *("densenet121", 1),
        320,
    )
    policies = config.targets.uncertain_policy
    assert isinstance(policies, dict) and policies["Cardiomegaly"] == "multiclass"
    assert (config.select.on, config.select.checkpoint) == ("dev", "best")
    assert (config.optim.schedule, config.optim.ema_decay) == ("cosine", 0.999)
    assert "NOT measured by us on CheXpert" in words
    assert {"1901.07031", "1911.06475", "2101.06871", "1608.03983"} <= {
        *re.findall(r"arXiv:([0-9.]+[0-9])", words)
    }


@pytest.mark.parametrize("name", ["quick", "strong"])
def test_numbers_say_that_the_recipe_was_chosen_on_their_rows(name: str) -> None:
    words = " ".join(_text(name).replace("#", " ").split())
    number = words.index("macro AUROC 0.")
    assert "chosen on these same rows" in words[number : number + 200]


@pytest.mark.parametrize("name", ["large", "quick", "strong"])
def test_the_newer_recipes_flip_nothing_and_keep_the_whole_image(name: str) -> None:
    config = load_config(name)
    assert (config.augment.geometry, config.augment.flip) == ("jitter", 0.0)
    assert config.data.fit == "stretch"
