"""Training: the loop, losses, precision, checkpoints, several processes."""
