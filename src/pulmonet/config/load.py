"""From --config, flags and --set to a RunConfig, or to words about what is wrong with them."""

import json
import logging
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

from pydantic import ValidationError

from pulmonet.config.fields import RunConfig
from pulmonet.errors import ConfigError
from pulmonet.files.paths import expand
from pulmonet.files.read import read_text, written_by_newer
from pulmonet.labels import match_label
from pulmonet.words import did_you_mean

#: Dots in a TOML file: a key of 50,000 parts takes Python's reader 9 GB and a minute.
MAX_TOML_DOTS = 2000
#: Problems of a configuration that are explained at once.
MAX_PROBLEMS = 20
#: Dots in a key of ``--set``: a label within a mapping may have some of its own.
MAX_DOTS = 20


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    names = [entry.name for entry in (resources.files("pulmonet") / "recipes").iterdir()]
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def load_config(
    source: str | None = None,
    flags: Mapping[str, Any] | None = None,
    assignments: Iterable[str] = (),
    before: str | None = None,
) -> RunConfig:
    """Build the RunConfig of a run.

    Args:
        source: path of a run_config.json or TOML file, or the name of a shipped recipe.
        flags: dotted field -> value, from the daily flags; None values are left out.
        assignments: ``section.field=value`` strings (``--set``); the value is JSON, or a word.
        before: as `source`; it holds what `source` leaves open.

    Raises:
        ConfigError: names the field, the bad value and, for a near miss, what was meant.
    """
    raw = _read_source(source) if source else {}
    for section, values in (_read_source(before) if before else {}).items():
        own = raw.setdefault(section, values)
        if isinstance(own, dict) and isinstance(values, dict):
            raw[section] = values | own
    where = source or before or "config"
    for key, value in (flags or {}).items():
        if key == "targets.uncertain_policy" and isinstance(value, dict) and "default" not in value:
            targets = raw.get("targets")
            kept = (targets.get("uncertain_policy") if isinstance(targets, dict) else None) or {}
            kept = kept if isinstance(kept, dict) else {"default": kept}
            kept = {label: each for label, each in kept.items() if not match_label(label, value)}
            _assign(raw, key, kept | value)  # the source's, for labels that the flag does not name
        elif value is not None:
            _assign(raw, key, value)
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator:
            raise ConfigError(f"--set {assignment}: no '='; write --set section.field=value")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = text.strip()
        _assign(raw, key.strip(), value)
    return parse_config(raw, where)


def parse_config(raw: Mapping[str, Any], where: str = "config") -> RunConfig:
    """Validate a nested mapping; `where` opens the messages. ConfigError: as `load_config`."""
    try:
        # a TOML file's dates as text, NaN as it is: what is wrong is said with the field's name
        config = RunConfig.model_validate_json(json.dumps(raw, default=str), strict=False)
    except ValidationError as error:
        problems = error.errors()
        lines = _explain_all(problems[:MAX_PROBLEMS], where)
        if len(problems) > MAX_PROBLEMS:
            lines.append(f"{where}: and {len(problems) - MAX_PROBLEMS:,} more")
        raise ConfigError("\n".join(lines)) from None
    except (TypeError, ValueError, RecursionError) as error:
        text = f"{where}: not a configuration ({error}); see docs/configuration.md"
        raise ConfigError(text) from None
    changed = config.model_dump_json(exclude_defaults=True)
    logging.getLogger(__name__).info("settings of %s and flags, defaults aside: %s", where, changed)
    return config


