"""Checks of record folders, without running anything in them."""
