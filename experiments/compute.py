"""Equal compute: how many steps a candidate may take where CPU seconds are the budget.

On the challenge's machine 600 s are what a run has, and a step that takes a tenth longer is one step in eleven less. A
CPU that others share gives no such seconds, so steps are given out by what they cost beside the baseline's, measured at
the same time (preflight/pace.py). Within a tenth of the budget a candidate has the incumbent's steps, so that most
pairs differ by the change alone; beyond it steps come in tenths of the tier's. The hard stop above stays for whoever's
short run was no measure of the long one.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from statistics import fmean

from data.errors import Refused
from data.state import State
from experiments.bench import Bench
from experiments.ledger import Row
from experiments.measurement import program_of
from preflight import pace
from preflight.phases import Candidate
from preflight.sandbox.cleanup import discard

BAND = 0.10  # of the budget that the incumbent's steps may miss it by
MOST_SHARE = 1.05  # of the budget that other numbers of steps may use
TENTHS = 50  # of the tier's steps, at most: five times as many


@dataclass(frozen=True)
class Grant:
    """A trial's steps, and what one costs over the baseline's."""

    steps: int
    step_cost: float


def granted(bench: Bench, start: Row, incumbent: Row, program: Path) -> Grant:
    """The steps of a candidate that passed preflight; raises Refused where not even a tenth is within the budget."""
    tier_steps = bench.tier.steps
    assert tier_steps is not None
    incumbents = incumbent.steps or tier_steps
    beside = program_of(bench, start)
    mine, theirs = _costs(bench, program, beside)
    steps = fitting(mine, theirs, tier_steps, incumbents)
    if steps != incumbents:  # a second look: other steps cost the pair its sharpness
        again = _costs(bench, program, beside)
        mine, theirs = _mean(mine, again[0]), _mean(theirs, again[1])
        steps = fitting(mine, theirs, tier_steps, incumbents)
    cost = mine.step_seconds / theirs.step_seconds
    if not steps:
        tenth = tier_steps // 10
        used = mine.share(tenth, theirs, tier_steps)
        told = f"a step costs {cost:.1f} times the baseline's; {tenth} steps and set-up cost {used:.0%} of the budget"
        spent = {"train_least_share": (used, MOST_SHARE)}
        raise Refused(State.TIMEOUT_TRAIN, f"train: {told}, expected at most {MOST_SHARE:.0%}", spent=spent)
    return Grant(steps, cost)


def fitting(mine: pace.Cost, theirs: pace.Cost, tier_steps: int, incumbents_steps: int) -> int:
    """Steps that cost what the baseline's `tier_steps` do: the incumbent's if they are near it, else tenths, or 0."""
    if abs(mine.share(incumbents_steps, theirs, tier_steps) - 1.0) <= BAND:
        return incumbents_steps
    some = [tier_steps * tenths // 10 for tenths in range(1, TENTHS + 1)]
    return max((steps for steps in some if mine.share(steps, theirs, tier_steps) <= MOST_SHARE), default=0)


def _costs(bench: Bench, program: Path, beside: Path) -> tuple[pace.Cost, pace.Cost]:
    work = bench.work_folder()
    try:
        candidate, other = (Candidate(path, bench.tier.target, bench.level) for path in (program, beside))
        return pace.costs(candidate, other, bench.corpus, work)
    finally:
        discard(work)


def _mean(one: pace.Cost, other: pace.Cost) -> pace.Cost:
    names = [field.name for field in fields(pace.Cost)]
    return pace.Cost(*(fmean((getattr(one, name), getattr(other, name))) for name in names))
