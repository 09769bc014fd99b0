"""Flags that were typed, checked by the model whose fields they set."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pulmonet.choices import Split, Views
from pulmonet.config.fields import Section
from pulmonet.errors import ConfigError
from pulmonet.words import unknown

Model = TypeVar("Model", bound=BaseModel)


class RowOptions(Section):
    """Rows of a dataset, where they are not those that a run was trained with."""

    data_dir: str | tuple[str, ...] | None = None
    """Dataset folder or folders; null takes the run's own."""
    columns: dict[str, Any] = {}  # noqa: RUF012  (pydantic copies a default for every object)
    """``map``, ``join`` and ``splits`` where they are not the run's own."""
    split: Split | None = None
    """Which rows"""
    views: Views | None = None
    """Of the rows; null takes the run's."""


def check_options(
    model: type[Model], given: Mapping[str, Any], flags: Mapping[str, str] | None = None
) -> Model:
    """The options that the flags give: field -> value `given`, and `flags` of other names.

    Raises:
        ConfigError: names the flag and the value.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        problem = error.errors()[0]
        field, value = str(problem["loc"][0]), problem["input"]
        flag = (flags or {}).get(field, f"--{field.replace('_', '-')}")
        limits = problem.get("ctx", {})
        if problem["type"] == "literal_error":
            choices = re.findall(r"'([^']+)'", str(limits["expected"]))
            raise ConfigError(unknown(f"{flag} {value}", str(value), choices)) from None
        if problem["type"] == "greater_than_equal":
            raise ConfigError(f"{flag} {value}: at least {limits['ge']} is needed") from None
        message = str(problem["msg"]).removeprefix("Value error, ")
        raise ConfigError(f"{flag} {value}: {message[:1].lower()}{message[1:]}") from None
