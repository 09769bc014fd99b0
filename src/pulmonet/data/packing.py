"""Pack: every image decoded once, squared, and kept with a checksum; the third noun after Manifest.

A pack is keyed by the image paths and the geometry; each row also remembers size and mtime of
the image that it came from, so that a changed image costs one row and an edited label nothing
(docs/adr/pack-keys.md). Rows are packed on demand, by any number of processes at once: each
takes blocks of rows under a byte-range lock that the kernel releases when its holder dies.
Imports no torch.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import platformdirs
from numpy.typing import ArrayLike, NDArray

from pulmonet.data.images import fit_square, read_image
from pulmonet.data.manifest import Manifest
from pulmonet.data.pack_files import FORMAT_VERSION, PackFiles
from pulmonet.errors import DataError, list_first

#: Locks of `lockf` belong to a process, so the threads of this one take turns by themselves.
_process_lock = threading.RLock()

#: Images that a thread decodes per task: enough to make the hand-over cheap.
_ROWS_PER_TASK = 8

#: Blocks that are decoded while another is written.
_BLOCKS_AHEAD = 2

#: A stat that takes longer than this comes from slow storage: many are then made at once.
_SLOW_STAT_SECONDS = 50e-6
_STATS_PER_TASK = 256

Progress = Callable[[int, int], None]


def cache_dir() -> Path:
    """The cache folder: `PULMONET_CACHE_DIR`, else the platform's own."""
    chosen = os.environ.get("PULMONET_CACHE_DIR")
    return Path(chosen) if chosen else platformdirs.user_cache_path("pulmonet")


