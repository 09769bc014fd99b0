"""What is fuzzed: a strategy of hostile inputs, and a check that their reader never loses its way.

Each reader gives a sound value or its own error; anything else is a crash. The short forms stand
in tests/property/test_fuzz_*.py, the long form is run_fuzz.py.
"""

from __future__ import annotations

import contextlib
import copy
import csv
import io
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import fuzz_artifacts as of_runs
import numpy as np
from fuzz_tables import FILES, csv_texts, read_table
from hypothesis import strategies as st

import pulmonet
from chexpert_factory import write_dataset as write_chexpert
from hostile_files import deflated_dicom, deflated_zeros, pictures, png, rle_dicom
from pulmonet.arrays import Pixels
from pulmonet.cli.main import main
from pulmonet.config.fields import RunConfig
from pulmonet.config.load import load_config
from pulmonet.data.boxes import read_boxes
from pulmonet.data.images.read import decode, read_source_image
from pulmonet.data.pack.open import open_pack
from pulmonet.data.sources import read_manifest
from pulmonet.errors import ArtifactError, ConfigError, DataError
from pulmonet.files.write import write_atomic
from pulmonet.metrics.results import read_evaluation
from pulmonet.run.folder import RunDir
from pulmonet.run.predictions import Predictions
from pulmonet.run.record import RunRecord


@dataclass(frozen=True)
class Target:
    """One reader under fire.

    Attributes:
        inputs: what it is given.
        check: raises where the reader breaks its promise; gets an input and an empty folder.
        weight: share of the examples of a long run.
    """

    inputs: st.SearchStrategy[Any]
    check: Callable[[Any, Path], None]
    weight: float = 1.0


# --- bytes that were a file once -------------------------------------------------------------


@st.composite
def damaged(draw: st.DrawFn, originals: tuple[bytes, ...]) -> bytes:
    """A right file with bytes changed, cut out, doubled or cut off."""
    content = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(0, 4))):
        if not content:
            break
        place = draw(st.integers(0, len(content) - 1))
        # headers decide more than pixels: half of all changes are made there
        place = place % min(len(content), 300) if draw(st.booleans()) else place
        match draw(st.integers(0, 4)):
            case 0:
                content[place] = draw(st.integers(0, 255))
            case 1:
                content[place : place + 4] = draw(st.binary(min_size=4, max_size=4))
            case 2:
                del content[place : place + draw(st.integers(1, 50))]
            case 3:
                content[place:place] = content[place : place + draw(st.integers(1, 50))]
            case _:
                del content[place:]
    return bytes(content)


@cache
def images() -> tuple[bytes, ...]:
    """Small right images of every kind that is read."""
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (9, 13)).astype(np.uint8)
    deep = rng.integers(0, 65_536, (9, 13)).astype(np.uint16)
    colours = rng.integers(0, 256, (9, 13, 3)).astype(np.uint8)
    made = [
        cv2.imencode(ending, picture)[1].tobytes()
        for ending, picture in (
            (".jpg", grey),
            (".jpg", colours),
            (".png", grey),
            (".png", deep),
            (".png", colours),
            (".tiff", grey),
            (".tiff", deep),
        )
    ]
    return tuple(made)


@cache
def dicoms() -> tuple[bytes, ...]:
    """Small right DICOM files: grey, colours, palette, tables, compressed, deflated, bare."""
    from pydicom import uid
    from pydicom.dataset import Dataset

    lut = Dataset()
    lut.LUTDescriptor = [32, 0, 12]
    lut.add_new(0x00283006, "OW", np.arange(32, dtype="<u2").tobytes())
    palette: dict[str, Any] = {}
    for colour in ("Red", "Green", "Blue"):
        palette[f"{colour}PaletteColorLookupTableDescriptor"] = [30, 0, 16]
        palette[f"{colour}PaletteColorLookupTableData"] = bytes(range(60))
    window = {"WindowCenter": ["500", "20"], "WindowWidth": ["300", "30"], "RescaleSlope": "2"}
    large = {"Rows": 32, "Columns": 32, "PixelData": np.arange(1024, dtype="<u2").tobytes()}
    made = [
        _dicom("MONOCHROME2"),
        _dicom("MONOCHROME1", RescaleIntercept="-10", PixelPaddingValue=0, **window),
        _dicom("MONOCHROME2", ModalityLUTSequence=[lut], VOILUTSequence=[lut]),
        _dicom("RGB"),
        _dicom("YBR_FULL"),
        _dicom("PALETTE COLOR", **palette),
        _dicom("MONOCHROME2", NumberOfFrames=1, syntax=uid.RLELossless),
        _dicom("RGB", syntax=uid.RLELossless),
        _dicom("MONOCHROME2", syntax=uid.JPEG2000Lossless, **large),
        _dicom("MONOCHROME2", syntax=uid.DeflatedExplicitVRLittleEndian, **window),
    ]
    start = made[0].index(b"\x08\0\x16\0")  # without preamble and meta information
    return (*made, made[0][start:])


