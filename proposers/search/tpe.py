"""Numeric search: Optuna's TPE over the ranges that the incumbent's source declares, with the ledger as its history.

A proposal edits one or two defaults; with `joint`, up to six at once, including width, depth and bits, as long as
the artifact is predicted to stay within the cap. Bergstra et al. 2011, Algorithms for Hyper-Parameter Optimization.
"""

import json
import random
import warnings
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from common.errors import Exhausted
from common.state import State
from experiments.ledger.rows import Row
from experiments.proposal.options import ProposerOptions
from experiments.proposal.parts import SEARCH
from experiments.proposal.patch import edits_between
from preflight.source.tree import Tree
from proposers import Proposer
from proposers.context import Context
from proposers.search.knobs import Knob, Value, declared, edited
from proposers.search.size_forecast import fits, forecast

AT_ONCE, JOINTLY = 2, 6
DRAWS = 60  # attempts to draw a configuration that is new and fits
STARTUP = 8  # random draws before TPE uses the history
PENALTY = 0.5  # of the measured spread, added to the worst score for a trial that ended without one


class Search(Proposer):
    """Propose values of knobs; a draw depends on the run's name and history alone, so a restart repeats it.

    Args:
        joint: Change up to six knobs at once, including those whose range is marked `joint`.
        informed: Use TPE; otherwise draw at random.
    """

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
            sample = study.ask({knob.name: distribution(knob) for knob in chosen}).params
            values = {knob: rounded(knob, sample[knob.name]) for knob in chosen}
            values = {knob: value for knob, value in values.items() if value != knob.value}
            config = {knob.name: values.get(knob, knob.value) for knob in knobs}
            if not values or config in tried:
                continue
            tree = edited(context.tree, values)
            if interval is None or fits(interval, tree, context.target.cap_bytes):
                return self._proposal(context, values, tree, len(history))
        raise Exhausted(
            f"search: got nothing new that fits in {DRAWS} draws over {len(knobs)} knobs; widen their ranges"
        )

    def _proposal(self, context: Context, values: dict[Knob, Value], tree: Tree, trials: int) -> str:
        method = f"TPE over {trials} measured trials" if self.informed and trials > STARTUP else "a random draw"
        proposal = {
            "title": ", ".join(f"{knob.name} {knob.value} to {value}" for knob, value in values.items()),
            "hypothesis": f"{method} from the declared ranges.",
            "class": next(iter(values)).kind,
            "parent": context.parent,
            "expected_delta_bpb": 0.0,  # a sampler makes no prediction
            "by": SEARCH,
            "edits": edits_between(context.tree, tree),
        }
        return json.dumps(proposal)


def study_of(
    knobs: list[Knob], history: list[tuple[dict[str, Any], float]], seed: int, informed: bool, joint: bool
) -> optuna.Study:
    """Return an Optuna study with the history; values outside the current range of their knob are left out."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # multivariate TPE
    sampler: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed)
    if informed:
        sampler = optuna.samplers.TPESampler(n_startup_trials=STARTUP, multivariate=joint, group=joint, seed=seed)
    study = optuna.create_study(sampler=sampler)
    for values, score in history:
        usable = [knob for knob in knobs if inside(knob, values.get(knob.name))]
        study.add_trial(
            optuna.trial.create_trial(
                params={knob.name: values[knob.name] for knob in usable},
                distributions={knob.name: distribution(knob) for knob in usable},
                value=score,
            )
        )
    return study


def scored(rows: list[Row]) -> list[tuple[Row, float]]:
    """Return the trials with their scores for the sampler, in bits per byte.

    Trials run on different seeds, so a score is the baseline's value plus the paired differences along the lineage. A
    trial that a limit ended gets a score worse than all measured ones.
    """
    by_commit: dict[str | None, float] = {}
    values: dict[int, float] = {}
    for row in rows:
        if row.has_value and row.val_bpb is not None:
            parent = by_commit.get(row.parent)
            value = row.val_bpb if parent is None or row.delta_bpb is None else parent + row.delta_bpb
            by_commit[row.commit_id] = values[row.number] = value
    if not values:
        return []
    worst = max(values.values()) + PENALTY * (max(values.values()) - min(values.values()))
    return [
        (row, values.get(row.number, worst))
        for row in rows
        if row.number in values or row.state.hit_limit or row.state is State.NAN
    ]


def settings(knobs: list[Knob], values: dict[str, Any]) -> dict[str, Any]:
    return {knob.name: values.get(knob.name) for knob in knobs}


def distribution(knob: Knob) -> BaseDistribution:
    low, high, log, step = knob.range.low, knob.range.high, knob.range.log, knob.range.step
    if isinstance(knob.value, int):
        return IntDistribution(int(low), int(high), log, 1 if log or step is None else int(step))
    return FloatDistribution(low, high, log, None if log else step)


def drawable(knob: Knob) -> bool:
    """Return whether the declared range is valid: a proposal may have declared it, and must not end the run."""
    try:
        return bool(distribution(knob))
    except (ValueError, TypeError, OverflowError):
        return False


def inside(knob: Knob, value: object) -> bool:
    low, high = knob.range.low, knob.range.high
    return isinstance(value, int | float) and low <= value <= high and distribution(knob)._contains(float(value))


def rounded(knob: Knob, value: Value) -> Value:
    """Return the value with three significant digits, as it would be typed by hand, unless that leaves the range."""
    short = value if isinstance(value, int) else float(f"{value:.3g}")
    return short if knob.range.low <= short <= knob.range.high else value


def search(options: ProposerOptions) -> Search:
    return Search(options.joint)
