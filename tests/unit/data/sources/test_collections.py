"""Several collections as one dataset: finding them, their names, rows, splits, notes and packs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from chexpert_factory import write_dataset
from pulmonet.config.fields import DataConfig
from pulmonet.data.images.read import read_source_image
from pulmonet.data.manifest import Manifest, fingerprint
from pulmonet.data.pack.open import JointPack, open_pack, open_packs
from pulmonet.data.sources import read_manifest, remember_dataset
from pulmonet.data.sources.collections import find_collections, inspect_collections
from pulmonet.data.splits.choose import annotated_in_split
from pulmonet.errors import ConfigError, DataError
from pulmonet.files.paths import places_of
from pulmonet.flows.dataset import open_dataset

OWN = "path=File,patient=Person,labels=Edema|Nodule"


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Two of CheXpert's layout, whose patients have the same numbers, and a table of one's own."""
    folder = tmp_path_factory.mktemp("collections")
    north = write_dataset(folder / "north", n_train=6, n_valid=4, seed=1)
    south = write_dataset(folder / "south", n_train=8, n_valid=2, seed=2)
    own = folder / "own"
    (own / "x").mkdir(parents=True)
    for number, path in enumerate(sorted((north / "train").rglob("*.jpg"))[:4]):
        (own / "x" / f"{number}.jpg").write_bytes(path.read_bytes())
    rows = "\n".join(f"x/{n}.jpg,{n // 2},{n % 2},1,train" for n in range(4))
    (own / "list.csv").write_text(f"File,Person,Edema,Nodule,Set\n{rows}\n")
    return north, south, own


def config(*places: Path, **settings: object) -> DataConfig:
    return DataConfig.model_validate({"data_dir": [*map(str, places)], **settings})


def manifest_of(data: DataConfig) -> Manifest:
    return open_dataset(data, 1, is_said=True)


def write_list(folder: Path, roots: tuple[Path, ...], more: str = "") -> Path:
    tables = "".join(f'[[collection]]\ndata_dir = "{root}"\n' for root in roots)
    (folder / "all.toml").write_text(tables + more)
    return folder / "all.toml"


def test_rows_know_their_collection_and_keep_their_own(roots: tuple[Path, Path, Path]) -> None:
    north, south, _ = roots
    joined = manifest_of(config(south, north))
    one, other = read_manifest(north), read_manifest(south)
    assert joined.name == "north+south"
    assert joined.table["collection"].tolist() == ["north"] * 10 + ["south"] * 10
    assert joined.table["path"].tolist() == [
        *("north/" + one.table["path"]),
        *("south/" + other.table["path"]),
    ]
    assert joined.table["split"].tolist() == [*one.table["split"], *other.table["split"]]
    assert joined.table["patient"].nunique() == 20  # numbers are of one collection
    assert [fingerprint(part) for part in joined.parts] == [fingerprint(one), fingerprint(other)]
    for row in (0, 9, 10, 19):
        part = one if row < 10 else other
        assert np.array_equal(read_source_image(joined, row), read_source_image(part, row % 10))


def test_one_collection_alone_is_what_it_is_today(roots: tuple[Path, Path, Path]) -> None:
    north, *_ = roots
    alone = manifest_of(config(north))
    assert fingerprint(alone) == fingerprint(read_manifest(north))
    assert not alone.parts


def test_the_order_changes_nothing(roots: tuple[Path, Path, Path]) -> None:
    north, south, _ = roots
    for settings in ({}, {"folds": 3, "fold": 1}):
        first = manifest_of(config(north, south, **settings))
        second = manifest_of(config(south, north, **settings))
        assert fingerprint(first) == fingerprint(second)
        assert first.table.equals(second.table)


def test_same_patients_go_into_one_split(roots: tuple[Path, Path, Path]) -> None:
    """Patients 7 and 8 are trained on in the south, and held out in the north."""
    north, south, _ = roots
    data = config(north, south, same_patients=["south, north"])
    joined, _, notes = inspect_collections(
        find_collections(data), data, 1, check_files=False, keep_split=False
    )
    table = joined.table
    assert table["patient"].nunique() == 10
    assert table.groupby("patient")["split"].nunique().max() == 1
    held = table["split"] == "valid"
    # 7 to 10 in the north and 9, 10 in the south stay; 7, 8 of the south follow
    assert held.sum() == 8
    assert (read_manifest(north).table["split"] == "valid").sum() == 4
    assert any("2 images moved" in note for note in notes)
    assert joined.parts[1].table["split"].tolist() == table["split"][10:].tolist()


