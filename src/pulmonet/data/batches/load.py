"""Loading: batches from the pack, prepared by threads ahead of the network.

Threads, not processes: reading, checking and resampling release the interpreter's lock, there is
nothing to pickle, no shared memory to run out of, no worker that can be killed by itself, and an
exception arrives in the main thread as what it was. Order, augmentation and MixUp are functions
of (seed, epoch, row), so batches are the same for any number of threads.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import KW_ONLY, dataclass
from functools import cache, partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import betaincinv

from pulmonet.arrays import Floats32, Ints
from pulmonet.config.fields import AugmentConfig
from pulmonet.data.batches.augment import apply, draw, place_tensor
from pulmonet.data.batches.random import class_aware_order, even_order, permutation, uniform
from pulmonet.data.pack.features import Features
from pulmonet.data.pack.open import Pack, decoding_threads
from pulmonet.data.regions import TaughtRegions
from pulmonet.errors import is_out_of_memory

#: Rows that a thread copies to a device at once.
BLOCK_ROWS = 256

#: Streams of `uniform`, apart from augmentation's (below 100). Never renumber.
_ORDER, _MIXUP_SHARE, _MIXUP_PARTNER = 100, 101, 102


@dataclass(frozen=True)
class Batch:
    """B images with their targets."""

    images: torch.Tensor  # (B, 1, S, S) in [0, 255]: uint8, on a GPU float32; features (B, 1, 1, F)
    targets: torch.Tensor  # (B, L) float32, NaN = unknown; L = 0 in evaluation
    rows: Ints  # (B,) manifest row numbers
    #: Regions of K labels on the images, where maps are taught: (K, S, S), 0 to 255 ...
    cover: torch.Tensor | None = None
    pairs: torch.Tensor | None = None  # ... and on the CPU (K, 2) position in the batch, label

    def __len__(self) -> int:
        return len(self.rows)


@dataclass
class TrainingBatches:
    """Augmented batches of the training rows, epoch by epoch; nothing is read before."""

    pack: Pack | Features  # opened for `rows`; features are neither augmented nor resized
    rows: Ints  # (n,) manifest row numbers of the training rows
    targets: Floats32  # (n, L) aligned with `rows`
    augment: AugmentConfig
    _: KW_ONLY
    image_size: int
    batch_size: int  # images a step over all processes
    seed: int
    num_workers: int | None = None  # as `in_order`'s
    rank: int = 0  # this process; it takes its part of every global batch
    world_size: int = 1
    #: Class-aware batches (`class_aware_order`); None takes every row once an epoch.
    positive_share: float | None = None
    groups: Ints | None = None  # (n,) the collection of each training row, to draw them evenly
    device: str | torch.device = "cpu"  # where the images are wanted; a GPU also augments them
    regions: TaughtRegions | None = None  # moved as the images are

    def __post_init__(self) -> None:
        self.rows = np.asarray(self.rows, np.int64)
        self.targets = np.ascontiguousarray(self.targets, np.float32)
        self._device = _threads_device(self.device)

    def n_steps(self) -> int:
        """Batches an epoch, the last and perhaps smaller one included.

        A single image left over goes with the batch before it: batch norm would see no spread.
        """
        n, each = len(self.rows), self.batch_size
        return -(-n // each) - (n > each and n % each == 1)

    def epoch(
        self, epoch: int, *, image_size: int | None = None, start_step: int = 0
    ) -> Iterator[Batch]:
        """The batches of one epoch from `start_step` on, in order; S is `image_size` if given.

        Raises:
            DataError: while iterating, from `Pack.read`.
        """
        n_steps = self.n_steps()
        starts = np.arange(1, n_steps) * self.batch_size
        size = image_size or self.image_size
        work = (
            partial(self._prepare, epoch, np.array_split(whole, self.world_size)[self.rank], size)
            for whole in np.split(self.order(epoch), starts)[start_step:n_steps]
        )
        return in_order(work, self.num_workers, self._device)

    def order(self, epoch: int) -> Ints:
        """(n,) positions into the training rows, as all processes together take them."""
        if self.positive_share is not None:
            return class_aware_order(
                self.targets,
                self.rows,
                batch_size=self.batch_size,
                positive_share=self.positive_share,
                seed=self.seed,
                epoch=epoch,
            )
        if self.groups is not None:
            return even_order(self.groups, self.rows, seed=self.seed, epoch=epoch)
        return permutation(self.seed, epoch, self.rows, _ORDER)

    def _prepare(self, epoch: int, positions: Ints, image_size: int) -> Batch:
        rows = self.rows[positions]
        images = self._images(epoch, rows, image_size)
        targets = torch.from_numpy(self.targets[positions])
        if self.augment.mixup_alpha > 0:
            images, targets = self._mix(epoch, rows, images, targets, image_size)
        placed = place_tensor(targets, self._device)
        if self.regions is None or isinstance(self.pack, Features):
            return Batch(images, placed, rows)
        pairs, masks = self.regions.masks(rows, self.pack.side)
        cover = images.new_zeros((0, 1, image_size, image_size))
        if len(pairs):
            grey_stays = self.augment.model_copy(update={"brightness": 0.0, "contrast": 0.0})
            moved = draw(grey_stays, seed=self.seed, epoch=epoch, rows=rows[pairs[:, 0]])
            drawn = torch.from_numpy(masks)[:, None]
            cover = apply(place_tensor(drawn, self._device), moved, image_size)
        return Batch(images, placed, rows, cover[:, 0], torch.from_numpy(pairs))

    def _images(self, epoch: int, rows: Ints, image_size: int) -> torch.Tensor:
        images = _read(self.pack, rows, self._device)
        if images.is_floating_point():
            return images
        parameters = draw(self.augment, seed=self.seed, epoch=epoch, rows=rows)
        return apply(images, parameters, image_size)

    def _mix(
        self, epoch: int, rows: Ints, images: torch.Tensor, targets: torch.Tensor, image_size: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """MixUp (Zhang et al. 2018, arXiv:1710.09412), one share and one partner a row.

        The partner is drawn from all training rows, so that it depends neither on the batch nor
        on the number of processes. A target that is unknown in either is unknown in the mixture.
        """
        alpha = self.augment.mixup_alpha
        drawn = uniform(self.seed, epoch, rows, _MIXUP_SHARE)
        share = torch.from_numpy(betaincinv(alpha, alpha, drawn).astype(np.float32))
        drawn = uniform(self.seed, epoch, rows, _MIXUP_PARTNER)
        partners = (drawn * len(self.rows)).astype(np.int64)
        others = self._images(epoch, self.rows[partners], image_size)
        other_targets = torch.from_numpy(self.targets[partners])
        weight = place_tensor(share[:, None, None, None], images.device)
        mixed = images.float() * weight + others.float() * (1 - weight)
        if images.dtype == torch.uint8:
            mixed = mixed.round().to(torch.uint8)
        return mixed, targets * share[:, None] + other_targets * (1 - share[:, None])


def evaluation_batches(
    pack: Pack | Features,
    rows: ArrayLike,
    *,
    image_size: int,
    batch_size: int,
    num_workers: int | None = None,
    view: Floats32 | None = None,
    device: str | torch.device = "cpu",
) -> Iterator[Batch]:
    """Batches of `rows` (n,) in their order: the whole square resized, nothing drawn.

    `view` is one of `augment.tta_views`; `num_workers` are `in_order`'s.

    Raises:
        DataError: while iterating, from `Pack.read`.
    """
    all_rows = np.asarray(rows, np.int64)
    place = _threads_device(device)

    def prepare(part: Ints) -> Batch:
        images = _read(pack, part, place)
        viewed = images if images.is_floating_point() else apply(images, view, image_size)
        return Batch(viewed, images.new_empty((len(part), 0)), part)

    starts = range(0, len(all_rows), batch_size)
    work = (partial(prepare, all_rows[start:][:batch_size]) for start in starts)
    return in_order(work, num_workers, place)


class ResidentPack(Pack):
    """Squared images of some rows of a pack, on a device: read, and checked, once."""

    def __init__(self, pack: Pack, rows: Ints, device: torch.device) -> None:
        """Copy ascending `rows` (n,) there. DataError: from `Pack.read`."""
        self.side, self._places = pack.side, np.full(pack.n_rows, -1)
        self._places[rows] = np.arange(len(rows))
        shape = len(rows), 1, self.side, self.side
        self._pixels = torch.empty(shape, dtype=torch.uint8, device=device)

        def fill(start: int) -> None:
            block = torch.from_numpy(pack.read(rows[start:][:BLOCK_ROWS]))
            self._pixels[start:][:BLOCK_ROWS, 0].copy_(block)

        with ThreadPoolExecutor(decoding_threads()) as pool:
            list(pool.map(fill, range(0, len(rows), BLOCK_ROWS)))
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # loader threads read on a stream of their own

    def select(self, rows: Ints) -> torch.Tensor:
        """(B, 1, R, R) uint8 of `rows` in their order, on the device. ValueError: not of them."""
        places = self._places[rows]
        if (places < 0).any():
            raise ValueError("rows that are not on the device")
        index = place_tensor(torch.from_numpy(places), self._pixels.device)
        return self._pixels.index_select(0, index)


def _read(pack: Pack | Features, rows: Ints, device: torch.device) -> torch.Tensor:
    """(B, 1, R, R) uint8 of `rows`, or (B, 1, 1, F) features, on the device."""
    if isinstance(pack, ResidentPack):
        return pack.select(rows)
    return place_tensor(torch.from_numpy(pack.read(rows))[:, None], device)


def _threads_device(device: str | torch.device) -> torch.device:
    """Where the loader's threads put a batch: torch's operations on MPS abort in a thread.

    https://github.com/pytorch/pytorch/issues/197805; the step copies the batch then.
    """
    place = torch.device(device)
    return torch.device("cpu") if place.type == "mps" else place


@cache
def side_stream(device: torch.device, _use: str) -> torch.cuda.Stream:
    """One stream of a device for each use in a process: the allocator keeps memory for each."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def loader_threads(device: torch.device) -> int:
    """How many where nobody says: 2; for CUDA one a core, shared by processes, and up to 8."""
    return min(8, decoding_threads()) if device.type == "cuda" else 2


