"""Stable pseudonyms for patients and images, and paths without their folders.

A pseudonym is a keyed hash (BLAKE2b): the same id gives the same word in every report of one
artifacts folder, and without the key, which stays in that folder, nobody can go back from the
word to the id, not even by trying all ids.
"""

import contextlib
import hashlib
import re
import secrets
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pulmonet.errors import ArtifactError
from pulmonet.files.read import read_text
from pulmonet.files.write import changing, write_atomic

KEY_NAME = ".pseudonym_key"

_WORD = r"[^\s/\\'\"`,;:()]+"
#: With spaces, too (John Doe): over a word too many nobody is named.
_FOLDER = rf"{_WORD}(?: (?!\d){_WORD}){{0,2}}[\\/]+"
#: Of an absolute path: from / or ~, a drive (C:\), a server (\\name) or file://.
_FOLDERS = (
    r"(?:\bfile:/*(?=/|[A-Za-z]:/)|(?<![\w.:/\\~]))"
    rf"(?:(?:~|[A-Za-z]:)[\\/]+(?:{_FOLDER})*|(?://?|\\\\+)(?:{_FOLDER})+)"
)
_IMAGE_PATH = re.compile(
    rf"(?:{_FOLDERS})?"
    r"[^\s'\"`,;:()\[\]]*\.(?:jpe?g|png|dcm|dicom|tiff?|bmp|npz|nii)(?:#[^\s'\",;]*)?(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_PATIENT = re.compile(r"patient[_-]?\d+", re.IGNORECASE)
_QUOTED = re.compile(r"""(?<!\w)(['"]).*?\1(?!\w)""", re.DOTALL)
_ABSOLUTE = re.compile(rf"{_FOLDERS}(?:{_WORD})?")


@dataclass(frozen=True)
class Identities:
    """How patients, images and paths are written in a report."""

    key: bytes
    shown: bool = False  # whether the user asked for the identifiers themselves

    def patient(self, patient: str) -> str:
        """A patient as ``P-3f2a91``."""
        return patient if self.shown else f"P-{self._digest('patient', patient)}"

    def image(self, path: str) -> str:
        """An image as ``I-9c04d7``; the same for every way of writing the same path."""
        return path if self.shown else f"I-{self._digest('image', str(PurePosixPath(path)))}"

    def scrub(self, text: str) -> str:
        """Free text without patients, image paths and absolute folders."""
        if self.shown:
            return text
        text = _IMAGE_PATH.sub(lambda found: self.image(found.group()), text)
        text = _PATIENT.sub(lambda found: self.patient(found.group()), text)
        return _ABSOLUTE.sub(lambda found: f"…/{_last_part(found.group())}", text)

    def quoteless(self, text: str) -> str:
        """A message without what it quotes: a damaged file's cells may name anybody."""
        return text if self.shown else self.scrub(_QUOTED.sub("'…'", text))

    def argument(self, argument: str) -> str:
        """One argument of a command line: a path keeps only its last part."""
        if self.shown:
            return argument
        option, separator, value = argument.rpartition("=")
        if value.startswith(("/", "~")) or _ABSOLUTE.match(value):
            return f"{option}{separator}{_last_part(value) or value}"
        return self.scrub(argument)

    def _digest(self, kind: str, value: str) -> str:
        data = f"{kind}\0{value}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, key=self.key, digest_size=3).hexdigest()


def _last_part(path: str) -> str:
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1]


def load_identities(artifacts_dir: Path, *, shown: bool = False) -> Identities:
    """The key of this artifacts folder, made on first use.

    In a folder that cannot be written the key lives for this report only: pseudonyms then
    differ from one report to the next, but still hide what they should.
    """
    path, fresh = artifacts_dir / KEY_NAME, secrets.token_bytes(32)
    key = _read_key(path)
    if key is None:
        with contextlib.suppress(ArtifactError), changing(path):
            key = _read_key(path)  # another report may have made one by now
            if key is None:
                write_atomic(path, fresh.hex() + "\n")
                path.chmod(0o600)
    return Identities(key or fresh, shown)


def _read_key(path: Path) -> bytes | None:
    with contextlib.suppress(OSError, ValueError):
        key = bytes.fromhex(read_text(path).strip())
        if len(key) == 32:
            return key
    return None