def test_folds_are_dealt_by_patient_over_all(roots: tuple[Path, Path, Path]) -> None:
    north, south, _ = roots
    seen = []
    for fold in range(4):
        data = config(north, south, folds=4, fold=fold, same_patients=["north,south"])
        table = manifest_of(data).table
        assert table.groupby("patient")["split"].nunique().max() == 1
        seen += table["patient"][table["split"] == "valid"].unique().tolist()
    assert len(seen) == len(set(seen)) == 10


def test_a_collection_may_have_fewer_patients_than_there_are_folds(
    tmp_path: Path, roots: tuple[Path, Path, Path]
) -> None:
    """A fold of each patient of the few; one that has only test rows keeps them."""
    few = write_dataset(tmp_path / "few", n_train=3, n_valid=0, seed=3)
    tested = write_dataset(tmp_path / "tested", n_train=2, n_valid=0, seed=4)
    for root in (few, tested):
        (root / "valid.csv").unlink()
    (tested / "train.csv").rename(tested / "test.csv")
    held = []
    for fold in range(5):
        data = config(roots[0], few, tested, folds=5, fold=fold)
        joined, problems, notes = inspect_collections(
            find_collections(data), data, 1, check_files=False, keep_split=True
        )
        table = joined.table
        assert not problems
        assert [text for text in notes if "fold" in text] == [
            f"split: fold {fold} of 5 patient folds (seed 1) is valid"
        ]
        assert (table["split"] == "test").tolist() == (table["collection"] == "tested").tolist()
        held += table["patient"][table["split"] == "valid"].tolist()
    assert len(held) == len(set(held)) == 13
    with pytest.raises(DataError, match=r"--folds 14: the dataset has only 13 patients"):
        manifest_of(config(roots[0], few, tested, folds=14))
    with pytest.raises(DataError, match=r"--folds 5: the dataset has only 3 patients"):
        manifest_of(config(few, folds=5))


def test_a_list_gives_each_its_map_splits_and_name(
    tmp_path: Path, roots: tuple[Path, Path, Path]
) -> None:
    north, _, own = roots
    splits = tmp_path / "who.csv"
    splits.write_text("patient,split\n0,train\n1,valid\n")
    more = (
        f'[[collection]]\ndata_dir = "{own}"\nname = "mine"\nsplits = "who.csv"\n'
        'map = {path = "File", patient = "Person", labels = "Edema|Nodule"}\n'
    )
    data = config(write_list(tmp_path, (north,), more))
    joined = manifest_of(data)
    assert joined.name == "mine+north"
    assert joined.labels[:2] == ("Edema", "Nodule")
    assert joined.table["split"].tolist()[:4] == ["train", "train", "valid", "valid"]
    assert joined.table["Nodule"].notna().tolist() == [True] * 4 + [False] * 10
    assert joined.table["Cardiomegaly"].isna().tolist()[:4] == [True] * 4


