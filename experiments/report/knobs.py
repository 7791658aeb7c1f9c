"""The knobs of a run's trials: their importance by Optuna, parallel coordinates and slices.

A trial's value is the baseline's plus paired differences, as in the chart of progress: values on other seeds are not
comparable.
"""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from common.limits import KNOB_NAME_CHARACTERS
from experiments.report.style import GROUPS, Figure, bars, dots, figure, line, safe
from experiments.report.summary import RunSummary, Trial

LEAST_TRIALS = 8  # an importance of fewer is an accident
SHOWN, SLICES = 8, 6  # knobs in a figure, the most important ones
LARGEST = 1e15  # numbers beyond it are not drawn
LOG_RATIO = 20  # a positive knob whose values span more than this ratio is drawn on a logarithmic axis
FIFTHS = (
    ("worst fifth", "$failed"),
    ("4th", "$reverted"),
    ("3rd", "$discarded"),
    ("2nd", "$baseline"),
    ("best fifth", "$kept"),
)
Value = str | float


@dataclass(frozen=True)
class KnobFigures:
    """Figures over the knobs that a run has varied, and a slice for each of the most important ones."""

    importance: Figure
    parallel: Figure
    slices: list[tuple[str, Figure]]
    trials: int


def figures(summary: RunSummary) -> KnobFigures | None:
    """Return the figures; None if too few trials were measured, or no knob was varied."""
    valued = [trial for trial in summary.trials if trial.row.has_value and trial.paired_bpb is not None]
    measured = [trial for trial in valued if _knobs(trial.row.knobs)]  # ledgers of before hold none
    configurations = [_knobs(trial.row.knobs) for trial in measured]
    varied = _varied(configurations)
    if len(measured) < LEAST_TRIALS or not varied:
        return None
    importance = dict(list(_importance(measured, configurations, varied).items())[:SHOWN])
    slices = [
        (name, _slice(name, measured, [each[name] for each in configurations], varied[name]))
        for name in list(importance)[:SLICES]
    ]
    shown = {name: varied[name] for name in importance}
    return KnobFigures(
        bars(importance, "importance, of 1", "{:.2f}"),
        _parallel(measured, configurations, shown),
        slices,
        len(measured),
    )


def _knobs(text: str | None) -> dict[str, Value]:
    """Return a configuration's knobs by name; a candidate describes itself, so anything else is left out."""
    values = json.loads(text or "{}")
    found: dict[str, Value] = {}
    for name, value in values.items() if isinstance(values, dict) else ():
        if isinstance(value, str | bool):
            found[safe(name, KNOB_NAME_CHARACTERS)] = safe(str(value), 30)
        elif isinstance(value, int | float) and abs(value) < LARGEST:
            found[safe(name, KNOB_NAME_CHARACTERS)] = float(value)
    return found


def _varied(configurations: Sequence[dict[str, Value]]) -> dict[str, BaseDistribution]:
    """Return a distribution for every knob that all trials have and that has more than one value."""
    names = set.intersection(*map(set, configurations)) if configurations else set()
    found: dict[str, BaseDistribution] = {}
    for name in sorted(names):
        values = [configuration[name] for configuration in configurations]
        numbers = [value for value in values if isinstance(value, float)]
        if len(set(values)) > 1 and len(numbers) == len(values):
            low, high = min(numbers), max(numbers)
            found[name] = FloatDistribution(low, high, log=low > 0 and high / low > LOG_RATIO)
        elif len(set(values)) > 1:
            found[name] = CategoricalDistribution(sorted({str(value) for value in values}))
    return found


def _importance(
    measured: Sequence[Trial], configurations: Sequence[dict[str, Value]], varied: dict[str, BaseDistribution]
) -> dict[str, float]:
    """Return the importance of each knob, largest first: PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255)."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    for trial, configuration in zip(measured, configurations, strict=True):
        params = {name: _typed(configuration[name], kind) for name, kind in varied.items()}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=varied, value=trial.paired_bpb))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(), params=list(varied))


def _typed(value: Value, kind: BaseDistribution) -> Value:
    return str(value) if isinstance(kind, CategoricalDistribution) else value


def _height(value: Value, kind: BaseDistribution) -> float:
    """Return where a value stands between the least (0) and the largest (1) of its knob."""
    if isinstance(kind, CategoricalDistribution):
        return kind.choices.index(str(value)) / (len(kind.choices) - 1)
    assert isinstance(kind, FloatDistribution)
    scale = log if kind.log else float
    return (scale(float(value)) - scale(kind.low)) / (scale(kind.high) - scale(kind.low))


def _parallel(
    measured: Sequence[Trial], configurations: Sequence[dict[str, Value]], shown: dict[str, BaseDistribution]
) -> Figure:
    """Plot each trial as a line over the knobs, in the color of its fifth by bits per byte; the best are on top."""
    order = sorted(range(len(measured)), key=lambda i: -(measured[i].paired_bpb or 0.0))
    traces = []
    for fifth, (name, color) in enumerate(FIFTHS):
        xs: list[float | None] = []
        ys: list[float | None] = []
        for i in order[fifth * len(order) // 5 : (fifth + 1) * len(order) // 5]:
            xs += [*range(len(shown)), None]
            ys += [*(_height(configurations[i][knob], kind) for knob, kind in shown.items()), None]
        traces.append(line(xs, ys, color, 2 if fifth == len(FIFTHS) - 1 else 0.7, name=name))
    ends = [
        {"x": x, "y": y, "text": label, "showarrow": False, "yshift": 12 if y else -12, "font": {"size": 11}}
        for x, kind in enumerate(shown.values())
        for y, label in enumerate(_ends(kind))
    ]
    axis = {
        "tickvals": list(range(len(shown))),
        "ticktext": list(shown),
        "side": "top",
        "range": [-0.4, len(shown) - 0.6],
    }
    hidden = {"showticklabels": False, "showgrid": False, "ticks": "", "range": [-0.12, 1.12]}
    return figure(
        traces, "", "", 380, xaxis=axis, yaxis=hidden, annotations=ends, margin={"l": 12, "t": 40, "b": 20},
        legend={"y": -0.02}, meta="parallel",  # report.js turns it on its side on a phone
    )  # fmt: skip


def _ends(kind: BaseDistribution) -> tuple[str, str]:
    """Return the labels of the lower and the upper end of a knob's axis."""
    if isinstance(kind, CategoricalDistribution):
        return str(kind.choices[0]), str(kind.choices[-1])
    assert isinstance(kind, FloatDistribution)
    return f"{kind.low:.3g}", f"{kind.high:.3g}"


def _slice(name: str, measured: Sequence[Trial], values: Sequence[Value], kind: BaseDistribution) -> Figure:
    """Plot one knob against bits per byte."""
    traces = []
    for group, states, color, symbol, size in GROUPS:
        members = [(trial, value) for trial, value in zip(measured, values, strict=True) if trial.row.state in states]
        trace = dots(
            group, [trial for trial, _ in members], [trial.paired_bpb for trial, _ in members], color, symbol, size - 2
        )
        traces.append({**trace, "x": [value for _, value in members]})
    scale = "log" if isinstance(kind, FloatDistribution) and kind.log else "linear"
    axis = {"type": "category" if isinstance(kind, CategoricalDistribution) else scale}
    return figure(traces, name, "bits per byte", 280, xaxis=axis, showlegend=False)
