"""Small files that ask for gigabytes, or that lie about what is in them."""

from __future__ import annotations

import gzip
import io
import json
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

#: Pixels a side: just below the 200 megapixels that are refused by the header.
LARGE = 14_100


def deflated_zeros(n_bytes: int, *, raw: bool = False) -> bytes:
    """A stream that unfolds to so many zeros (whole megabytes), a thousandth of their size."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    body = block * (n_bytes >> 20) + packer.flush()
    check = struct.pack(">I", ((n_bytes >> 20 << 20) % 65521) << 16 | 1)  # Adler-32 of zeros
    return body if raw else b"\x78\xda" + body + check


# --- pictures ---------------------------------------------------------------------------------


def png(
    height: int, width: int, *chunks: tuple[bytes, bytes], depth: int = 8, kind: int = 0
) -> bytes:
    """A PNG of this size with these chunks, right checksums, and its end."""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    named = ((b"IHDR", header), *chunks, (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in named
    )


def tiff(height: int, width: int, strip: bytes, *more: tuple[int, int, int, int]) -> bytes:
    """A TIFF of one deflated strip of 8-bit grey; `more` are further tags (tag, type, n, value)."""
    tags: dict[int, tuple[int, int, int]] = {
        256: (4, 1, width),
        257: (4, 1, height),
        258: (3, 1, 8),
        259: (3, 1, 8),
        262: (3, 1, 1),
        273: (4, 1, 8),
        277: (3, 1, 1),
        278: (4, 1, height),
        279: (4, 1, len(strip)),
    } | {tag: rest for tag, *rest in more}  # type: ignore[misc]
    entries = b"".join(struct.pack("<HHII", tag, *tags[tag]) for tag in sorted(tags))
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + directory


def jpeg(height: int, width: int, *, n_scans: int = 0) -> bytes:
    """A small grey JPEG whose header claims this size, its scan so many times over."""
    import cv2

    content = cv2.imencode(".jpg", np.full((16, 16), 90, np.uint8))[1].tobytes()
    frame, scan = content.index(b"\xff\xc0"), content.index(b"\xff\xda")
    size = struct.pack(">HH", height, width)
    body = content[: frame + 5] + size + content[frame + 9 : scan]
    return body + content[scan:-2] * (1 + n_scans) + b"\xff\xd9"


def dicom(
    syntax: str = "1.2.840.10008.1.2.1", pixels: bytes = bytes(8192), **elements: Any
) -> bytes:
    """A DICOM of 64 x 64 16-bit pixels, as its header says; `pixels` may be others."""
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["hostile"])
    meta.TransferSyntaxUID = syntax
    made: Dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    made.Rows = made.Columns = 64
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, 0
    made.PixelData = pixels
    for name, value in elements.items():
        setattr(made, name, value)
    if syntax != ExplicitVRLittleEndian and not syntax.endswith(".1.99"):
        made["PixelData"].is_undefined_length = True
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def deflated_dicom(n_bytes: int) -> bytes:
    """Its dataset, deflated, ends in a private element of so many zeros."""
    whole = dicom("1.2.840.10008.1.2.1.99")
    start = 128 + 4 + 12 + struct.unpack("<I", whole[140:144])[0]
    element = struct.pack("<HH2sHI", 0x7FE1, 0x1001, b"OB", 0, n_bytes)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = packer.compress(zlib.decompress(whole[start:], -15) + element)
    head += packer.flush(zlib.Z_FULL_FLUSH)
    return whole[:start] + head + deflated_zeros(n_bytes, raw=True)


def rle_dicom(n_bytes: int) -> bytes:
    """Its two RLE segments unfold to so many bytes together."""
    from pydicom.encaps import encapsulate

    segment = b"\x81\0" * (n_bytes // 256)
    header = struct.pack("<16I", 2, 64, 64 + len(segment), *[0] * 13)
    return dicom("1.2.840.10008.1.2.5", encapsulate([header + 2 * segment]))


def _stream_dicom(syntax: str, stream: Callable[[], bytes]) -> bytes:
    from pydicom.encaps import encapsulate

    eight = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    return dicom(syntax, encapsulate([stream()]), **eight)


def _jpeg2000(height: int, width: int) -> bytes:
    import cv2

    content = bytearray(cv2.imencode(".jp2", np.full((64, 64), 90, np.uint8))[1].tobytes())
    start = content.index(b"\xff\x4f\xff\x51")
    content[start + 8 : start + 16] = struct.pack(">II", width, height)
    return bytes(content[start:])


def _nested_dicom(depth: int) -> bytes:
    endless = 0xFFFFFFFF
    item = struct.pack("<HH2sHIHHI", 0x0008, 0x1140, b"SQ", 0, endless, 0xFFFE, 0xE000, endless)
    whole = dicom()
    start = 128 + 4 + 12 + struct.unpack("<I", whole[140:144])[0]
    return whole[:start] + item * depth


def pictures() -> dict[str, Callable[[], bytes]]:
    """Makers of hostile images by name; none is read as a right one would be."""
    zeros, rows = deflated_zeros, LARGE * LARGE
    return {
        "dicom-deflated": lambda: deflated_dicom(3 << 30),
        "dicom-rle": lambda: rle_dicom(4 << 30),
        "dicom-more-pixels": lambda: dicom(pixels=bytes(8 << 20)),
        "dicom-less-pixels": lambda: dicom(pixels=bytes(100)),
        "dicom-many-frames": lambda: dicom(NumberOfFrames=90_000),
        "dicom-huge": lambda: dicom(Rows=60_000, Columns=60_000),
        "dicom-large": lambda: dicom(Rows=LARGE, Columns=LARGE),
        "dicom-samples": lambda: dicom(SamplesPerPixel=60_000),
        "dicom-bits": lambda: dicom(BitsAllocated=64, BitsStored=64, HighBit=63),
        "dicom-nested": lambda: _nested_dicom(50_000),
        "dicom-length": lambda: dicom()[:-8200] + struct.pack("<I", 0xFFFFFFF0) + bytes(8192),
        "dicom-jpeg-size": lambda: _stream_dicom(
            "1.2.840.10008.1.2.4.50", lambda: jpeg(60_000, 60_000)
        ),
        "dicom-jpeg-2000-size": lambda: _stream_dicom(
            "1.2.840.10008.1.2.4.90", lambda: _jpeg2000(1 << 30, 1 << 30)
        ),
        "dicom-jpeg-2000-noise": lambda: _stream_dicom(
            "1.2.840.10008.1.2.4.90", lambda: b"\xff\x4f\xff\x51" + bytes(5000)
        ),
        "dicom-jpeg-ls-noise": lambda: _stream_dicom(
            "1.2.840.10008.1.2.4.80", lambda: b"\xff\xd8\xff\xf7" + bytes(5000)
        ),
        "png-huge": lambda: png(60_000, 60_000, (b"IDAT", zeros(1 << 20))),
        "png-large": lambda: png(LARGE, LARGE, (b"IDAT", zeros(rows))),
        "png-large-colours": lambda: png(
            LARGE, LARGE, (b"IDAT", zeros(8 * rows)), depth=16, kind=6
        ),
        "png-small-much": lambda: png(64, 64, (b"IDAT", zeros(3 << 30))),
        "png-profile": lambda: png(
            64, 64, (b"iCCP", b"a\0\0" + zeros(1 << 30)), (b"IDAT", zeros(1 << 20)[:99])
        ),
        "png-text": lambda: png(
            64, 64, *[(b"zTXt", b"a\0\0" + zeros(1 << 28))] * 9, (b"IDAT", b"x")
        ),
        "png-length": lambda: (
            png(64, 64)[:33] + struct.pack(">I", 0x7FFFFFFF) + b"IDAT" + bytes(9) + png(1, 1)[-12:]
        ),
        "tiff-huge": lambda: tiff(60_000, 60_000, zeros(1 << 20)),
        "tiff-large": lambda: tiff(LARGE, LARGE, zeros(1 << 20)),
        "tiff-small-much": lambda: tiff(64, 64, zeros(2 << 30)),
        "tiff-tiles": lambda: tiff(
            64, 64, zeros(1 << 20), (322, 4, 1, 60_000), (323, 4, 1, 60_000), (324, 4, 1, 8)
        ),
        "tiff-samples": lambda: tiff(64, 64, zeros(1 << 20), (277, 3, 1, 60_000)),
        "tiff-count": lambda: tiff(64, 64, zeros(1 << 20), (273, 4, 0xFFFFFFF0, 8)),
        "tiff-noise": lambda: tiff(64, 64, b"\x78\xda" + bytes(range(256))),
        "jpeg-huge": lambda: jpeg(60_000, 60_000),
        "jpeg-large": lambda: jpeg(LARGE, LARGE),
        "jpeg-scans": lambda: jpeg(64, 64, n_scans=3000),
        "gzip": lambda: gzip.compress(bytes(1 << 20)),
    }


# --- checkpoints ------------------------------------------------------------------------------


def archive(data: bytes, path: Path, **members: bytes) -> Path:
    """A file of torch.save with this pickle."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as made:
        made.writestr("x/data.pkl", data)
        for name, content in {"version": b"3\n", **members}.items():
            made.writestr(f"x/{name}", content)
    return path


