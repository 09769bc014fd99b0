"""What is wrong with a configuration, in words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pulmonet.config.schema import RunConfig
from pulmonet.words import did_you_mean


def _known_keys(location: Iterable[int | str]) -> list[str]:
    model: Any = RunConfig
    for part in location:
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            return []
        model = field.annotation
    return list(getattr(model, "model_fields", {}))


def explain_all(problems: Iterable[Any], where: str) -> list[str]:
    """One line a field: of a field that may be of several kinds, the deepest part, and once."""
    named: dict[str, str] = {}
    for problem in problems:
        name = ".".join(str(part) for part in _location(problem))
        named.setdefault(name, _explain(problem, where))
    return [
        line
        for name, line in named.items()
        if not any(other.startswith(f"{name}.") for other in named)
    ]


def _location(problem: Any) -> list[int | str]:
    return [part for part in problem["loc"] if not _is_type_tag(part)]


def _explain(problem: Any, where: str) -> str:
    location = _location(problem)
    name = ".".join(str(part) for part in location)
    if problem["type"] == "extra_forbidden":
        location = list(problem["loc"])  # a key may be called as a type is
        name = ".".join(str(part) for part in location)
        keys = _known_keys(location[:-1])
        meant = did_you_mean(str(location[-1]), keys) or _elsewhere(str(location[-1]))
        choices = f"; keys there: {', '.join(keys)}" if keys and not meant else ""
        return f"{where}: unknown key '{name}'{meant}{choices}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    value = problem.get("input")
    if isinstance(value, dict) and problem["type"] == "value_error":  # a rule of a whole section
        return f"{where}: {'.'.join([*map(str, location), message])}"
    shown = "" if isinstance(value, dict) and len(value) > 3 else f" = {short(value)}"
    expected = re.findall(r"'([^']+)'", str(problem.get("ctx", {}).get("expected", "")))
    meant = did_you_mean(value, expected) if isinstance(value, str) else ""
    return f"{where}: {name}{shown}: {message[:1].lower()}{message[1:]}{meant}"


def _is_type_tag(part: int | str) -> bool:
    return isinstance(part, str) and ("[" in part or part in {"float", "int", "str"})


def _elsewhere(key: str) -> str:
    """Where a key that stands in the wrong section belongs."""
    homes = []
    for section, field in RunConfig.model_fields.items():
        if key in getattr(field.annotation, "model_fields", {}):
            homes.append(f"{section}.{key}")
    return f" (did you mean '{homes[0]}'?)" if homes else did_you_mean(key, RunConfig.model_fields)


def short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
