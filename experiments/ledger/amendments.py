"""Amendments: what was learned or decided about a trial after it settled.

A settled row is never written again. Instead, its amendments are applied whenever it is read:

- A kept trial that turned out to be dishonest reads as `dishonest`, a trial that was judged against its numbers as
  `unjudged`, and neither has a value.
- A trial that was judged again on more seeds has the verdict and the difference of all its fresh seeds.
- A trial that a person kept or reverted reads as `kept (person)` or `reverted (person)`, so that nobody takes it for
  the judge's verdict.
"""

import sqlite3
from dataclasses import dataclass
from typing import Any

from common.state import State

VALUELESS = {"val_bpb": None, "delta_bpb": None}
# The states that an incumbent's numbers decide
MEASURED = (State.KEPT, State.KEPT_BY_PERSON, State.REVERTED, State.REVERTED_BY_PERSON, State.DISCARDED)


@dataclass(frozen=True)
class Verdict:
    """A later verdict on a trial: the judge's, on more seeds, or a person's decision."""

    trial: int
    state: State
    reason: str
    val_bpb: float | None = None  # of the judge's: means over all fresh seeds
    delta_bpb: float | None = None


@dataclass(frozen=True)
class Amendments:
    """All amendments of a ledger.

    Args:
        disowned: (trial, reason) of each dishonest incumbent, by its commit.
        verdicts: The later verdicts, oldest first.
    """

    disowned: dict[str, tuple[int, str]]
    verdicts: list[Verdict]

    @classmethod
    def read(cls, connection: sqlite3.Connection) -> "Amendments":
        disowned = "SELECT commit_id, trial, reason FROM disowned JOIN trials ON trial = number"
        verdicts = "SELECT trial, state, reason, val_bpb, delta_bpb FROM verdicts ORDER BY rowid"
        return cls(
            {commit: (trial, reason) for commit, trial, reason in connection.execute(disowned)},
            [Verdict(row[0], State(row[1]), *row[2:]) for row in connection.execute(verdicts)],
        )

    def apply(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return a row's columns with the amendments of the trial and of its parent."""
        for verdict in self.verdicts:
            if verdict.trial == row["number"]:
                values = {"val_bpb": verdict.val_bpb, "delta_bpb": verdict.delta_bpb}
                row = {**row, **{name: value for name, value in values.items() if value is not None}}
                detail = f"{verdict.reason}; it was {row['state']}: {row['detail']}"
                row = {**row, "state": verdict.state.value, "detail": detail}
        before = f"it was {row['state']}: {row['detail']}"
        if row["state"] in MEASURED and (own := self.disowned.get(str(row["commit_id"]))):
            return {**row, **VALUELESS, "state": State.DISHONEST.value, "detail": f"{own[1]}; {before}"}
        if row["state"] in MEASURED and (parent := self.disowned.get(str(row["parent"]))):
            detail = f"judged against trial {parent[0]:04d}, which ended as dishonest; {before}"
            return {**row, **VALUELESS, "state": State.UNJUDGED.value, "detail": detail}
        return row
