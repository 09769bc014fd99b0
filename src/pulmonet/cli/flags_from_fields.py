"""What the signatures of the commands share: flags made from fields, and how values are written.

A flag's type, choices, default and help stand where its field stands; `flags_of` reads them there.
"""

import functools
import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pulmonet.choices import MAP_KEYS
from pulmonet.config.load import recipe_names
from pulmonet.errors import ConfigError
from pulmonet.files.paths import places_of
from pulmonet.labels import UNCERTAIN_POLICIES

Config = Annotated[
    str | None,
    typer.Option(
        "--config", help=f"run_config.json, a TOML file, or a recipe: {', '.join(recipe_names())}."
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any other field: section.field=value; repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


@dataclass(frozen=True)
class Flag:
    """A field as a flag."""

    field: str  # its name, dotted below a model of models: ``optim.epochs``
    names: tuple[str, ...] = ()  # spellings; the parameter's own when empty
    default: str | None = None  # what happens without it, where the field's own does not say it
    help: str | None = None  # in place of the field's docstring, choices and default
    read: Callable[[Any], Any] | None = None  # makes the field's value of what was typed


def flags_of(
    model: type[BaseModel], into: str, names: str = "", /, **flags: str | Flag
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a command one flag for each of some fields of `model`.

    The parameter `into` of the decorated function makes room for them, and receives a dict: field
    (dotted) -> value, of the flags that were given. Text, numbers and true or false are checked
    and converted by Typer, all else by `model`: choices and bounds have its messages.

    Args:
        model: a `Section`, or a model whose fields are such.
        into: parameter of the function.
        names: parameters of flags, in the order of the help; each is called as its field.
        flags: the parameters of others, and of some of these -> field, or a `Flag`.
    """
    fields: dict[str, str | Flag | None] = dict.fromkeys(names.split()) | flags
    found = {}
    for name, each in fields.items():
        made = each if isinstance(each, Flag) else Flag(each or name)
        found[name] = (made, *_find_field(model, made.field))

    def decorate(function: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(function)
        def call(**values: Any) -> int:
            given = {}
            for name, (flag, dotted, field) in found.items():
                value = values.pop(name)
                if value is not None and flag.read is not None:
                    given[dotted] = flag.read(value)
                elif value is not None:
                    is_tuple = _kind(field.annotation) is tuple
                    given[dotted] = split_commas(value) if is_tuple else value
            return function(**values, **{into: given})

        parameters: list[inspect.Parameter] = []
        signature = inspect.signature(function, eval_str=True)
        for parameter in signature.parameters.values():
            if parameter.name == into:
                parameters += [_parameter(name, each, f) for name, (each, _, f) in found.items()]
            else:
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {}
        return call

    return decorate


def _find_field(model: Any, name: str) -> tuple[str, FieldInfo]:
    """A field of `model`, or of the one of its sections that has it, by its dotted name."""
    if name in model.model_fields:
        return name, model.model_fields[name]
    for home, section in model.model_fields.items():
        for key, field in getattr(section.annotation, "model_fields", {}).items():
            if f".{home}.{key}".endswith(f".{name}"):
                return f"{home}.{key}", field
    raise KeyError(name)


def _parameter(name: str, flag: Flag, field: FieldInfo) -> inspect.Parameter:
    kind, names = _kind(field.annotation), flag.names
    if kind is bool and not names:
        spelling = name.replace("_", "-")
        names = (f"--{spelling}/--no-{spelling}" if field.default else f"--{spelling}",)
    typed: Any = list[str] if kind in {tuple, dict} else kind
    option = typer.Option(*names, help=flag.help or _describe(flag, field))
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[typed | None, option],
    )


def _kind(annotation: Any) -> Any:
    """What Typer makes of a value: number, truth, path or text; several for tuple and dict."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0])
    if origin in {Union, types.UnionType}:
        kinds = [_kind(part) for part in arguments if part is not types.NoneType]
        return next((kind for kind in kinds if kind in {tuple, dict}), kinds[0])
    if origin is Literal:
        return str
    return dict if origin is Mapping else origin or annotation


def _choices(annotation: Any) -> list[str]:
    """Names of the Literals in it."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [name for part in get_args(annotation) for name in _choices(part)]


def _describe(flag: Flag, field: FieldInfo) -> str:
    """``How an image becomes square: stretch (default), pad, crop.``"""
    text = " ".join((field.description or "").split()).removesuffix(".")
    default = field.default
    choices = list(dict.fromkeys(_choices(field.annotation) or field.examples or ()))
    marked = flag.default is None and default in choices
    if choices:
        listed = [f"{each} (default)" if marked and each == default else each for each in choices]
        text += f": {', '.join(listed)}"
    if _kind(field.annotation) in {tuple, dict}:
        text += "; repeatable" if flag.read in {parse_map, tuple} else "; repeatable, takes commas"
    if flag.default is not None:
        return f"{text}. Default: {flag.default}."
    if marked or isinstance(default, bool) or default in (None, (), {}):
        return f"{text}."
    shown = default if isinstance(default, tuple) else (default,)
    words = (f"{each:g}" if isinstance(each, float) else str(each) for each in shown)
    return f"{text}. Default: {', '.join(words)}."


def parse_map(values: list[str] | None) -> dict[str, str] | None:
    """``["path=FileName", "patient=PatientID"]`` as a mapping."""
    if not values:
        return None
    pairs = [value.partition("=") for value in values]
    wrong = [value for value, (_, sign, _) in zip(values, pairs, strict=True) if not sign]
    if wrong:
        raise ConfigError(f"--map {wrong[0]}: no '='; write --map path=COLUMN")
    return {key.strip(): column.strip() for key, _, column in pairs}


def split_commas(values: list[str] | None) -> list[str] | None:
    """``["a,b", "c"]`` -> ``["a", "b", "c"]``: options that repeat and take commas."""
    if not values:
        return None
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def read_places(values: list[str]) -> str | tuple[str, ...]:
    """``["a,b", "c"]`` -> ``("a", "b", "c")``; one folder is no list."""
    places = places_of(values)
    return places if len(places) > 1 else "".join(places)


def parse_policy(values: list[str] | None) -> str | dict[str, str] | None:
    """``--uncertain-policy ones`` or ``Edema=ones,Consolidation=zeros``.

    Raises:
        ConfigError: nothing in it, or two policies for the same labels.
    """
    if values is None:
        return None
    parts = split_commas(values)
    if not parts:
        text = f"--uncertain-policy: names no policy; choose from {', '.join(UNCERTAIN_POLICIES)}"
        raise ConfigError(text)
    if len(parts) == 1 and "=" not in parts[0]:
        return parts[0]
    policies: dict[str, str] = {}
    for part in parts:
        label, sign, policy = part.rpartition("=")
        key = label.strip() if sign else "default"
        if key in policies:
            who = key if sign else "all labels"
            text = f"--uncertain-policy: {policies[key]} and {policy} for {who}; give one of them"
            raise ConfigError(text)
        policies[key] = policy.strip()
    return policies


#: Where rows come from: fields of RunConfig, in every command that reads a dataset.
DATASET_FLAGS = {
    "data_dir": Flag("data.data_dir", read=read_places),
    "same_patients": Flag("data.same_patients", read=tuple),
    "map_": Flag(
        "data.map",
        ("--map",),
        help=f"Your own table: KEY=COLUMN or KEY=VALUE, repeatable; keys: {', '.join(MAP_KEYS)}.",
        read=parse_map,
    ),
    "join": Flag("data.join"),
    "follow_links": Flag("data.follow_links"),
    "splits": Flag("data.splits"),
}

#: The same for a dataset that a run has been trained on; goes with `dataset_of`.
RUN_DATASET_FLAGS = {
    **DATASET_FLAGS,
    "data_dir": Flag(
        "data.data_dir",
        help="Dataset folder; repeatable, takes commas. Default: the run's own.",
        read=read_places,
    ),
    "views": Flag("data.views", default="the run's"),
}


def dataset_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """What flags say about a run's rows: data_dir, views, and columns (map, join, splits)."""
    fields = {name.removeprefix("data."): value for name, value in given.items()}
    data_dir, views = fields.pop("data_dir", None), fields.pop("views", None)
    return {"data_dir": data_dir, "views": views, "columns": fields}
