"""Tables as people save them: every form gives the same cells, or says what is wrong."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from pulmonet.data.tables import read_csv
from pulmonet.errors import DataError
from pulmonet.files.read import noting_tables
from pulmonet.files.read_csv import read_cells

NAMES = ["Path", "Age", "Edema", "Report"]
ROWS = [["p1/a.jpg", "54", "1.0", "Ödem, links"], ["p2/b.jpg", "61", "", 'so "groß"']]
PLAIN = 'Path,Age,Edema,Report\np1/a.jpg,54,1.0,"Ödem, links"\np2/b.jpg,61,,"so ""groß"""\n'


def zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
        archive.writestr(f"__MACOSX/._{name}", b"\0\5\x16\7")
    return buffer.getvalue()


SAVED: dict[str, Callable[[], bytes]] = {
    "UTF-8": PLAIN.encode,
    "UTF-8 with a mark": lambda: PLAIN.encode("utf-8-sig"),
    "UTF-8 with two marks": lambda: ("\ufeff" + PLAIN).encode("utf-8-sig"),
    "UTF-16": lambda: PLAIN.encode("utf-16"),
    "UTF-16 big-endian": lambda: ("\ufeff" + PLAIN).encode("utf-16-be"),
    "UTF-16 without a mark": lambda: PLAIN.encode("utf-16-le"),
    "UTF-16 big-endian without a mark": lambda: PLAIN.encode("utf-16-be"),
    "UTF-32": lambda: PLAIN.encode("utf-32"),
    "Unicode text of Excel": lambda: as_csv(sep="\t").replace("\n", "\r\n").encode("utf-16"),
    "semicolons": lambda: as_csv(sep=";").encode(),
    "tabs": lambda: as_csv(sep="\t").encode(),
    "bars": lambda: as_csv(sep="|").encode(),
    "all quoted": lambda: as_csv(quoting=1).encode(),
    "spaces after the commas": lambda: PLAIN.replace(",", ", ", 3).replace("g,", "g, ").encode(),
    "spaces in the header": lambda: PLAIN.replace("Path,Age", " Path , Age ").encode(),
    "line ends of Windows": lambda: PLAIN.replace("\n", "\r\n").encode(),
    "line ends of old Macs": lambda: PLAIN.replace("\n", "\r").encode(),
    "line ends twice": lambda: PLAIN.replace("\n", "\r\r\n").encode(),
    "saved with its index": lambda: as_csv(index=True).encode(),
    "saved with its index twice": lambda: (
        pd.read_csv(io.StringIO(as_csv(index=True)), dtype=str).fillna("").to_csv().encode()
    ),
    "empty rows of a spreadsheet": (PLAIN + ",,,\n,,,\n\n").encode,
    "an empty row between": lambda: PLAIN.replace("\np2", "\n,,,\np2").encode(),
    "a column twice": lambda: as_csv(twice="Age").encode(),
    "gzip": lambda: gzip.compress(PLAIN.encode()),
    "bzip2": lambda: bz2.compress(PLAIN.encode()),
    "xz": lambda: lzma.compress(PLAIN.encode()),
    "Excel's sep= line": lambda: b"sep=;\r\n" + as_csv(sep=";").encode(),
    "the header again": (PLAIN + PLAIN.partition("\n")[0] + "\n").encode,
    "zip of a Mac": lambda: zipped("a.csv", PLAIN.encode()),
    "gzip of UTF-16 with tabs": lambda: gzip.compress(as_csv(sep="\t").encode("utf-16")),
}


def as_csv(*, twice: str = "", index: bool = False, **form: object) -> str:
    table = pd.DataFrame(ROWS, columns=NAMES)
    if twice:
        table = pd.concat([table, table[[twice]]], axis=1)
    return str(table.to_csv(index=index, **form))  # type: ignore[call-overload]


@pytest.mark.parametrize("form", SAVED)
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv"])  # the name may say otherwise
def test_every_form_gives_the_same_cells(tmp_path: Path, form: str, name: str) -> None:
    (tmp_path / name).write_bytes(SAVED[form]())
    table = read_cells(tmp_path / name)
    assert table.columns.tolist() == NAMES
    assert table.to_numpy().tolist() == ROWS
    assert table.index.tolist() == [0, 1]


