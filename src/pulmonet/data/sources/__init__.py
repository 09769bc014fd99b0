"""Any chest X-ray collection in, one Manifest out: one small reader a source."""

from pulmonet.data.sources.find import locate_dataset, remember_dataset
from pulmonet.data.sources.read import inspect_manifest, read_manifest

__all__ = ["inspect_manifest", "locate_dataset", "read_manifest", "remember_dataset"]
