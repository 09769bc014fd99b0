"""From a folder of images with a CSV to batches: sources, manifest, images, packing, loading."""
