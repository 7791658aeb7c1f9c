"""Attention and its variants, one file per idea."""
