"""scores.csv: a row an image, appended as it is scored; what was killed goes on from there.

A row tells the run, its weights and its settings, so that no table mixes two models, and its file's
size and time of change, by which an image is known again.
"""

import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pulmonet.data.images.decoding import Remark
from pulmonet.data.likeness import Sight
from pulmonet.errors import ArtifactError
from pulmonet.explain.results import ImageExplanation
from pulmonet.files.spreadsheet import escaped, unescaped
from pulmonet.files.system import BINARY, NO_LINK
from pulmonet.files.write import explain_write, to_bytes

#: What a row says of each label, the last two in words: above, ruled out.
KINDS = ("score", "probability", "threshold", "verdict", "conformal")
REMEDY = "remove or rename, or choose another folder with --out-dir"
#: What ends each row, behind what unites all rows of a table.
MADE_BY = ("run", "weights", "settings")
#: Size in bytes and time of change of an image's file.
FileState = tuple[str, str]


class ScoreTable:
    """The file; `known` has path -> state of the image's file, of each row."""

    def __init__(self, path: Path, labels: Sequence[str], made_by: Sequence[str]) -> None:
        """`made_by` is what all rows say under `MADE_BY`."""
        self.path, self._made_by = path, list(made_by)
        cells = [f"{label}_{kind}" for label in labels for kind in KINDS]
        cells += ["distance", "unlike_training", "in_colour", "phantom"]
        cells += [*MADE_BY, "bytes", "modified"]
        self.columns = ["path", *cells]
        self.start_over()

    def start_over(self) -> None:
        """Leave out all rows that are there."""
        self.known: dict[str, FileState] = {}
        self._end = 0  # of the last whole row, in bytes

    def why_stale(self) -> str:
        """Read what is there, and say why no row may be added to it; empty where one may.

        Raises:
            ArtifactError: it cannot be read, or is something else.
        """
        rows = self.rows() if os.path.lexists(self.path) else iter(())
        header = next(rows, self.columns)
        if header[:1] + header[-5:] != self.columns[:1] + self.columns[-5:]:
            what = f"{self.path}: no scores.csv of PulmoNet's, or edited since"
            raise ArtifactError(f"{what}; {REMEDY}")
        if header != self.columns:
            return "its columns are of other labels, or of an earlier version"
        for cells in rows:
            pairs = zip(MADE_BY, cells[-5:-2], self._made_by, strict=True)
            if changed := [f"{name} {old}, now {new}" for name, old, new in pairs if old != new]:
                return f"its scores are of other weights or settings ({'; '.join(changed)})"
            self.known[cells[0]] = (cells[-2], cells[-1])
        return ""

    def rows(self) -> Iterator[list[str]]:
        """The header and all rows by now, less one at the end that was cut short.

        Raises:
            ArtifactError: it cannot be read; a row that is damaged.
        """
        line, n_read, n_cells = b"", 0, 0

        def lines() -> Iterator[str]:
            nonlocal line, n_read
            for line in file:
                n_read += len(line)
                yield line.decode("utf-8", "surrogateescape")

        try:
            with self.path.open("rb") as file:
                for cells in csv.reader(lines()):
                    if not line.endswith(b"\n") or len(cells) != (n_cells or len(cells)):
                        break
                    self._end, n_cells = n_read, len(cells)
                    yield [unescaped(cell) for cell in cells]
                if file.read(1):
                    raise csv.Error(f"damaged at byte {self._end:,}")
        except (OSError, csv.Error) as error:
            raise ArtifactError(f"{self.path}: cannot be read ({error}); {REMEDY}") from None

    def add(self, images: Sequence[ImageExplanation], states: Sequence[FileState]) -> None:
        """Append rows of images and the states of their files, but for images known already.

        Raises:
            ArtifactError: it cannot be written.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if not self._end:
            writer.writerow(map(escaped, self.columns))
        for image, state in zip(images, states, strict=True):
            if image.image not in self.known:
                cells = [escaped(image.image)]
                for found in image.labels.values():
                    numbers = (found.score, found.probability, found.threshold)
                    cells += ["" if number is None else f"{number:.9g}" for number in numbers]
                    cells.append({None: "", True: "above", False: "below"}[found.present])
                    cells.append(found.conformal or "")
                cells.append("" if image.distance is None else f"{image.distance:.12g}")
                flags = (image.unlike, image.in_colour, image.phantom)
                cells += [{None: "", True: "yes", False: "no"}[flag] for flag in flags]
                writer.writerow([*cells, *self._made_by, *state])
                self.known[image.image] = state
        data = to_bytes(text.getvalue())
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | NO_LINK | BINARY, 0o666)
            with os.fdopen(handle, "r+b") as file:
                file.truncate(self._end)
                file.seek(self._end)
                file.write(data)
        except OSError as error:
            raise ArtifactError(explain_write(self.path, error)) from None
        self._end += len(data)


def seen_in(row: Sequence[str]) -> Sight:
    """What a row says of the image beside its scores."""
    distance, _, in_colour, phantom = row[-9:-5]
    remark = Remark.COLOUR * (in_colour == "yes") + Remark.PHANTOM * (phantom == "yes")
    return Sight(float(distance) if distance else None, Remark(remark))
