"""What only the authors know: intended use, ethics, funding and so on, from a TOML file."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pulmonet.errors import ConfigError
from pulmonet.files.read import read_text
from pulmonet.words import did_you_mean

#: Key of the file -> what is asked for.
NOTES: dict[str, str] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
MAX_BYTES = 1_000_000


def read_author_notes(path: Path) -> dict[str, str]:
    """Notes by key; every value is text.

    Raises:
        ConfigError: no such file, no TOML, an unknown key (with the near miss), or no text.
    """
    where = f"--author-notes {path}"
    try:
        raw = tomllib.loads(read_text(path, MAX_BYTES))
    except OSError as error:
        raise ConfigError(f"{where}: {error.strerror}; give a TOML file that exists") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not valid TOML ({error}); mend the file") from None
    notes = {}
    for key, value in raw.items():
        if key not in NOTES:
            raise ConfigError(
                f"{where}: unknown key '{key}'{did_you_mean(key, NOTES)}; keys: {', '.join(NOTES)}"
            )
        if not isinstance(value, str):
            raise ConfigError(f"{where}: {key} = {value!r}: not text; put it in quotes")
        if value.strip():
            notes[key] = value.strip()
    return notes
