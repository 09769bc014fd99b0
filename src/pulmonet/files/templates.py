"""Jinja's templates, each beside the module that fills it in."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def environment(folder: Path, **how: Any) -> Environment:
    """Of the templates of a folder: a statement leaves no line, a missing name is an error.

    `how` are Jinja's other options.
    """
    return Environment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **how,
    )