def in_order(
    work: Iterator[Callable[[], Any]], num_workers: int | None, device: torch.device
) -> Iterator[Any]:
    """Results of `work` in its order, up to `num_workers` + 2 of them prepared ahead.

    0 threads prepare each when it is asked for; None is `loader_threads`.

    For CUDA they are batches, copied and augmented on a stream of their own, beside the network's.
    """
    num_workers = loader_threads(device) if num_workers is None else num_workers
    if num_workers <= 0:
        yield from (prepare() for prepare in work)
        return
    stream = side_stream(device, "loader") if device.type == "cuda" else None

    def run(prepare: Callable[[], Any]) -> tuple[Any, torch.cuda.Event | None]:
        """A batch, and the event after which a CUDA device has it."""
        if stream is None:
            return prepare(), None
        with torch.cuda.stream(stream):
            return prepare(), stream.record_event()

    pool = ThreadPoolExecutor(num_workers, thread_name_prefix="loader")
    ahead: deque[tuple[Callable[[], Any], Future[tuple[Any, torch.cuda.Event | None]]]]
    ahead = deque()
    try:
        while True:
            for prepare in islice(work, num_workers + 2 - len(ahead)):
                ahead.append((prepare, pool.submit(run, prepare)))
            if not ahead:
                return
            prepare, prepared = ahead.popleft()
            try:
                batch, ready = prepared.result()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                wait([future for _, future in ahead])  # what they hold for a moment is free again
                if stream is not None:
                    torch.cuda.empty_cache()
                batch, ready = prepare(), None
            if ready is not None:  # the current stream waits; memory is kept until it is done
                current = torch.cuda.current_stream(batch.images.device)
                current.wait_event(ready)
                for part in (batch.images, batch.targets, batch.cover):
                    if part is not None:
                        part.record_stream(current)
            yield batch
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
