"""Pack: every image decoded once, squared, and kept with a checksum; the third noun after Manifest.

A pack is keyed by the image paths and the geometry; each row also remembers size and mtime of
the image that it came from, so that a changed image costs one row and an edited label nothing
(docs/adr/pack-keys.md). Rows are packed on demand, by any number of processes at once: each
takes blocks of rows under a lock that the system releases when its holder dies.
Imports no torch.
"""

import errno
import hashlib
import logging
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import ArrayLike

from pulmonet.arrays import Ints, Pixels
from pulmonet.data.images.file import stat_sources
from pulmonet.data.images.square import pack_side
from pulmonet.data.manifest import Manifest
from pulmonet.data.pack.files import FORMAT_VERSION, PackFiles
from pulmonet.data.pack.write import Packer, Progress, decode_row, missing_rows
from pulmonet.errors import ArtifactError, DataError
from pulmonet.files.paths import expand
from pulmonet.files.system import locked, usable_cores
from pulmonet.words import list_first

#: Decoding threads that nobody asked for; Python's lock leaves nothing to more.
MAX_THREADS = 32


def cache_dir() -> Path:
    """The cache folder: `PULMONET_CACHE_DIR`, else the platform's own."""
    chosen = os.environ.get("PULMONET_CACHE_DIR")
    return expand(chosen) if chosen else platformdirs.user_cache_path("pulmonet")


