"""Tables of strangers as text cells: CSV as people save it, Parquet, Excel.

What cannot be read is an `OSError` or a `ValueError` here; each reader makes its own error of it.
What a file is, its first bytes say: browsers unpack a ``.csv.gz`` and leave it its name.
"""

import codecs
import csv
import io
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import pandas as pd

from pulmonet.files import read
from pulmonet.words import count, list_first

_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # begins as UTF-16's does
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
#: Of one row; a report in a cell has some kB.
MAX_LINE_BYTES = 2_000_000
#: What a table that was saved with its index calls it.
_NAMELESS = re.compile(r"(?:Unnamed: \d+(?:\.\d+)*)?")


def read_cells(path: Path) -> pd.DataFrame:
    """A table with every cell as text, nothing guessed but how it was saved.

    Compression, UTF-8 or UTF-16, line ends and the separator are found out. Names are stripped;
    columns without a name, rows without a cell and a second copy of a column are left out.

    Raises:
        OSError: missing, or not a plain file.
        ValueError: damaged, ragged, too large, not UTF-8, or two columns of one name.
        ModuleNotFoundError: Parquet without pyarrow, Excel without openpyxl.
    """
    try:
        content = read.read_bytes(path)
        if content.startswith(b"PAR1"):
            return _tidy(*_parquet(content))
        return _tidy(*(_excel if content.startswith(b"PK\x03\x04") else _text)(content))
    except (OSError, ValueError, ModuleNotFoundError, MemoryError):
        raise
    except pd.errors.ParserWarning:
        raise ValueError("rows have more cells than the first line, the header") from None
    except Exception as error:  # zlib, zip, pandas, pyarrow: damage has many names, one way out
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None


def read_names(path: Path) -> list[str]:
    """The names of a table's columns; of text only the beginning is read.

    Raises:
        OSError, ValueError, ModuleNotFoundError: as `read_cells`.
    """
    read.check_plain(path)
    with path.open("rb") as file:
        start = file.read(2**16)
    if start.startswith((b"PAR1", b"PK", b"\x1f\x8b", b"BZh", b"\xfd7zXZ")):
        return list(read_cells(path).columns)
    content = to_utf8(start)
    first = next((cells for _, cells in _records(content, _separator_of(content))), [])
    return [name.strip() for name in first]


def to_utf8(content: bytes) -> bytes:
    """Text as UTF-8 without marks and Excel's line ``sep=;``, lines ending in a line feed alone.

    Raises:
        ValueError: not in the encoding that its mark says.
    """
    mark = next((mark for mark in _MARKS if content.startswith(mark)), b"")
    name = _MARKS.get(mark, "utf-8")
    odd, even = content[1:1000:2].count(0), content[:1000:2].count(0)
    if not mark and max(odd, even) > 0.8 * len(content[1:1000:2]) > 0 == min(odd, even):
        name = "utf-16-le" if odd else "utf-16-be"  # every other byte of a header is 0
    content = content.removeprefix(mark)
    if name != "utf-8":
        content = content.decode(name).encode()
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if content.startswith(b"sep=") and content[5:6] == b"\n":
        content = content[6:]
    n = MAX_LINE_BYTES
    if any(content.find(b"\n", at, at + n) < 0 for at in range(0, len(content) - n, n)):
        raise ValueError(f"a line of over {n // 1_000_000} MB; it is no table")
    return content


