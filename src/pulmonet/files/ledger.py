"""Files beside people's own: PulmoNet replaces and removes only what it has written itself."""

import contextlib
import hashlib
import os
from pathlib import Path

from pulmonet.errors import ArtifactError
from pulmonet.files.read import read_text, sha256_of
from pulmonet.files.system import BINARY, NO_LINK
from pulmonet.files.write import explain_write, to_bytes, write_atomic
from pulmonet.words import list_first

NAME = ".pulmonet"


class Ledger:
    """A folder, and the list of what PulmoNet has written there and below.

    The list is ``.pulmonet`` in it: a line a file, the SHA-256 of its name and its content's, so
    that no name of a patient's folder stands in it. A file of another content is somebody else's,
    and so is what lies behind a link below the folder.
    """

    def __init__(self, folder: Path, way_out: str) -> None:
        """`way_out` ends the message about a file in the way."""
        self.folder, self._way_out = folder, way_out
        self._lines: set[str] = set()

    def check(self, *paths: Path) -> None:
        """Before the long work: whether all of these may be written.

        Raises:
            ArtifactError: one is there and is not PulmoNet's, or lies behind a link.
        """
        found = [path for path in paths if os.path.lexists(path) or self._link(path)]
        if link := next(filter(None, map(self._link, found)), None):
            what = f"{link}: a link, and PulmoNet writes through none"
        elif strange := [path for path in found if not self.owns(path)]:
            reason = "not PulmoNet's (another file, edited, or of an earlier version)"
            what = f"{list_first(strange)}: {reason}"
        else:
            return
        raise ArtifactError(f"{what}; remove or rename, or {self._way_out}")

    def owns(self, path: Path) -> bool:
        """Whether a file is there as PulmoNet has written it, and not behind a link."""
        if self._link(path) or not path.is_file():
            return False
        line = self._line(path, sha256_of(path))
        return line in self._lines or line in self._read()

    def write(self, path: Path, content: bytes | str, *, by_name: bool = False) -> None:
        """Write a file; with `by_name`, in a run's folder, its name alone makes it PulmoNet's.

        Raises:
            ArtifactError: as `check`; it cannot be written.
        """
        if not by_name:
            self.check(path)
        data = to_bytes(content)
        # before the file: what is killed between the two leaves nothing unknown
        self._note(self._line(path, hashlib.sha256(data).hexdigest()))
        write_atomic(path, data)

    def note(self, path: Path) -> None:
        """Take a file as it is now for PulmoNet's; nothing where there is none."""
        if path.is_file():
            self._note(self._line(path, sha256_of(path)))

    def remove(self, *paths: Path) -> None:
        """Remove those that are PulmoNet's, and folders that this leaves empty."""
        for path in paths:
            if not self.owns(path):
                continue
            with contextlib.suppress(OSError):  # a folder that is not empty is kept
                path.unlink()
                for folder in self._below(path)[1:]:
                    folder.rmdir()

    def _link(self, path: Path) -> Path | None:
        return next((part for part in self._below(path) if part.is_symlink()), None)

    def _below(self, path: Path) -> list[Path]:
        """The path and its folders, up to the ledger's own, which may be a link."""
        parts = path.relative_to(self.folder).parts
        return [self.folder.joinpath(*parts[:n]) for n in range(len(parts), 0, -1)]

    def _line(self, path: Path, digest: str) -> str:
        name = path.relative_to(self.folder).as_posix()
        return hashlib.sha256(to_bytes(f"{name}\0{digest}")).hexdigest()

    def _read(self) -> set[str]:
        """The lines by now: another process may have written some."""
        with contextlib.suppress(OSError, ValueError):
            self._lines |= set(read_text(self.folder / NAME).split("\n"))
        return self._lines

    def _note(self, line: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | NO_LINK | BINARY
        try:
            if line not in (self._lines or self._read()):  # once: a line twice does no harm
                self.folder.mkdir(parents=True, exist_ok=True)
                with os.fdopen(os.open(self.folder / NAME, flags, 0o666), "ab") as file:
                    file.write(to_bytes(f"\n{line}"))  # a line that was cut short ends here
        except OSError as error:
            raise ArtifactError(explain_write(self.folder / NAME, error)) from None
        self._lines.add(line)
