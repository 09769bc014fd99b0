"""PulmoNet: train, evaluate, explain and report multi-label chest X-ray classifiers.

Research and education only; not a medical device.
"""

from typing import TYPE_CHECKING, Any

from pulmonet.version import __version__

__all__ = ["__version__", "load"]

if TYPE_CHECKING:
    from pulmonet.api import load


def __getattr__(name: str) -> Any:
    """Load the Python API only when it is asked for: it imports torch."""
    if name == "load":
        from pulmonet.api import load

        return load
    raise AttributeError(f"module 'pulmonet' has no attribute {name!r}")
