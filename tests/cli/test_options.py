"""Flags that are made from the fields of a model: their types, words and values."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, get_args

import pytest
from pydantic import Field

from pulmonet.cli.flags_from_fields import Flag, flags_of, parse_map
from pulmonet.cli.main import COMMANDS, load_command, main
from pulmonet.config.section import Section
from pulmonet.errors import ConfigError


class Settings(Section):
    """An example."""

    side: Annotated[int, Field(ge=1)] | None = None
    """Side in pixels."""
    rate: float = 1e-4
    """Learning rate."""
    names: tuple[str, ...] = ("a", "b")
    """Names of things."""
    place: Annotated[str, Field(examples=["here", "there"])] = "here"
    """Where it is."""
    draw: bool = True
    """Draw it."""
    skip: bool = False
    """Skip it."""
    map: dict[str, str] = {}  # noqa: RUF012
    """Columns."""


@flags_of(
    Settings,
    "given",
    side=Flag("side", ("--side", "-s"), default="the image's"),
    rate="rate",
    names="names",
    place="place",
    draw="draw",
    skip="skip",
    map_=Flag("map", ("--map",), read=parse_map),
)
def command(*, first: int = 1, given: dict[str, Any]) -> int:
    seen.append((first, given))
    return 0


seen: list[Any] = []


def option(name: str) -> tuple[Any, Any]:
    """Type and typer's option of a parameter."""
    typed, found = get_args(inspect.signature(command).parameters[name].annotation)
    return typed, found


@pytest.mark.parametrize(
    ("name", "typed", "spellings", "help_text"),
    [
        ("side", int | None, ("--side", "-s"), "Side in pixels. Default: the image's."),
        ("rate", float | None, (), "Learning rate. Default: 0.0001."),
        (
            "names",
            list[str] | None,
            (),
            "Names of things; repeatable, takes commas. Default: a, b.",
        ),
        ("place", str | None, (), "Where it is: here (default), there."),
        ("draw", bool | None, ("--draw/--no-draw",), "Draw it."),
        ("skip", bool | None, ("--skip",), "Skip it."),
        ("map_", list[str] | None, ("--map",), "Columns; repeatable."),
    ],
)
def test_a_flag_says_what_its_field_says(
    name: str, typed: Any, spellings: tuple[str, ...], help_text: str
) -> None:
    found, made = option(name)
    assert found == typed
    first = () if made.default is ... else (made.default,)
    assert (*first, *(made.param_decls or ())) == spellings
    assert made.help == help_text


def test_a_command_receives_the_fields_that_were_given() -> None:
    nothing = dict.fromkeys(["side", "rate", "names", "place", "draw", "skip", "map_"])
    seen.clear()
    assert command(first=2, **nothing) == 0
    assert command(**nothing | {"names": ["x,y", "z"], "map_": ["path=File"], "side": 3}) == 0
    assert seen == [(2, {}), (1, {"names": ["x", "y", "z"], "map": {"path": "File"}, "side": 3})]
    with pytest.raises(ConfigError, match="--map File: no '='; write --map path=COLUMN"):
        command(**nothing | {"map_": ["File"]})


def test_every_flag_of_every_command_is_explained() -> None:
    for name in COMMANDS:
        for parameter in load_command(name).params:
            assert getattr(parameter, "help", None), (name, parameter.name)


def test_choices_of_a_flag_are_those_of_its_field(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["prepare", "--help"]) == 0
    assert "stretch (default), pad, crop" in capsys.readouterr().out