def pack_side(image_size: int) -> int:
    """R for S: 256 up to 224 px, so that growing sizes share a pack; in proportion above."""
    return 256 if image_size <= 224 else -(-image_size * 256 // 224)


class Pack:
    """Squared images of the rows that it was opened for, checked at every read.

    Attributes:
        side: R, pixels.
        key: name of the pack's folder.
        folder: that folder.
        n_rows: rows of the manifest.
        bad_rows: rows left out (`skip_bad`), with the reason.
        n_decoded: rows that this process decoded when it opened the pack.
        n_repaired: rows that a read found damaged and decoded again.
    """

    def __init__(self, root: Path, paths: Sequence[str], files: PackFiles, fit: str) -> None:
        """Use `open_pack`."""
        self.side = files.side
        self.key = files.folder.name
        self.folder = files.folder
        self.n_rows = files.n_rows
        self.bad_rows: dict[int, str] = {}
        self.n_decoded = 0
        self.n_repaired = 0
        self._root = root
        self._paths = paths
        self._files = files
        self._fit = fit
        self._readable = np.zeros(files.n_rows, bool)
        self._checksums = np.zeros(files.n_rows, np.uint32)

    def read(self, rows: ArrayLike) -> NDArray[np.uint8]:
        """Pixels of `rows` in their order, (n, R, R); safe to call from several threads.

        A row whose checksum fails is decoded again from its source, and the pack mended.

        Raises:
            DataError: a damaged row whose source cannot be read either.
            ValueError: a row that the pack was not opened for.
        """
        wanted = np.atleast_1d(np.asarray(rows, np.int64))
        known = (wanted >= 0) & (wanted < self.n_rows)
        if not known.all() or not self._readable[wanted].all():
            raise ValueError("rows that this pack was not opened for, or bad ones")
        images = np.empty((len(wanted), self.side, self.side), np.uint8)
        expected = self._checksums[wanted].tolist()
        for image, row, checksum in zip(images, wanted.tolist(), expected, strict=True):
            if self._files.read_row(row, image) != checksum:
                self._repair(row, image)
        return images

    def _repair(self, row: int, image: NDArray[np.uint8]) -> None:
        """Fill `image` from what is on disk now, else from the source, and mend the pack."""
        with _process_lock:
            if not self._files.writable:
                image[:], _ = _decode_row(self._root, self._paths[row], self.side, self._fit)
                self.n_repaired += 1
                return
            try:
                with self._files.locked_block(self._files.block_of(row)):
                    self._repair_locked(row, image)
            except OSError as error:
                raise DataError(_explain_os(self.folder, error)) from None

    def _repair_locked(self, row: int, image: NDArray[np.uint8]) -> None:
        now = self._files.read_checksums(row, row + 1)[0]
        if now and self._files.read_row(row, image) == now:
            self._checksums[row] = now  # another process has packed it anew
            return
        image[:], source = _decode_row(self._root, self._paths[row], self.side, self._fit)
        self.n_repaired += 1
        try:
            rows = np.array([row])
            checksums = self._files.write_pixels(rows, image[None])
            self._files.commit(rows, source[None], checksums)
            self._checksums[row] = checksums[0]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise
            # nowhere to keep it: the caller has its pixels, the next read decodes again


def open_pack(
    manifest: Manifest,
    rows: ArrayLike,
    *,
    image_size: int = 224,
    fit: str = "stretch",
    num_workers: int = 2,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> Pack:
    """The pack of a dataset with `rows` packed: what is missing or changed is decoded now.

    Args:
        manifest: the dataset.
        rows: row numbers that will be read, in any order.
        image_size: S, the side that the network will see; the pack's side follows from it.
        fit: stretch, pad or crop.
        num_workers: decoding threads.
        skip_bad: leave unreadable images out (`Pack.bad_rows`) instead of raising.
        progress: called with (rows done, rows to do), never before there is something to do.

    Raises:
        DataError: unreadable images (all of them counted, five named), a full disk, a cache
            folder that cannot be written. What was packed until then stays good.
    """
    wanted = np.unique(np.atleast_1d(np.asarray(rows, np.int64)))
    if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < len(manifest):
        raise ValueError(f"rows outside 0..{len(manifest) - 1}")
    side = pack_side(image_size)
    paths: list[str] = manifest.table["path"].tolist()
    folder = cache_dir() / "packs" / pack_key(manifest.root, paths, side, fit)
    try:
        with _process_lock:
            files = PackFiles(folder, paths, side, _identity(folder.name, side, fit, len(paths)))
            pack = Pack(manifest.root, paths, files, fit)
            missing = _missing_rows(files, manifest.root, paths, wanted)
            if len(missing):
                _check_space(files, missing)
                packer = _Packer(
                    manifest.root,
                    paths,
                    files,
                    fit=fit,
                    missing=missing,
                    num_workers=num_workers,
                    progress=progress,
                )
                pack.bad_rows = packer.run()
                pack.n_decoded = packer.n_decoded
        pack._checksums = files.read_checksums()
    except OSError as error:
        raise DataError(_explain_os(folder, error)) from None
    pack._readable[wanted] = True
    pack._readable[list(pack.bad_rows)] = False
    if pack.bad_rows and not skip_bad:
        raise DataError(_explain_bad(pack.bad_rows))
    return pack


def pack_key(root: Path, paths: Sequence[str], side: int, fit: str) -> str:
    """Folder name of a pack: a digest of where the images are and of the geometry."""
    digest = hashlib.sha256(f"{FORMAT_VERSION}\0{root.resolve()}\0{side}\0{fit}\0".encode())
    digest.update("\0".join(paths).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:24]


def _identity(key: str, side: int, fit: str, n_rows: int) -> dict[str, object]:
    return {"version": FORMAT_VERSION, "key": key, "side": side, "fit": fit, "n_rows": n_rows}


# --- which rows ---------------------------------------------------------------------------


def _missing_rows(
    files: PackFiles, root: Path, paths: Sequence[str], rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Those of `rows` that are not packed, or from an image that has changed since."""
    packed = files.read_checksums()[rows] != 0
    recorded = files.read_sources()[rows]
    changed = (recorded != stat_sources(root, paths, rows)).any(axis=1)
    missing: NDArray[np.int64] = rows[~packed | changed]
    return missing


def stat_sources(root: Path, paths: Sequence[str], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n, 2) size and mtime_ns of the images of `rows`; -1 where there is no such file.

    Many at once where the storage is slow: a network folder answers a thread in milliseconds.
    """
    names = [_file_of(paths[row]) for row in rows.tolist()]
    first, rest = names[:_STATS_PER_TASK], names[_STATS_PER_TASK:]
    started = time.perf_counter()
    stats = _stat_each(root, first)
    is_slow = time.perf_counter() - started > _SLOW_STAT_SECONDS * len(first)
    if rest and is_slow:
        starts = range(0, len(rest), _STATS_PER_TASK)
        chunks = [rest[start : start + _STATS_PER_TASK] for start in starts]
        with ThreadPoolExecutor(16) as pool:
            for chunk in pool.map(lambda chunk: _stat_each(root, chunk), chunks):
                stats += chunk
    else:
        stats += _stat_each(root, rest)
    return np.array(stats, np.int64).reshape(-1, 2)


def _stat_each(root: Path, names: Sequence[str]) -> list[tuple[int, int]]:
    stats = []
    base = os.path.join(root, "")  # noqa: PTH118 - a Path a file would double the time
    last_name, last = "", (-1, -1)
    for name in names:
        if name != last_name:  # rows of one npz share its stat
            try:
                found = os.stat(base + name)  # noqa: PTH116
                last = (found.st_size, found.st_mtime_ns)
            except (OSError, ValueError):
                last = (-1, -1)
            last_name = name
        stats.append(last)
    return stats


def _file_of(path: str) -> str:
    """The file that holds an image: ``x.npz`` of ``x.npz#train/17``."""
    inside = path.find(".npz#")
    return path if inside < 0 else path[: inside + 4]


# --- packing ------------------------------------------------------------------------------


@dataclass
class _Block:
    """Missing rows of one locked block: decoded and written by the pool, then committed."""

    number: int
    rows: NDArray[np.int64]
    sources: NDArray[np.int64]
    checksums: NDArray[np.uint32]
    tasks: list[Future[dict[int, str]]] = field(default_factory=list)


class _Packer:
    """Decodes missing rows block by block, in order, beside any other process doing the same."""

    def __init__(
        self,
        root: Path,
        paths: Sequence[str],
        files: PackFiles,
        *,
        fit: str,
        missing: NDArray[np.int64],
        num_workers: int,
        progress: Progress | None,
    ) -> None:
        self._root = root
        self._paths = paths
        self._files = files
        self._fit = fit
        self._n_missing = len(missing)
        self._n_done = 0
        self.n_decoded = 0
        self._num_workers = max(1, num_workers)
        self._progress = progress
        self._bad: dict[int, str] = {}
        self._own = threading.local()
        numbers = missing // files.rows_per_block
        cuts = np.flatnonzero(np.diff(numbers)) + 1
        self._waiting = deque(
            (int(part[0]) // files.rows_per_block, part) for part in np.split(missing, cuts)
        )

    def run(self) -> dict[int, str]:
        """Pack all; the rows that could not be decoded, with the reason."""
        if not self._files.writable:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        lock = self._files.open_lock()
        pool = ThreadPoolExecutor(self._num_workers, thread_name_prefix="pack")
        in_flight: deque[_Block] = deque()
        try:
            while self._waiting or in_flight:
                while self._waiting and len(in_flight) <= _BLOCKS_AHEAD:
                    block = self._start_block(lock, pool, may_wait=not in_flight)
                    if block is None:
                        break
                    in_flight.append(block)
                self._finish_block(lock, in_flight.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            os.close(lock)
        return self._bad

    def _start_block(self, lock: int, pool: ThreadPoolExecutor, *, may_wait: bool) -> _Block | None:
        """The next block that no other process is at; None if all are and we may not wait."""
        for _ in range(len(self._waiting)):
            if self._files.try_lock_block(lock, self._waiting[0][0]):
                break
            self._waiting.rotate(-1)
        else:
            if not may_wait:  # waiting with locks in hand could end in a deadlock
                return None
            self._files.lock_block(lock, self._waiting[0][0])
        number, rows = self._waiting.popleft()
        left = self._still_missing(rows)
        self._advance(len(rows) - len(left))
        block = _Block(
            number, left, np.zeros((len(left), 2), np.int64), np.zeros(len(left), np.uint32)
        )
        for start in range(0, len(left), _ROWS_PER_TASK):
            block.tasks.append(pool.submit(self._decode, block, start))
        return block

    def _still_missing(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of a block's rows, those that no other process has packed since we looked."""
        start, stop = int(rows[0]), int(rows[-1]) + 1
        packed = self._files.read_checksums(start, stop)[rows - start] != 0
        if not packed.any():
            return rows
        now = stat_sources(self._root, self._paths, rows)
        fresh = (self._files.read_sources(start, stop)[rows - start] == now).all(axis=1)
        left: NDArray[np.int64] = rows[~(packed & fresh)]
        return left

    def _decode(self, block: _Block, start: int) -> dict[int, str]:
        """Decode a few rows and write their pixels while they are in the processor's cache."""
        rows = block.rows[start : start + _ROWS_PER_TASK]
        images = self._buffer()[: len(rows)]
        bad = {}
        good: list[int] = []
        for position, row in enumerate(rows.tolist()):
            try:
                images[len(good)], block.sources[start + position] = _decode_row(
                    self._root, self._paths[row], self._files.side, self._fit
                )
                good.append(position)
            except DataError as error:
                bad[row] = str(error)
        if good:
            checksums = self._files.write_pixels(rows[good], images[: len(good)])
            block.checksums[start + np.array(good)] = checksums
        return bad

    def _buffer(self) -> NDArray[np.uint8]:
        """This thread's own images: memory that is not given back is not cleared again."""
        if not hasattr(self._own, "images"):
            side = self._files.side
            self._own.images = np.empty((_ROWS_PER_TASK, side, side), np.uint8)
        images: NDArray[np.uint8] = self._own.images
        return images

    def _finish_block(self, lock: int, block: _Block) -> None:
        """Commit what was decoded of a block and let others have it."""
        for task in block.tasks:
            self._bad.update(task.result())
        good = block.checksums != 0
        self.n_decoded += int(good.sum())
        if good.any():
            self._files.commit(block.rows[good], block.sources[good], block.checksums[good])
        self._files.unlock_block(lock, block.number)
        self._advance(len(block.rows))

    def _advance(self, n_rows: int) -> None:
        self._n_done += n_rows
        if self._progress is not None and n_rows:
            self._progress(self._n_done, self._n_missing)


def _decode_row(
    root: Path, path: str, side: int, fit: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A row's square image and the (size, mtime_ns) it belongs to.

    Raises:
        DataError: unreadable, or changing while it is read.
    """
    name = [_file_of(path)]
    for _ in range(3):
        before = _stat_each(root, name)
        image = fit_square(read_image(root, path), side, fit)
        if _stat_each(root, name) == before:
            return image, np.array(before[0], np.int64)
    raise DataError(f"{path}: changes while it is read; run again when nothing writes to it")


# --- messages -----------------------------------------------------------------------------


def _check_space(files: PackFiles, missing: NDArray[np.int64]) -> None:
    """Say at once what would otherwise be found out hours later.

    Raises:
        DataError: the disk has no room for the rows that are not packed yet.
    """
    n_new = int((files.read_checksums()[missing] == 0).sum())
    space = os.statvfs(files.folder)
    free, needed = space.f_bavail * space.f_frsize, n_new * files.row_bytes
    if files.writable and needed > free:
        raise DataError(
            f"{files.folder}: {needed / 1e9:.1f} GB needed to pack {n_new:,} images, "
            f"{free / 1e9:.1f} GB free; make room, or set PULMONET_CACHE_DIR to a larger disk"
        )


def _explain_os(folder: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"{folder}: the disk is full; what was packed is kept: make room, or set "
            "PULMONET_CACHE_DIR to a larger disk, and run again"
        )
    return (
        f"{folder}: the pack cannot be written ({error.strerror}); set PULMONET_CACHE_DIR to a "
        "folder that can"
    )


def _explain_bad(bad_rows: dict[int, str]) -> str:
    if len(bad_rows) == 1:
        return f"{next(iter(bad_rows.values()))} (or leave it out with --skip-bad)"
    reasons = [reason.split(";")[0] for _, reason in sorted(bad_rows.items())]
    return (
        f"{len(bad_rows):,} images cannot be used: {list_first(reasons)}; mend them, or leave "
        "them out with --skip-bad"
    )
