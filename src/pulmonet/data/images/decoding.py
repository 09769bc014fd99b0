"""One guard around every decoder, and what there is to remark about an image that was decoded."""

import contextlib
import logging
import re
from collections.abc import Iterator
from enum import IntFlag

import numpy as np

from pulmonet.errors import DataError, is_failure
from pulmonet.files.c_messages import listen_to_c

#: What libjpeg and libpng say of a picture that is not whole. The rest is harmless: a few bytes
#: too many between the parts, colour profiles, versions.
_DAMAGE = re.compile(
    r"Corrupt JPEG data: (?!\d extraneous|bad ICC)|Premature end|libpng error|IDAT|image data|CRC"
)

COPY_AGAIN = "copy it again or remove its row"


class Remark(IntFlag):
    """What an image needed beyond decoding, or what is odd about it."""

    NONE = 0
    TURNED = 1  # it lay or stood on its head, as its EXIF orientation says
    ASSUMED = 2  # DICOM that does not say how its pixels are stored
    WINDOW = 4  # DICOM whose window or lookup table lies beside its values
    WARNED = 8  # its decoder had something to say, and the picture is whole
    FEW_GREYS = 16  # mostly black or white, or of few greys; seen on its square, so in no pack


@contextlib.contextmanager
def decoding(where: str, kind: str) -> Iterator[list[str]]:
    """Whatever a decoder raises, or its C library prints, as a DataError that names the file.

    Gives a list that holds at the end what was said of a picture that is whole. What stops the
    whole process goes through: Ctrl-C, SIGTERM, and memory that has run out.
    """
    remarks: list[str] = []
    reason = ""
    with listen_to_c() as heard, np.errstate(all="ignore"):
        try:
            yield remarks
        except (DataError, MemoryError):
            raise
        except BaseException as error:
            if not is_failure(error):
                raise
            said = re.sub(r" ?<\S+ object at 0x\w+>", "", " ".join(str(error).split()))
            said = said.rpartition("available plugins: ")[2]
            reason = said.partition(" - ")[0] or type(error).__name__
    told = b"".join(heard).decode("utf-8", "replace").strip().replace("\n", "; ")
    reason = told if _DAMAGE.search(told) else reason
    if reason:
        raise DataError(f"{where}: damaged {kind} ({reason[:160]}); {COPY_AGAIN}")
    if told:
        logging.getLogger(__name__).info("%s: %s", where, told)
        remarks.append(told)