def test_the_separator_is_what_all_lines_agree_on(tmp_path: Path) -> None:
    for content, expected in {
        "Image;Size[w,h];Age\na.png;1,2;54,5\nb.png;1,2;60,5\n": ["a.png", "1,2", "54,5"],
        "Image,Findings\na.png,Mass|Edema;Nodule\n": ["a.png", "Mass|Edema;Nodule"],
        "Image\na.png\n": ["a.png"],
        'Image;Note\n"a;1.png";"x,y"\n': ["a;1.png", "x,y"],
    }.items():
        (tmp_path / "a.csv").write_text(content)
        assert read_cells(tmp_path / "a.csv").iloc[0].tolist() == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b,c\n1,2,3\n4,5\n6,7,8\n", "1 row with too few cells: line 3 has 2 of 3"),
        (b'a,b\n"x\ny",2\n4\n5\n', "2 rows with too few cells: line 4 has 1 of 2, line 5 has 1"),
        (b"a;b;c\n1;2;3\n4;5\n", "line 3 has 2 of 3"),
        (b"a,b\n1,2\n3", "it ends in a line of 1 of 2 cells without a line break: cut short"),
        (b"a,b\n1,2\n3,4,5\n", "Expected 2 fields in line 3, saw 3"),
        (b",\n,1\n", "no column has a name"),
        (b'a,b\n1,"x\n2,"y\n', "a quotation mark within lines 2 to 3 does not close"),
        (b"# of 2020\na,b\n1,2\n", "rows have more cells than the first line, the header"),
        (b"a,b,a\n1,2,3\n", "two columns are called 'a'; rename or remove one"),
        (b"a,b, a\n1,2,3\n", "two columns are called 'a'"),
        (b"Path,Befund\n1,\xd6dem\n", "not UTF-8 text; save it as a UTF-8 CSV file"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0)[:-9], "ends within its compressed data: cut short"),
        (b"\xff\xfea\0,", "not UTF-8 text; save it as a UTF-8 CSV file"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.csv: .*(?:{message})"):
        read_csv(tmp_path / "a.csv")


@pytest.mark.parametrize("end", [b"\n", b"\r"])
def test_a_line_without_an_end_is_no_table(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"a,b" + end + b"1,2" + end + b"x" * 5_000_000 + b",1" + end)
    with pytest.raises(ValueError, match="a line of over 2 MB; it is no table"):
        read_cells(path)
    path.write_bytes(b"a,b" + end + (b"x" * 500_000 + b",1" + end) * 9)
    assert len(read_cells(path)) == 9


def test_whole_tables_are_not_called_cut(tmp_path: Path) -> None:
    for whole in ("a,b\n1,2\n", "a,b\n1,2", "a,b\n1,\n", 'a,b\n1,"x\ny"', "a,b\n1,2\n\n  \n"):
        (tmp_path / "a.csv").write_text(whole)
        assert len(read_csv(tmp_path / "a.csv")) == 1


def test_zips_of_several_files_are_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.csv", "w") as archive:
        archive.writestr("a.csv", PLAIN)
        archive.writestr("b.csv", PLAIN)
    with pytest.raises(DataError, match="a zip archive of 2 files; unpack it"):
        read_csv(tmp_path / "a.csv")


def test_what_was_read_is_noted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(PLAIN)
    read_cells(tmp_path / "a.csv")
    with noting_tables() as seen:
        read_cells(tmp_path / "a.csv")
    assert seen == {tmp_path / "a.csv"}


def excel(tmp_path: Path, *sheets: list[list[object]]) -> Path:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for rows in sheets:
        sheet = book.create_sheet()
        for row in rows:
            sheet.append(row)
    book.save(tmp_path / "a.xlsx")
    return tmp_path / "a.xlsx"


def test_excel(tmp_path: Path) -> None:
    rows: list[list[object]] = [["Path", " Age", "Edema"], ["a.jpg", 54, 1.0], ["b.jpg", None, 0]]
    table = read_csv(excel(tmp_path, rows, []))
    assert table.to_dict("list") == {
        "Path": ["a.jpg", "b.jpg"],
        "Age": ["54", ""],
        "Edema": ["1", "0"],
    }
    with pytest.raises(DataError, match=r"2 sheets with cells; save the one"):
        read_csv(excel(tmp_path, rows, rows))
    with pytest.raises(DataError, match="cells beside the columns of the header"):
        read_csv(excel(tmp_path, [*rows, ["c.jpg", 1, 1, 1]]))


def test_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    table = pd.DataFrame(
        {
            "Path": ["a.jpg", None],
            "subject_id": [10000000.0, float("nan")],
            "Edema": pd.array([1, None], "Int64"),
            "view": pd.Categorical(["AP", "PA"]),
            "Labels": [["Mass", "Edema"], []],
            "image": [{"bytes": b"1"}, None],
        }
    )
    table.to_parquet(tmp_path / "a.parquet")
    found = read_csv(tmp_path / "a.parquet")
    assert found.to_dict("list") == {
        "Path": ["a.jpg", ""],
        "subject_id": ["10000000", ""],
        "Edema": ["1", ""],
        "view": ["AP", "PA"],
    }


@pytest.mark.parametrize(
    ("library", "content"),
    [("pyarrow", b"PAR1...PAR1"), ("openpyxl", zipped("xl/workbook.xml", b""))],
)
def test_a_missing_library_is_named(
    tmp_path: Path, library: str, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)  # as Python marks what it did not find
    (tmp_path / "a.table").write_bytes(content)
    with pytest.raises(DataError, match=f"needs {library}; .*pipx inject pulmonet {library}"):
        read_csv(tmp_path / "a.table")
