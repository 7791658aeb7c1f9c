"""Loss curves while they grow: end a training run that says itself that it is lost.

A run is lost when its loss is no number, has left its best by far, or has not moved: nothing else ends one early. The
program writes its own curve, so a curve ends nothing but its own run and stands for nothing but a chart in the report.
"""

import json
import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from data.errors import Refused
from data.state import State
from preflight.sandbox import Job, Outcome, start

POLL_SECONDS = 1.0
CURVE_BYTES = 1 << 18  # of a file that a candidate writes
WINDOW = 5  # points whose median counts: two bad batches are no trend
DIVERGED_NATS = 1.0  # above its best
PROGRESS_NATS = 0.05  # least a loss falls in the first half
HALF = 0.5


@dataclass(frozen=True)
class Point:
    step: int
    loss: float  # nats per token, of training


Curve = tuple[Point, ...]


def read(path: Path) -> Curve:
    """The curve so far. A candidate writes the file, so whatever is no plain line of it is passed over."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ()  # not there yet
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
            points.append(Point(int(values["step"]), float(values["loss"])))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue
    return tuple(points)


def lost(points: Curve, steps: int | None) -> tuple[State, str] | None:
    """(verdict, why) of a run that cannot be saved; `steps` is the length of the whole run where that is fixed."""
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
    """Medians of WINDOW points, at the step of the last."""
    return [
        Point(points[i].step, median(point.loss for point in points[i + 1 - WINDOW : i + 1]))
        for i in range(WINDOW - 1, len(points))
    ]


def look(points: Curve, steps: int | None) -> None:
    """Raises Refused where it is better to stop."""
    if found := lost(points, steps):
        raise Refused(*found)


def run_watched(job: Job, steps: int | None) -> Outcome:
    """Run a training job to its end, or to the moment it is lost."""
    with start(job) as running:
        while (outcome := running.settle(POLL_SECONDS)) is None:
            look(read(job.out / "metrics.jsonl"), steps)
        return outcome
