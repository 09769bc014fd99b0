"""What only the pixels show: the same image under two names, and near-duplicates across splits.

Perceptual hashes propose, pixels confirm. On the 1,302 NIH images of the tests, 1,969 pairs of
*different* patients lie within 10 bits of each other; their pixels correlate by at most 0.80
(0.84 for two films of one patient), while an image and its copy (JPEG quality 50, halved in
size, other contrast, gamma 0.7) correlate by at least 0.975 and differ by at most 8 bits.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pulmonet.arrays import Flags, Floats32, Ints, Pixels
from pulmonet.data.images.decoding import Remark
from pulmonet.data.images.grey import few_greys
from pulmonet.data.images.read import read_image, read_source_image
from pulmonet.data.images.square import fit_square
from pulmonet.data.manifest import Manifest
from pulmonet.data.pack.open import decoding_threads
from pulmonet.errors import DataError
from pulmonet.files.spreadsheet import table_text

#: Largest Hamming distance of two 64-bit hashes that is looked at further.
MAX_HASH_DISTANCE = 10

#: Correlation of high-passed pixels from which two images are near-duplicates.
MIN_CORRELATION = 0.93

#: The same at 16 x 16, a coarse sieve before pixels are fetched again.
_COARSE_SIDE, _MIN_COARSE = 16, 0.85
_FINE_SIDE = 64
_SCAN_SIDE = 256
_BLOCK_ROWS = 512

#: Pairs that are confirmed at most; a dataset with more has a problem of another kind.
MAX_PAIRS = 20_000

Read = Callable[[Ints], Pixels]
#: Rows, and their (R, R) squares.
Squares = tuple[Ints, Sequence[Pixels] | Pixels]


@dataclass
class Scan:
    """What was seen of each row's pixels."""

    rows: Ints  # (n,) manifest rows, the readable ones
    hashes: NDArray[np.uint64]  # (n,) perceptual
    digests: NDArray[np.uint64]  # (n,) of the squared pixels
    coarse: NDArray[np.int8]  # (n, 256) high-passed 16 x 16 pixels of unit norm times 127
    few_greys: Flags  # (n,) mostly black or white, or of few greys


@dataclass(frozen=True)
class NearDuplicate:
    """Two rows of different splits that show the same film."""

    row_a: int
    row_b: int
    hash_distance: int
    correlation: float


def scan_images(
    rows: Ints, look: Callable[[Ints], Squares], progress: Callable[[int, int], None] | None = None
) -> Scan:
    """Look at all images once, block by block.

    `look` gives those of some manifest `rows` that are readable, and their squares; `progress` is
    called with (rows done, all rows).
    """
    readable: list[int] = []
    hashes: list[int] = []
    digests: list[bytes] = []
    coarse = [np.zeros((0, _COARSE_SIDE**2), np.int8)]
    few: list[bool] = []
    for start in range(0, len(rows), _BLOCK_ROWS):
        block, images = look(rows[start : start + _BLOCK_ROWS])
        readable += block.tolist()
        hashes += [perceptual_hash(image) for image in images]
        digests += [hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in images]
        few += [few_greys(np.bincount(image.ravel(), minlength=256)) for image in images]
        thumbs = np.asarray([high_passed(image, _COARSE_SIDE) for image in images], np.float32)
        coarse.append(np.rint(thumbs.reshape(-1, _COARSE_SIDE**2) * 127).astype(np.int8))
        if progress:
            progress(min(start + _BLOCK_ROWS, len(rows)), len(rows))
    return Scan(
        np.asarray(readable, np.int64),
        np.asarray(hashes, np.uint64),
        np.frombuffer(b"".join(digests), "<u8"),
        np.concatenate(coarse),
        np.asarray(few, bool),
    )


def decode_squares(
    manifest: Manifest,
    bad: dict[int, str],
    remarks: dict[int, Remark],
    num_workers: int | None,
    rows: Ints,
) -> Squares:
    """Squares for `scan_images` from the image files; why others are unreadable goes to `bad`."""

    def decode(row: int) -> Pixels | None:
        own, number = manifest.own_row(row)
        try:
            path, links = str(own.table["path"].iloc[number]), own.follow_links
            image, remarks[row], _ = read_image(own.root, path, follow_links=links)
            return fit_square(image, _SCAN_SIDE, "stretch")
        except DataError as error:
            bad[row] = str(error)
            return None

    n_threads = decoding_threads() if num_workers is None else max(1, num_workers)
    with ThreadPoolExecutor(n_threads) as pool:
        decoded = list(pool.map(decode, rows.tolist()))
    images = [image for image in decoded if image is not None]
    return rows[[image is not None for image in decoded]], images


def read_squares(manifest: Manifest, rows: Ints) -> Pixels:
    """(n, R, R) squares of readable rows, as `decode_squares` gave them."""
    images = (read_source_image(manifest, row) for row in rows.tolist())
    return np.stack([fit_square(image, _SCAN_SIDE, "stretch") for image in images])


