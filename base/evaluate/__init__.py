"""The scorer and the two ways to talk to it."""
