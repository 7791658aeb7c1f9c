"""The data of one trial's differences by seed, and its loss curves as a script that a page can load."""

import json
from collections.abc import Iterable
from itertools import pairwise
from math import isfinite
from typing import Any

from experiments.runner.curves import Curve

Seeds = dict[str, Any]
Pairs = list[tuple[int, float, float]]  # seed, the trial's bpb, the incumbent's
POINTS = 120  # of a loss curve that is drawn


def seeds(search: Pairs, fresh: Pairs, sd: float) -> Seeds:
    """Return the differences from the incumbent by seed, the noise of one pair, and the mean of those that count.

    report.js draws them: as a figure they would be the largest part of a page.
    """
    groups = [("search", search), ("fresh", fresh)]
    counted = [bpb - incumbent_bpb for _, bpb, incumbent_bpb in fresh or search]
    return {
        "names": [f"{name} {seed}" for name, pairs in groups for seed, _, _ in pairs],
        "differences": [round(bpb - incumbent_bpb, 6) for _, pairs in groups for _, bpb, incumbent_bpb in pairs],
        "sd": round(sd, 6),
        "mean": round(sum(counted) / len(counted), 6),
        "error": round(sd / len(counted) ** 0.5, 6),
    }


def curves_script(number: int, curves: Iterable[tuple[int, Curve]]) -> str:
    """Return a script with a trial's loss curves by seed: a page opened from disk may run one, but not read a file."""
    data = []
    for seed, points in curves:
        stride = 1
        while len(points) > stride * POINTS:
            stride *= 2  # a power of two: curves of other lengths share steps
        thinned = points[::stride]
        losses = [round(point.loss, 4) if isfinite(point.loss) else None for point in thinned]
        data.append({"seed": seed, "steps": _steps([point.step for point in thinned]), "losses": losses})
    return f"addCurves({number}, {json.dumps(data, separators=(',', ':'))});\n"


def _steps(steps: list[int]) -> list[int] | dict[str, int]:
    """Return steps at equal distances as the first and the distance, which is a quarter of a page's bytes."""
    distances = {after - before for before, after in pairwise(steps)}
    return {"first": steps[0], "every": distances.pop()} if len(distances) == 1 else steps
