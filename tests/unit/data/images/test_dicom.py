"""DICOM pixels against the standard's formulas."""

from __future__ import annotations

import builtins
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.images import read_grey

from pulmonet.data.images import dicom
from pulmonet.data.images.decoding import Remark
from pulmonet.data.images.read import decode, read_file
from pulmonet.errors import DataError
from small_dataset import smooth_image, write_dicom

pytest.importorskip("pydicom")

IMAGE = smooth_image(3, 60, 72)

WIDE = IMAGE.astype(np.uint16) * 13 + 700  # 12 bits' worth of contrast in a 16-bit file


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel().astype(float), b.ravel().astype(float))[0, 1])


def stretched(image: np.ndarray) -> np.ndarray:
    """0-255 over the used range, in float64."""
    values = image.astype(float)
    return (values - values.min()) / (values.max() - values.min()) * 255


def test_dicom_monochrome_1_and_2(tmp_path: Path) -> None:
    write_dicom(tmp_path / "two.dcm", WIDE)
    write_dicom(tmp_path / "one.dcm", WIDE, photometric="MONOCHROME1")
    assert np.abs(read_grey(tmp_path / "two.dcm") - stretched(WIDE)).max() <= 1
    assert np.abs(read_grey(tmp_path / "one.dcm") - (255 - stretched(WIDE))).max() <= 1


def test_dicom_8_bit_and_signed(tmp_path: Path) -> None:
    write_dicom(tmp_path / "eight.dcm", IMAGE)
    assert np.abs(read_grey(tmp_path / "eight.dcm") - stretched(IMAGE)).max() <= 1
    write_dicom(tmp_path / "signed.dcm", WIDE.astype(np.int16) - 1000)
    assert np.abs(read_grey(tmp_path / "signed.dcm") - stretched(WIDE)).max() <= 1


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_dicom_windows_after_rescale(tmp_path: Path, function: str) -> None:
    center, width = 500.0, 900.0
    write_dicom(
        tmp_path / "windowed.dcm",
        WIDE,
        RescaleSlope="0.5",
        RescaleIntercept="-100",
        WindowCenter=[center, 40.0],
        WindowWidth=[width, 400.0],
        VOILUTFunction=function,
    )
    x = WIDE * 0.5 - 100
    shown = {
        "LINEAR": np.clip((x - (center - 0.5)) / (width - 1) + 0.5, 0, 1),
        "LINEAR_EXACT": np.clip((x - center) / width + 0.5, 0, 1),
        "SIGMOID": 1 / (1 + np.exp(-4 * (x - center) / width)),
    }[function]
    assert np.abs(read_grey(tmp_path / "windowed.dcm") - 255 * shown).max() <= 1


def test_dicom_voi_lut(tmp_path: Path) -> None:
    from pydicom.dataset import Dataset

    lut = Dataset()
    table = (np.linspace(0, 1, 4096) ** 2 * 65535).astype(np.uint16)
    lut.LUTDescriptor = [4096, 0, 16]
    lut.add_new(0x00283006, "OW", table.tobytes())
    write_dicom(tmp_path / "lut.dcm", WIDE, VOILUTSequence=[lut])
    expected = stretched(table[np.minimum(WIDE, 4095)])
    assert np.abs(read_grey(tmp_path / "lut.dcm") - expected).max() <= 1


def test_dicom_padding_does_not_count(tmp_path: Path) -> None:
    pixels = WIDE.copy()
    pixels[:, :20] = 0
    write_dicom(tmp_path / "padded.dcm", pixels, PixelPaddingValue=0)
    got = read_grey(tmp_path / "padded.dcm")
    assert (got[:, :20] == 0).all()
    assert np.abs(got[:, 20:] - stretched(WIDE[:, 20:])).max() <= 1


@pytest.mark.parametrize("syntax", ["RLELossless", "JPEG2000Lossless"])
def test_dicom_compressed_without_loss(tmp_path: Path, syntax: str) -> None:
    from pydicom import uid

    dataset = write_dicom(tmp_path / "plain.dcm", WIDE)
    dataset.compress(getattr(uid, syntax))
    dataset.save_as(tmp_path / "packed.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(
        read_grey(tmp_path / "packed.dcm"), read_grey(tmp_path / "plain.dcm")
    )