def test_folds_spare_the_test_patients_of_a_collections_list(
    tmp_path: Path, roots: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("splits.csv").write_text("patient,split\nmine/1,test\n")  # of no collection
    Path("who.csv").write_text("patient,split\n0,test\n1,train\n")
    more = f'[[collection]]\ndata_dir = "{roots[2]}"\nname = "mine"\nsplits = "who.csv"\n'
    more += 'map = {path = "File", patient = "Person", labels = "Edema|Nodule"}\n'
    table = manifest_of(config(write_list(tmp_path, roots[:1], more), folds=3)).table
    assert table["patient"][table["split"] == "test"].tolist() == ["mine/0"] * 2
    assert {*table["split"]} == {"train", "valid", "test"}


def write_table(root: Path, grades: str) -> Path:
    """A folder with a row a grade in train.csv; the images of these rows are not looked for."""
    root.mkdir(parents=True)
    rows = "".join(f"p{n}.jpg,p{n},{n % 2},{one}\n" for n, one in enumerate(grades.split()))
    (root / "train.csv").write_text(f"Path,patient,Edema,Grade\n{rows}")
    return root


@pytest.mark.parametrize("grades", ["GE Philips GE GE", "0 1 2 4", "0 0 0 0"])
def test_a_column_is_a_label_only_where_its_collection_has_it_as_one(
    tmp_path: Path, grades: str
) -> None:
    north = write_table(tmp_path / "north", "0 1 0 1")
    south = write_table(tmp_path / "south", grades)
    joined = manifest_of(config(north, south, labels=["Edema"]))
    assert joined.labels == ("Edema", "Grade")
    assert [part.labels for part in joined.parts] == [("Edema", "Grade"), ("Edema",)]
    assert joined.table["Grade"].tolist()[:4] == [0, 1, 0, 1]
    assert joined.table["Grade"].isna().tolist()[4:] == [True] * 4
    annotated = annotated_in_split(joined, "train", joined.labels, np.asarray([0, 7]))
    assert annotated.tolist() == [[True, True], [True, False]]
    assert "Grade" not in joined.parts[1].table
    assert joined.joined == ("collection",)
    assert [fingerprint(part) for part in joined.parts] == [
        *(fingerprint(manifest_of(config(root, labels=["Edema"]))) for root in (north, south))
    ]


def test_without_patient_ids_images_are_told_apart(
    tmp_path: Path, roots: tuple[Path, Path, Path]
) -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for split, n in (("train", 5), ("val", 3), ("test", 2)):
        arrays[f"{split}_images"] = rng.integers(0, 255, (n, 28, 28)).astype(np.uint8)
        arrays[f"{split}_labels"] = np.arange(n)[:, None] % 2
    np.savez(tmp_path / "pneumoniamnist.npz", **arrays)
    joined = manifest_of(config(tmp_path / "pneumoniamnist.npz", roots[0]))
    assert joined.patients_known
    assert joined.table["patient"].nunique() == 20
    assert joined.name == "north+pneumoniamnist"


def test_a_pack_is_a_view_of_each_own_pack(roots: tuple[Path, Path, Path]) -> None:
    north, south, _ = roots
    joined = manifest_of(config(north, south))
    rows = np.asarray([19, 0, 10, 3, 0])
    pack = open_packs(joined, rows, image_size=32)
    assert isinstance(pack, JointPack)
    alone = [open_pack(read_manifest(root), np.arange(10), image_size=32) for root in roots[:2]]
    assert [one.folder for one in pack.packs] == [one.folder for one in alone]
    expected = [alone[row // 10].read([row % 10])[0] for row in rows.tolist()]
    assert np.array_equal(pack.read(rows), np.stack(expected))
    remarks = [alone[row // 10].remarks(np.asarray([row % 10]))[0] for row in rows.tolist()]
    assert pack.remarks(rows).tolist() == remarks
    with pytest.raises(ValueError, match="not opened for"):
        pack.read([20])
    with pytest.raises(ValueError, match="not opened for"):
        pack.read([4])


def test_bad_images_are_numbered_over_all(tmp_path: Path) -> None:
    north = write_dataset(tmp_path / "north", n_train=2, n_valid=2, seed=1)
    south = write_dataset(tmp_path / "south", n_train=2, n_valid=2, seed=2)
    next(iter(sorted(south.rglob("*.jpg")))).write_bytes(b"no image")
    joined = manifest_of(config(north, south))
    pack = open_packs(joined, np.arange(8), image_size=32, skip_bad=True)
    assert list(pack.bad_rows) == [4]


def test_problems_of_each_are_said_together(tmp_path: Path) -> None:
    north = write_dataset(tmp_path / "north", n_train=2, n_valid=2)
    south = write_dataset(tmp_path / "south", n_train=2, n_valid=2)
    for root in (north, south):
        lines = (root / "train.csv").read_text().splitlines()
        (root / "train.csv").write_text("\n".join([*lines, lines[-1]]))
    with pytest.raises(DataError, match=r"north.*south.* problems") as raised:
        manifest_of(config(north, south))
    for name in ("north", "south"):
        assert f"- {name}: 1 duplicated row" in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"map": {"path": "File"}}, "--map: goes with one collection"),
        ({"splits": "who.csv"}, "--splits: goes with one collection"),
        ({"same_patients": ["north,sooth"]}, "did you mean 'south'?"),
        ({"same_patients": ["north"]}, "--same-patients north: one name alone"),
        ({"same_patients": ["north,north"]}, "--same-patients north,north: one name alone"),
    ],
)
def test_what_does_not_go_together_is_refused(
    roots: tuple[Path, Path, Path], settings: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        find_collections(config(*roots[:2], **settings))


def test_two_of_one_name_are_refused(tmp_path: Path, roots: tuple[Path, Path, Path]) -> None:
    twin = write_dataset(tmp_path / "north", n_train=2, n_valid=2)
    with pytest.raises(ConfigError, match="a second collection is called 'north'"):
        find_collections(config(roots[0], twin))


def test_one_folder_under_two_names_is_refused(
    tmp_path: Path, roots: tuple[Path, Path, Path]
) -> None:
    """By a link or in a list; two tables of a folder are two collections, one and all are not."""
    north = write_dataset(tmp_path / "north", n_train=2, n_valid=2)
    (tmp_path / "link").symlink_to(north)
    with pytest.raises(ConfigError, match=r"'link' and 'north' have the same rows of .*north:"):
        find_collections(config(north, roots[1], tmp_path / "link"))
    with pytest.raises(ConfigError, match="'north' and 'north' have the same rows"):
        find_collections(config(north, north))

    def two(*maps: str) -> tuple[str, ...]:
        at = f'data_dir = "{north}"\n'
        text = "".join(f"[[collection]]\n{at}name = '{n}'\n{one}\n" for n, one in enumerate(maps))
        (tmp_path / "two.toml").write_text(text)
        return find_collections(config(tmp_path / "two.toml")).names

    train = 'map = {csv = "train.csv", path = "Path"}'
    valid = train.replace("train", "valid")
    assert two(train, valid) == ("0", "1")
    for maps in (("", ""), (train, ""), (train, train.replace("train", "./train"))):
        with pytest.raises(ConfigError, match=r"'0' and '1' have the same.*two of its tables"):
            two(*maps)
    remember_dataset(north, {"csv": "train.csv", "path": "Path"})
    assert two("", valid) == ("0", "1")


def test_one_npz_file_under_two_names_is_refused(tmp_path: Path) -> None:
    for name in ("chestmnist", "pneumoniamnist"):
        (tmp_path / f"{name}.npz").touch()
    (tmp_path / "link.npz").symlink_to(tmp_path / "chestmnist.npz")
    chest, pneumonia, link = (
        tmp_path / f"{n}.npz" for n in ("chestmnist", "pneumoniamnist", "link")
    )
    assert len(find_collections(config(chest, pneumonia)).names) == 2
    with pytest.raises(ConfigError, match="'chestmnist' and 'link' have the same rows"):
        find_collections(config(chest, pneumonia, link))


@pytest.mark.parametrize("name", ["x/y", "..", "/x", "x/"])
def test_a_name_that_no_folder_can_have_is_refused(
    tmp_path: Path, roots: tuple[Path, Path, Path], name: str
) -> None:
    path = write_list(tmp_path, roots[:1], f'name = "{name}"\n')
    with pytest.raises(ConfigError, match=re.escape(f"name = '{name}': no folder is called so")):
        find_collections(config(path))


def test_the_name_in_a_list_of_one_is_the_datasets(
    tmp_path: Path, roots: tuple[Path, Path, Path]
) -> None:
    named = manifest_of(config(write_list(tmp_path, roots[:1], 'name = "ours"\n')))
    assert named.name == "ours"
    assert not named.parts
    assert fingerprint(named) == fingerprint(read_manifest(roots[0]))


@pytest.mark.parametrize(
    "content",
    [
        "x",
        "collection = 1\n",
        "collection = []\n",
        "[[collection]]\n",
        "[[collection]]\ndata_dir='a'\nmaps=1\n",
    ],
)
def test_a_list_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "all.toml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"all\.toml: no list of collections"):
        find_collections(config(path))


def test_a_comma_in_a_folders_name_is_no_separator(tmp_path: Path) -> None:
    odd = write_dataset(tmp_path / "a,b", n_train=2, n_valid=2)
    other = write_dataset(tmp_path / "c", n_train=2, n_valid=2)
    assert find_collections(config(odd)).names == ("a,b",)
    both = DataConfig(data_dir=f"{other},{tmp_path / 'c'}")
    assert places_of(both.data_dir) == (str(other), str(other))


def test_ids_of_one_patient_that_two_collections_write_otherwise_are_named(tmp_path: Path) -> None:
    for name, patient in (("a", "7"), ("b", "007")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.csv").write_text(f"Path,patient,Edema\nx.png,{patient},1\n")
    for same, is_said in (["a,b"], True), ([], False):
        data = config(tmp_path / "a", tmp_path / "b", same_patients=same)
        found = find_collections(data)
        *_, notes = inspect_collections(found, data, 0, check_files=False, keep_split=False)
        said = "1 patient may be listed under several ids (a=b/007 = a=b/7)"
        assert any(note.startswith(said) for note in notes) == is_said


@pytest.mark.parametrize(
    ("label", "said"),
    [("TB_score", "TB score and TB_score are several labels"), ("TB score", ""), ("Gout", "")],
)
def test_labels_that_two_collections_spell_otherwise_are_named(
    tmp_path: Path, label: str, said: str
) -> None:
    for name, column in (("a", "TB score"), ("b", label)):
        (tmp_path / name).mkdir()
        rows = "x.png,7,1,1\ny.png,8,0,0\n"
        (tmp_path / name / "train.csv").write_text(f"Path,patient,Edema,{column}\n{rows}")
    data = config(tmp_path / "a", tmp_path / "b")
    found = find_collections(data)
    *_, notes = inspect_collections(found, data, 0, check_files=False, keep_split=False)
    assert [note.partition(", each")[0] for note in notes if "several labels" in note] == [
        text for text in [said] if text
    ]