def call(name: bytes, *numbers: int) -> bytes:
    """A pickle that calls something with whole numbers."""
    arguments = b"".join(b"\x8a\x08" + struct.pack("<q", number) for number in numbers)
    return b"\x80\x02c" + name + b"\n(" + arguments + b"tR."


def write_checkpoints(folder: Path) -> list[Path]:
    """Small files of which each asks for gigabytes."""
    plain = folder / "plain.pth"
    torch.save({"w": torch.zeros(1 << 26)}, plain)
    with zipfile.ZipFile(plain) as read:
        members = {name: read.read(name) for name in read.namelist()}
    plain.unlink()
    path = folder / "deflated.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
        for name, content in members.items():
            made.writestr(name, content)
    paths = [
        path,
        archive(call(b"builtins\nbytearray", 8 << 30), folder / "bytes.pth"),
        archive(call(b"torch\nFloatTensor", 1 << 34), folder / "tensor.pth"),
        archive(call(b"numpy\ndtype", 1 << 40), folder / "numpy.pth"),
    ]
    legacy = io.BytesIO()
    torch.save({"w": torch.zeros(123_456)}, legacy, _use_new_zipfile_serialization=False)
    small, large = (b"J" + struct.pack("<i", number) for number in (123_456, 2**31 - 1))
    (folder / "legacy.pth").write_bytes(legacy.getvalue().replace(small, large))
    many: dict[str, Any] = {"w": torch.zeros(1)}
    for _ in range(60):
        many = {"left": many, "right": many}
    torch.save(many, folder / "many.pth")
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 32], "data_offsets": [0, 1 << 34]}})
    claims = struct.pack("<Q", len(header)) + header.encode()
    (folder / "claims.safetensors").write_bytes(claims)
    return [*paths, folder / "legacy.pth", folder / "many.pth", folder / "claims.safetensors"]
