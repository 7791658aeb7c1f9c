"""Figures as Plotly's JSON: traces and a layout in plain dictionaries, which assets/report.js draws in its look.

Colors are names of its palette, such as `$kept`. Plotly's own Python classes check every value, which took four
minutes for a run of a thousand trials. Foreign text is escaped: Plotly renders some HTML in its labels.
"""

import html
from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any

from common.state import State
from common.text import one_line
from experiments.report.summary import Trial

Figure = dict[str, Any]
Trace = dict[str, Any]
GROUPS = (  # name, states, color, symbol, size
    ("baseline", (State.BASELINE,), "$baseline", "diamond", 11),
    ("kept", (State.KEPT, State.KEPT_BY_PERSON), "$kept", "circle", 11),
    ("reverted", (State.REVERTED, State.REVERTED_BY_PERSON), "$reverted", "circle-open", 9),
    ("discarded", (State.DISCARDED,), "$discarded", "circle", 7),
)
SERIES = tuple(f"$series{i}" for i in range(8))
TICKS = 10


def figure(traces: Sequence[Trace], x: str, y: str, height: int = 320, **layout: Any) -> Figure:
    """Return a figure from its traces, the titles of its axes, and entries of the layout."""
    axes = {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}}
    for name, changes in axes.items():
        changes.update(layout.pop(name, {}))
    return {"data": list(traces), "layout": {"height": height, **axes, **layout}}


def whole_ticks(last: float) -> dict[str, Any]:
    """Return an axis from 0 to `last` with at most ten ticks, at whole and round numbers."""
    tick = next(
        tick for power in range(12) for tick in (10**power, 2 * 10**power, 5 * 10**power) if last / tick <= TICKS
    )
    return {"tickformat": "d", "dtick": tick}


def line(xs: Sequence[float | None], ys: Sequence[float | None], color: str, width: float, **trace: Any) -> Trace:
    """Return a line; `dash` and `shape` belong to it, all else to its trace."""
    look = {name: trace.pop(name) for name in ("dash", "shape") if name in trace}
    return {
        "type": "scatter", "mode": "lines", "x": list(xs), "y": rounded(ys),
        "line": {"color": color, "width": width, **look}, "hoverinfo": "skip", **trace,
    }  # fmt: skip


def dots(
    name: str, trials: Sequence[Trial], ys: Iterable[float | None], color: str, symbol: str, size: int,
    xs: Iterable[float | None] | None = None,
) -> Trace:  # fmt: skip
    """Return a dot for each trial, at its number unless `xs` are given; report.js adds its text and its link."""
    numbers = [trial.row.number for trial in trials]
    return {
        "type": "scatter", "mode": "markers", "name": name, "x": numbers if xs is None else rounded(xs),
        "y": rounded(ys), "customdata": numbers, "hovertemplate": "%{text}<extra></extra>",
        "marker": {"color": color, "symbol": symbol, "size": size, "line": {"width": 2, "color": color}},
    }  # fmt: skip


def hover_texts(trials: Iterable[Trial]) -> dict[int, str]:
    """Return the text that a trial's dots show, by its number."""
    return {trial.row.number: _hover_text(trial) for trial in trials}


def _hover_text(trial: Trial) -> str:
    row = trial.row
    numbers = f"{row.val_bpb:.4f} bpb" if row.has_value else safe(row.detail, 120)
    paired = f", {row.delta_bpb:+.4f} paired" if row.delta_bpb is not None and row.has_value else ""
    return f"<b>{row.number:04d}</b> {safe(row.title, 60)}<br>{safe(str(row.state))}: {numbers}{paired}"


def bars(values: dict[str, float], unit: str, form: str) -> Figure:
    """Plot values as bars, the largest on top."""
    ordered = sorted(values.items(), key=lambda item: item[1])
    trace = {
        "type": "bar", "orientation": "h", "x": rounded(value for _, value in ordered),
        "y": [safe(name, 40) for name, _ in ordered], "text": [form.format(value) for _, value in ordered],
        "marker": {"color": "$baseline"}, "textposition": "outside", "cliponaxis": False,
        "hovertemplate": "%{y}: %{text}<extra></extra>",
    }  # fmt: skip
    return figure([trace], unit, "", 90 + 26 * len(ordered), showlegend=False, margin={"l": 170, "r": 68})


def rounded(values: Iterable[float | None]) -> list[float | None]:
    """Return values with six significant digits: more are not seen, and a page of a long run has many.

    None stands for what is not finite: JSON has no such number.
    """
    return [
        value if value is None or isinstance(value, int) else float(f"{value:.6g}") if isfinite(value) else None
        for value in values
    ]


def safe(text: str, limit: int = 200) -> str:
    """Return foreign text without anything that Plotly would render as a tag or link."""
    return html.escape(one_line(text, limit), quote=False)