def _records(content: bytes, separator: str) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of every line that is not blank."""
    text = io.TextIOWrapper(io.BytesIO(content), "utf-8", newline="\n")
    reader = csv.reader(text, delimiter=separator, skipinitialspace=True)
    for cells in reader:
        if len(cells) > 1 or "".join(cells).strip():
            yield reader.line_num, cells


def _separator_of(content: bytes) -> str:
    """What parts the first lines into the most cells, equally many each; else the header."""
    start = content[: read.MAX_HEADER_BYTES].decode("utf-8", "replace").encode()
    widths: dict[str, list[int]] = {}
    for separator in read.SEPARATORS:
        with suppress(csv.Error):
            widths[separator] = [len(each) for _, each in islice(_records(start, separator), 20)]
    even = [each for each in widths if len({*widths[each]}) == 1 and widths[each][0] > 1]
    return max(even or widths, key=lambda separator: widths[separator][:1], default=",")


def _text(content: bytes) -> tuple[list[str], pd.DataFrame]:
    """Names as they stand, and the cells below."""
    content = to_utf8(content)
    separator = _separator_of(content)
    names = next((cells for _, cells in _records(content, separator)), [])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pandas warns where it drops cells
        table = pd.read_csv(
            io.BytesIO(content),
            sep=separator,
            dtype=object,  # not categories: these become numbers, and patient 007 patient 7
            na_filter=False,
            index_col=False,
            skipinitialspace=True,
        )
    # too many cells are refused by pandas, so where the sum is right all lines have as many
    n_separators = content.count(separator.encode())
    if b'"' in content or n_separators != (len(table) + 1) * (len(names) - 1):
        _check_widths(content, separator, len(names))
    return names, table


def _check_widths(content: bytes, separator: str, n_columns: int) -> None:
    """Refuse rows with too few cells, which pandas fills with nothing, and rows within a cell."""
    short, cells, lines, before = [], [""] * n_columns, content.splitlines(keepends=True), 0
    for line, cells in _records(content, separator):
        if "\n" in "".join(cells):  # a cell of several lines: its quotation marks must pair
            text = [one.decode() for one in lines[before:line]]
            try:
                list(csv.reader(text, delimiter=separator, skipinitialspace=True, strict=True))
            except csv.Error:
                what = f"a quotation mark within lines {before + 1} to {line} does not close"
                raise ValueError(f"{what}: rows would be lost in a cell") from None
        before = line
        if len(cells) < n_columns:
            short.append(f"line {line} has {len(cells)} of {n_columns}")
    if len(cells) < n_columns and not content.endswith(b"\n"):
        what = f"it ends in a line of {len(cells)} of {n_columns} cells without a line break:"
        raise ValueError(f"{what} cut short")
    if short:
        raise ValueError(f"{count(len(short), 'row')} with too few cells: {list_first(short)}")


def _tidy(names: Iterable[object], table: pd.DataFrame) -> pd.DataFrame:
    """Names stripped; nameless columns, second copies of a column, blank rows and those that
    repeat the header left out.
    """
    header = [str(name) for name in names]
    table.columns = pd.Index([name.strip("\ufeff \t\n\xa0") for name in header])
    for line in ([""] * len(header), header):
        found = table.index[table.iloc[:, 0] == line[0]]
        found = found[(table.loc[found] == line).all(axis=1)]
        if len(found):
            table = table.drop(index=found).reset_index(drop=True)
    first: dict[str, int] = {}
    for position, name in enumerate(table.columns):
        if _NAMELESS.fullmatch(name):
            continue
        same = first.setdefault(name, position)
        if same != position and not table.iloc[:, position].equals(table.iloc[:, same]):
            raise ValueError(f"two columns are called '{name}'; rename or remove one")
    if not first:
        raise ValueError("no column has a name")
    return table if len(first) == table.shape[1] else table.iloc[:, [*first.values()]]


def _excel(content: bytes) -> tuple[list[object], pd.DataFrame]:
    """The one sheet that holds anything."""
    import openpyxl

    book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    sheets = {}
    for sheet in book.worksheets:
        sheet.reset_dimensions()  # some programs write wrong ones
        rows = [["" if cell is None else str(cell) for cell in row] for row in sheet.values]
        sheets[sheet.title] = [row for row in rows if any(row)]
    filled = [title for title, rows in sheets.items() if rows]
    if len(filled) != 1:
        raise ValueError(f"{count(len(filled), 'sheet')} with cells; save the one meant as CSV")
    header, *rows = sheets[filled[0]]
    if any(any(row[len(header) :]) for row in rows):
        raise ValueError("cells beside the columns of the header")
    rows = [[*row[: len(header)], *[""] * (len(header) - len(row))] for row in rows]
    return [*header], pd.DataFrame(rows, columns=range(len(header)), dtype=object)


def _parquet(content: bytes) -> tuple[list[str], pd.DataFrame]:
    """All columns but pictures and what else is nested."""
    import pyarrow
    from pyarrow import parquet, types

    file = parquet.ParquetFile(io.BytesIO(content))
    if file.metadata.num_rows * file.metadata.num_columns > read.MAX_TABLE_BYTES // 10:
        raise ValueError(f"a table of more than {read.MAX_TABLE_BYTES // 10:,} cells")
    plain = [f for f in file.schema_arrow if not types.is_nested(f.type) | types.is_binary(f.type)]
    table = file.read(columns=[field.name for field in plain])
    columns = (column.cast(pyarrow.string()).fill_null("").to_pylist() for column in table.columns)
    return table.column_names, pd.DataFrame(dict(enumerate(columns)), dtype=object)
