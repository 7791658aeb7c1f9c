"""The declaration of a knob: its default, what it does, and the range in which a search may move it."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Range:
    """Search range of a knob: low to high, both included. Use literals only: the harness parses the source.

    `joint` marks a knob that changes the artifact's bytes or the step's cost; it is searched only if these are weighed.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    joint: bool = False


def knob(default, doc, searched=None, choices=()):
    return field(default=default, metadata={"doc": doc, "range": searched, "choices": choices})
