"""Batches: the same for any number of threads, processes and interruptions."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from pulmonet.config.fields import AugmentConfig
from pulmonet.data.batches import load as load_module
from pulmonet.data.batches.augment import apply, apply_torch, draw, tta_views
from pulmonet.data.batches.load import Batch, ResidentPack, TrainingBatches, evaluation_batches
from pulmonet.data.pack import open as open_module
from pulmonet.data.pack import write as pack_writing
from pulmonet.data.pack.open import Pack, open_pack
from pulmonet.data.regions import Region, TaughtRegions
from pulmonet.errors import DataError
from pulmonet.run.record import BoxFacts
from small_dataset import manifest_of, write_dataset

N_ROWS = 40
ROWS = np.array([*range(3, 30), *range(35, 40)])  # 32 rows, not all of the manifest
SIZE = 64

NO_FACTS = BoxFacts(file="", digest="", boxes={}, images={}, patients={}, n_images=0, n_patients=0)


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    return open_pack(write_dataset(tmp_path / "tiny", N_ROWS), range(N_ROWS))


def targets_of(n: int = len(ROWS), n_labels: int = 3) -> NDArray[np.float32]:
    targets = np.random.default_rng(0).integers(0, 2, (n, n_labels)).astype(np.float32)
    targets[4, 1] = np.nan
    return targets


def batches_of(pack: Pack, **changes: Any) -> TrainingBatches:
    settings: dict[str, Any] = {
        "image_size": SIZE,
        "batch_size": 5,
        "seed": 42,
        "num_workers": 0,
        "augment": AugmentConfig(),
    }
    settings.update(changes)
    augment = settings.pop("augment")
    return TrainingBatches(pack, ROWS, settings.pop("targets", targets_of()), augment, **settings)


def assert_same(first: list[Batch], second: list[Batch]) -> None:
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.rows, b.rows)
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.targets, b.targets)


def test_an_epoch_takes_every_row_once(pack: Pack) -> None:
    batches = list(batches_of(pack).epoch(0))
    assert [len(batch) for batch in batches] == [5] * 6 + [2]
    assert batches_of(pack).n_steps() == 7
    rows = np.concatenate([batch.rows for batch in batches])
    assert sorted(rows) == ROWS.tolist()
    assert rows.tolist() != ROWS.tolist()
    by_row = dict(zip(ROWS.tolist(), targets_of(), strict=True))
    for batch in batches:
        assert (batch.images.dtype, batch.images.shape[1:]) == (torch.uint8, (1, SIZE, SIZE))
        assert batch.targets.dtype == torch.float32
        expected = np.stack([by_row[row] for row in batch.rows.tolist()])
        np.testing.assert_array_equal(batch.targets, expected)


@pytest.mark.parametrize(
    ("batch_size", "sizes"),
    [(31, [32]), (32, [32]), (10, [10, 10, 10, 2]), (1, [1] * 32), (30, [30, 2]), (40, [32])],
)
def test_no_image_is_left_alone(pack: Pack, batch_size: int, sizes: list[int]) -> None:
    """Batch norm sees no spread in a single image, so the batch before takes it."""
    for world_size in (1, 2):
        batches = batches_of(pack, batch_size=batch_size, world_size=world_size)
        assert batches.n_steps() == len(sizes)
        shares = [
            list(batches_of(pack, batch_size=batch_size, world_size=world_size, rank=rank).epoch(1))
            for rank in range(world_size)
        ]
        assert [sum(map(len, step)) for step in zip(*shares, strict=True)] == sizes
    whole = list(batches_of(pack, batch_size=batch_size).epoch(1))
    later = batches_of(pack, batch_size=batch_size, num_workers=3)
    assert_same(list(later.epoch(1, start_step=len(sizes) - 1)), whole[-1:])
    assert not list(later.epoch(1, start_step=len(sizes)))


def test_images_are_the_rows_own_augmented(pack: Pack) -> None:
    batch = next(batches_of(pack).epoch(3))
    images = torch.from_numpy(pack.read(batch.rows))[:, None]
    drawn = draw(AugmentConfig(), seed=42, epoch=3, rows=batch.rows)
    np.testing.assert_array_equal(batch.images, apply(images, drawn, SIZE))


@pytest.mark.parametrize("num_workers", [1, 2, 5])
@pytest.mark.parametrize("augment", [AugmentConfig(), AugmentConfig(mixup_alpha=0.4)])
def test_any_number_of_threads(pack: Pack, num_workers: int, augment: AugmentConfig) -> None:
    expected = list(batches_of(pack, augment=augment).epoch(1))
    assert_same(list(batches_of(pack, augment=augment, num_workers=num_workers).epoch(1)), expected)


def test_epochs_and_seeds_differ_and_repeat(pack: Pack) -> None:
    first = batches_of(pack).order(0)
    np.testing.assert_array_equal(first, batches_of(pack).order(0))
    assert not np.array_equal(first, batches_of(pack).order(1))
    assert not np.array_equal(first, batches_of(pack, seed=43).order(0))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_resuming_inside_an_epoch(pack: Pack, num_workers: int) -> None:
    batches = batches_of(pack, num_workers=num_workers, augment=AugmentConfig(mixup_alpha=1.0))
    whole = list(batches.epoch(2))
    for start_step in (1, 4, 6, 7):
        assert_same(list(batches.epoch(2, start_step=start_step)), whole[start_step:])


@pytest.mark.parametrize("world_size", [2, 3, 7])
@pytest.mark.parametrize("positive_share", [None, 0.5])
def test_processes_share_each_global_batch(
    pack: Pack, world_size: int, positive_share: float | None
) -> None:
    settings = {"augment": AugmentConfig(mixup_alpha=0.4), "positive_share": positive_share}
    single = list(batches_of(pack, **settings).epoch(1))
    ranks = [
        list(batches_of(pack, rank=rank, world_size=world_size, **settings).epoch(1))
        for rank in range(world_size)
    ]
    for step, batch in enumerate(single):
        parts = [rank[step] for rank in ranks]
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        np.testing.assert_array_equal(np.concatenate([part.rows for part in parts]), batch.rows)
        np.testing.assert_array_equal(torch.cat([part.images for part in parts]), batch.images)
        np.testing.assert_array_equal(torch.cat([part.targets for part in parts]), batch.targets)


def test_growing_sizes(pack: Pack) -> None:
    batches = batches_of(pack)
    assert next(batches.epoch(0, image_size=32)).images.shape == (5, 1, 32, 32)
    assert next(batches.epoch(0)).images.shape == (5, 1, SIZE, SIZE)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_error_in_a_thread_is_the_error(
    pack: Pack, num_workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(root: Path, path: str, **_: bool) -> NDArray[np.uint8]:
        raise DataError(f"{path}: gone; restore it")

    monkeypatch.setattr(pack_writing, "read_image", unreadable)
    with (pack.folder / "images.npy").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(DataError, match="gone; restore it"):
        list(batches_of(pack, num_workers=num_workers).epoch(0))
    assert loader_threads() == 0


def loader_threads() -> int:
    return sum(thread.name.startswith("loader") for thread in threading.enumerate())


def test_leaving_early_stops_the_threads(pack: Pack) -> None:
    for batch in batches_of(pack, num_workers=3).epoch(0):
        assert len(batch) == 5
        assert loader_threads() > 0
        break
    assert loader_threads() == 0


def test_an_epoch_that_is_never_begun_starts_no_thread(pack: Pack) -> None:
    epoch = batches_of(pack, num_workers=3).epoch(0)
    assert loader_threads() == 0
    del epoch


# --- MixUp --------------------------------------------------------------------------------


def test_mixup_mixes_pixels_and_targets_alike(pack: Pack) -> None:
    # each row's target tells which row it is, so the mixture can be undone
    targets = np.zeros((len(ROWS), len(ROWS)), np.float32)
    np.fill_diagonal(targets, 1)
    augment = AugmentConfig(geometry="none", mixup_alpha=0.4)
    plain = apply(torch.from_numpy(pack.read(ROWS))[:, None], None, SIZE).float()
    partners = []
    for batch in batches_of(pack, augment=augment, targets=targets).epoch(0):
        expected = torch.einsum("bn,nchw->bchw", batch.targets, plain)
        np.testing.assert_allclose(batch.images.float(), expected, atol=0.51)
        np.testing.assert_allclose(batch.targets.sum(dim=1), 1, rtol=1e-6)
        partners += [row.nonzero()[:, 0].tolist() for row in batch.targets]
    assert sum(len(pair) == 2 for pair in partners) > len(ROWS) // 2


def test_mixup_shares_follow_beta(pack: Pack) -> None:
    targets = np.zeros((len(ROWS), len(ROWS)), np.float32)
    np.fill_diagonal(targets, 1)
    augment = AugmentConfig(geometry="none", mixup_alpha=0.7)
    batches = batches_of(pack, augment=augment, targets=targets, batch_size=32, image_size=32)
    shares = []
    for epoch in range(12):
        batch = next(batches.epoch(epoch))
        own = np.searchsorted(ROWS, batch.rows)
        share = batch.targets[np.arange(len(own)), own].numpy()
        shares += share[share < 1].tolist()
    assert stats.kstest(shares, "beta", (0.7, 0.7)).pvalue > 0.001


def test_mixup_with_an_unknown_target_is_unknown(pack: Pack) -> None:
    targets = np.full((len(ROWS), 2), 1, np.float32)
    targets[:, 1] = np.nan
    batch = next(batches_of(pack, targets=targets, augment=AugmentConfig(mixup_alpha=1)).epoch(0))
    assert batch.targets[:, 1].isnan().all()
    np.testing.assert_allclose(batch.targets[:, 0], 1, rtol=1e-6)


# --- evaluation ---------------------------------------------------------------------------


@pytest.mark.parametrize("num_workers", [0, 3])
def test_evaluation_in_order_whole_and_undisturbed(pack: Pack, num_workers: int) -> None:
    rows = ROWS[::-1]
    batches = list(
        evaluation_batches(pack, rows, image_size=SIZE, batch_size=7, num_workers=num_workers)
    )
    np.testing.assert_array_equal(np.concatenate([batch.rows for batch in batches]), rows)
    assert torch.cat([batch.targets for batch in batches]).shape == (len(rows), 0)
    images = torch.cat([batch.images for batch in batches])[:, 0].numpy()
    for image, source in zip(images, pack.read(rows), strict=True):
        expected = cv2.resize(source, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("batch_size", [1, 4, 40])
@pytest.mark.parametrize("n_rows", [0, 1, 5])
def test_evaluation_gives_every_row_once(pack: Pack, batch_size: int, n_rows: int) -> None:
    batches = evaluation_batches(
        pack, ROWS[:n_rows], image_size=32, batch_size=batch_size, num_workers=0
    )
    seen = [row for batch in batches for row in batch.rows.tolist()]
    assert seen == ROWS[:n_rows].tolist()


def test_evaluation_of_a_view(pack: Pack) -> None:
    for view in tta_views("jitter"):
        batches = list(evaluation_batches(pack, ROWS, image_size=SIZE, batch_size=7, view=view))
        images = torch.cat([batch.images for batch in batches])
        expected = apply(torch.from_numpy(pack.read(ROWS))[:, None], view, SIZE)
        np.testing.assert_array_equal(images, expected)


def test_evaluation_without_targets(pack: Pack) -> None:
    batch = next(evaluation_batches(pack, [3, 5], image_size=32, batch_size=4, num_workers=0))
    assert batch.targets.shape == (2, 0)


def test_no_rows_no_batches(pack: Pack) -> None:
    assert list(evaluation_batches(pack, [], image_size=32, batch_size=4)) == []


@pytest.mark.parametrize("text", ["CUDA out of memory", "unable to find an engine"])
def test_a_thread_without_memory_lets_the_main_one_do_it_again(
    pack: Pack, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    expected = list(batches_of(pack, num_workers=0).epoch(0))
    n_failed = 0

    def scarce(rows: Any) -> Any:
        nonlocal n_failed
        if threading.current_thread() is not threading.main_thread() and n_failed < 3:
            n_failed += 1
            raise RuntimeError(text)
        return read(rows)

    read = pack.read
    monkeypatch.setattr(pack, "read", scarce)
    found = list(batches_of(pack, num_workers=2).epoch(0))
    assert n_failed == 3
    for batch, again in zip(expected, found, strict=True):
        np.testing.assert_array_equal(batch.rows, again.rows)
        torch.testing.assert_close(batch.images, again.images, rtol=0, atol=0)


def test_threads_prepare_on_the_cpu_for_mps(pack: Pack) -> None:
    batches = batches_of(pack, num_workers=2, device="mps")
    assert {batch.images.device.type for batch in batches.epoch(0)} == {"cpu"}


# --- regions --------------------------------------------------------------------------------


GEOMETRIES = {
    "none": AugmentConfig(geometry="none"),
    "flip": AugmentConfig(geometry="none", flip=1.0),
    "jitter": AugmentConfig(rotation_degrees=40, shift=0.2, scale=0.4, flip=0.5, contrast=0.3),
    "original": AugmentConfig(geometry="original", crop_scale=(0.3, 1.0), flip=0.5),
}


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("on_gpu", [False, True])
def test_a_square_drawn_in_its_box_stays_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fit: str, geometry: str, on_gpu: bool
) -> None:
    """Whatever moves the pixels moves the box alike: a white square on black is its own cover."""
    rng = np.random.default_rng(2)
    height, width = 150, 200
    paths, of_row = [], {}
    for row in range(6):
        x, y = rng.uniform(0, 0.7, 2)
        box = np.array([x, y, x + rng.uniform(0.1, 0.3), y + rng.uniform(0.1, 0.3)])
        image = np.zeros((height, width), np.uint8)
        left, top, right, bottom = np.rint(box * [width, height, width, height]).astype(int)
        image[top:bottom, left:right] = 255
        exact = np.array([[left / width, top / height, right / width, bottom / height]])
        of_row[row] = [(row % 2, Region(exact), height, width)]
        paths.append(f"train/patient{row:05d}/view.png")
        (tmp_path / paths[-1]).parent.mkdir(parents=True)
        cv2.imwrite(str(tmp_path / paths[-1]), image)
    manifest = manifest_of(tmp_path, paths)
    pack = open_pack(manifest, range(6), image_size=SIZE, fit=fit)
    if on_gpu:  # the same operations, on this machine's processor
        monkeypatch.setattr(load_module, "apply", apply_torch)
    batches = TrainingBatches(
        *(pack, np.arange(6), targets_of(6), GEOMETRIES[geometry]),
        image_size=SIZE,
        batch_size=6,
        seed=3,
        num_workers=0,
        regions=TaughtRegions(of_row, fit, NO_FACTS),
    )
    for epoch in range(3):
        (batch,) = batches.epoch(epoch)
        assert batch.pairs is not None and batch.cover is not None
        assert batch.pairs[:, 1].tolist() == [row % 2 for row in batch.rows]
        for (position, _), cover in zip(batch.pairs.tolist(), batch.cover.float(), strict=True):
            pixels = batch.images[position, 0].float()
            pixels = (pixels - pixels.min()) / max(float(pixels.max() - pixels.min()), 1.0)
            shares = cover / 255
            if shares.max() > 0.9:  # else it is all but outside
                # edges are shared out a little differently by two interpolations
                assert float((pixels - shares).abs().mean()) < 0.012
                inside, outside = pixels[shares > 0.95], pixels[shares < 0.05]
                assert inside.min() > 0.6 and outside.max() < 0.4


def test_rows_without_a_box_and_boxes_moved_outside(pack: Pack) -> None:
    corner = Region(np.array([[0.0, 0.0, 0.02, 0.02]]))
    of_row = {4: [(0, corner, 1, 1), (2, corner, 1, 1)], 7: [(1, corner, 1, 1)], 99: []}
    regions = TaughtRegions(of_row, "stretch", NO_FACTS)
    shift = AugmentConfig(geometry="original", crop_scale=(0.2, 0.3))
    covers = []
    for epoch in range(4):
        for batch in batches_of(pack, regions=regions, augment=shift).epoch(epoch):
            rows = batch.rows[batch.pairs[:, 0].numpy()].tolist()  # type: ignore[index]
            expected = [row for row in batch.rows for _ in of_row.get(int(row), [])]
            assert rows == expected
            assert batch.cover is not None and batch.cover.shape[1:] == (SIZE, SIZE)
            covers += [bool(cover.any()) for cover in batch.cover]
    assert len(covers) == 12 and not all(covers)
    whole = batches_of(pack).epoch(0)
    for with_regions, plain in zip(batches_of(pack, regions=regions).epoch(0), whole, strict=True):
        assert_same([with_regions], [plain])


# --- rows on a device -----------------------------------------------------------------------


@pytest.mark.parametrize("augment", [AugmentConfig(), AugmentConfig(mixup_alpha=0.4)])
def test_rows_on_a_device_give_the_batches_of_the_pack(pack: Pack, augment: AugmentConfig) -> None:
    resident = ResidentPack(pack, ROWS, torch.device("cpu"))
    expected = list(batches_of(pack, augment=augment).epoch(1))
    found = batches_of(resident, augment=augment, num_workers=3)
    assert_same(list(found.epoch(1)), expected)
    rows, how = ROWS[::-3], {"image_size": 48, "batch_size": 4}
    first, second = (list(evaluation_batches(each, rows, **how)) for each in (resident, pack))
    assert_same(first, second)


def test_rows_go_to_a_device_once_and_no_others_are_there(
    pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, seen = pack.read, []
    monkeypatch.setattr(load_module, "BLOCK_ROWS", 7)
    monkeypatch.setattr(pack, "read", lambda rows: [seen.extend(rows), read(rows)][1])
    resident = ResidentPack(pack, ROWS, torch.device("cpu"))
    assert sorted(seen) == ROWS.tolist()
    chosen = np.array([35, 3, 3, 29])
    np.testing.assert_array_equal(resident.select(chosen)[:, 0], read(chosen))
    assert len(seen) == len(ROWS), "nothing is read again"
    with pytest.raises(ValueError, match="not on the device"):
        resident.select(np.array([3, 30]))


def test_a_damaged_row_is_found_before_it_goes_to_a_device(pack: Pack) -> None:
    path = pack.folder / "images.npy"
    sound = pack.read([4])[0]
    content = bytearray(path.read_bytes())
    place = len(content) - (N_ROWS - 4) * pack.side**2
    content[place : place + 9] = bytes(255 - value for value in content[place : place + 9])
    path.write_bytes(content)
    resident = ResidentPack(pack, ROWS, torch.device("cpu"))
    assert pack.n_repaired == 1
    np.testing.assert_array_equal(resident.select(np.array([4]))[0, 0], sound)


def test_threads_that_nobody_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for n_cores, expected in ((3, 3), (64, 8)):
        monkeypatch.setattr(open_module, "usable_cores", lambda n=n_cores: n)
        assert load_module.loader_threads(torch.device("cuda", 1)) == expected
        assert load_module.loader_threads(torch.device("cpu")) == 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert load_module.loader_threads(torch.device("cuda")) == 4
