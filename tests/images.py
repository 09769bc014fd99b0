"""Images as the tests want them."""

from pathlib import Path

from pulmonet.arrays import Pixels
from pulmonet.data.images.read import read_file


def read_grey(path: Path) -> Pixels:
    """(H, W) uint8 of an image file."""
    return read_file(path)[0]