def _read_source(source: str) -> dict[str, Any]:
    path = expand(source)
    if not path.exists() and not path.suffix:
        if source in recipe_names():
            text = (resources.files("pulmonet") / "recipes" / f"{source}.toml").read_text("utf-8")
            return tomllib.loads(text)
        raise ConfigError(
            f"--config {source}: neither a file nor a shipped recipe"
            f"{did_you_mean(source, recipe_names())}; recipes: {', '.join(recipe_names())}"
        )
    suffix = path.suffix.lower()
    kind = "TOML" if suffix == ".toml" else "JSON"
    try:
        text = read_text(path)
        if kind == "TOML" and text.count(".") > MAX_TOML_DOTS:
            raise ValueError(f"{text.count('.'):,} dots, more than {MAX_TOML_DOTS:,}")
        is_toml = kind == "TOML"
        raw: Any = tomllib.loads(text) if is_toml else json.loads(text, object_pairs_hook=_once)
    except OSError as error:
        raise ConfigError(f"--config {source}: {error.strerror}; give a plain file") from None
    except (ValueError, RecursionError) as error:
        advice = "save it as UTF-8 text" if isinstance(error, UnicodeError) else "fix the file"
        if suffix in {".yaml", ".yml"}:
            raise ConfigError(
                f"--config {source}: YAML is not read; write it as TOML (see docs/configuration.md)"
            ) from None
        if suffix not in {".toml", ".json"}:
            advice = f"a name that ends in .toml is read as TOML, others as JSON; {advice}"
        raise ConfigError(f"--config {source}: not valid {kind} ({error}); {advice}") from None
    if isinstance(raw, dict) and "config" in raw and "schema" in raw:
        if newer := written_by_newer(raw):
            logging.getLogger(__name__).warning("--config %s: %s", source, newer)
        raw = raw["config"]
    if not isinstance(raw, dict):
        words = f"--config {source}: holds no table of settings; see docs/configuration.md"
        raise ConfigError(words)
    return raw


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON table: of two values of one name json takes the last, and says nothing."""
    table, names = dict(pairs), [name for name, _ in pairs]
    if len(table) < len(pairs):
        raise ValueError(f"two values of '{max(names, key=names.count)}' in one table")
    return table


def _assign(raw: dict[str, Any], key: str, value: Any) -> None:
    if key.count(".") > MAX_DOTS:
        text = f"--set {_short(key)}: no field is nested so deep; see docs/configuration.md"
        raise ConfigError(text)
    *sections, field = key.removesuffix(".").split(".")
    for section in sections:
        table = raw.setdefault(section, {})
        if section == "uncertain_policy" and isinstance(table, str):
            table = raw[section] = {"default": table}
        if not isinstance(table, dict):
            text = f"{section}: holds {table!r}, not a table; write {section}.FIELD=VALUE"
            raise ConfigError(text)
        raw = table
    raw[field] = value


def _explain_all(problems: Iterable[Any], where: str) -> list[str]:
    """One line a field: of a field that may be of several kinds, the deepest part, and once."""
    named: dict[str, str] = {}
    for problem in problems:
        # tags of a type, such as dict[str,literal[...]], are no parts of a name
        tags = {part for part in problem["loc"] if "[" in str(part)} | {"float", "int", "str"}
        name = ".".join(str(part) for part in problem["loc"] if part not in tags)
        if problem["type"] == "extra_forbidden":
            line = f"{where}: {_explain_unknown(problem['loc'])}"
        else:
            line = f"{where}: {_explain(problem, name)}"
        named.setdefault(name, line)
    return [
        line
        for name, line in named.items()
        if not any(other.startswith(f"{name}.") for other in named)
    ]


def _explain(problem: Any, name: str) -> str:
    message = str(problem["msg"]).removeprefix("Value error, ")
    value = problem.get("input")
    if isinstance(value, dict) and problem["type"] == "value_error":  # a rule of a whole section
        return f"{name}.{message}" if name else message
    shown = "" if isinstance(value, dict) and len(value) > 3 else f" = {_short(value)}"
    expected = re.findall(r"'([^']+)'", str(problem.get("ctx", {}).get("expected", "")))
    meant = did_you_mean(value, expected) if isinstance(value, str) else ""
    return f"{name}{shown}: {message[:1].lower()}{message[1:]}{meant}"


def _explain_unknown(location: Sequence[int | str]) -> str:
    """What a key that is none was meant to be: one of its section, or of another."""
    model: Any = RunConfig
    for part in location[:-1]:
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field else None
    keys, key = list(getattr(model, "model_fields", {})), str(location[-1])
    homes = [
        f"{section}.{key}"
        for section, field in RunConfig.model_fields.items()
        if key in getattr(field.annotation, "model_fields", {})
    ]
    elsewhere = f" (did you mean '{homes[0]}'?)" if homes else ""
    meant = did_you_mean(key, keys) or elsewhere or did_you_mean(key, RunConfig.model_fields)
    choices = f"; keys there: {', '.join(keys)}" if keys and not meant else ""
    return f"unknown key '{'.'.join(map(str, location))}'{meant}{choices}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
