"""A run on disk: opening, locking, stopping, and reclaiming disk space."""
