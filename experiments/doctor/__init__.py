"""Checks of the machine and the repository before a run."""
