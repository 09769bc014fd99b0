"""`pulmonet prepare`, as typed: exit codes, messages, files."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from chexpert_factory import write_dataset
from pulmonet.cli.main import main
from small_dataset import smooth_image


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("pristine") / "CheXpert-v1.0-small")


@pytest.fixture
def root(pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset of 34 images, found as ./data from the current folder."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(pristine, tmp_path / "data" / pristine.name)


def edit(root: Path, name: str, change: Any) -> None:
    table = pd.read_csv(root / name, dtype=str, keep_default_na=False)
    change(table)
    table.to_csv(root / name, index=False)


def report_of(root: Path) -> dict[str, Any]:
    path = Path("artifacts") / "prepare" / root.name / "prepare_report.json"
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_good_dataset_is_summed_up_packed_and_remembered(
    root: Path,
    drawn_figures: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = files_of(root)
    assert main(["prepare"]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[0].startswith("Dataset: CheXpert-v1.0-small (chexpert layout, 34")
    assert "Pleural Effusion" in shown
    assert "packed 34 images at 256 px" in shown
    document = report_of(root)
    assert document["ok"] is True
    assert document["pack"]["rows"] == 34
    assert document["summary"]["splits"]["train"]["patients"] == 24
    assert {Path(name).name for name in document["files"]} == {"dataset.png", "prepare_report.json"}
    picture = cv2.imread(str(Path("artifacts") / "prepare" / root.name / "dataset.png"))
    assert picture is not None and picture.shape[0] > 500
    assert files_of(root) == before  # the dataset itself is never touched

    (root.parent.parent / "elsewhere").mkdir()
    monkeypatch.chdir(root.parent.parent / "elsewhere")
    assert main(["prepare", "--check-only"]) == 0  # remembered
    assert "CheXpert-v1.0-small" in capsys.readouterr().out


def test_json_is_the_report_and_nothing_else(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", str(root), "--check-only", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == report_of(root)
    assert document["pack"] is None


def test_of_many_labels_the_frequent_ones_are_shown(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(table: pd.DataFrame) -> None:
        for number in range(30):
            n_positive = 1 + number // 3
            table[f"own {number:02}"] = ["1"] * n_positive + ["0"] * (len(table) - n_positive)
        table.pop("Support Devices")  # beside all of CheXpert's labels, others must be asked for

    edit(root, "train.csv", change)
    edit(root, "valid.csv", change)
    assert main(["prepare", "--check-only"]) == 0
    shown = capsys.readouterr().out
    assert "own 29" in shown and "own 00" not in shown
    n_labels = len(report_of(root)["summary"]["labels"])
    assert n_labels == 35
    assert f"and {n_labels - 20} rarer labels" in shown


def no_label(root: Path) -> None:
    for name in ("train.csv", "valid.csv"):
        edit(root, name, lambda table: table.pop("Edema"))


def no_label_in_one(root: Path) -> None:
    edit(root, "train.csv", lambda table: table.pop("Edema"))


def seven(root: Path) -> None:
    def change(table: pd.DataFrame) -> None:
        table.loc[3, "Edema"] = "7"

    edit(root, "train.csv", change)


def missing_image(root: Path) -> None:
    next((root / "train").rglob("*.jpg")).unlink()


def truncated(root: Path) -> None:
    image = sorted((root / "train").rglob("*.jpg"))[3]
    image.write_bytes(image.read_bytes()[:-200])


def empty_csv(root: Path) -> None:
    (root / "train.csv").write_bytes(b"")


def header_only(root: Path) -> None:
    (root / "valid.csv").write_text((root / "valid.csv").read_text().splitlines()[0] + "\n")


def both_splits(root: Path) -> None:
    def change(table: pd.DataFrame) -> None:
        train = pd.read_csv(root / "train.csv", dtype=str, keep_default_na=False)
        table.loc[:6, "Path"] = train["Path"].iloc[:7].to_numpy()

    edit(root, "valid.csv", change)


def blank_image(root: Path) -> None:
    image = sorted((root / "valid").rglob("*.jpg"))[0]
    cv2.imwrite(str(image), np.full((48, 48), 90, np.uint8))


def copied_image(root: Path) -> None:
    images = sorted((root / "train").rglob("*.jpg"))
    shutil.copy(images[5], images[9])


def escaping(root: Path) -> None:
    def change(table: pd.DataFrame) -> None:
        table.loc[0, "Path"] = f"{root.name}/train/patient00001/../../../../etc/passwd"

    edit(root, "train.csv", change)


def absolute(root: Path) -> None:
    def change(table: pd.DataFrame) -> None:
        table.loc[0, "Path"] = "/etc/patient00001/passwd"

    edit(root, "train.csv", change)


def link_out(root: Path) -> None:
    image = next((root / "train").rglob("*.jpg"))
    outside = root.parent.parent / "outside.jpg"
    shutil.move(image, outside)
    image.symlink_to(outside)


def no_patient(root: Path) -> None:
    def change(table: pd.DataFrame) -> None:
        table["Path"] = table["Path"].str.replace("patient", "person")

    edit(root, "valid.csv", change)
    for folder in list((root / "valid").iterdir()):
        folder.rename(folder.with_name(folder.name.replace("patient", "person")))


def not_text(root: Path) -> None:
    (root / "train.csv").write_bytes(b"Path,Sex\n\xff\xfe\x00\x80,1\n")


def listed_twice(root: Path) -> None:
    lines = (root / "train.csv").read_text().splitlines()
    (root / "train.csv").write_text("\n".join([*lines, lines[1]]) + "\n")


def odd_label(root: Path) -> None:
    for name in ("train.csv", "valid.csv"):
        text = (root / name).read_text()
        (root / name).write_text(text.replace("Edema", "Odema", 1))


FAULTS: list[tuple[Any, list[str]]] = [
    (no_label, ["no column for 'Edema'", "--labels"]),
    (odd_label, ["no column for 'Edema' (did you mean 'Odema'?)"]),
    (no_label_in_one, ["train.csv", "no column 'Edema'"]),
    (seven, ["train.csv", "column 'Edema'", "line 5: '7'", "1, 0, -1"]),
    (missing_image, ["1 of 34 images is missing", "view1_frontal.jpg"]),
    (truncated, ["1 of 34 images cannot be used", "truncated JPEG", "--skip-bad"]),
    (empty_csv, ["train.csv", "empty"]),
    (header_only, ["valid.csv", "no rows"]),
    (both_splits, ["small: 7 patients in more than one split", "patient00005 and 2 more"]),
    (blank_image, ["1 of 34 images cannot be used", "blank"]),
    (escaping, ["1 path leaves the dataset root"]),
    (absolute, ["1 path leaves the dataset root"]),
    (link_out, ["symbolic link", "leaves the dataset root"]),
    (no_patient, ["10 rows without a patient id", "--map patient=COLUMN"]),
    (not_text, ["train.csv", "UTF-8"]),
    (listed_twice, ["1 duplicated row", "keep one row an image"]),
]


@pytest.mark.parametrize("fault, words", FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
@pytest.mark.parametrize("check_only", [True, False])
def test_a_fault_ends_with_3_and_one_message(
    root: Path, fault: Any, words: list[str], check_only: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    fault(root)
    before = files_of(root)
    assert main(["prepare", *(["--check-only"] if check_only else [])]) == 3
    shown = capsys.readouterr().err
    assert shown.count("error:") == 1
    for word in words:
        assert word in shown
    assert files_of(root) == before


def test_the_same_pixels_twice_fail_a_check_but_not_packing(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied_image(root)
    assert main(["prepare", "--check-only"]) == 3
    shown = capsys.readouterr().err
    assert "1 image with the same pixels under several names (train/patient00006" in shown
    assert main(["prepare"]) == 0
    assert "warning: 1 image with the same pixels" in capsys.readouterr().err
    assert [len(group) for group in report_of(root)["same_pixels"]] == [2]


def test_all_problems_are_gathered(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seven(root)
    missing_image(root)
    truncated(root)
    both_splits(root)
    assert main(["prepare"]) == 3
    assert "add --check-only" in capsys.readouterr().err
    assert main(["prepare", "--check-only"]) == 3
    document = report_of(root)
    assert document["ok"] is False
    # the value, the patients, their rows twice, the missing image, the truncated one
    assert len(document["problems"]) == 5
    assert len(document["bad_images"]) == 1
    shown = capsys.readouterr().err
    assert all(problem in shown for problem in document["problems"])


def test_a_row_without_a_path_and_one_outside_hide_nothing_else(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing_image(root)

    def change(table: pd.DataFrame) -> None:
        table.loc[4, "Path"] = ""
        table.loc[5, "Path"] = f"{root.name}/../../x.jpg"

    edit(root, "train.csv", change)
    assert main(["prepare", "--check-only"]) == 3
    problems = report_of(root)["problems"]
    starts = ["1 row without an image path", "1 path leaves the dataset root (../../x.jpg)"]
    for start in starts:
        assert any(problem.startswith(start) for problem in problems)
    assert "1 of 32 images is missing (train/" in "\n".join(problems)
    assert report_of(root)["bad_images"] == {}


def test_skip_bad_leaves_out_names_and_counts(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truncated(root)
    blank_image(root)
    assert main(["prepare", "--skip-bad"]) == 0
    document = report_of(root)
    assert document["ok"] is True
    assert document["pack"]["rows"] == 32
    reasons = sorted(document["bad_images"].values())
    assert len(reasons) == 2
    assert "blank" in " ".join(reasons) and "truncated" in " ".join(reasons)
    said = capsys.readouterr()
    assert "warning: 2 of 34 images cannot be used" in said.err
    assert said.out.splitlines()[-1].endswith(" --skip-bad")


def test_the_next_line_can_be_pasted(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = root.rename(root.parent / "Röntgen bilder")
    (place.parent / "further.csv").write_text("patient,site\npatient00001,north\n")
    assert main(["prepare", str(place), "--join", "data/further.csv"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    words = shlex.split(line.partition("Next: ")[2])
    assert words == ["pulmonet", "train", "--data-dir", str(place), "--join", "data/further.csv"]


def test_skip_bad_takes_missing_images_for_bad_ones(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing_image(root)
    assert main(["prepare", "--skip-bad"]) == 0
    assert "left out here, and in `train --skip-bad`" in capsys.readouterr().err
    assert report_of(root)["pack"]["rows"] == 33
    assert main(["prepare", "--skip-bad", "--check-only"]) == 3


def test_check_only_writes_no_pack(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PULMONET_CACHE_DIR", str(cache))
        assert main(["prepare", "--check-only"]) == 0
    assert not cache.exists()


@pytest.mark.usefixtures("drawn_figures")
def test_near_duplicates_across_splits_are_a_warning_with_pictures(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = sorted((root / "train").rglob("*.jpg"))
    valid = sorted((root / "valid").rglob("*.jpg"))
    image = smooth_image(1, 48, 48)
    cv2.imwrite(str(train[3]), image)
    cv2.imwrite(str(valid[4]), image, [cv2.IMWRITE_JPEG_QUALITY, 60])
    assert main(["prepare", "--check-only"]) == 0
    folder = Path("artifacts") / "prepare" / root.name
    pairs = pd.read_csv(folder / "near_duplicates.csv")
    assert pairs[["path_a", "path_b"]].to_numpy().tolist() == [
        [str(valid[4].relative_to(root)), str(train[3].relative_to(root))]
    ]
    assert cv2.imread(str(folder / "near_duplicates.png")).shape[1] > 1000
    assert "1 pair of images in different splits looks the same" in capsys.readouterr().err


def test_no_data_says_where_it_looked_and_the_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["prepare"]) == 3
    shown = capsys.readouterr().err
    for word in (str(tmp_path / "data"), "--data-dir", "stanford", "pulmonet prepare --demo"):
        assert word in shown
    assert main(["prepare", "nowhere"]) == 3
    assert "nowhere: no such folder" in capsys.readouterr().err


def test_several_datasets_are_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(root, root.parent / "another")
    assert main(["prepare"]) == 3
    assert "holds 2 datasets (CheXpert-v1.0-small, another)" in capsys.readouterr().err


def test_demo_is_drawn_under_data_and_found_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "--demo", "--patients", "5"]) == 0
    shown = capsys.readouterr()
    assert "SYNTHETIC" in shown.out.splitlines()[0]
    assert "not read" not in shown.err  # its own truth.csv is nobody's forgotten table
    assert (tmp_path / "data" / "pulmonet-phantoms" / "train.csv").exists()
    assert main(["prepare", "--check-only"]) == 0
    assert "pulmonet-phantoms" in capsys.readouterr().out.splitlines()[0]


def test_demo_goes_where_it_is_told_and_never_over_real_data(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", "phantoms", "--demo", "--patients", "3"]) == 0
    assert Path("phantoms", "train.csv").exists()
    before = files_of(root)
    assert main(["prepare", str(root), "--demo", "--patients", "3"]) == 3
    assert "nothing was changed" in capsys.readouterr().err
    assert files_of(root) == before


def test_patients_needs_demo(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "--patients", "3"]) == 2
    assert "--patients: only with --demo" in capsys.readouterr().err


def test_real_data_beside_the_demo_set_is_taken(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", "--demo", "--patients", "3"]) == 0
    capsys.readouterr()
    assert main(["prepare", "--check-only"]) == 0
    assert capsys.readouterr().out.startswith("Dataset: CheXpert-v1.0-small")


def test_export_split_can_be_read_again(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "--check-only", "--export-split", "split.json"]) == 0
    text = Path("split.json").read_text()
    assert "patient0" not in text
    assert main(["prepare", "--check-only", "--splits", "split.json"]) == 0
    shutil.rmtree(root / "valid")
    (root / "valid.csv").unlink()
    capsys.readouterr()
    assert main(["prepare", "--check-only", "--splits", "split.json"]) == 3
    assert "does not match this dataset" in capsys.readouterr().err


def test_the_split_of_several_collections_is_not_exported(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twin = write_dataset(tmp_path / "twin", seed=9)
    places = ["--data-dir", f"{root},{twin}", "--export-split", "split.json"]
    assert main(["prepare", "--check-only", *places]) == 2
    assert "--export-split: of one collection" in capsys.readouterr().err
    assert not Path("split.json").exists()
    assert main(["prepare", "--check-only", "--data-dir", str(root), *places[2:]]) == 0
    tables = f"[[collection]]\ndata_dir = '{root}'\nsplits = 'split.json'\n"
    Path("all.toml").write_text(f"{tables}[[collection]]\ndata_dir = '{twin}'\n")
    assert main(["prepare", "--check-only", "--data-dir", "all.toml"]) == 0


def test_without_a_valid_split_one_is_drawn_kept_and_editable(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(root / "valid")
    (root / "valid.csv").unlink()
    assert main(["prepare", "--check-only"]) == 0
    first = report_of(root)
    assert first["summary"]["splits"]["valid"]["patients"] == 2  # a tenth of 24
    assert "splits.csv" in first["notes"][0]
    assert main(["prepare", "--check-only", "--seed", "7"]) == 0  # kept, whatever the seed
    assert report_of(root)["dataset"]["fingerprint"] == first["dataset"]["fingerprint"]
    table = pd.DataFrame(
        {
            "patient": [f"patient{n:05d}" for n in range(1, 25)],
            "split": ["valid"] * 5 + ["train"] * 19,
        }
    )
    table.to_csv(root / "splits.csv", index=False)
    assert main(["prepare", "--check-only"]) == 0
    assert report_of(root)["summary"]["splits"]["valid"]["patients"] == 5


def test_a_csv_of_ones_own_is_mapped_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = ["FileName,Who,TB,Where"]
    (tmp_path / "mine").mkdir()
    for number in range(12):
        cv2.imwrite(str(tmp_path / "mine" / f"{number}.png"), smooth_image(number))
        lines.append(f"{number}.png,p{number // 2},{number % 2},ward {number % 3}")
    (tmp_path / "mine" / "labels.csv").write_text("\n".join(lines) + "\n")
    assert main(["prepare", "mine"]) == 3
    said = capsys.readouterr().err
    assert "found labels.csv, 12 images in ." in said
    assert "--map csv=labels.csv --map path=FileName --map patient=COLUMN (columns of" in said
    mapping = ["--map", "path=FileName", "--map", "patient=Who"]
    assert main(["prepare", "mine", *mapping]) == 0
    shown = capsys.readouterr()
    assert "pulmonet train --data-dir" in shown.out and "--labels all" in shown.out
    assert "labels: train with --labels all" in shown.err
    assert main(["prepare", "--check-only"]) == 0  # found and mapped as before
    assert capsys.readouterr().out.startswith("Dataset: mine (mapped layout, 12 images)")
    assert main(["prepare", "mine", "--map", "path"]) == 2
    assert "--map path: no '='" in capsys.readouterr().err


def test_json_goes_out_also_when_something_is_wrong(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truncated(root)
    assert main(["prepare", "--json"]) == 3
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert document["ok"] is False
    assert next(iter(document["bad_images"].values())).partition(";")[0] in shown.err


def test_a_home_folder_that_cannot_be_written_costs_only_the_memory(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "user").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    assert main(["prepare", str(root)]) == 0
    assert "not remembered, so name it with --data-dir" in capsys.readouterr().err


def test_images_with_a_remark_are_counted(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = pd.read_csv(root / "train.csv")["Path"].tolist()
    names = [root.parent / path for path in paths[:2]]
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(names[0]).save(names[0], "JPEG", exif=exif)
    white = np.full((40, 50), 255, np.uint8)
    white[:10] = smooth_image(1, 10, 50)
    cv2.imwrite(str(names[1]), white)
    for flags in (["--check-only"], [], []):  # as decoded, as packed, from the pack
        assert main(["prepare", *flags]) == 0
        said = " ".join(capsys.readouterr().err.split())
        assert "1 image turned upright, as the EXIF orientation says" in said
        assert "1 image of mostly black or white pixels, or of few greys" in said
        remarks = report_of(root)["remarks"]
        assert {kind: len(rows) for kind, rows in remarks.items()} == {"turned": 1, "few_greys": 1}
