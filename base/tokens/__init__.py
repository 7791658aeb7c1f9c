"""Token streams in."""