def perceptual_hash(image: Pixels) -> int:
    """64 bits: which of the 8 x 8 lowest DCT coefficients of the 32 x 32 image exceed their median.

    Source: C. Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010.
    """
    small = cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = np.asarray(cv2.dct(small))[:8, :8].ravel()
    return int(np.packbits(low > np.median(low)).view(np.uint64)[0])


def high_passed(image: Pixels, side: int) -> Floats32:
    """(side, side) float32 of zero mean and unit norm, without the coarse shape all chests share.

    All chest X-rays are alike in their lowest frequencies: these are taken away (a Gaussian of
    a sixteenth of the side), so that correlation compares this film's structures.
    """
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
    rest = small - cv2.GaussianBlur(small, (0, 0), side / 16)
    rest = rest - rest.mean()
    norm = float(np.linalg.norm(rest))
    return np.asarray(rest / norm if norm > 1e-6 else rest * 0, np.float32)


def same_pixels(manifest: Manifest, scan: Scan) -> list[list[int]]:
    """Groups of rows whose images are equal pixel by pixel under different names."""
    order = np.argsort(scan.digests, kind="stable")
    sorted_digests = scan.digests[order]
    starts = np.flatnonzero(np.r_[True, sorted_digests[1:] != sorted_digests[:-1]])
    groups = []
    for members in np.split(scan.rows[order], starts[1:]):
        by_pixels: dict[tuple[tuple[int, ...], bytes], list[int]] = {}
        for row in sorted(members.tolist()) if len(members) > 1 else ():
            with suppress(DataError):  # squares are equal: the original images decide
                image = read_source_image(manifest, row)
                by_pixels.setdefault((image.shape, image.tobytes()), []).append(row)
        groups += [group for group in by_pixels.values() if len(group) > 1]
    return sorted(groups)


def near_duplicates(manifest: Manifest, scan: Scan, read: Read) -> list[NearDuplicate]:
    """Pairs of rows in different splits that show the same film, most alike first.

    A hash distance of at most `MAX_HASH_DISTANCE` proposes, a coarse correlation sieves, and the
    correlation of high-passed 64 x 64 pixels confirms (`MIN_CORRELATION`). Repeat films of one
    patient can look as alike, so a pair is a reason to look, no proof. `read` gives the (n, R, R)
    squares of rows again.
    """
    split = manifest.table["split"].to_numpy(object)[scan.rows]
    proposed: list[tuple[int, int, int]] = []
    for one, other in (("valid", "train"), ("test", "train"), ("test", "valid")):
        proposed += _propose(scan, np.flatnonzero(split == one), np.flatnonzero(split == other))
    proposed.sort(key=lambda pair: pair[2])
    confirmed = []
    for start in range(0, min(len(proposed), MAX_PAIRS), 256):
        chunk = proposed[start : start + 256]
        positions = np.asarray([pair[:2] for pair in chunk], np.int64)
        images_a, images_b = (read(scan.rows[positions[:, side]]) for side in (0, 1))
        for (a, b, distance), *images in zip(chunk, images_a, images_b, strict=True):
            fine_a, fine_b = (high_passed(image, _FINE_SIDE).ravel() for image in images)
            alike = float(fine_a @ fine_b)
            if alike >= MIN_CORRELATION:
                rows = int(scan.rows[a]), int(scan.rows[b])
                confirmed.append(NearDuplicate(*rows, distance, round(alike, 4)))
    return sorted(confirmed, key=lambda pair: (-pair.correlation, pair.row_a, pair.row_b))


def _propose(scan: Scan, a: Ints, b: Ints) -> Iterator[tuple[int, int, int]]:
    """(position, position, hash distance) of candidate pairs, found block by block."""
    n_at_once = max(1, 4_000_000 // max(1, len(b)))
    for start in range(0, len(a), n_at_once):
        block = a[start : start + n_at_once]
        distance = np.bitwise_count(scan.hashes[block][:, None] ^ scan.hashes[b][None])
        left, right = np.nonzero(distance <= MAX_HASH_DISTANCE)
        thumbs_a = scan.coarse[block[left]].astype(np.float32) / 127
        thumbs_b = scan.coarse[b[right]].astype(np.float32) / 127
        alike = np.einsum("ij,ij->i", thumbs_a, thumbs_b)
        for position in np.flatnonzero(alike >= _MIN_COARSE).tolist():
            i, j = left[position], right[position]
            yield int(block[i]), int(b[j]), int(distance[i, j])


def pairs_csv(manifest: Manifest, pairs: list[NearDuplicate]) -> str:
    """``near_duplicates.csv``: both paths, splits and patients, hash distance, correlation."""
    found = pd.DataFrame(pairs, columns=["row_a", "row_b", "hash_distance", "correlation"])
    columns = {
        f"{name}_{side}": manifest.table[name].to_numpy(object)[found[f"row_{side}"].to_numpy()]
        for side in "ab"
        for name in ("path", "split", "patient")
    }
    table = pd.DataFrame(columns).join(found[["hash_distance", "correlation"]])
    return table_text(table)
