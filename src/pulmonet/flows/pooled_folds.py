"""Patient folds pooled: every image by the network that never saw its patient, and once only."""

from collections.abc import Iterable

from pulmonet.errors import ConfigError


class DisjointFolds:
    """The images and patients of the folds pooled so far."""

    def __init__(self) -> None:
        self._seen: dict[str, set[str]] = {"images": set(), "patients": set()}

    def add(
        self, images: Iterable[str], patients: Iterable[str] | None, *, run: str, split: str
    ) -> None:
        """One more fold: paths of its rows, and their patients where they are known.

        Raises:
            ConfigError: an earlier fold of `split` had one of them; `run` is what the user named.
        """
        people = set() if patients is None else set(patients)
        for what, new in (("images", set(images)), ("patients", people)):
            if shared := self._seen[what] & new:
                text = f"{run}: shares {len(shared):,} {what} of split '{split}' with another run"
                raise ConfigError(f"{text}; pool runs of disjoint patient folds only")
            self._seen[what] |= new
