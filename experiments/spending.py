"""What a run has cost so far, machine and model, and when a budget ends it."""

from experiments.calls import Calls
from experiments.ledger import Ledger
from experiments.outlook import main_stages
from experiments.tiers import Profile


def machine_dollars(ledger: Ledger, profile: Profile) -> float:
    """The machine's hours in trials at its price; one that is under way counts at least what one takes on average."""
    minutes = 0.0
    for row in ledger.rows():
        taken = sum(main_stages(ledger, row.number).values()) / 60
        minutes += taken if row.state.finished else max(taken, profile.trial_minutes)
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
