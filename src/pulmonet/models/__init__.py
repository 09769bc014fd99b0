"""Networks, their weights, and inference with them."""
