"""Making rows of a pack: which are missing or outdated, decoding them, committing them."""

import errno
import os
import threading
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pulmonet.arrays import Ints, Pixels
from pulmonet.data.images.file import stat_sources
from pulmonet.data.images.read import read_image
from pulmonet.data.images.square import fit_square
from pulmonet.data.pack.files import PackFiles
from pulmonet.errors import DataError
from pulmonet.files.system import Lock, release_lock, take_lock

#: Images that a thread decodes per task: enough to make the hand-over cheap.
_ROWS_PER_TASK = 16

#: Blocks that are decoded while another is synced, and tasks a thread at least.
_BLOCKS_AHEAD = 2
_TASKS_PER_WORKER = 3

#: Called with (rows done, rows to do).
Progress = Callable[[int, int], None]


def missing_rows(files: PackFiles, rows: Ints) -> Ints:
    """Those of `rows` (ascending) that are not packed, or from an image that has changed since."""
    if not len(rows):
        return rows
    start, stop = int(rows[0]), int(rows[-1]) + 1
    missing = files.checksums.read(start, stop)[rows - start] == 0
    if not missing.all():
        now = stat_sources(files.root, files.paths, rows)
        missing |= (files.sources.read(start, stop)[rows - start, :2] != now).any(axis=1)
    return np.asarray(rows[missing])


@dataclass
class _Block:
    """Missing rows of one locked block: decoded and written by the pool, then committed."""

    lock: Lock
    rows: Ints
    sources: Ints
    checksums: NDArray[np.uint32]
    tasks: list[Future[dict[int, str]]] = field(default_factory=list)


class Packer:
    """Decodes missing rows block by block, in order, beside any other process doing the same."""

    def __init__(
        self, files: PackFiles, missing: Ints, num_workers: int, progress: Progress | None
    ) -> None:
        self._files = files
        self._n_missing = len(missing)
        self._n_done = 0
        self.n_decoded = 0
        self._num_workers = max(1, num_workers)
        self._progress = progress
        self._bad: dict[int, str] = {}
        self._own = threading.local()
        cuts = np.flatnonzero(np.diff(missing // files.rows_per_block)) + 1
        self._waiting = deque(np.split(missing, cuts))

    def run(self) -> dict[int, str]:
        """Pack all; the rows that could not be decoded, with the reason."""
        if not self._files.writable:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        pool = ThreadPoolExecutor(self._num_workers, thread_name_prefix="pack")
        in_flight: deque[_Block] = deque()
        try:
            while self._waiting or in_flight:
                while self._waiting and self._wants_more(in_flight):
                    block = self._start_block(pool, may_wait=not in_flight)
                    if block is None:
                        break
                    in_flight.append(block)
                self._finish_block(in_flight[0])
                release_lock(in_flight.popleft().lock)
            self._files.flush()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            for block in in_flight:
                release_lock(block.lock)
        return self._bad

    def _wants_more(self, in_flight: Collection[_Block]) -> bool:
        """Whether another block keeps the threads at work: large squares make small blocks."""
        n_more = len(in_flight) - _BLOCKS_AHEAD
        n_tasks = sum(len(block.tasks) for block in in_flight)
        is_idle = n_tasks < _TASKS_PER_WORKER * self._num_workers
        return n_more <= 0 or (is_idle and n_more <= self._num_workers)

    def _start_block(self, pool: ThreadPoolExecutor, *, may_wait: bool) -> _Block | None:
        """The next block that no other process is at; None if all are and we may not wait."""
        for _ in range(len(self._waiting)):
            lock = take_lock(self._files.lock_of(int(self._waiting[0][0])), wait=False)
            if lock is not None:
                break
            self._waiting.rotate(-1)
        if lock is None and may_wait:  # with locks in hand it could end in a deadlock
            lock = take_lock(self._files.lock_of(int(self._waiting[0][0])), wait=True)
        if lock is None:
            return None
        rows = self._waiting.popleft()
        left = missing_rows(self._files, rows)  # by now
        self._advance(len(rows) - len(left))
        n = len(left)
        block = _Block(lock, left, np.zeros((n, 3), np.int64), np.zeros(n, np.uint32))
        for start in range(0, n, _ROWS_PER_TASK):
            block.tasks.append(pool.submit(self._decode, block, start))
        return block

    def _decode(self, block: _Block, start: int) -> dict[int, str]:
        """Decode a few rows and write their pixels while they are in the processor's cache."""
        if not hasattr(self._own, "images"):  # memory that is not given back is not cleared again
            side = self._files.side
            self._own.images = np.empty((_ROWS_PER_TASK, side, side), np.uint8)
        images = self._own.images
        bad: dict[int, str] = {}
        good: dict[int, tuple[int, int, int]] = {}
        places = []
        for place, row in enumerate(block.rows[start : start + _ROWS_PER_TASK].tolist(), start):
            try:
                good[row] = decode_row(self._files, row, images[len(good)])
                places.append(place)
            except DataError as error:
                bad[row] = str(error)
        if good:
            block.checksums[places] = self._files.write_pixels(list(good), images[: len(good)])
            block.sources[places] = list(good.values())
        return bad

    def _finish_block(self, block: _Block) -> None:
        """Commit what was decoded of a block."""
        for task in block.tasks:
            self._bad.update(task.result())
        good = block.checksums != 0
        self.n_decoded += int(good.sum())
        if good.any():
            rows = block.rows[good].tolist()
            self._files.commit(rows, block.sources[good], block.checksums[good])
        self._advance(len(block.rows))

    def _advance(self, n_rows: int) -> None:
        self._n_done += n_rows
        if self._progress is not None and n_rows:
            self._progress(self._n_done, self._n_missing)


def decode_row(files: PackFiles, row: int, out: Pixels) -> tuple[int, int, int]:
    """Fill `out` (R, R) with a row's square image.

    Returns:
        (size, mtime_ns) of the file that it belongs to, and its `Remark`.

    Raises:
        DataError: unreadable, or changing while it is read.
    """
    path = files.paths[row]
    image, remark, state = read_image(files.root, path, follow_links=files.follow_links)
    square = fit_square(image, files.side, files.fit, out)
    if square is not out:
        out[:] = square
    return *state, int(remark)
