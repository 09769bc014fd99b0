"""From --config, flags and --set to a RunConfig."""

from __future__ import annotations

import json
import logging
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pulmonet.config.messages import explain_all, short
from pulmonet.config.schema import RunConfig
from pulmonet.errors import ConfigError
from pulmonet.files.read import read_text
from pulmonet.words import did_you_mean

#: Dots in a TOML file: a key of 50,000 parts takes Python's reader 9 GB and a minute.
MAX_TOML_DOTS = 2000
#: Problems of a configuration that are explained at once.
MAX_PROBLEMS = 20
#: Dots in a key of ``--set``: a label within a mapping may have some of its own.
MAX_DOTS = 20


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("pulmonet") / "recipes"
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    )


def load_config(
    source: str | None = None,
    flags: Mapping[str, Any] | None = None,
    assignments: Iterable[str] = (),
) -> RunConfig:
    """Build the RunConfig of a run.

    Args:
        source: path of a run_config.json or TOML file, or the name of a shipped recipe.
        flags: dotted field -> value, from the daily flags; None values are left out.
        assignments: ``section.field=value`` strings (``--set``); the value is JSON, or a word.

    Raises:
        ConfigError: names the field, the bad value and, for a near miss, what was meant.
    """
    raw = _read_source(source) if source else {}
    where = source or "config"
    for key, value in (flags or {}).items():
        if key == "targets.uncertain_policy" and isinstance(value, dict) and "default" not in value:
            _assign(raw, key, _policies_of(raw) | value)
        elif value is not None:
            _assign(raw, key, value)
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator:
            raise ConfigError(f"--set {assignment}: no '='; write --set section.field=value")
        _assign(raw, key.strip(), _parse_value(text))
    return parse_config(raw, where)


def parse_config(raw: Mapping[str, Any], where: str = "config") -> RunConfig:
    """Validate a nested mapping; `where` opens the messages.

    Raises:
        ConfigError: as `load_config`.
    """
    try:
        config = RunConfig.model_validate_json(json.dumps(raw, allow_nan=False), strict=False)
    except ValidationError as error:
        problems = error.errors()
        lines = explain_all(problems[:MAX_PROBLEMS], where)
        if len(problems) > MAX_PROBLEMS:
            lines.append(f"{where}: and {len(problems) - MAX_PROBLEMS:,} more")
        raise ConfigError("\n".join(lines)) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{where}: not a configuration ({error}); see docs/configuration.md"
        ) from None
    changed = config.model_dump_json(exclude_defaults=True)
    logging.getLogger(__name__).info("settings of %s and flags, defaults aside: %s", where, changed)
    return config


def _read_source(source: str) -> dict[str, Any]:
    path = Path(source)
    if not path.exists() and not path.suffix:
        if source in recipe_names():
            text = (resources.files("pulmonet") / "recipes" / f"{source}.toml").read_text("utf-8")
            return tomllib.loads(text)
        raise ConfigError(
            f"--config {source}: neither a file nor a shipped recipe"
            f"{did_you_mean(source, recipe_names())}; recipes: {', '.join(recipe_names())}"
        )
    try:
        text = read_text(path)
        raw: Any = _parse_toml(text) if path.suffix == ".toml" else json.loads(text)
    except OSError as error:
        raise ConfigError(f"--config {source}: {error.strerror}; give a plain file") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"--config {source}: not valid JSON or TOML ({error}); mend the file"
        ) from None
    if isinstance(raw, dict) and "config" in raw and "schema" in raw:
        raw = raw["config"]
    if not isinstance(raw, dict):
        raise ConfigError(
            f"--config {source}: holds no table of settings; see docs/configuration.md"
        )
    return raw


def _parse_toml(text: str) -> dict[str, Any]:
    if text.count(".") > MAX_TOML_DOTS:
        raise ValueError(f"{text.count('.'):,} dots, more than {MAX_TOML_DOTS:,}")
    return tomllib.loads(text)


def _parse_value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text.strip()


def _assign(raw: dict[str, Any], key: str, value: Any) -> None:
    section, _, field = key.partition(".")
    if key.count(".") > MAX_DOTS:
        raise ConfigError(f"--set {short(key)}: no field lies so deep; see docs/configuration.md")
    if not field:
        raw[section] = value
        return
    table = raw.setdefault(section, {})
    if section == "uncertain_policy" and isinstance(table, str):
        table = raw[section] = {"default": table}
    if not isinstance(table, dict):
        raise ConfigError(f"{section}: holds {table!r}, not a table; write {section}.FIELD=VALUE")
    if "." in field:
        _assign(table, field, value)
    else:
        table[field] = value


def _policies_of(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Those that the source has: they hold for the labels that a flag does not name."""
    targets = raw.get("targets")
    policy = targets.get("uncertain_policy") if isinstance(targets, dict) else None
    if isinstance(policy, dict):
        return policy
    return {} if policy is None else {"default": policy}
