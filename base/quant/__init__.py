"""Quantization: the export's integer grids, and training on them."""
