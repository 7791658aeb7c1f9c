"""Figures over all trials of a run: progress, lineage, cost against value, and expectation against measurement."""

from collections.abc import Sequence
from itertools import cycle
from math import isfinite

from experiments.report.style import GROUPS, SERIES, Figure, Trace, dots, figure, line, rounded, safe, whole_ticks
from experiments.report.summary import RunSummary, Trial


def progress(summary: RunSummary) -> Figure:
    """Plot every trial as a dot by verdict, and the incumbent as a staircase with its noise band; failures on top."""
    trials = [trial for trial in summary.trials if trial.row.state.finished]
    failed = [trial for trial in trials if not trial.row.has_value]
    numbers = [trial.row.number for trial in trials]
    views = []  # by paired differences, and as measured: the y of every trace
    for paired in (True, False):
        stairs = _stairs(trials, paired)
        top = max(filter(isfinite, stairs), default=2.0) + 0.05
        band = [
            [value + sign * trial.noise_bpb for value, trial in zip(stairs, trials, strict=True)] for sign in (1, -1)
        ]
        groups = [[min(_value(trial, paired) or top, top) for trial in group] for group in _groups(trials)]
        views.append([rounded(values) for values in (*band, stairs, *groups, [top] * len(failed))])
    upper, lower, stairs_y, *rest = views[0]
    traces = [
        line(numbers, upper, "$kept", 0, shape="hv", showlegend=False),
        line(numbers, lower, "$kept", 0, shape="hv", name="noise (1 sd)", fill="tonexty", fillcolor="$band"),
        line(numbers, stairs_y, "$kept", 2, shape="hv", name="incumbent"),
    ]
    for (name, _, color, symbol, size), group, ys in zip(GROUPS, _groups(trials), rest, strict=False):
        traces.append(dots(name, group, ys, color, symbol, size))
    traces.append(dots("no value", failed, rest[-1], "$failed", "x-thin-open", 8))
    labels = ("paired differences", "as measured")
    drawn = figure(traces, "trial", "bits per byte", 400, xaxis=whole_ticks(numbers[-1] if numbers else 1))
    return {**drawn, "views": [{"label": label, "y": view} for label, view in zip(labels, views, strict=True)]}


def _value(trial: Trial, paired: bool) -> float | None:
    return trial.paired_bpb if paired else trial.row.val_bpb


def _groups(trials: Sequence[Trial]) -> list[list[Trial]]:
    return [
        [trial for trial in trials if trial.row.state in states and trial.row.val_bpb is not None]
        for _, states, *_ in GROUPS
    ]


def _stairs(trials: Sequence[Trial], paired: bool) -> list[float]:
    """Return the incumbent's value after each trial was judged."""
    values, value = [], float("nan")
    for trial in trials:
        if trial.row.state.is_kept:
            value = _value(trial, paired) or value
        values.append(value)
    return values


def tree(summary: RunSummary) -> Figure:
    """Plot every trial below the incumbent it was written against: what was kept leads on, all else is a leaf."""
    kept = {generation.row.number for generation in summary.generations}
    by_number = {trial.row.number: trial for trial in summary.trials}
    depths: dict[int, int] = {}
    edges: dict[bool, tuple[list[float | None], list[float | None]]] = {True: ([], []), False: ([], [])}
    for generation in summary.generations:
        start = generation.row.number
        depth = depths.setdefault(start, 0)
        for row in generation.tried:
            depths[row.number] = depth + 1
            xs, ys = edges[row.number in kept]
            xs += [start, row.number, None]
            ys += [depth, depth + 1, None]
    shown = [by_number[number] for number in depths]
    failed = [trial for trial in shown if not any(trial.row.state in states for _, states, *_ in GROUPS)]
    traces = [
        line(*edges[False], "$discarded", 0.5, showlegend=False),
        line(*edges[True], "$kept", 2, showlegend=False),
    ]
    for name, states, color, symbol, size in (*GROUPS, ("no value", (), "$failed", "x-thin-open", 7)):
        group = [trial for trial in shown if trial.row.state in states] if states else failed
        traces.append(dots(name, group, [depths[trial.row.number] for trial in group], color, symbol, size))
    deepest = max(depths.values(), default=1)
    axis = {**whole_ticks(deepest), "autorange": "reversed"}
    height = min(240 + 24 * deepest, 560)
    last = max(depths, default=1)
    return figure(traces, "trial", "keeps before it", height, xaxis=whole_ticks(last), yaxis=axis)


def pareto(summary: RunSummary, cost: str, unit: str) -> Figure | None:
    """Plot a column of the ledger against bits per byte, and the front: the trials that no other beats in both.

    Bits per byte are the baseline's plus paired differences, which do not depend on the luck of seeds. None without
    a measured trial.
    """
    measured = {trial: getattr(trial.row, cost) for trial in summary.trials if trial.row.has_value}
    points = {trial: (float(x), y) for trial, x in measured.items() if x is not None and (y := trial.paired_bpb)}
    if not points:
        return None
    front = pareto_front(list(points.values()))
    traces: list[Trace] = [line([x for x, _ in front], [y for _, y in front], "$kept", 2, shape="hv", name="front")]
    for name, states, color, symbol, size in GROUPS:
        group = {trial: point for trial, point in points.items() if trial.row.state in states}
        xs, ys = ([point[i] for point in group.values()] for i in (0, 1))
        traces.append(dots(name, list(group), ys, color, symbol, size, xs))
    return figure(traces, unit, "bits per byte", 300, showlegend=False)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points for which no other is at most as large in both coordinates, from left to right."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(points):
        if not front or y < front[-1][1]:
            front.append((x, y))
    return front


def calibration(summary: RunSummary) -> Figure | None:
    """Plot the difference that a proposer expected against the one that was measured; None if nobody expected one."""
    points = {
        trial: (expected, measured)
        for trial in summary.trials
        if trial.row.has_value
        and (expected := trial.expected_bpb) is not None
        and (measured := trial.row.delta_bpb) is not None
    }
    if not points:
        return None
    ends = [value for point in points.values() for value in point]
    diagonal = [min(ends), max(ends)]
    traces = [line(diagonal, diagonal, "$muted", 1, dash="dot", name="as expected")]
    for name, color in zip(sorted({trial.by for trial in points}), cycle(SERIES), strict=False):
        group = {trial: point for trial, point in points.items() if trial.by == name}
        xs, ys = ([point[i] for point in group.values()] for i in (0, 1))
        traces.append(dots(safe(name or "unnamed", 30), list(group), ys, color, "circle", 8, xs))
    return figure(traces, "expected difference, bpb", "measured difference, bpb", 340)
