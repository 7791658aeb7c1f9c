"""The tree that proposals edit: a trainer, a quantizer and a scorer for Parameter Golf."""
