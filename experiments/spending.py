"""What a run has cost so far, machine and model, and when a budget ends it."""

from datetime import datetime

from experiments.calls import Calls
from experiments.ledger import Ledger
from experiments.tiers import Profile


def machine_dollars(ledger: Ledger, profile: Profile) -> float:
    """The machine's hours in trials, promotions and reruns at its price.

    One that is under way counts all that it may take; one that was lost, what it took by the clock.
    """
    minutes = 0.0
    for row in ledger.rows():
        taken = sum(seconds for name, seconds in ledger.stages(row.number).items() if ":" not in name) / 60
        if not row.state.finished:
            taken = max(taken, profile.longest_trial_minutes)
        elif not row.state.counts and row.settled_at:
            began, ended = map(datetime.fromisoformat, (row.started_at, row.settled_at))
            taken = max(taken, min((ended - began).total_seconds() / 60, profile.longest_trial_minutes))
        minutes += taken
    return minutes / 60 * profile.dollars_per_hour


def over_budget(ledger: Ledger, profile: Profile, budget_usd: float | None, minutes: float) -> str:
    """Why `minutes` more of the machine may not start; empty if they may."""
    if budget_usd is None:
        return ""
    spent = Calls(ledger).spent_dollars() + machine_dollars(ledger, profile)
    next_one = minutes / 60 * profile.dollars_per_hour
    if spent + next_one <= budget_usd:
        return ""
    return (
        f"the budget of ${budget_usd:.2f} is used up: ${spent:.2f} are spent, what comes next costs about "
        f"${next_one:.2f}; a higher --budget-usd goes on"
    )
