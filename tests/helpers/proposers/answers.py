"""Prepared answers of the model about the real base/, and the recorded calls that they cost."""

from contextlib import closing

from experiments.costs.llm_calls import Call, Calls
from experiments.ledger.store import Ledger
from proposers.context import Context

from ..servers.messages import answered

LINE = "from math import cos, pi\n"
GOOD = answered("base/optim/schedule.py", LINE, LINE + "\nTWO = 2\n", title="two")
UNMATCHABLE = answered("base/optim/schedule.py", "no such line", "x = 1", title="nothing there")


def recorded_calls(context: Context) -> list[Call]:
    with closing(Ledger(context.ledger)) as ledger:
        return Calls(ledger).rows()


def forget_proposals(context: Context) -> None:
    """Remove all proposals that still wait for a trial."""
    with closing(Ledger(context.ledger)) as ledger, ledger.connection:
        ledger.connection.execute("UPDATE calls SET proposal = NULL")
