"""The report's figures, as Plotly JSON. Text from a proposal is escaped: Plotly renders some HTML in its labels."""

import html
from collections.abc import Iterable
from math import isfinite

import plotly.graph_objects as go

from common.state import State
from common.text import one_line
from experiments.report.summary import RunSummary, Trial
from experiments.runner.curves import Curve

INK, MUTED, GRID = "#1c2733", "#64748b", "#e5e9ef"
KEPT, BASELINE, DISCARDED, REVERTED, FAILED, BAND = "#0f8a5f", "#2563eb", "#9aa5b4", "#d97706", "#c2413b", "#0f8a5f22"
GROUPS = (  # name, states, color, symbol, size
    ("baseline", (State.BASELINE,), BASELINE, "diamond", 11),
    ("kept", (State.KEPT, State.KEPT_BY_PERSON), KEPT, "circle", 11),
    ("reverted", (State.REVERTED, State.REVERTED_BY_PERSON), REVERTED, "circle-open", 9),
    ("discarded", (State.DISCARDED,), DISCARDED, "circle", 7),
)
Pairs = list[tuple[int, float, float]]  # seed, the trial's bpb, the incumbent's
MARGIN = {"l": 56, "r": 12, "t": 12, "b": 44}


def progress(summary: RunSummary) -> go.Figure:
    """Plot every trial as a dot by verdict, and the incumbent as a staircase with its noise band; failures on top."""
    trials = [trial for trial in summary.trials if trial.row.state.finished]
    figure = go.Figure()
    measured, paired = _stairs(trials, paired=False), _stairs(trials, paired=True)
    ys: list[list[list[float | None]]] = [[], []]  # as measured, by paired differences; one list per trace
    steps = [trial.row.number for trial in trials]
    for side, sign in (("upper", 1), ("lower", -1)):
        for view, stairs in zip(ys, (measured, paired), strict=True):
            view.append([value + sign * trial.noise_bpb for value, trial in zip(stairs, trials, strict=True)])
        fill = {"fill": "tonexty", "fillcolor": BAND} if side == "lower" else {}
        name = "noise (1 sd)" if side == "lower" else side
        figure.add_scatter(
            x=steps, y=ys[0][-1], mode="lines", line={"width": 0, "shape": "hv"}, hoverinfo="skip", name=name,
            showlegend=side == "lower", **fill,
        )  # fmt: skip
    for view, stairs in zip(ys, (measured, paired), strict=True):
        view.append(list(stairs))
    stairs_line = {"shape": "hv", "color": KEPT, "width": 2}
    figure.add_scatter(x=steps, y=measured, mode="lines", line=stairs_line, name="incumbent", hoverinfo="skip")
    top = max(filter(isfinite, measured), default=2.0) + 0.05
    for name, states, color, symbol, size in GROUPS:
        group = [trial for trial in trials if trial.row.state in states and trial.row.val_bpb is not None]
        ys[0].append([min(trial.row.val_bpb or top, top) for trial in group])
        ys[1].append([min(trial.paired_bpb or top, top) for trial in group])
        _dots(figure, name, group, ys[0][-1], color, symbol, size)
    failed = [trial for trial in trials if not trial.row.has_value]
    for view in ys:
        view.append([top] * len(failed))
    _dots(figure, "no value", failed, ys[0][-1], FAILED, "x-thin-open", 8)
    buttons = [
        {"label": label, "method": "restyle", "args": [{"y": view}]}
        for label, view in zip(("as measured", "paired differences"), ys, strict=True)
    ]
    _style_axes(figure, "trial", "bits per byte")
    figure.update_layout(
        height=420,
        updatemenus=[{"type": "buttons", "direction": "right", "buttons": buttons, "x": 1, "y": 1.14, "pad": {"t": 0}}],
        margin={**MARGIN, "t": 44},
    )
    return figure


def _stairs(trials: list[Trial], paired: bool) -> list[float]:
    """Return the incumbent's value after each trial was judged."""
    values, value = [], float("nan")
    for trial in trials:
        if trial.row.state.is_kept:
            value = (trial.paired_bpb if paired else trial.row.val_bpb) or value
        values.append(value)
    return values


