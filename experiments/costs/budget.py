"""The cost of a run so far, machine and model, and the check against its budget."""

from datetime import datetime

from experiments.costs.llm_calls import Calls
from experiments.ledger.store import Ledger
from experiments.tiers import Profile


def machine_dollars(ledger: Ledger, profile: Profile) -> float:
    """Return the price of the machine's time in trials, promotions and reruns.

    A trial that is running counts all the time that it may take; one that was lost, the time it took by the clock.
    """
    minutes = 0.0
    for row in ledger.rows():
        taken = sum(seconds for name, seconds in ledger.stages(row.number).items() if ":" not in name) / 60
        if not row.state.finished:
            taken = max(taken, profile.longest_trial_minutes)
        elif not row.state.counts_as_attempt and row.settled_at:
            began, ended = map(datetime.fromisoformat, (row.started_at, row.settled_at))
            taken = max(taken, min((ended - began).total_seconds() / 60, profile.longest_trial_minutes))
        minutes += taken
    return minutes / 60 * profile.dollars_per_hour


def over_budget(ledger: Ledger, profile: Profile, budget_usd: float | None, minutes: float) -> str:
    """Return the reason why `minutes` more of the machine would exceed the budget; empty if they would not."""
    if budget_usd is None:
        return ""
    spent = Calls(ledger).spent_dollars() + machine_dollars(ledger, profile)
    next_step = minutes / 60 * profile.dollars_per_hour
    if spent + next_step <= budget_usd:
        return ""
    return (
        f"the budget of ${budget_usd:.2f} is used up: ${spent:.2f} spent, and the next step costs about "
        f"${next_step:.2f}; raise --budget-usd to continue"
    )
