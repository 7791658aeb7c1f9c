"""Connections between layers: blocks, skips and multiple residual streams."""