def _dots(
    figure: go.Figure, name: str, trials: list[Trial], ys: Iterable[float | None], color: str, symbol: str, size: int
) -> None:
    def hover_text(trial: Trial) -> str:
        row = trial.row
        numbers = f"{row.val_bpb:.4f} bpb" if row.has_value else safe(row.detail, 160)
        delta = f", {row.delta_bpb:+.4f} paired" if row.delta_bpb is not None and row.has_value else ""
        return f"<b>{row.number:04d}</b> {safe(row.title, 60)}<br>{safe(str(row.state))}: {numbers}{delta}"

    figure.add_scatter(
        x=[trial.row.number for trial in trials], y=list(ys), mode="markers", name=name,
        marker={"color": color, "symbol": symbol, "size": size, "line": {"width": 2, "color": color}},
        text=[hover_text(trial) for trial in trials], hovertemplate="%{text}<extra></extra>",
        customdata=[trial.href for trial in trials],
    )  # fmt: skip


def loss(curves: list[tuple[str, Curve, bool]]) -> go.Figure:
    """Plot training losses by step; a curve is its name, its points, and True for the trial's own."""
    figure = go.Figure()
    for name, points, own in curves:
        figure.add_scatter(
            x=[point.step for point in points], y=[point.loss for point in points], mode="lines", name=safe(name),
            line={"color": KEPT if own else DISCARDED, "width": 2 if own else 1.5, "dash": "solid" if own else "dot"},
        )  # fmt: skip
    _style_axes(figure, "step", "training loss, nats per token")
    figure.update_layout(height=320)
    return figure


def seeds(search: Pairs, fresh: Pairs, sd: float) -> go.Figure:
    """Plot differences from the incumbent by seed with the noise of one pair, and the mean of those that count."""
    groups = [("search", search), ("fresh", fresh)]
    names = [f"{name} {seed}" for name, pairs in groups for seed, _, _ in pairs]
    differences = [bpb - incumbent_bpb for _, pairs in groups for _, bpb, incumbent_bpb in pairs]
    reported = [bpb - incumbent_bpb for _, bpb, incumbent_bpb in fresh or search]
    mean = sum(reported) / len(reported)
    figure = go.Figure()
    figure.add_scatter(
        x=differences, y=names, mode="markers", marker={"color": BASELINE, "size": 9}, name="seed",
        error_x={"type": "constant", "value": sd, "color": DISCARDED, "thickness": 1.5},
        hovertemplate="%{y}: %{x:+.4f} bpb<extra></extra>",
    )  # fmt: skip
    marker = {"color": KEPT if mean < 0 else FAILED, "size": 12, "symbol": "diamond"}
    figure.add_scatter(
        x=[mean], y=["mean"], mode="markers", marker=marker,
        error_x={"type": "constant", "value": sd / len(reported) ** 0.5, "color": INK, "thickness": 2}, name="mean",
        hovertemplate="mean %{x:+.4f} bpb<extra></extra>",
    )  # fmt: skip
    _style_axes(figure, "bpb against the incumbent on the same seed; left is better", "")
    figure.update_layout(height=130 + 32 * len(names), showlegend=False, margin={**MARGIN, "l": 130})
    figure.add_vline(x=0, line={"color": INK, "width": 1})
    figure.update_yaxes(autorange="reversed")
    return figure


def bars(values: dict[str, float], unit: str, form: str) -> go.Figure:
    """Plot shares of a whole, largest first."""
    ordered = sorted(values.items(), key=lambda item: item[1])
    figure = go.Figure(
        go.Bar(
            x=[value for _, value in ordered], y=[safe(name, 40) for name, _ in ordered], orientation="h",
            marker={"color": BASELINE}, text=[form.format(value) for _, value in ordered], textposition="auto",
            hovertemplate="%{y}: %{text}<extra></extra>",
        )
    )  # fmt: skip
    _style_axes(figure, unit, "")
    figure.update_layout(height=90 + 26 * len(ordered), showlegend=False, margin={**MARGIN, "l": 170})
    return figure


def _style_axes(figure: go.Figure, x: str, y: str) -> None:
    axis = {
        "gridcolor": GRID,
        "zeroline": False,
        "linecolor": GRID,
        "ticks": "outside",
        "tickcolor": GRID,
        "automargin": True,
    }
    small = {"color": MUTED, "size": 12}
    figure.update_layout(
        template="none",
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin=MARGIN,
        legend={"orientation": "h", "x": 0, "y": -0.22},
        hoverlabel={"bgcolor": "#ffffff", "bordercolor": GRID, "font": {"color": INK}, "align": "left"},
        xaxis={**axis, "title": {"text": x, "font": small, "standoff": 8}},
        yaxis={**axis, "title": {"text": y, "font": small, "standoff": 12}},
    )


def safe(text: str, limit: int = 200) -> str:
    """Return foreign text without anything that Plotly would render as a tag or link."""
    return html.escape(one_line(text, limit), quote=False)
