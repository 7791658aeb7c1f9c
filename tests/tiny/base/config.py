"""The knobs of the counter."""

import os

PRESETS = {"tiny": {"seed": 1, "iterations": 4, "batch_tokens": 4096, "smoothing": 0.5, "passes": 1}}
SECTIONS = {"smoothing": "eval"}
TECHNIQUES = {"smoother": {"smoothing": 8.0}, "twice": {"passes": 2}}


def resolve():
    knobs = dict(PRESETS[os.environ.get("PRESET", "tiny")])
    for name in knobs:
        if name.upper() in os.environ:
            knobs[name] = (float if isinstance(knobs[name], float) else int)(os.environ[name.upper()])
    return knobs
