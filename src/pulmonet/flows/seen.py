"""What a run keeps of its images: seen.npz, digests to know them again, and likeness.npz."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulmonet.arrays import Flags, Ints, Pixels
from pulmonet.data.likeness import describe, key_of, learn
from pulmonet.data.manifest import Manifest, fingerprint, fingerprint_of_rows
from pulmonet.data.pack.open import Pack
from pulmonet.errors import ArtifactError
from pulmonet.files.paths import expand
from pulmonet.files.read import read_array, sha256_of
from pulmonet.files.write import bytes_of, write_atomic
from pulmonet.flows.console import steps
from pulmonet.flows.dataset import RunRows, pack_rows
from pulmonet.run.folder import RunDir
from pulmonet.run.record import RunRecord, SeenBefore

#: Rows described of each kind: all that 228 numbers need, whatever the size of the collection.
MAX_ROWS = 2000


def write_seen(
    run_dir: RunDir,
    manifest: Manifest,
    pack: Pack,
    roles: Mapping[str, Ints],
    weights: str = "none",
) -> dict[str, int]:
    """Write a digest of 8 bytes of the packed pixels, and one of the patient, of each row.

    By role; ``boxes`` is that of the rows whose boxes taught the maps. If the first `weights` are
    another run's, what they were trained on is written, too.

    Returns:
        How many rows of each role these had been trained on, or on other images of the patient.
    """
    before, known = _seen_by(weights, manifest), {}
    salt = before.pop("salt", np.frombuffer(os.urandom(16), np.uint8))
    start = {**before}
    for role, rows in roles.items():
        is_known = np.zeros(len(rows), bool)
        for kind, parts in (
            ("images", _pixels(pack, rows)),
            ("patients", _patients(manifest, rows, is_number=True)),
        ):
            own, name = _digests(parts, salt.tobytes()), f"{kind}_{role}"
            before[name] = np.append(own, before.get(name, own[:0]))
            if kind == "images" or not manifest.parts:  # of which each has numbers of its own
                is_known |= np.isin(own, start.get(f"{kind}_train", own[:0]))
        known[role] = int(is_known.sum())
    write_atomic(run_dir.seen_path, bytes_of(lambda file: np.savez(file, salt=salt, **before)))
    return known


def _seen_by(weights: str, manifest: Manifest) -> dict[str, Any]:
    """The arrays of the run whose weights a file is; its patients only of the same dataset.

    Empty of weights of no run, and of a run of an earlier version. ArtifactError: damaged.
    """
    from pulmonet.models.pretrained import run_of

    path = expand(weights)
    start = RunDir(path.parent)
    made = run_of(path, sha256_of(path)) if start.seen_path.exists() and path.exists() else None
    if made is None:
        return {}
    found: dict[str, Any] = {}
    for role in ("train", *(["boxes"] if _has_boxes(start) else [])):
        names = ("salt", f"images_{role}", f"patients_{role}")
        found |= dict(zip(names, _read_seen(start, names), strict=True))
    known, facts = (fingerprint(manifest), fingerprint_of_rows(manifest)), made.dataset
    if not facts or (facts.fingerprint != known[0] and facts.rows_fingerprint != known[1]):
        n = len(found["images_train"])
        found["patients_train"] = np.frombuffer(os.urandom(8 * n), "<u8")  # nobody's
    return found


def write_likeness(
    run_dir: RunDir, manifest: Manifest, pack: Pack, roles: Mapping[str, Ints]
) -> None:
    """Write what the images look like, of at most 2,000 rows trained on and as many held out.

    Nothing is written of too few patients.
    """
    held = np.setdiff1d(np.concatenate([*roles.values()]), roles["train"])
    parts = [rows[:: -(-len(rows) // MAX_ROWS) or 1] for rows in (roles["train"], held)]
    patients = manifest.table["patient"].to_numpy(object)
    with steps("what the images look like", sum(map(len, parts))) as bar:
        trained, others = (describe(squares_of(pack, rows, bar.advance)) for rows in parts)
    found = learn(trained, patients[parts[0]], others, patients[parts[1]])
    if found is not None:
        write_atomic(run_dir.likeness_path, found.to_bytes(key_of(run_dir.read_record())))


def find_seen(run_dir: RunDir, chosen: RunRows, pack: Pack, record: RunRecord) -> SeenBefore | None:
    """What of the `chosen` rows the run had before; None of a run of an earlier version.

    Images are known by their pixels, whatever they are called. An id means the same patient in
    the run's own dataset, where --same-patients says so, or where most of the images found have
    the patient that they had.

    Raises:
        ArtifactError: a damaged file.
    """
    path, manifest, rows = run_dir.seen_path, chosen.manifest, chosen.rows
    if not path.exists():
        return None
    names = ("salt", "images_train", "patients_train", f"images_{record.provenance.selected_on}")
    salt, trained, patients, selecting = _read_seen(run_dir, names)
    here = _digests(_patients(manifest, rows), salt.tobytes())
    ids = _digests(_patients(manifest, rows, is_number=True), salt.tobytes())
    images = _digests(_pixels(pack, rows), salt.tobytes())
    found = np.isin(images, trained)
    patient_of = dict(zip(trained.tolist(), patients.tolist(), strict=False))
    n_alike = sum(
        patient_of.get(one) == patient
        for one, patient in zip(images.tolist(), ids.tolist(), strict=True)
    )
    known, by_id = np.isin(here, here[found]), np.isin(ids, patients) & manifest.patients_known
    facts = record.provenance.dataset
    for part, _, places in manifest.by_collection(rows):
        if facts and part.same_patients & {*(facts.collections or [facts.name])}:
            known[places] |= by_id[places]
    if not chosen.external and facts and facts.collections:
        by_id = by_id & False
    elif not chosen.external or (2 * n_alike > found.sum() and not manifest.parts):
        known, by_id = known | by_id, by_id & False
    return SeenBefore(
        n_images=len(rows),
        trained_on=int(found.sum()),
        patients=len(set(here[found].tolist())) if manifest.patients_known else None,
        of_their_patients=int((known & ~found).sum()),
        of_the_same_ids=int((by_id & ~known).sum()),
        selected_on=int(np.isin(images, selecting).sum()),
    )


def taught_rows(run_dir: RunDir, record: RunRecord, chosen: RunRows, rows: Ints) -> Flags:
    """(n,) whether the run's maps learned from boxes of the patient of each of `rows` (n,).

    The same id is the same patient in another dataset, too; there images are known by pixels.
    ArtifactError: seen.npz is damaged or gone. DataError: an image that cannot be read.
    """
    if record.provenance.boxes is None and not _has_boxes(run_dir):
        return np.zeros(len(rows), bool)
    salt, images, patients = _read_seen(run_dir, ("salt", "images_boxes", "patients_boxes"))
    here = _digests(_patients(chosen.manifest, rows, is_number=True), salt.tobytes())
    taught = np.isin(here, patients)
    if chosen.external:
        pack = pack_rows(chosen.manifest, rows, record.config.data)
        pixels = _digests(_pixels(pack, rows), salt.tobytes())
        taught |= np.isin(here, here[np.isin(pixels, images)])
    return taught


def _has_boxes(run_dir: RunDir) -> bool:
    """Whether boxes taught the maps of a run, or of the one whose weights it started from."""
    try:
        read_array(run_dir.seen_path, "images_boxes")
    except (OSError, KeyError, ValueError) as error:
        return isinstance(error, ValueError)  # damaged, as reading the others says
    return True


def _read_seen(run_dir: RunDir, names: Sequence[str]) -> list[Any]:
    path = run_dir.seen_path
    try:
        return [read_array(path, name) for name in names]
    except (OSError, KeyError, ValueError) as error:
        raise ArtifactError(f"{path}: damaged ({error}); restore or remove it") from None


def _pixels(pack: Pack, rows: Ints) -> Iterator[bytes]:
    """The packed pixels of each row; of an image of one grey, which is like any other, noise."""
    with steps("digests of the images", len(rows)) as bar:
        for image in squares_of(pack, rows, bar.advance):
            yield image.tobytes() if image.min() < image.max() else os.urandom(8)


def squares_of(
    pack: Pack, rows: Ints, advance: Callable[[int], object] = lambda _: None
) -> Iterator[Pixels]:
    """The packed images (R, R) one by one, read in parts."""
    for start in range(0, len(rows), 256):
        yield from (images := pack.read(rows[start : start + 256]))
        advance(len(images))


def _patients(manifest: Manifest, rows: Ints, *, is_number: bool = False) -> Iterator[bytes]:
    """Each row's patient; as its number alone, whatever collection of several it is of."""
    patients = manifest.table["patient"].iloc[rows]
    if is_number and manifest.parts:
        patients = patients.str.partition("/")[2]
    return (str(one).encode("utf-8", "surrogatepass") for one in patients)


def _digests(parts: Iterable[bytes], salt: bytes) -> NDArray[np.uint64]:
    found = (hashlib.blake2b(part, digest_size=8, salt=salt).digest() for part in parts)
    return np.frombuffer(b"".join(found), "<u8")
