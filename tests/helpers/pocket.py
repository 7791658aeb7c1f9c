"""The profile `pocket` with half of its steps: fewer would do, but their CPU seconds vary by more than the slack."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

from experiments.tiers import PROFILES

FULL = PROFILES["pocket"].tier
TARGET = FULL.target
SHORT = dataclasses.replace(
    FULL,
    target=dataclasses.replace(TARGET, environment={**TARGET.environment, "ITERATIONS": "150"}),
    audit_positions=64,
)


@contextmanager
def short_pocket() -> Iterator[None]:
    """Replace the profile `pocket` by the short one for a while."""
    full = PROFILES["pocket"]
    PROFILES["pocket"] = dataclasses.replace(full, tier=SHORT, table=None)
    try:
        yield
    finally:
        PROFILES["pocket"] = full
