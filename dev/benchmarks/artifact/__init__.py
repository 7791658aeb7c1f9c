"""Benchmarks of the artifact: its coder, the forecast of its size, its quantization, and every recipe at full size."""
