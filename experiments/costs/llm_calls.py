"""Every call of an LLM as a row: reserved at its worst-case cost before it is sent, settled at its real cost after."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from math import inf

from common.lock import acquire
from common.state import ATTEMPTS, State
from experiments.costs.prices import TTL_MINUTES, Tokens
from experiments.ledger.notes import now
from experiments.ledger.rows import Row, class_name
from experiments.ledger.store import Ledger
from experiments.proposal.parts import part_of

LOCK = "proposer.lock"  # next to the ledger; held by the process that makes the calls
NO_TOKENS = Tokens()
REFUSAL_WINDOW = 30  # calls for which a refusal is remembered
PROPOSAL_WINDOW = 5  # newest proposals, which may still be waiting for their trial


class Outcome(StrEnum):
    """The state of a call."""

    RESERVED = "reserved"  # sent, or about to be
    DONE = "done"
    REFUSED = "refused"  # by the model
    FAILED = "failed"  # the API or the network reported an error
    LOST = "lost"  # the end was not seen: recorded at its worst-case cost


@dataclass(frozen=True)
class Call:
    """One request, as the ledger stores it."""

    number: int
    purpose: str  # propose, repair or files
    kind: str  # the class that was asked for
    state: Outcome
    trial: int  # the number that the proposal would get
    model: str
    reserved_dollars: float | None  # None: the model's price is not known
    dollars: float | None
    fresh_tokens: int
    write_5m_tokens: int
    write_1h_tokens: int
    read_tokens: int
    output_tokens: int
    thinking_tokens: int
    prompt_characters: int
    seconds: float | None
    request_id: str
    detail: str
    proposal: str | None  # the proposal that the call returned, tried or not
    started_at: str
    settled_at: str | None

    @property
    def written_tokens(self) -> int:
        return self.write_5m_tokens + self.write_1h_tokens

    @property
    def prompt_tokens(self) -> int:
        return self.fresh_tokens + self.written_tokens + self.read_tokens

    @property
    def committed_dollars(self) -> float | None:
        """The cost, or the reservation of an open call; None if the price is not known."""
        return self.reserved_dollars if self.dollars is None else self.dollars


COLUMNS = [column.name for column in fields(Call)]


class Calls:
    """All reads and writes of the calls in one ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.connection = ledger, ledger.connection

    def reserve(
        self, purpose: str, kind: str, trial: int, model: str, reserved_dollars: float | None, prompt_characters: int
    ) -> int:
        """Write a row before the request is sent; returns its number.

        The worst-case cost counts as spent from here on.
        """
        values = (purpose, kind, Outcome.RESERVED.value, trial, model, reserved_dollars, prompt_characters, now())
        names = "purpose, kind, state, trial, model, reserved_dollars, prompt_characters, started_at"
        with self.connection:
            cursor = self.connection.execute(f"INSERT INTO calls ({names}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def settle(
        self,
        number: int,
        state: Outcome,
        dollars: float | None,
        tokens: Tokens = NO_TOKENS,
        seconds: float | None = None,
        request_id: str = "",
        detail: str = "",
    ) -> None:
        used = {f"{name}_tokens": count for name, count in asdict(tokens).items()}
        self._write(
            number,
            {**used, "state": state.value, "dollars": dollars, "seconds": seconds, "settled_at": now()}
            | {"request_id": request_id, "detail": detail},
        )

    def mark_lost(self) -> int:
        """Settle the open calls of a dead process at their worst-case cost; returns their number.

        Only for the holder of the proposer's lock: no other process can have a call open then.
        """
        with self.connection:
            return self.connection.execute(
                "UPDATE calls SET state = ?, dollars = reserved_dollars, settled_at = ?, detail = ? WHERE state = ?",
                (Outcome.LOST.value, now(), "the process ended during the call", Outcome.RESERVED.value),
            ).rowcount

    def attach_proposal(self, number: int, proposal: str | None) -> None:
        """Store the proposal of a settled call, so that it is not paid for twice; None if it was refused."""
        self._write(number, {"proposal": proposal})

    def _write(self, number: int, columns: dict[str, object]) -> None:
        names = ", ".join(f"{name} = ?" for name in columns)
        with self.connection:
            self.connection.execute(f"UPDATE calls SET {names} WHERE number = ?", (*columns.values(), number))

    def rows(self) -> list[Call]:
        cursor = self.connection.execute(f"SELECT {', '.join(COLUMNS)} FROM calls ORDER BY number")
        return [
            Call(**{**row, "state": Outcome(row["state"]), "kind": class_name(row["kind"])})
            for row in (dict(zip(COLUMNS, values, strict=True)) for values in cursor)
        ]

    def spent_dollars(self) -> float:
        """Return settled costs and open reservations; calls of an unknown price count nothing."""
        query = "SELECT COALESCE(SUM(COALESCE(dollars, reserved_dollars)), 0) FROM calls"
        return float(self.connection.execute(query).fetchone()[0])

    def refused_classes(self) -> tuple[str, ...]:
        """Return classes for which the model has recently refused to propose: another call would cost for nothing."""
        return tuple({call.kind for call in self.rows()[-REFUSAL_WINDOW:] if call.state is Outcome.REFUSED})

    def untried_proposals(self, rows: list[Row]) -> Iterator[str]:
        """Yield proposals that were paid for and have no trial with a result: of the newest few, oldest first."""
        recent = [call.proposal for call in self.rows() if call.proposal][-PROPOSAL_WINDOW:]
        for proposal in recent:
            edits = part_of(proposal, "edits")
            tried = [row for row in rows if part_of(row.proposal, "edits") == edits]
            has_result = any(row.state.counts_as_attempt for row in tried)
            if not has_result and sum(row.state is State.INFRA for row in tried) < ATTEMPTS:
                yield proposal


def mark_lost(ledger: Ledger) -> int:
    """Settle the calls that a crash left open at their worst-case cost; returns their number."""
    lock = acquire(ledger.path.with_name(LOCK))
    if lock is None:
        return 0  # another process has a call open, and settles it
    with lock:
        return Calls(ledger).mark_lost()


@dataclass(frozen=True)
class CacheShare:
    """The share of prompts read from the cache, over calls that followed the previous one after a similar time."""

    name: str
    calls: int
    prompt_tokens: int
    read_tokens: int
    dollars: float


def cache_shares(calls: list[Call]) -> Iterator[CacheShare]:
    """Group calls by the minutes since the previous one: within 5, within an hour, later; the first by itself."""
    done = [call for call in calls if call.state is Outcome.DONE]
    limits = {f"within {name}": minutes for name, minutes in TTL_MINUTES.items()} | {"later": inf}
    groups: dict[str, list[Call]] = {"the first call": done[:1], **{name: [] for name in limits}}
    for before, call in pairwise(done):
        gap = datetime.fromisoformat(call.started_at) - datetime.fromisoformat(before.started_at)
        name = next(name for name, minutes in limits.items() if gap.total_seconds() / 60 <= minutes)
        groups[name].append(call)
    for name, members in groups.items():
        if members:
            yield CacheShare(
                name,
                len(members),
                sum(call.prompt_tokens for call in members),
                sum(call.read_tokens for call in members),
                sum(call.dollars or 0.0 for call in members),
            )
