"""Equal compute: the number of steps that a candidate may take where CPU seconds are the budget.

On the challenge's machine a run has 600 s, and a step that takes a tenth longer means one step in eleven less. CPU
seconds on a shared machine are not comparable like that, so the number of steps follows from the cost of one step
relative to the baseline's, measured at the same time (preflight/step_cost.py). A candidate within a tenth of the budget
takes the incumbent's steps, so that most pairs differ by the change alone; outside of it, steps come in tenths of the
tier's. The hard limit on CPU seconds remains, for programs whose short run does not predict the long one.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from statistics import fmean

from common.errors import Refused
from common.state import State
from experiments.ledger.rows import Row
from experiments.run.run import Run
from experiments.trial.measure import program_path
from preflight import step_cost
from preflight.candidate.candidate import Candidate
from preflight.sandbox.cleanup import remove_tree

TOLERANCE = 0.10  # the share of the budget by which the incumbent's steps may miss it
MAX_SHARE = 1.05  # of the budget, for any other number of steps
MAX_TENTHS = 50  # of the tier's steps: five times as many


@dataclass(frozen=True)
class Grant:
    """The steps that a trial may take, and the cost of one relative to the baseline's."""

    steps: int
    step_cost: float


def grant_steps(run: Run, baseline: Row, incumbent: Row, program: Path) -> Grant:
    """Return the steps of a candidate that passed preflight.

    Raises:
        Refused: Not even a tenth of the tier's steps is within the budget.
    """
    tier_steps = run.tier.steps
    assert tier_steps is not None
    incumbent_steps = incumbent.steps or tier_steps
    reference_program = program_path(run, baseline)
    cost, reference = _measure_costs(run, program, reference_program)
    steps = affordable_steps(cost, reference, tier_steps, incumbent_steps)
    if steps != incumbent_steps:  # measure again: a different number of steps makes the paired comparison less sharp
        second_cost, second_reference = _measure_costs(run, program, reference_program)
        cost, reference = _mean(cost, second_cost), _mean(reference, second_reference)
        steps = affordable_steps(cost, reference, tier_steps, incumbent_steps)
    ratio = cost.step_seconds / reference.step_seconds
    if not steps:
        tenth = tier_steps // 10
        share = cost.relative_cost(tenth, reference, tier_steps)
        message = (
            f"a step costs {ratio:.1f} times the baseline's; {tenth} steps and set-up cost {share:.0%} of the budget"
        )
        spent = {"train_least_share": (share, MAX_SHARE)}
        raise Refused(State.TIMEOUT_TRAIN, f"train: {message}, expected at most {MAX_SHARE:.0%}", spent=spent)
    return Grant(steps, ratio)


def affordable_steps(cost: step_cost.Cost, reference: step_cost.Cost, tier_steps: int, incumbent_steps: int) -> int:
    """Return the steps that cost what `tier_steps` of the baseline do, or 0 if not even a tenth of them fits.

    These are the incumbent's steps if they are near the budget, else the most tenths of `tier_steps` within it.
    """
    if abs(cost.relative_cost(incumbent_steps, reference, tier_steps) - 1.0) <= TOLERANCE:
        return incumbent_steps
    choices = [tier_steps * tenths // 10 for tenths in range(1, MAX_TENTHS + 1)]
    return max((steps for steps in choices if cost.relative_cost(steps, reference, tier_steps) <= MAX_SHARE), default=0)


def _measure_costs(run: Run, program: Path, reference_program: Path) -> tuple[step_cost.Cost, step_cost.Cost]:
    work = run.work_folder()
    try:
        candidate, reference = (Candidate(path, run.tier.target, run.level) for path in (program, reference_program))
        return step_cost.measure_costs(candidate, reference, run.corpus, work)
    finally:
        remove_tree(work)


def _mean(first: step_cost.Cost, second: step_cost.Cost) -> step_cost.Cost:
    names = [field.name for field in fields(step_cost.Cost)]
    return step_cost.Cost(*(fmean((getattr(first, name), getattr(second, name))) for name in names))
