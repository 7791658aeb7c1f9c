"""What a run has cost so far, machine and model, and when a budget ends it."""

from experiments.calls import Calls
from experiments.ledger import Ledger
from experiments.outlook import main_stages
from experiments.tiers import Profile


def machine_dollars(ledger: Ledger, profile: Profile) -> float:
    """The machine's hours in trials at its price; what it stood idle for is not known here."""
    seconds = sum(sum(main_stages(ledger, row.number).values()) for row in ledger.rows())
    return seconds / 3600 * profile.dollars_per_hour


def over_budget(ledger: Ledger, profile: Profile, budget_usd: float | None) -> str:
    """Why no other trial may start; empty if it may. The next trial is reserved at what one takes on average."""
    if budget_usd is None:
        return ""
    spent = Calls(ledger).spent_dollars() + machine_dollars(ledger, profile)
    next_one = profile.trial_minutes / 60 * profile.dollars_per_hour
    if spent + next_one <= budget_usd:
        return ""
    return (
        f"the budget of ${budget_usd:.2f} is used up: ${spent:.2f} are spent, the next trial costs about "
        f"${next_one:.2f}; a higher --budget-usd goes on"
    )
