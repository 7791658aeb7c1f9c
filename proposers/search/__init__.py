"""Numeric search over the knobs that a tree declares."""
