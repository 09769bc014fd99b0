"""RunConfig: precedence, messages, round trips."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from pulmonet.config.fields import RunConfig
from pulmonet.config.load import load_config, parse_config, recipe_names
from pulmonet.errors import ConfigError


def test_defaults_are_those_of_the_design() -> None:
    config = RunConfig()
    assert (config.model.name, config.optim.epochs, config.data.image_size) == (
        "densenet121",
        5,
        224,
    )
    assert (config.optim.batch_size, config.optim.name, config.optim.lr) == (32, "adam", 1e-4)
    assert (config.loss.name, config.seed, config.model.weights) == ("bce", 42, "imagenet")
    assert (config.targets.uncertain_policy, config.targets.blank) == ("ones", "zeros")
    assert (config.data.subset_mode, config.runtime.amp) == ("patient", "auto")


def test_set_and_flags_beat_the_file_which_beats_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("seed = 7\n[optim]\nlr = 0.5\nepochs = 9\nbatch_size = 4\n")
    config = load_config(str(file), {"optim.epochs": 3, "optim.lr": None}, ["optim.batch_size=2"])
    assert (config.seed, config.optim.lr, config.optim.epochs, config.optim.batch_size) == (
        7,
        0.5,
        3,
        2,
    )


def test_a_policy_for_one_label_leaves_those_of_the_file_to_the_others(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[targets.uncertain_policy]\ndefault = "zeros"\nEdema = "ignore"\n')
    one = {"targets.uncertain_policy": {"A.B": "multiclass"}}
    merged = {"default": "zeros", "Edema": "ignore", "A.B": "multiclass"}
    assert load_config(str(file), one).targets.uncertain_policy == merged
    recipe = load_config("strong", one).targets.uncertain_policy
    assert recipe == {"default": "ones-lsr", "A.B": "multiclass"}
    assert load_config(None, one).targets.uncertain_policy == {"A.B": "multiclass"}
    all_labels = {"targets.uncertain_policy": {"default": "ones", "A": "zeros"}}
    assert load_config(str(file), all_labels).targets.uncertain_policy == {
        "default": "ones",
        "A": "zeros",
    }
    settings = ["targets.uncertain_policy=ignore", "targets.uncertain_policy.Edema=ones"]
    assert load_config(None, {}, settings).targets.uncertain_policy == {
        "default": "ignore",
        "Edema": "ones",
    }


def test_json_and_run_config_round_trip(tmp_path: Path) -> None:
    config = load_config(
        None, {}, ['targets.uncertain_policy={"Edema": "zeros"}', "optim.growth=[[96,1]]"]
    )
    plain = tmp_path / "config.json"
    plain.write_text(config.model_dump_json())
    assert load_config(str(plain)) == config
    wrapped = tmp_path / "run_config.json"
    wrapped.write_text(
        json.dumps({"schema": 1, "config": config.model_dump(mode="json"), "provenance": {}})
    )
    assert load_config(str(wrapped)) == config


def test_config_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        RunConfig().seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["optim.lrr=1"], r"unknown key 'optim\.lrr' \(did you mean 'lr'\?\)"),
        (["lr=3"], r"unknown key 'lr' \(did you mean 'optim\.lr'\?\)"),
        (["sed=3"], r"unknown key 'sed' \(did you mean 'seed'\?\)"),
        (["optim.lr=-1"], r"optim\.lr = -1: input should be greater than 0"),
        (["optim.epochs=x"], r"optim\.epochs = 'x': input should be a valid integer"),
        (["model.dropout=3"], r"model\.dropout = 3: input should be less than or equal to 1"),
        (["model.name=resnet5"], r"or timm:NAME \(did you mean 'resnet50'\?\)"),
        (["data.folds=3", "data.fold=7"], r"^config: data\.fold: 7 is not below folds = 3"),
        (["data.labels=[]"], r"at least one label"),
        (['data.labels=["Edema","Edema"]'], r"the same label twice"),
        (["optim.growth=[[96,9]]"], r"its 9 epochs exceed epochs = 5"),
        (["loss.name=aucm"], r"^config: optim\.name: the aucm loss and the pesg optimiser go"),
        (
            ["loss.name=aucm", "optim.name=pesg", "optim.batch_size=1"],
            r"^config: optim\.batch_size: 1: the class-aware batches",
        ),
        (
            ["loss.name=aucm", "optim.name=pesg", "augment.mixup_alpha=0.2"],
            r"^config: augment\.mixup_alpha: MixUp mixes the classes",
        ),
        (
            ["loss.name=balanced-bce", "loss.pos_weight=balanced"],
            r"^config: loss\.pos_weight: balanced-bce balances the classes itself",
        ),
        (["targets.ones_lsr=[0.8,0.5]"], r"targets\.ones_lsr = \[0\.8, 0\.5\]: 0\.8 is above 0\.5"),
        (["augment.crop_scale=[1.0,0.5]"], r"augment\.crop_scale = .*: 1 is above 0\.5"),
        (
            ["loss.name=focal", "targets.uncertain_policy=multiclass"],
            r"multiclass labels take a softmax",
        ),
        (["augment.mixup_alpha=0.2", "targets.uncertain_policy=multiclass"], r"MixUp needs soft"),
        (
            ["targets.uncertain_policy=onse"],
            r"^config: targets\.uncertain_policy = 'onse': [^\n]+ \(did you mean 'ones'\?\)$",
        ),
        (
            ['targets.uncertain_policy={"Edema": "onse"}'],
            r"^config: targets\.uncertain_policy\.Edema = 'onse': .+ \(did you mean 'ones'\?\)$",
        ),
        (["optim"], r"no '='; write --set section\.field=value"),
        (["optim.lr=NaN"], r"^config: optim\.lr = nan: input should be a finite number$"),
        (["optim.lr=1e999"], r"^config: optim\.lr = inf: input should be a finite number$"),
        (["augment.flip=true"], r"^config: augment\.flip = True: true and false are no numbers$"),
        (["optim.epochs=true"], r"^config: optim\.epochs = True: true and false are no numbers$"),
        (["runtime.amp=true"], r"amp = True: input should be 'auto', 'on' or 'off'"),
        (["runtime.threads=100000"], r"threads = 100000: input should be less than or equal to"),
        (["seed.deep=1", "seed.deep.er=1"], r"deep: holds 1, not a table"),
    ],
)
def test_wrong_settings_are_explained(assignments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, {}, assignments)


def test_files_that_are_none(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(ConfigError, match="not valid JSON"):
        load_config(str(broken))
    listing = tmp_path / "list.json"
    listing.write_text("[1]")
    with pytest.raises(ConfigError, match="holds no table of settings"):
        load_config(str(listing))
    deep = tmp_path / "deep.json"
    deep.write_text("[" * 100_000)
    with pytest.raises(ConfigError, match="not valid JSON"):
        load_config(str(deep))
    dated = tmp_path / "dated.toml"
    dated.write_text("[optim]\nlr = 1979-05-27\n")
    with pytest.raises(
        ConfigError, match=r"optim\.lr = '1979-05-27': input should be a valid number"
    ):
        load_config(str(dated))
    twice = tmp_path / "twice.json"
    twice.write_text('{"optim": {"lr": 0.5}, "optim": {"epochs": 3}}')
    with pytest.raises(ConfigError, match=r"not valid JSON \(two values of 'optim' in one table\)"):
        load_config(str(twice))
    with pytest.raises(ConfigError, match="No such file"):
        load_config(str(tmp_path / "absent.toml"))
    with pytest.raises(ConfigError, match="did you mean 'original'"):
        load_config("orignal")


def test_recipes_load() -> None:
    assert recipe_names() == ["large", "original", "quick", "strong"]
    for name in recipe_names():
        assert isinstance(load_config(name), RunConfig)


def test_a_mapping_that_is_no_config() -> None:
    with pytest.raises(ConfigError, match="optim = 3"):
        parse_config({"optim": 3})


@pytest.mark.parametrize("key", ["[", "int", "float", "a[b]", ""])
def test_unknown_keys_that_look_like_types(key: str) -> None:
    """Found by fuzzing: pydantic's names of types are left out of messages, keys are not."""
    with pytest.raises(ConfigError, match=re.escape(f"unknown key '{key}'")):
        parse_config({key: None})
    with pytest.raises(ConfigError, match=re.escape(f"unknown key 'optim.{key}'")):
        parse_config({"optim": {key: 1}})


def test_settings_that_need_others_are_named() -> None:
    """`--set loss.focal_gamma=3` trained with bce, and nothing was said."""

    def of(*settings: str) -> dict[str, str]:
        config = load_config(None, {}, settings)
        return config.without_effect(one.partition("=")[0] for one in settings)

    assert of("loss.focal_gamma=3") == {"loss.focal_gamma": "loss.name=focal"}
    assert of("loss.focal_gamma=3", "loss.name=focal", "seed=7") == {}
    assert of("optim.momentum=0.5") == {"optim.momentum": "optim.name=sgd or pesg"}
    assert of("pointing.weight=0.5") == {"pointing.weight": "pointing.boxes"}
    assert of("pointing.weight=0.5", "pointing.boxes=own") == {}
    policy = 'targets.uncertain_policy={"Edema": "ones-lsr"}'
    assert of("targets.ones_lsr=[0.5,0.6]", policy) == {}
    assert [*of("targets.zeros_lsr=[0,0.1]", policy)] == ["targets.zeros_lsr"]
    names = RunConfig().flat().keys()  # each of which is a setting
    every = RunConfig().without_effect(names)
    assert len(every) == 21
    assert {need.partition("=")[0] for need in every.values()} <= names
