"""A folder that no reader knows: what lies there, and the ``--map`` that would read it."""

import re
import shlex
from collections import Counter
from pathlib import Path

import numpy as np

from pulmonet.data.sources.index import image_files
from pulmonet.data.sources.rows import label_names, named_as
from pulmonet.data.spellings import SPELLINGS
from pulmonet.data.splits.files import BESIDE, split_tables
from pulmonet.data.tables import is_blank, parse_number, read_csv, table_stem, text_column
from pulmonet.errors import DataError
from pulmonet.files.paths import stem_of
from pulmonet.words import count, list_first

#: What may hold labels, too, and no reader takes.
_TEXTS = re.compile(r"(?i)[^.~].*\.(jsonl?|txt)")


def describe(root: Path) -> str:
    """``found labels.csv, 120 images in pngs; to read it: --map csv=labels.csv --map …``."""
    entries = sorted([*root.glob("*"), *root.glob("*/*")], key=lambda path: len(path.parts))
    if run := next((path.parent for path in entries if path.name == "run_config.json"), None):
        return f"found a run ({run}); name the dataset, not the run"
    named = (path for path in entries if table_stem(path.name) or _TEXTS.fullmatch(path.name))
    tables = [path for path in named if path.is_file()]
    images = [path for path in image_files(root) if "." in path]
    n_in = Counter(path.partition("/")[0] if "/" in path else "." for path in images)
    shown = [f"{count(n, 'image')} in {folder}" for folder, n in n_in.most_common()]
    names = [table.relative_to(root).as_posix() for table in tables]
    found = f"found {list_first([*names, *shown], 8) or 'no table and no image'}"
    stems = {stem_of(path) for path in images}
    lines = (_map_line(root, path, stems) for path in tables if path.name not in BESIDE)
    if line := next(filter(None, lines), ""):
        return f"{found}; to read it: {line}"
    if images and not tables:
        return (
            f"{found}, and no table; labels are read from a CSV with a row an image (name its "
            "columns with --map path=COLUMN --map patient=COLUMN), or from folders called as "
            "findings (train/NORMAL/x.jpeg)"
        )
    what = f"{found}; for a CSV of your own, say what its columns mean:"
    return f"{what} --map path=COLUMN --map patient=COLUMN"


def _map_line(root: Path, table: Path, stems: set[str]) -> str:
    """The mapping of a table, guessed from its names and its first rows; "" where it cannot be."""
    try:
        raw = read_csv(table).head(50)
    except DataError:
        return ""
    mapping = {key: named_as(raw, key) for key in SPELLINGS["columns"]}
    n_images = {  # of the cells, those that name an image that lies there
        name: sum(stem_of(cell) in stems for cell in text_column(raw[name]).tolist() if cell)
        for name in raw.columns
    }
    best = max(n_images, key=lambda name: n_images[name], default="")
    mapping["path"] = best if n_images.get(best) else mapping["path"]
    if not mapping["path"]:
        return ""
    cells = text_column(raw[mapping["findings"]]).tolist() if mapping["findings"] else []
    words = [cell for cell in cells if not is_blank(cell) and np.isnan(parse_number(cell))]
    mapping["findings"] = mapping["findings"] if words else ""
    if not any("|" in cell for cell in words):
        mapping["separator"] = next((s for s in ";,/" if any(s in cell for cell in words)), "")
    own = table in split_tables(root).values()  # read without being named
    csv = "" if own else table.relative_to(root).as_posix()
    if mapping["findings"] or label_names([raw], [name for name in mapping.values() if name]):
        mapping["patient"] = mapping["patient"] or "COLUMN"
    pairs = {"csv": csv, **mapping}.items()
    line = " ".join(f"--map {shlex.quote(f'{key}={name}')}" for key, name in pairs if name)
    return f"{line} (columns of {table.name}: {list_first(raw.columns, 20)})"