def _dicom(kind: str, syntax: str = "1.2.840.10008.1.2.1", **elements: Any) -> bytes:
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import UID, SecondaryCaptureImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["fuzz"])
    meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1")
    dataset: Dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    is_colour = kind in ("RGB", "YBR_FULL")
    dataset.Rows, dataset.Columns = 5, 6
    dataset.SamplesPerPixel = 3 if is_colour else 1
    dataset.PhotometricInterpretation = kind
    dataset.BitsAllocated = dataset.BitsStored = 8 if is_colour else 16
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = 0
    if is_colour:
        dataset.PlanarConfiguration = 0
        dataset.PixelData = bytes(range(90))
    else:
        dataset.PixelData = np.arange(30, dtype="<u2").tobytes()
    for name, value in elements.items():
        setattr(dataset, name, value)
    if "Deflated" in UID(syntax).name:
        meta.TransferSyntaxUID = UID(syntax)
    elif syntax != meta.TransferSyntaxUID:
        dataset.compress(UID(syntax), generate_instance_uid=False)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


#: Images that are read, or refused, only after a second and more.
LARGE = ("tiff-large", "png-length", "png-large-colours")  # the quickest first


@cache
def liars(*, large: bool = False) -> tuple[bytes, ...]:
    """Hostile images: they lie about their size, or unfold without end; `large`: for seconds."""
    slow = {"png-small-much", "dicom-deflated", "dicom-rle", "dicom-more-pixels", "png-text"}
    if large:
        return tuple(pictures()[name]() for name in LARGE)
    makers = pictures() | {
        "deflated": lambda: deflated_dicom(64 << 20),
        "rle": lambda: rle_dicom(64 << 20),
        "png": lambda: png(64, 64, (b"IDAT", deflated_zeros(64 << 20))),
    }
    return tuple(make() for name, make in makers.items() if name not in {*slow, *LARGE})


def check_image(content: bytes, _folder: Path, where: str = "a.jpg") -> None:
    """uint8 (H, W), or a DataError that names the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom remarks on damage before it gives up
        try:
            image = decode(content, where)[0]
        except DataError as error:
            assert where in str(error)
            return
    assert image.dtype == np.uint8 and image.ndim == 2 and image.size


def check_dicom(content: bytes, folder: Path) -> None:
    """The same of what is called a DICOM file."""
    check_image(content, folder, "a.dcm")


@cache
def medmnist() -> tuple[bytes, ...]:
    """Small right ``chestmnist.npz``, packed and not."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = rng.integers(0, 256, (3, 8, 8)).astype(np.uint8)
        arrays[f"{split}_labels"] = rng.integers(0, 2, (3, 14)).astype(np.uint8)
    made = []
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, **arrays)
        made.append(buffer.getvalue())
    return tuple(made)


def check_medmnist(content: bytes, folder: Path) -> None:
    """A Manifest and its images, or a DataError."""
    (folder / "chestmnist.npz").write_bytes(content)
    with contextlib.suppress(ConfigError, DataError):
        manifest = read_manifest(folder)
        for row in range(len(manifest.table)):
            image = read_source_image(manifest, row)
            assert image.dtype == np.uint8 and image.ndim == 2 and image.size


