"""seen.npz: salted digests of the images and patients that a run was trained on, known again."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulmonet.arrays import Ints
from pulmonet.data.manifest import Manifest
from pulmonet.data.pack.open import Pack
from pulmonet.errors import ArtifactError
from pulmonet.files.read import read_array
from pulmonet.files.write import write_atomic
from pulmonet.flows.console import steps
from pulmonet.flows.dataset import RunRows
from pulmonet.metrics.results import SeenBefore
from pulmonet.run.folder import RunDir
from pulmonet.run.record import RunRecord


def write_seen(run_dir: RunDir, manifest: Manifest, pack: Pack, roles: Mapping[str, Ints]) -> None:
    """Write a digest of 8 bytes of the packed pixels, and one of the patient, of each row."""
    salt = os.urandom(16)
    arrays: dict[str, Any] = {"salt": np.frombuffer(salt, np.uint8)}
    for role, rows in roles.items():
        arrays[f"images_{role}"] = _digests(_pixels(pack, rows), salt)
        arrays[f"patients_{role}"] = _digests(_patients(manifest, rows), salt)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomic(run_dir.seen_path, buffer.getvalue())


def find_seen(run_dir: RunDir, chosen: RunRows, pack: Pack, selected_on: str) -> SeenBefore | None:
    """What of the `chosen` rows the run had before; None of a run of an earlier version.

    Images are known by their pixels, whatever they are called. An id means the same patient in
    the run's own dataset, or where most of the images found have the patient that they had.
    `selected_on` is the role whose rows chose the checkpoint.

    Raises:
        ArtifactError: a damaged file.
    """
    path, manifest, rows = run_dir.seen_path, chosen.manifest, chosen.rows
    if not path.exists():
        return None
    try:
        salt = read_array(path, "salt").tobytes()
        trained, valid, selecting = (
            read_array(path, f"images_{role}") for role in ("train", "valid", selected_on)
        )
        patients = read_array(path, "patients_train")
        images = _digests(_pixels(pack, rows), salt)
    except (OSError, KeyError, ValueError) as error:
        raise ArtifactError(f"{path}: damaged ({error}); restore or remove it") from None
    here = _digests(_patients(manifest, rows), salt)
    patient_of = dict(zip(trained.tolist(), patients.tolist(), strict=False))
    found = np.isin(images, trained)
    then = [patient_of.get(image) for image in images[found].tolist()]
    same_ids = not chosen.external or 2 * int(np.sum(then == here[found])) > len(then)
    known = found | np.isin(here, here[found])
    by_id = np.isin(here, patients)
    return SeenBefore(
        n_images=len(rows),
        trained_on=int(found.sum()),
        patients=len(set(here[found].tolist())) if manifest.patients_known else None,
        of_their_patients=int(((known | (by_id & same_ids)) & ~found).sum()),
        of_the_same_ids=0 if same_ids else int((by_id & ~known).sum()),
        selected_on=int(np.isin(images, selecting).sum()),
        validated_on=int(np.isin(images, valid).sum()),
    )


def used_before(
    record: RunRecord, chosen: RunRows, seen: SeenBefore | None, *, same: bool
) -> tuple[list[str], list[str]]:
    """What the rows decided before, and notes on how that is known.

    `same` says that the dataset's fingerprint is the training's.
    """
    used, notes, own = [], [], not chosen.external
    if own and chosen.split == "train":
        used.append("training")
    elif seen and (text := seen.text()):
        n_known = seen.trained_on + seen.of_their_patients
        used.append(f"training ({n_known:,} of {seen.n_images:,} images)")
        notes.append(f"{text}.")
    elif own and chosen.other_splits and not same and not seen:
        used.append("perhaps training (--splits are not the run's)")
    if record.config.select.checkpoint == "best":
        if own and chosen.split == record.provenance.selected_on:
            used.append("checkpoint selection")
        elif seen and seen.selected_on:
            used.append(f"checkpoint selection ({seen.selected_on:,} of {seen.n_images:,} images)")
    if seen and seen.of_the_same_ids:
        notes.append(
            f"{seen.of_the_same_ids:,} of these {seen.n_images:,} images have a patient whose id "
            "was trained on, and no image tells whether it is the same person."
        )
    elif seen is None and not same:
        notes.append(
            "The run has no digests of its images (seen.npz), so the dataset's fingerprint and "
            "name alone tell whether it was trained on some of these."
        )
    return used, notes


def _pixels(pack: Pack, rows: Ints) -> Iterator[bytes]:
    """The packed pixels of each row; of an image of one grey, which is like any other, noise."""
    with steps("digests of the images", len(rows)) as bar:
        for start in range(0, len(rows), 256):
            images = pack.read(rows[start : start + 256])
            yield from (i.tobytes() if i.min() < i.max() else os.urandom(8) for i in images)
            bar.advance(len(images))


def _patients(manifest: Manifest, rows: Ints) -> list[bytes]:
    """The id of each row's patient; noise where the source has none."""
    if not manifest.patients_known:
        return [os.urandom(8) for _ in rows]
    patients = manifest.table["patient"].to_numpy(object)[rows]
    return [str(one).encode("utf-8", "surrogatepass") for one in patients]


def _digests(parts: Iterable[bytes], salt: bytes) -> NDArray[np.uint64]:
    found = (hashlib.blake2b(part, digest_size=8, salt=salt).digest() for part in parts)
    return np.frombuffer(b"".join(found), "<u8")
