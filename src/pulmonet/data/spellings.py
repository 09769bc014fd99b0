"""How tables of others write what PulmoNet reads: the words are in ``spellings.toml``."""

import tomllib
from pathlib import Path
from typing import Any

SPELLINGS: dict[str, Any] = tomllib.loads(
    Path(__file__).with_name("spellings.toml").read_text("utf-8")
)