@cache
def pack() -> tuple[dict[str, bytes], Pixels]:
    """A right dataset and its pack, by the path below a folder; and the pack's pixels."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        images = _open_packed(folder, write=True)
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
    return files, images


def _open_packed(folder: Path, *, write: bool = False) -> Pixels:
    os.environ["PULMONET_CACHE_DIR"] = str(folder / "cache")
    if write:
        write_chexpert(folder / "tiny", n_train=3, n_valid=1, side=12)
    manifest = read_manifest(folder / "tiny")
    opened = open_pack(manifest, range(len(manifest.table)), image_size=16)
    return opened.read(range(len(manifest.table)))


def pack_names() -> st.SearchStrategy[str]:
    """Which file of the pack is damaged."""
    return st.deferred(
        lambda: st.sampled_from([name for name in sorted(pack()[0]) if name.startswith("cache")])
    )


def check_pack(damaged_file: tuple[str, bytes], folder: Path) -> None:
    """A damaged pack gives the pixels of a right one, or a DataError; it says which file."""
    name, content = damaged_file
    files, expected = pack()
    for place, original in files.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(original)
    # the key is of the dataset's own folder: pack once more there, then damage
    np.testing.assert_array_equal(_open_packed(folder), expected)
    for path in (folder / "cache").rglob(Path(name).name):
        path.write_bytes(content)
    with contextlib.suppress(ArtifactError, DataError):
        np.testing.assert_array_equal(_open_packed(folder), expected)


# --- JSON --------------------------------------------------------------------------------------

JSON_VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=6),
        st.sampled_from([10**400, -1, 0, "nan", "densenet121", "ones", "all", "1e999"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=5,
)


@st.composite
def changed_documents(draw: st.DrawFn, original: Callable[[], dict[str, Any]]) -> bytes:
    """A right JSON document with a few values replaced, added or taken out; or damaged text."""
    document: Any = copy.deepcopy(original())
    for _ in range(draw(st.integers(0, 3))):
        place: Any = document
        while isinstance(place, dict | list) and place:
            keys = list(place) if isinstance(place, dict) else range(len(place))
            key = draw(st.sampled_from(keys))
            inner = place[key]
            if not isinstance(inner, dict | list) or not inner or draw(st.integers(0, 4)) == 0:
                match draw(st.integers(0, 3)):
                    case 0:
                        del place[key]
                    case 1 if isinstance(place, dict):
                        place[draw(st.text(max_size=6))] = draw(JSON_VALUES)
                    case _:
                        place[key] = draw(JSON_VALUES)
                break
            place = inner
    text = json.dumps(document).encode()
    return draw(damaged((text,))) if draw(st.integers(0, 4)) == 0 else text


@cache
def run_record() -> dict[str, Any]:
    """A right run_config.json."""
    config = RunConfig().model_dump(mode="json")
    provenance = {
        "status": "finished",
        "pulmonet": "0.1.0",
        "versions": {"torch": "2"},
        "device": "cpu",
        "labels": ["Edema"],
        "dataset": {
            "name": "tiny",
            "source": "chexpert",
            "root": "~/tiny",
            "fingerprint": "f",
            "n_rows": {"train": 3},
            "n_patients": {"train": 3},
        },
        "start": "2026-01-01T00:00:00+00:00",
    }
    return {"schema": 1, "config": config, "provenance": provenance}


def check_record(content: bytes, folder: Path) -> None:
    """A RunRecord or an ArtifactError; as ``--config``, a RunConfig or a ConfigError."""
    run_dir = RunDir(folder / "run")
    run_dir.path.mkdir(exist_ok=True)
    run_dir.config_path.write_bytes(content)
    try:
        assert isinstance(run_dir.read_record(), RunRecord)
    except ArtifactError as error:
        assert "run_config.json" in str(error)
    try:
        assert isinstance(load_config(str(run_dir.config_path)), RunConfig)
    except ConfigError as error:
        assert str(error)


@cache
def recipes() -> tuple[bytes, ...]:
    """The recipes, and a configuration with a little of everything."""
    folder = Path(pulmonet.__file__).parent / "recipes"
    found = [path.read_bytes() for path in sorted(folder.glob("*.toml"))]
    return (*found, b'seed = 1\n[model]\nname = "densenet121"\n[data]\nlabels = ["Edema"]\n')


def check_toml(content: bytes, folder: Path) -> None:
    """A RunConfig or a ConfigError."""
    path = folder / "mine.toml"
    path.write_bytes(content)
    with contextlib.suppress(ConfigError):
        assert isinstance(load_config(str(path)), RunConfig)


@cache
def evaluation() -> dict[str, Any]:
    """A right evaluation_*.json, of random scores."""
    from pulmonet.metrics.evaluation import evaluate_predictions
    from pulmonet.metrics.options import EvaluationOptions
    from pulmonet.metrics.results import Evaluation

    rng = np.random.default_rng(0)
    predictions = Predictions(
        run="run",
        dataset="tiny",
        split="valid",
        labels=("Edema",),
        paths=tuple(f"{row}.jpg" for row in range(12)),
        patients=tuple(f"p{row}" for row in range(12)),
        studies=None,
        targets=(np.arange(12) % 2)[:, None].astype(np.float32),
        scores=rng.random((12, 1)).astype(np.float32),
    )
    result = evaluate_predictions(predictions, EvaluationOptions(n_resamples=100))
    document: dict[str, Any] = Evaluation(runs=[result], comparisons=[]).model_dump(
        mode="json", by_alias=True
    )
    return document


def check_evaluation(content: bytes, folder: Path) -> None:
    """An Evaluation or an ArtifactError."""
    path = folder / "evaluation_tiny_valid.json"
    path.write_bytes(content)
    with contextlib.suppress(ArtifactError):
        read_evaluation(path)


# --- tables ------------------------------------------------------------------------------------

CELLS = st.one_of(
    st.sampled_from(["", "0", "1", "0.5", "-1", "nan", "inf", "1e999", "1e-400", " 1 ", "0x1"]),
    st.floats(0, 1).map(repr),
    st.text(max_size=5),
)


@st.composite
def tables(draw: st.DrawFn, names: tuple[str, ...]) -> bytes:
    """CSV with mostly right names, right and wrong cells, now and then damaged."""
    header = list(names)
    for _ in range(draw(st.integers(0, 2))):
        header.insert(draw(st.integers(0, len(header))), draw(st.sampled_from(names) | CELLS))
    if draw(st.booleans()):
        del header[draw(st.integers(0, len(header) - 1))]
    rows = [[draw(CELLS) for _ in header] for _ in range(draw(st.integers(0, 4)))]
    if rows and draw(st.integers(0, 9)) == 0:
        rows[-1].append("more")
    buffer = io.StringIO()
    csv.writer(buffer).writerows([header, *rows])
    text = buffer.getvalue().encode("utf-8", "surrogatepass")
    return draw(damaged((text,))) if draw(st.integers(0, 4)) == 0 else text


def check_table(named: tuple[str, bytes], folder: Path) -> None:
    """A right Manifest or a DataError."""
    read_table(folder, *named)


def check_predictions(content: bytes, folder: Path) -> None:
    """Predictions, which are the same when written and read again; or an ArtifactError."""
    path = folder / "scores.csv"
    path.write_bytes(content)
    try:
        read = Predictions.read(path)
    except ArtifactError as error:
        assert "scores.csv" in str(error)
        return
    assert ((read.scores >= 0) & (read.scores <= 1)).all()
    assert np.isin(read.targets[~np.isnan(read.targets)], (0, 1)).all()
    write_atomic(folder / "again.csv", read.to_csv())
    again = Predictions.read(folder / "again.csv")
    np.testing.assert_array_equal(again.scores, read.scores)
    np.testing.assert_array_equal(again.targets, read.targets)
    assert again.labels == read.labels


def check_boxes(content: bytes, folder: Path) -> None:
    """Boxes inside their images, or a DataError."""
    root = folder / "root"
    root.mkdir(exist_ok=True)
    (root / "train.csv").write_text("Path,Edema\npatient1/a.jpg,1\npatient2/b.jpg,0\n")
    (root / "boxes.csv").write_bytes(content)
    try:
        boxes = read_boxes(read_manifest(root))
    except DataError as error:
        assert str(error)
        return
    edges = boxes[["xmin", "ymin", "xmax", "ymax"]].to_numpy(float)
    assert ((edges >= 0) & (edges <= 1)).all()
    assert (edges[:, 0] < edges[:, 2]).all() and (edges[:, 1] < edges[:, 3]).all()


# --- the command line ----------------------------------------------------------------------------

COMMANDS = ("prepare", "train", "evaluate", "explain", "report")
FLAGS = (
    *("--help", "--version", "--json", "-q", "--verbose", "--quiet", "--", "-", "--nope"),
    *("--model", "--models", "--epochs", "--batch-size", "--batch_size", "--lr", "--image-size"),
    *("--num-workers", "--seed", "--amp", "--no-amp", "--views", "--subset", "--subset-mode"),
    *("--data-dir", "--out-dir", "--uncertain-policy", "--dropout", "--weights", "--device"),
    *("--name", "--resume", "--overwrite", "--config", "--set", "--folds", "--fold", "--labels"),
    *("--artifacts-dir", "--split", "--level", "--predictions", "--blank", "--bootstrap"),
    *("--threshold", "--prevalence", "--subgroup", "--interval", "--calibrator", "--export"),
    *("--run", "--label", "--class-idx", "--method", "--layer", "--boxes", "--sanity", "--rows"),
    *("--against", "--colour-map", "--show-absent", "--dicom", "--output", "--html"),
    *("--author-notes", "--show-identifiers", "--check-only", "--fit", "--map", "--join"),
    *("--splits", "--export-split", "--skip-bad", "--patients", "--study-rule", "--figures"),
)
WORDS = st.one_of(
    st.sampled_from(
        [
            *("", "0", "1", "-1", "1e999", "nan", "densenet121", "timm:x", "timm:", "none", "all"),
            *("ones", "Edema=ones", "Edema", "frontal", "AP", "train", "valid", "scores.csv"),
            *("optim.lr=1", "optim.lr=x", "a.b.c=1", "=", "x=", "=x", "optim=1", "seed=[[", "~"),
            *(
                "~nobody/x",
                "x" * 5000,
                "a/" * 3000,
                "\0",
                "..",
                ".",
                "#",
                "*",
                "[",
                "**/*",
                "quick",
            ),
            *("set.toml", "run_config.json", "path=Path", "0.5", "99999999999999999999", "é", "\n"),
            *(
                "seed=" + "[" * 5000,
                "[bold]",
                "[/]",
                "sensitivity=0.9",
                "Edema=0.05",
                "image",
                "bca",
            ),
        ]
    ),
    st.text(max_size=6),
    st.integers().map(str),
    st.floats().map(str),
)


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """Flags and words in any order; mostly after a command that there is."""
    line = [draw(st.sampled_from(COMMANDS))] if draw(st.integers(0, 9)) else []
    for _ in range(draw(st.integers(0, 5))):
        flag = draw(st.sampled_from(FLAGS) | st.text(max_size=4).map("--{}".format))
        if draw(st.integers(0, 5)) == 0:
            line.append(f"{flag}={draw(WORDS)}")
        else:
            line += [flag, *draw(st.lists(WORDS, max_size=2))]
    return line


def check_command(argv: list[str], folder: Path) -> None:
    """Any words on the command line end in a documented code; nothing is written outside.

    There is neither data nor a run, so nothing long can start.
    """
    os.environ["PULMONET_CACHE_DIR"] = str(folder / "cache")
    os.environ["XDG_DATA_HOME"] = str(folder / "user")
    os.environ["HOME"] = str(folder)
    (folder / "scores.csv").write_text("Edema,Edema_score\n1,0.5\n0,0.25\n")
    said = io.StringIO()
    here = Path.cwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = main(argv)
    finally:
        os.chdir(here)
    assert code in {0, 2, 3, 4, 5}, f"exit code {code}: {said.getvalue()[-2000:]}"
    assert code == 0 or said.getvalue().strip(), f"exit code {code} without a word"


TARGETS: dict[str, Target] = {
    "images": Target(st.binary(max_size=200) | damaged(images()), check_image, 3),
    "dicom": Target(st.binary(max_size=200) | damaged(dicoms()), check_dicom, 2),
    "liars": Target(damaged(liars()), check_image, 1),
    "large liars": Target(st.deferred(lambda: damaged(liars(large=True))), check_image, 0.1),
    "medmnist": Target(damaged(medmnist()), check_medmnist, 0.5),
    "packs": Target(
        pack_names().flatmap(lambda name: st.tuples(st.just(name), damaged((pack()[0][name],)))),
        check_pack,
        0.5,
    ),
    "recipes": Target(damaged(recipes()), check_toml, 0.5),
    "run_config": Target(st.binary(max_size=50) | changed_documents(run_record), check_record, 1.5),
    "evaluation": Target(changed_documents(evaluation), check_evaluation, 1),
    "predictions": Target(
        st.binary(max_size=50)
        | tables(("Path", "patient", "study", "Edema", "Edema_score", "view", "A", "A_score")),
        check_predictions,
        1,
    ),
    "tables": Target(
        st.tuples(st.sampled_from(FILES), csv_texts() | st.binary(max_size=200)), check_table, 2
    ),
    "weights": Target(
        damaged(tuple(content for _, content in of_runs.weights())), of_runs.check_weights, 1
    ),
    "calibration": Target(changed_documents(of_runs.calibration), of_runs.check_calibration, 0.5),
    "segmentations": Target(
        changed_documents(of_runs.segmentations), of_runs.check_segmentations, 0.5
    ),
    "artifacts": Target(
        of_runs.artifact_names().flatmap(
            lambda name: st.tuples(st.just(name), damaged((of_runs.artifacts()[name],)))
        ),
        of_runs.check_artifacts,
        0.5,
    ),
    "boxes": Target(
        st.binary(max_size=50) | tables(("Path", "label", "xmin", "ymin", "xmax", "ymax")),
        check_boxes,
        0.5,
    ),
    "command line": Target(command_lines(), check_command, 1),
}


@contextlib.contextmanager
def empty_folder() -> Iterator[Path]:
    """A folder that is gone afterwards; its path is absolute and has no links."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder).resolve()
