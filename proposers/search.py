"""Numeric search: Optuna's TPE over the ranges that the incumbent's own source declares, its history the ledger.

A proposal edits one or two defaults; with `joint`, up to six at once, width, depth and bits among them, as long as
the artifact is predicted to stay under the cap. Bergstra et al. 2011, Algorithms for Hyper-Parameter Optimization.
"""

import json
import random
import warnings
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from data.errors import Exhausted
from data.state import State
from experiments.ledger import Row
from experiments.proposal import SEARCH, edits_between
from preflight.tree import Tree
from proposers import Options
from proposers.context import Context
from proposers.forecast import fits, forecast
from proposers.knobs import Knob, Value, declared, edited

AT_ONCE, JOINTLY = 2, 6
DRAWS = 60  # until a configuration is new and fits
STARTUP = 8  # random draws before the history has a say
PENALTY = 0.5  # of the measured spread, for what ended before it had a score


class Search:
    """Proposes numbers; every draw depends on the run's name and history alone, so a restart repeats it."""

    def __init__(self, joint: bool = False, informed: bool = True) -> None:
        self.joint, self.informed = joint, informed

    def propose(self, context: Context) -> str:
        knobs = [knob for knob in declared(context.tree, context.target.preset) if self.joint or not knob.range.joint]
        knobs = [knob for knob in knobs if drawable(knob)]
        history = [(json.loads(row.knobs), value) for row, value in scored(context.rows) if row.knobs]
        tried = [settings(knobs, values) for values, _ in history]
        rng = random.Random(f"{context.run}/{len(context.rows)}")
        study = study_of(knobs, history, rng.getrandbits(31), self.informed, self.joint)
        interval = forecast(context) if self.joint else None
        for _ in range(DRAWS):
            chosen = rng.sample(knobs, min(len(knobs), rng.randint(1, JOINTLY if self.joint else AT_ONCE)))
            drawn = study.ask({knob.name: distribution(knob) for knob in chosen}).params
            values = {knob: rounded(knob, drawn[knob.name]) for knob in chosen}
            values = {knob: value for knob, value in values.items() if value != knob.value}
            config = {knob.name: values.get(knob, knob.value) for knob in knobs}
            if not values or config in tried:
                continue
            tree = edited(context.tree, values)
            if interval is None or fits(interval, tree, context.target.cap_bytes):
                return self.proposal(context, values, tree, len(history))
        raise Exhausted(f"search: nothing new that fits in {DRAWS} draws over {len(knobs)} knobs; widen their ranges")

    def proposal(self, context: Context, values: dict[Knob, Value], tree: Tree, seen: int) -> str:
        by = f"TPE over {seen} measured trials" if self.informed and seen > STARTUP else "a random draw"
        made = {
            "title": ", ".join(f"{knob.name} {knob.value} to {value}" for knob, value in values.items()),
            "hypothesis": f"{by} from the declared ranges.",
            "class": next(iter(values)).kind,
            "parent": context.parent,
            "expected_delta_bpb": 0.0,  # a sampler has no opinion
            "by": SEARCH,
            "edits": edits_between(context.tree, tree),
        }
        return json.dumps(made)

    def repair(self, message: str) -> str | None:
        return None


def study_of(
    knobs: list[Knob], history: list[tuple[dict[str, Any], float]], seed: int, informed: bool, joint: bool
) -> optuna.Study:
    """An Optuna study that has seen the history; values outside today's ranges teach nothing about their knob."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # multivariate TPE
    sampler: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed)
    if informed:
        sampler = optuna.samplers.TPESampler(n_startup_trials=STARTUP, multivariate=joint, group=joint, seed=seed)
    study = optuna.create_study(sampler=sampler)
    for values, score in history:
        known = [knob for knob in knobs if inside(knob, values.get(knob.name))]
        study.add_trial(
            optuna.trial.create_trial(
                params={knob.name: values[knob.name] for knob in known},
                distributions={knob.name: distribution(knob) for knob in known},
                value=score,
            )
        )
    return study


def scored(rows: list[Row]) -> list[tuple[Row, float]]:
    """Trials with the number a sampler should see: bits per byte, or worse than all where a limit ended the trial.

    Trials run on different seeds, so the number is the baseline's plus the paired differences along the lineage.
    """
    by_commit: dict[str | None, float] = {}
    values: dict[int, float] = {}
    for row in rows:
        if row.valued and row.val_bpb is not None:
            parent = by_commit.get(row.parent)
            value = row.val_bpb if parent is None or row.delta_bpb is None else parent + row.delta_bpb
            by_commit[row.commit_id] = values[row.number] = value
    if not values:
        return []
    bad = max(values.values()) + PENALTY * (max(values.values()) - min(values.values()))
    return [
        (row, values.get(row.number, bad))
        for row in rows
        if row.number in values or row.state.limit or row.state is State.NAN
    ]


def settings(knobs: list[Knob], values: dict[str, Any]) -> dict[str, Any]:
    return {knob.name: values.get(knob.name) for knob in knobs}


def distribution(knob: Knob) -> BaseDistribution:
    low, high, log, step = knob.range.low, knob.range.high, knob.range.log, knob.range.step
    if isinstance(knob.value, int):
        return IntDistribution(int(low), int(high), log, 1 if log or step is None else int(step))
    return FloatDistribution(low, high, log, None if log else step)


def drawable(knob: Knob) -> bool:
    """Whether the declared range makes sense; a proposal may have declared it, and shall not end the night."""
    try:
        return bool(distribution(knob))
    except (ValueError, TypeError, OverflowError):
        return False


def inside(knob: Knob, value: object) -> bool:
    low, high = knob.range.low, knob.range.high
    return isinstance(value, int | float) and low <= value <= high and distribution(knob)._contains(float(value))


def rounded(knob: Knob, value: Value) -> Value:
    """Three digits, what a person would have typed, unless that leaves the range."""
    short = value if isinstance(value, int) else float(f"{value:.3g}")
    return short if knob.range.low <= short <= knob.range.high else value


def search(options: Options) -> Search:
    return Search(options.joint)


def random_draws(options: Options) -> Search:
    """The same ranges without the history: what `search` has to beat (dev/benchmarks/search.md)."""
    return Search(options.joint, informed=False)