def test_dicom_with_jpeg_inside(tmp_path: Path, shared_data: Path) -> None:
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGBaseline8Bit

    source = sorted((shared_data / "samples-1024").glob("*.jpg"))[0]
    dataset = write_dicom(tmp_path / "plain.dcm", read_grey(source))
    dataset.PixelData = encapsulate([source.read_bytes()])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.save_as(tmp_path / "jpeg.dcm", enforce_file_format=True)
    assert correlation(read_grey(tmp_path / "jpeg.dcm"), read_grey(source)) > 0.999
    whole = source.read_bytes()
    half = len(whole) // 2
    hole = whole[:half] + bytes(4096) + whole[half + 4096 :]
    for damaged in (hole, whole[:half] + b"\xff\xd9", whole[:half]):
        dataset.PixelData = encapsulate([damaged])
        dataset.save_as(tmp_path / "jpeg.dcm", enforce_file_format=True)
        with pytest.raises(DataError, match=r"DICOM \((Corrupt JPEG data|its JPEG has no end)"):
            read_grey(tmp_path / "jpeg.dcm")
    content = (tmp_path / "jpeg.dcm").read_bytes()
    (tmp_path / "jpeg.dcm").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"jpeg.dcm: truncated DICOM \(no pixels in it\)"):
        read_grey(tmp_path / "jpeg.dcm")
    (tmp_path / "other.dcm").write_bytes(whole)
    np.testing.assert_array_equal(read_grey(tmp_path / "other.dcm"), read_grey(source))


def test_dicom_beyond_the_limit_and_damaged(tmp_path: Path) -> None:
    write_dicom(tmp_path / "bomb.dcm", IMAGE, Rows=60000, Columns=60000)
    with pytest.raises(DataError, match="more than 200 megapixels"):
        read_grey(tmp_path / "bomb.dcm")
    write_dicom(tmp_path / "short.dcm", WIDE, PixelData=b"\0\0")
    with pytest.raises(DataError, match=r"damaged DICOM .*less than expected"):
        read_grey(tmp_path / "short.dcm")
    (tmp_path / "bad.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x01" * 30)
    with pytest.raises(DataError, match="without an image in it, or damaged"):
        read_grey(tmp_path / "bad.dcm")


def test_dicom_without_the_extra_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dicom(tmp_path / "image.dcm", WIDE)
    real = builtins.__import__

    def without_pydicom(name: str, *rest: Any, **options: Any) -> Any:
        if name.partition(".")[0] == "pydicom":
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without_pydicom)
    with pytest.raises(DataError, match=r"pip install 'pulmonet\[dicom\]'"):
        read_grey(tmp_path / "image.dcm")


def test_colours_of_every_kind_give_the_same_grey(tmp_path: Path) -> None:
    from pydicom.pixels.processing import convert_color_space

    rgb = np.stack([IMAGE, IMAGE[::-1], IMAGE[:, ::-1]], axis=-1)
    luma = rgb @ np.asarray([0.299, 0.587, 0.114])
    ybr = convert_color_space(rgb, "RGB", "YBR_FULL")
    even = ybr.reshape(60, 36, 2, 3)
    halved = np.stack([even[:, :, 0, 0], even[:, :, 1, 0], even[:, :, 0, 1], even[:, :, 0, 2]], -1)
    partial = ybr.copy()
    partial[..., 0] = np.rint(luma * 219 / 255 + 16)
    kinds = {"RGB": rgb, "YBR_FULL": ybr, "YBR_FULL_422": halved, "YBR_PARTIAL_422": partial}
    kinds |= {"YBR_ICT": ybr, "": rgb, "MONOCHROME2": rgb, "rgb ": rgb}
    for kind, pixels in kinds.items():
        elements = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PixelData": pixels.tobytes()}
        write_dicom(tmp_path / "a.dcm", IMAGE, photometric=kind, **elements)
        limit = 40 if kind == "YBR_FULL_422" else 2  # colours of two pixels are one, and clipped
        assert np.abs(read_grey(tmp_path / "a.dcm") - luma).max() <= limit, kind
    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1)).tobytes()
    elements = {"SamplesPerPixel": 3, "PlanarConfiguration": 1, "PixelData": planes}
    write_dicom(tmp_path / "a.dcm", IMAGE, photometric="RGB", **elements)
    assert np.abs(read_grey(tmp_path / "a.dcm") - luma).max() <= 1
    full = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PixelData": ybr.tobytes()}
    write_dicom(tmp_path / "a.dcm", IMAGE, photometric="YBR_FULL_422", **full)
    assert np.abs(read_grey(tmp_path / "a.dcm") - luma).max() <= 2, "not subsampled at all"
    write_dicom(tmp_path / "a.dcm", IMAGE, photometric="HSV", **full)
    with pytest.raises(DataError, match="its colours are HSV, which is not read; convert it"):
        read_grey(tmp_path / "a.dcm")


