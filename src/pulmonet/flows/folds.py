"""Patient folds pooled: every image by the network that never saw its patient, and once only."""

from __future__ import annotations

from collections.abc import Iterable

from pulmonet.errors import ConfigError


class DisjointFolds:
    """The images and patients of the folds pooled so far."""

    def __init__(self) -> None:
        self._images: set[str] = set()
        self._patients: set[str] = set()

    def add(
        self, images: Iterable[str], patients: Iterable[str] | None, *, run: str, split: str
    ) -> None:
        """One more fold.

        Args:
            images: paths of its rows.
            patients: their patients; None where unknown.
            run: as the user named it, for the message.
            split: whose rows these are.

        Raises:
            ConfigError: an image or a patient of it was in an earlier fold.
        """
        here, people = set(images), set(() if patients is None else patients)
        for what, new, seen in (
            ("images", here, self._images),
            ("patients", people, self._patients),
        ):
            if new & seen:
                raise ConfigError(
                    f"{run}: shares {len(new & seen):,} {what} of split '{split}' with another "
                    "run; pool runs of disjoint patient folds only"
                )
            seen.update(new)
