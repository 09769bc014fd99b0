"""One network of a run: the only one, a member of an ensemble, or the first of `self-trained`."""

from collections.abc import Sequence
from dataclasses import dataclass

from pulmonet.arrays import Floats32, Ints
from pulmonet.config.fields import RunConfig
from pulmonet.data.pack.features import Features
from pulmonet.data.pack.open import Pack
from pulmonet.data.regions import TaughtRegions
from pulmonet.run.folder import RunDir


@dataclass(frozen=True)
class Stage:
    """A network to train: how, on what, and where its files are.

    The members of an ensemble share a folder: its log, checkpoint and best_model.pth go on from
    one to the next. The first network of ``self-trained`` has a folder of its own.

    `config` is the run's, as far as it is about this network: one architecture, its own length.
    """

    config: RunConfig
    number: int  # its 0-based place among the `n_stages` networks of its folder
    n_stages: int
    run_dir: RunDir
    fingerprint: str  # of config and data; a checkpoint of another one is refused
    pack: Pack  # decoded images of all rows named below
    train_rows: Ints  # (n,) manifest rows
    train_targets: Floats32  # (n, L + A), NaN = unknown, the auxiliary labels last
    select_rows: Ints  # (m,) manifest rows that choose the best epoch
    select_targets: Floats32  # (m, L) of 1, 0, NaN; they do not depend on the policy
    labels: tuple[str, ...]  # L names
    paths: Sequence[str]  # image paths of all manifest rows, for messages
    regions: TaughtRegions | None = None  # for the pointing loss
    train_groups: Ints | None = None  # (n,) collections, where they are drawn evenly
    features: Features | None = None  # of all rows, where the encoder is frozen

    @property
    def first_epoch(self) -> int:
        """Its first one, 0-based; epochs are counted through all networks of the folder."""
        return self.number * self.config.optim.epochs

    @property
    def end_epoch(self) -> int:
        """The epoch after its last one."""
        return self.first_epoch + self.config.optim.epochs

    @property
    def total_epochs(self) -> int:
        """Those of all networks of the folder."""
        return self.n_stages * self.config.optim.epochs

    @property
    def remark(self) -> str:
        """`` (network 2 of 3)``, behind an epoch's number; empty for a folder's only network."""
        return f" (network {self.number + 1} of {self.n_stages})" if self.n_stages > 1 else ""

    def pixels(self, epoch: int) -> int:
        """The side of its images in an epoch: growing sizes first, then ``data.image_size``."""
        place = epoch - self.first_epoch
        growing = [pixels for pixels, n in self.config.optim.growth for _ in range(n)]
        return growing[place] if place < len(growing) else self.config.data.image_size
