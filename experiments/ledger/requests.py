"""A person's requests to a run, which the controller carries out between trials, and remarks on its trials."""

import sqlite3
from dataclasses import dataclass
from typing import Literal

from common.state import State
from experiments.ledger.amendments import Amendments, Verdict
from experiments.ledger.notes import now

DROPPED = "dropped"  # the outcome of a request that a person took back
Action = Literal["try", "seeds", "keep", "revert"]


@dataclass(frozen=True)
class Request:
    """Something that a person asked of a run.

    Args:
        number: Its place in the queue.
        action: `try` a change, measure more `seeds` of a trial, `keep` or `revert` a trial.
        trial: The trial that the action is about; None for `try`.
        argument: The proposal of a `try` as JSON, the count of `seeds`, the reason to `keep` or `revert`.
        asked_at: The time.
        outcome: What came of it; empty while it waits.
    """

    number: int
    action: Action
    trial: int | None
    argument: str
    asked_at: str
    outcome: str


class Requests:
    """Reads and writes the requests, later verdicts and remarks of one ledger; every write is one transaction."""

    connection: sqlite3.Connection

    def add_request(self, action: Action, trial: int | None, argument: str) -> int:
        """Put a request at the end of the queue; returns its number."""
        values = (action, trial, argument, now())
        columns = "action, trial, argument, asked_at"
        with self.connection:
            return int(
                self.connection.execute(f"INSERT INTO requests ({columns}) VALUES (?, ?, ?, ?)", values).lastrowid or 0
            )

    def requests(self) -> list[Request]:
        """Return every request, in the order they were made."""
        query = "SELECT number, action, trial, argument, asked_at, outcome FROM requests ORDER BY number"
        return [Request(*row) for row in self.connection.execute(query)]

    def next_request(self) -> Request | None:
        """Return the oldest request that waits."""
        return next((request for request in self.requests() if not request.outcome), None)

    def replace_request(self, number: int, argument: str) -> None:
        """Replace the argument of a request that waits."""
        with self.connection:
            self.connection.execute("UPDATE requests SET argument = ? WHERE number = ?", (argument, number))

    def finish_request(self, number: int, outcome: str) -> None:
        """Record what came of a request."""
        with self.connection:
            query = "UPDATE requests SET outcome = ?, done_at = ? WHERE number = ? AND outcome = ''"
            self.connection.execute(query, (outcome, now(), number))

    def add_verdict(
        self, trial: int, state: State, reason: str, val_bpb: float | None = None, delta_bpb: float | None = None
    ) -> None:
        """Record a later verdict on a settled trial (ledger/amendments.py)."""
        values = (trial, state.value, reason, val_bpb, delta_bpb, now())
        with self.connection:
            self.connection.execute("INSERT INTO verdicts VALUES (?, ?, ?, ?, ?, ?)", values)

    def verdicts(self) -> list[Verdict]:
        """Return every later verdict, oldest first."""
        return Amendments.read(self.connection).verdicts

    def add_remark(self, trial: int, text: str) -> None:
        """Record a person's remark on a trial."""
        with self.connection:
            self.connection.execute("INSERT INTO remarks VALUES (?, ?, ?)", (trial, text, now()))

    def remarks(self, trial: int) -> list[str]:
        """Return the remarks on a trial, oldest first."""
        query = "SELECT text FROM remarks WHERE trial = ? ORDER BY rowid"
        return [row[0] for row in self.connection.execute(query, (trial,))]