@pytest.mark.parametrize("bits", [8, 16])
def test_palettes(tmp_path: Path, bits: int) -> None:
    table = np.random.default_rng(0).permutation(256).astype(np.uint16) * (257 if bits == 16 else 1)
    kind = np.uint16 if bits == 16 else np.uint8
    elements: dict[str, Any] = {}
    for colour in ("Red", "Green", "Blue"):
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        elements[f"{colour}PaletteColorLookupTableData"] = table.astype(kind).tobytes()
    for photometric in ("PALETTE COLOR", ""):
        write_dicom(tmp_path / "a.dcm", IMAGE, photometric=photometric, **elements)
        expected = (table >> (bits - 8))[IMAGE]
        assert np.abs(read_grey(tmp_path / "a.dcm").astype(int) - expected).max() <= 1


def test_pixels_for_processing_are_remarked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for intent in ("FOR PROCESSING", "FOR PRESENTATION", ""):
        write_dicom(tmp_path / "a.dcm", IMAGE, PresentationIntentType=intent)
        got, remark = decode((tmp_path / "a.dcm").read_bytes(), "a.dcm")
        assert np.abs(got - stretched(IMAGE)).max() <= 1
        assert remark == (Remark.RAW if intent == "FOR PROCESSING" else Remark.NONE)
        caplog.clear()
        read_file(tmp_path / "a.dcm")
        assert ("as the detector read it" in caplog.text) == bool(remark)


MISSING = ["PhotometricInterpretation", "PixelRepresentation", "SamplesPerPixel", "BitsStored"]


@pytest.mark.parametrize("name", [*MISSING, "BitsAllocated"])
@pytest.mark.parametrize("empty", [True, False])
def test_missing_and_empty_elements(tmp_path: Path, name: str, empty: bool) -> None:
    for pixels in (WIDE, IMAGE):
        dataset = write_dicom(tmp_path / "a.dcm", pixels)
        if empty:
            setattr(dataset, name, None)
        else:
            delattr(dataset, name)
        dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
        got, remark = decode((tmp_path / "a.dcm").read_bytes(), "a.dcm")
        assert np.abs(got - stretched(pixels)).max() <= 1
        assert remark == Remark.ASSUMED


@pytest.mark.parametrize(
    "elements",
    [
        {"RescaleSlope": None, "RescaleIntercept": "3"},
        {"RescaleSlope": "0", "RescaleIntercept": "0"},
        {"WindowCenter": None, "WindowWidth": None},
        {"WindowCenter": "100", "WindowWidth": "0"},
        {"NumberOfFrames": None},
        {"VOILUTSequence": []},
        {"ModalityLUTSequence": []},
        {"PixelPaddingValue": None},
    ],
)
def test_empty_elements_count_as_missing(tmp_path: Path, elements: dict[str, Any]) -> None:
    write_dicom(tmp_path / "a.dcm", WIDE, **elements)
    got, remark = decode((tmp_path / "a.dcm").read_bytes(), "a.dcm")
    assert np.abs(got - stretched(WIDE)).max() <= 1
    assert remark == Remark.NONE


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("keep", ["nothing", "preamble", "meta"])
def test_files_that_say_nothing_of_their_encoding(
    tmp_path: Path, implicit: bool, keep: str
) -> None:
    from pydicom.filewriter import dcmwrite

    dataset = write_dicom(tmp_path / "a.dcm", WIDE)
    del dataset.file_meta
    path = tmp_path / "b"
    dcmwrite(path, dataset, implicit_vr=implicit, little_endian=True, force_encoding=True)
    content = path.read_bytes()
    if keep == "preamble":
        content = bytes(128) + b"DICM" + content
    if keep == "meta":
        content = b"\2\0\0\0UL\4\0\0\0\0\0" + content
    got, _ = decode(content, "a.dcm")
    assert np.abs(got - stretched(WIDE)).max() <= 1
    np.testing.assert_array_equal(decode(content, "without an ending")[0], got)


