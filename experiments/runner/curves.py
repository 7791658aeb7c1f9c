"""Early stopping by the loss curve: a training run whose own curve shows that it has failed is ended.

A run is ended if its loss is not finite, has risen far above its best, or has not improved; nothing else ends one
early. The program writes its own curve, so a curve can end only its own run, and is otherwise used only for a chart in
the report.
"""

import json
import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from common.errors import Refused
from common.state import State
from preflight.sandbox.job import Job, Outcome
from preflight.sandbox.start import start

POLL_SECONDS = 1.0
CURVE_BYTES = 1 << 18  # read of a file that a candidate writes
MOST_STEPS = 10**9
WINDOW = 5  # points whose median counts: two bad batches are not a trend
DIVERGED_NATS = 1.0  # above the best loss
PROGRESS_NATS = 0.05  # the least that a loss must fall in the first half
HALF = 0.5


@dataclass(frozen=True)
class Point:
    """One point of a loss curve."""

    step: int
    loss: float  # nats per token, of training


Curve = tuple[Point, ...]


def read_curve(path: Path) -> Curve:
    """Return the curve so far. A candidate writes the file, so lines that are not well-formed are skipped."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ()  # does not exist yet
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return ()
        lines = os.read(handle, CURVE_BYTES).split(b"\n")[:-1]  # the last one may be half written
    finally:
        os.close(handle)
    points = []
    for line in lines:
        try:
            values = json.loads(line)
            if 0 <= (step := int(values["step"])) <= MOST_STEPS:
                points.append(Point(step, float(values["loss"])))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue
    return tuple(points)


def early_stop(points: Curve, steps: int | None) -> tuple[State, str] | None:
    """Return (verdict, reason) if the run should be ended, else None.

    Args:
        points: The curve so far.
        steps: The length of the whole run; None if it is not fixed.
    """
    if any(not math.isfinite(point.loss) for point in points):
        first = next(point for point in points if not math.isfinite(point.loss))
        return State.NAN, f"train: got a loss of {first.loss} at step {first.step}"
    if len(points) <= WINDOW:
        return None
    smooth = smoothed(points)
    best, last = min(point.loss for point in smooth), smooth[-1]
    if last.loss > best + DIVERGED_NATS:
        return State.DIVERGED, f"train: got a loss of {last.loss:.3f} at step {last.step}, after a best of {best:.3f}"
    if steps and last.step >= HALF * steps and best > points[0].loss - PROGRESS_NATS:
        return (
            State.DIVERGED,
            f"train: no progress by step {last.step}: {points[0].loss:.3f} at first, {best:.3f} at best",
        )
    return None


def smoothed(points: Curve) -> list[Point]:
    """Return medians of WINDOW points, each at the step of its last point."""
    return [
        Point(points[i].step, median(point.loss for point in points[i + 1 - WINDOW : i + 1]))
        for i in range(WINDOW - 1, len(points))
    ]


def raise_if_lost(points: Curve, steps: int | None) -> None:
    """Raise Refused if the run should be ended."""
    if stop := early_stop(points, steps):
        raise Refused(*stop)


def run_watched(job: Job, steps: int | None) -> Outcome:
    """Run a training job until it ends, or until its curve shows that it has failed."""
    with start(job) as running:
        while (outcome := running.poll(POLL_SECONDS)) is None:
            raise_if_lost(read_curve(job.out / "metrics.jsonl"), steps)
        return outcome
