"""Artifacts: named integer arrays to bytes and back."""