@pytest.mark.parametrize("syntax", ["RLELossless", "JPEG2000Lossless"])
def test_compressed_files_that_say_nothing(tmp_path: Path, syntax: str) -> None:
    from pydicom import uid
    from pydicom.filewriter import dcmwrite

    dataset = write_dicom(tmp_path / "a.dcm", WIDE)
    right = read_grey(tmp_path / "a.dcm")
    dataset.compress(getattr(uid, syntax))
    del dataset.file_meta
    path, how = tmp_path / "b.dcm", {"implicit_vr": False, "little_endian": True}
    dcmwrite(path, dataset, force_encoding=True, **how)
    np.testing.assert_array_equal(read_grey(tmp_path / "b.dcm"), right)


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("sequence", ["ModalityLUTSequence", "VOILUTSequence"])
@pytest.mark.parametrize("n_entries", [4096, 2000])
def test_lookup_tables(tmp_path: Path, sequence: str, bits: int, n_entries: int) -> None:
    from pydicom.dataset import Dataset

    lut = Dataset()
    table = (np.linspace(0, 1, n_entries) ** 2 * (2**bits - 1)).astype(np.uint16)
    lut.LUTDescriptor = [4096, 0, bits]  # a shorter table is taken as long as it is
    lut.add_new(0x00283006, "OW", table.tobytes())
    write_dicom(tmp_path / "a.dcm", WIDE // 2, **{sequence: [lut]})
    expected = stretched(table[np.minimum(WIDE // 2, n_entries - 1)])
    assert np.abs(read_grey(tmp_path / "a.dcm") - expected).max() <= 1


def test_signed_values_through_an_unsigned_table(tmp_path: Path) -> None:
    from pydicom.dataset import Dataset

    lut = Dataset()
    table = np.linspace(0, 65535, 4096).astype(np.uint16)
    lut.LUTDescriptor = [4096, -2048, 16]
    lut.add_new(0x00283006, "OW", table.tobytes())
    signed = WIDE.astype(np.int16) - 2048
    write_dicom(tmp_path / "a.dcm", signed, ModalityLUTSequence=[lut])
    assert np.abs(read_grey(tmp_path / "a.dcm") - stretched(WIDE)).max() <= 1


@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": "127", "WindowWidth": "255"},  # of 8 bits, on 12
        {"WindowCenter": "30000", "WindowWidth": "60000"},
        {"WindowCenter": "-9000", "WindowWidth": "100"},
        {"WindowCenter": ["127", "-5"], "WindowWidth": ["255", "1"]},
    ],
)
def test_a_window_beside_the_values_does_not_count(
    tmp_path: Path, elements: dict[str, Any]
) -> None:
    write_dicom(tmp_path / "a.dcm", WIDE, **elements)
    got, remark = decode((tmp_path / "a.dcm").read_bytes(), "a.dcm")
    assert np.abs(got - stretched(WIDE)).max() <= 1
    assert remark == Remark.WINDOW


def test_the_second_window_where_the_first_shows_nothing(tmp_path: Path) -> None:
    elements = {"WindowCenter": ["127", "2300"], "WindowWidth": ["255", "3000"]}
    write_dicom(tmp_path / "a.dcm", WIDE, **elements)
    expected = np.clip((WIDE - 2299.5) / 2999 + 0.5, 0, 1) * 255
    assert np.abs(read_grey(tmp_path / "a.dcm") - expected).max() <= 1


def test_a_table_that_shows_nothing_gives_way_to_the_window(tmp_path: Path) -> None:
    from pydicom.dataset import Dataset

    lut = Dataset()
    lut.LUTDescriptor = [256, 0, 16]
    lut.add_new(0x00283006, "OW", np.arange(256, dtype=np.uint16).tobytes())
    elements = {"WindowCenter": "2300", "WindowWidth": "3000", "VOILUTSequence": [lut]}
    write_dicom(tmp_path / "a.dcm", WIDE, **elements)
    expected = np.clip((WIDE - 2299.5) / 2999 + 0.5, 0, 1) * 255
    assert np.abs(read_grey(tmp_path / "a.dcm") - expected).max() <= 1


def test_a_deflated_file_that_unfolds_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    dataset = write_dicom(tmp_path / "a.dcm", WIDE)
    right = read_grey(tmp_path / "a.dcm")
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "b.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(read_grey(tmp_path / "b.dcm"), right)
    dataset.add_new(0x00091001, "OB", bytes(2**24))
    dataset.save_as(tmp_path / "b.dcm", enforce_file_format=True)
    monkeypatch.setattr(dicom, "MAX_INFLATED_BYTES", 2**22)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"b.dcm: unfolds to more than a gigabyte"):
        read_grey(tmp_path / "b.dcm")
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_compressed_pictures_of_another_size(tmp_path: Path) -> None:
    from pydicom import uid

    reasons = {
        uid.RLELossless: "wrong RLE segments",
        uid.JPEG2000Lossless: "72 x 60 x 1 values, its header says 7 x 6 x 1",
    }
    for syntax, reason in reasons.items():
        dataset = write_dicom(tmp_path / "a.dcm", WIDE)
        dataset.compress(syntax)
        dataset.Rows, dataset.Columns = 6, 7
        dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
        with pytest.raises(DataError, match=f"a.dcm: .*{reason}"):
            read_grey(tmp_path / "a.dcm")


def test_only_the_first_frame_is_unfolded(tmp_path: Path) -> None:
    from pydicom import uid

    frames = np.stack([WIDE, WIDE[::-1], WIDE[:, ::-1]])
    write_dicom(tmp_path / "a.dcm", WIDE)
    right = read_grey(tmp_path / "a.dcm")
    for n_frames in ("3", "1A", "1", "0", "90000"):
        dataset = write_dicom(tmp_path / "b.dcm", WIDE, PixelData=frames.tobytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset.add_new(0x00280008, "LO", n_frames)
            dataset.save_as(tmp_path / "b.dcm", enforce_file_format=True)
        np.testing.assert_array_equal(read_grey(tmp_path / "b.dcm"), right)
    dataset = write_dicom(tmp_path / "a.dcm", WIDE, PixelData=frames.tobytes(), NumberOfFrames=3)
    dataset.compress(uid.RLELossless)
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(read_grey(tmp_path / "a.dcm"), right)


def test_what_is_no_image_is_left_out(tmp_path: Path) -> None:
    from pydicom.encaps import encapsulate

    dataset = write_dicom(tmp_path / "a.dcm", WIDE)
    del dataset.PixelData
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(DataError, match=r"truncated DICOM \(no pixels in it\)"):
        read_grey(tmp_path / "a.dcm")
    write_dicom(tmp_path / "a.dcm", WIDE, Modality="CT")
    with pytest.raises(DataError, match="its Modality is CT"):
        read_grey(tmp_path / "a.dcm")
    dataset = write_dicom(tmp_path / "a.dcm", WIDE)
    dataset.PixelData = encapsulate([bytes(100)])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(DataError, match=r"stored as MPEG2 .*, which is not read; convert it"):
        read_grey(tmp_path / "a.dcm")


def read_with(path: Path, elements: bytes) -> tuple[np.ndarray, Remark]:
    """`WIDE` with explicit little endian elements as they are, before its pixels."""
    write_dicom(path, WIDE)
    head, mark, pixels = path.read_bytes().partition(b"\xe0\x7f\x10\x00")
    return decode(head + elements + mark + pixels, "a.dcm")


@pytest.mark.parametrize("stored", [10, 12])
def test_bits_that_lie_elsewhere_or_are_more_than_said(tmp_path: Path, stored: int) -> None:
    """pydicom keeps the lowest bits whatever lies there: bright becomes dark."""
    left = {"BitsStored": 12, "HighBit": 15}
    signed = WIDE.astype(np.int16) - 2048
    overlay = WIDE.copy()
    overlay[20:25, 5:60] |= 0x4000
    kinds: list[tuple[np.ndarray, dict[str, Any], Remark]] = [
        (WIDE << 4, left, Remark.NONE),
        (WIDE << 4, left | {"WindowCenter": "2300", "WindowWidth": "3000"}, Remark.NONE),
        (WIDE << 4, left | {"HighBit": 11}, Remark.NONE),
        (signed << 4, left, Remark.NONE),
        ((signed & 0xFFF).view(np.uint16), left | {"PixelRepresentation": 1}, Remark.NONE),
        (WIDE, {"BitsStored": stored, "HighBit": 15}, Remark.ASSUMED * (stored == 10)),
        (WIDE, {"BitsStored": stored, "HighBit": stored - 1}, Remark.ASSUMED * (stored == 10)),
        (overlay, {"BitsStored": 12, "HighBit": 11}, Remark.NONE),
    ]
    for pixels, elements, expected in kinds:
        write_dicom(tmp_path / "a.dcm", pixels, **elements)
        got, remark = decode((tmp_path / "a.dcm").read_bytes(), "a.dcm")
        shown = stretched(WIDE)
        if "WindowCenter" in elements:
            shown = np.clip((WIDE - 2299.5) / 2999 + 0.5, 0, 1) * 255
        assert np.abs(got - shown).max() <= 1, elements
        assert remark == expected


def test_signs_that_were_not_written(tmp_path: Path) -> None:
    """Explicit VR says US where values have a sign: -2048 stands there as 63488."""
    from pydicom.dataset import Dataset

    signed = WIDE.astype(np.int16) - 2048
    lut = Dataset()
    table = np.linspace(0, 1, 4096) ** 2 * 65535
    lut.add_new(0x00283002, "US", [4096, 63488, 16])
    lut.add_new(0x00283006, "OW", table.astype(np.uint16).tobytes())
    for sequence in ("ModalityLUTSequence", "VOILUTSequence"):
        write_dicom(tmp_path / "a.dcm", signed, **{sequence: [lut]})
        assert np.abs(read_grey(tmp_path / "a.dcm") - stretched(table[WIDE])).max() <= 1
    signed[:, :20] = -2048
    dataset = write_dicom(tmp_path / "a.dcm", signed)
    dataset.add_new(0x00280120, "US", 63488)
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert np.abs(read_grey(tmp_path / "a.dcm")[:, 20:] - stretched(WIDE[:, 20:])).max() <= 1


@pytest.mark.parametrize("centers", [b"nan\\2300", b"\\2300 ", b"X\\2300 "])
def test_a_center_that_is_no_number_keeps_its_place(tmp_path: Path, centers: bytes) -> None:
    centers = centers.ljust(8)
    elements = b"\x28\0\x50\x10DS\x08\0" + centers + b"\x28\0\x51\x10DS\x08\0" + b"50\\3000 "
    got, remark = read_with(tmp_path / "a.dcm", elements)
    assert np.abs(got - np.clip((WIDE - 2299.5) / 2999 + 0.5, 0, 1) * 255).max() <= 1
    assert remark == Remark.NONE


def test_thousands_of_windows_are_not_all_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[float] = []
    real = dicom.window
    monkeypatch.setattr(dicom, "window", lambda *given: tried.append(given[1]) or real(*given))
    values = b"1\\" * 16_000 + b"1 "
    start = len(values).to_bytes(2, "little") + values
    elements = b"\x28\0\x50\x10DS" + start + b"\x28\0\x51\x10DS" + start
    got, remark = read_with(tmp_path / "a.dcm", elements)
    assert np.abs(got - stretched(WIDE)).max() <= 1
    assert remark == Remark.WINDOW and 0 < len(tried) <= 16


def test_four_values_a_pixel_are_refused(tmp_path: Path) -> None:
    pixels = np.dstack([IMAGE] * 4).tobytes()
    elements = {"SamplesPerPixel": 4, "PlanarConfiguration": 0, "PixelData": pixels}
    write_dicom(tmp_path / "a.dcm", IMAGE, photometric="RGB", **elements)
    with pytest.raises(DataError, match=r"a.dcm: 4 values a pixel, which is not read; convert it"):
        read_grey(tmp_path / "a.dcm")