def decoding_threads() -> int:
    """One for each core that this process may use, shared by the processes of a torchrun."""
    try:
        n_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    except ValueError:
        n_processes = 1
    return min(max(1, usable_cores() // max(1, n_processes)), MAX_THREADS)


class Pack:
    """Squared images of the rows that it was opened for, checked at every read."""

    def __init__(
        self, files: PackFiles, rows: Ints, num_workers: int, progress: Progress | None
    ) -> None:
        """Use `open_pack`: decode those of `rows` (ascending) that are missing or outdated.

        Raises:
            OSError: the disk is full, or the pack cannot be written.
            DataError: too little room on the disk.
        """
        self._files = files
        self.side = files.side  # R, pixels
        self.folder, self.key = files.folder, files.folder.name
        self.n_rows = len(files.paths)  # of the manifest
        self.bad_rows: dict[int, str] = {}  # left out (`skip_bad`), with the reason
        self.n_decoded = 0  # rows that this process decoded when it opened the pack
        self.n_repaired = 0  # rows that a read found damaged and decoded again
        missing = missing_rows(files, rows)
        if len(missing):
            _check_space(files, missing)
            packer = Packer(files, missing, num_workers, progress)
            self.bad_rows = packer.run()
            self.n_decoded = packer.n_decoded
        self._repairing = threading.Lock()
        self._checksums = files.checksums.read()
        self._readable = np.zeros(self.n_rows, bool)
        self._readable[rows] = True
        self._readable[list(self.bad_rows)] = False

    def remarks(self, rows: Ints) -> Ints:
        """(n,) what there was to remark when `rows` were decoded, as `Remark`."""
        return np.asarray(self._files.sources.read()[rows, 2])

    def checksums(self, rows: Ints) -> Ints:
        """(n,) CRC-32 of the pixels of `rows`."""
        return self._checksums[rows].astype(np.int64)

    def read(self, rows: ArrayLike) -> Pixels:
        """Pixels of `rows` in their order, (n, R, R); safe to call from several threads.

        A row whose checksum fails is decoded again from its source, and the pack repaired.

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

    def _repair(self, row: int, image: Pixels) -> None:
        """Fill `image` from what is on disk now, else from the source, and repair the pack."""
        with self._repairing:
            if not self._files.writable:
                decode_row(self._files, row, image)
                self.n_repaired += 1
                return
            try:
                with locked(self._files.lock_of(row)):
                    self._repair_locked(row, image)
            except OSError as error:
                raise DataError(explain_os(self.folder, error)) from None

    def _repair_locked(self, row: int, image: Pixels) -> None:
        now = self._files.checksums.read(row, row + 1)[0]
        if now and self._files.read_row(row, image) == now:
            self._checksums[row] = now  # another process has packed it anew
            return
        source = np.array(decode_row(self._files, row, image))
        self.n_repaired += 1
        try:
            checksums = self._files.write_pixels([row], image[None])
            self._files.commit([row], source[None], checksums)
            self._checksums[row] = checksums[0]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise
            # nowhere to keep it: the caller has its pixels, the next read decodes again


class JointPack(Pack):
    """Squared images of the rows of several collections; `packs` say what was decoded of each."""

    def __init__(self, manifest: Manifest, packs: Sequence[Pack]) -> None:
        """From the open packs of a manifest's parts, in their order."""
        self._manifest, self.packs = manifest, tuple(packs)
        self.side, self.folder = packs[0].side, packs[0].folder.parent
        self.n_rows, self.bad_rows = len(manifest), {}
        parts = manifest.by_collection(np.arange(self.n_rows))
        for pack, (*_, places) in zip(packs, parts, strict=True):
            self.bad_rows |= {int(places[row]): why for row, why in pack.bad_rows.items()}

    def remarks(self, rows: Ints) -> Ints:
        """As `Pack.remarks`."""
        return np.asarray(self._gather(rows, Pack.remarks, np.empty(len(rows), np.int64)))

    def checksums(self, rows: Ints) -> Ints:
        """As `Pack.checksums`."""
        return np.asarray(self._gather(rows, Pack.checksums, np.empty(len(rows), np.int64)))

    def read(self, rows: ArrayLike) -> Pixels:
        """As `Pack.read`."""
        wanted = np.atleast_1d(np.asarray(rows, np.int64))
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < self.n_rows:
            raise ValueError("rows that this pack was not opened for")
        images = np.empty((len(wanted), self.side, self.side), np.uint8)
        return np.asarray(self._gather(wanted, Pack.read, images))

    def _gather(self, rows: Ints, what: Callable[[Pack, Any], Any], found: Any) -> Any:
        """`found`, (n, ...), filled with `what` each pack gives for its rows."""
        parts = self._manifest.by_collection(rows)
        for pack, (_, own, places) in zip(self.packs, parts, strict=True):
            found[places] = what(pack, own)
        return found


def open_pack(
    manifest: Manifest,
    rows: ArrayLike,
    *,
    image_size: int = 224,
    fit: str = "stretch",
    num_workers: int | None = None,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> Pack:
    """The pack of a dataset with `rows` packed: what is missing or changed is decoded now.

    `rows` are in any order; the pack's side follows from `image_size`, S, which the network will
    see. `skip_bad` leaves unreadable images out (`Pack.bad_rows`). `progress` is called with (rows
    done, rows to do), never before there is something to do.

    Raises:
        DataError: unreadable images (all of them counted, five named), a full disk, a cache
            folder that cannot be written. What was packed until then stays good.
    """
    wanted = np.unique(np.atleast_1d(np.asarray(rows, np.int64)))
    if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < len(manifest):
        raise ValueError(f"rows outside 0..{len(manifest) - 1}")
    side = pack_side(image_size)
    key = pack_key(manifest.root, manifest.table["path"].tolist(), side, fit)
    folder = cache_dir() / "packs" / key
    log = logging.getLogger(__name__)
    log.info("images at %d px from the pack %s, else from %s", side, folder, manifest.root)
    try:
        n_threads = decoding_threads() if num_workers is None else num_workers
        files = PackFiles(folder, manifest, side, fit)
        pack = Pack(files, wanted, n_threads, progress)
    except OSError as error:
        raise DataError(explain_os(folder, error)) from None
    except ArtifactError as error:
        raise DataError(str(error)) from None
    if pack.bad_rows and not skip_bad:
        raise DataError(_explain_bad(pack.bad_rows, len(wanted)))
    log.info("%d images ready", len(wanted) - len(pack.bad_rows))
    return pack


def open_packs(manifest: Manifest, rows: Ints, **how: Any) -> Pack:
    """As `open_pack`, with the pack of each collection where a manifest is of several."""
    if not manifest.parts:
        return open_pack(manifest, rows, **how)
    opened = (open_pack(part, own, **how) for part, own, _ in manifest.by_collection(rows))
    return JointPack(manifest, list(opened))


def pack_key(root: Path, paths: Sequence[str], side: int, fit: str) -> str:
    """Folder name of a pack: a digest of where the images are and of the geometry."""
    text = f"{FORMAT_VERSION}\0{root.resolve()}\0{side}\0{fit}\0"
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape"))
    digest.update("\0".join(paths).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:24]


def _check_space(files: PackFiles, missing: Ints) -> None:
    """Raise a DataError at once instead of hours later."""
    n_new = int((files.checksums.read()[missing] == 0).sum())
    space, needed = shutil.disk_usage(files.folder), n_new * files.row_bytes
    if needed > space.free:  # of a part of a collection, only what is there will be packed
        n_new = int((stat_sources(files.root, files.paths, missing)[:, 0] >= 0).sum())
        needed = n_new * files.row_bytes
    if files.writable and space.total and needed > space.free:  # network folders may tell nothing
        raise DataError(
            f"{files.folder}: {needed / 1e6:,.0f} MB needed to pack {n_new:,} images, "
            f"{space.free / 1e6:,.0f} MB free; make room, or set PULMONET_CACHE_DIR to a larger "
            "disk"
        )


def explain_os(folder: Path, error: OSError) -> str:
    way_out = "set PULMONET_CACHE_DIR to a"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        kept = "the disk is full; what was packed is kept: make room, or"
        return f"{folder}: {kept} {way_out} larger disk, and run again"
    return f"{folder}: the pack cannot be written ({error.strerror}); {way_out} folder that can"


def _explain_bad(bad_rows: dict[int, str], n_rows: int) -> str:
    if len(bad_rows) == 1:
        return f"{next(iter(bad_rows.values()))} (or leave it out with --skip-bad)"
    if len(bad_rows) == n_rows:
        return f"none of {n_rows:,} images can be used; the first: {bad_rows[min(bad_rows)]}"
    reasons = list_first(reason.split(";")[0] for _, reason in sorted(bad_rows.items()))
    what = f"{len(bad_rows):,} images cannot be used: {reasons}"
    return f"{what}; replace them, or leave them out with --skip-bad"
