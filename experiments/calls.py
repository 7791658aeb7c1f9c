"""Every call of an LLM as a row: reserved at its worst case before it is sent, settled at its real cost after."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from math import inf

from data.state import State
from experiments.ledger import Ledger, Row, now
from experiments.lock import take
from experiments.prices import LIFE_MINUTES, Tokens
from experiments.proposal import part_of

LOCK = "proposer.lock"  # beside the ledger; held by the process that asks
NOTHING = Tokens()
ONCE_MORE = 2  # trials of one proposal that ended with the machine
REFUSALS = 30  # calls that a refusal is remembered for
MEMORY = 5  # proposals that may still be waiting for their trial


class Outcome(StrEnum):
    RESERVED = "reserved"  # sent, or about to be
    DONE = "done"
    REFUSED = "refused"  # by the model
    FAILED = "failed"  # the API or the network said no
    LOST = "lost"  # nobody heard the end: booked at its worst case


@dataclass(frozen=True)
class Call:
    """One request, as the ledger knows it."""

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
    proposal: str | None  # what was proposed, whether or not it was tried
    started_at: str
    settled_at: str | None

    @property
    def written_tokens(self) -> int:
        return self.write_5m_tokens + self.write_1h_tokens

    @property
    def prompt_tokens(self) -> int:
        return self.fresh_tokens + self.written_tokens + self.read_tokens

    @property
    def booked_dollars(self) -> float | None:
        """What it cost, or may still cost; None where no price is known."""
        return self.reserved_dollars if self.dollars is None else self.dollars


COLUMNS = [column.name for column in fields(Call)]


class Calls:
    """All reads and writes of the calls in one ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.connection = ledger, ledger.connection

    def reserve(
        self, purpose: str, kind: str, trial: int, model: str, reserved_dollars: float | None, prompt_characters: int
    ) -> int:
        """A row before the request leaves; what it may cost counts as spent from here on."""
        values = (purpose, kind, Outcome.RESERVED.value, trial, model, reserved_dollars, prompt_characters, now())
        names = "purpose, kind, state, trial, model, reserved_dollars, prompt_characters, started_at"
        with self.connection:
            done = self.connection.execute(f"INSERT INTO calls ({names}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
        assert done.lastrowid is not None
        return done.lastrowid

    def settle(
        self,
        number: int,
        state: Outcome,
        dollars: float | None,
        tokens: Tokens = NOTHING,
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

    def settle_lost(self) -> int:
        """Whatever a dead process had under way is booked at its worst case; returns how many calls that were.

        For the holder of the proposer's lock alone: nobody else can have a call under way.
        """
        with self.connection:
            return self.connection.execute(
                "UPDATE calls SET state = ?, dollars = reserved_dollars, settled_at = ?, detail = ? WHERE state = ?",
                (Outcome.LOST.value, now(), "the process ended during the call", Outcome.RESERVED.value),
            ).rowcount

    def remember(self, number: int, proposal: str | None) -> None:
        """What a settled call proposed: paid for, and not asked for again; None for what was refused."""
        self._write(number, {"proposal": proposal})

    def _write(self, number: int, columns: dict[str, object]) -> None:
        names = ", ".join(f"{name} = ?" for name in columns)
        with self.connection:
            self.connection.execute(f"UPDATE calls SET {names} WHERE number = ?", (*columns.values(), number))

    def rows(self) -> list[Call]:
        found = self.connection.execute(f"SELECT {', '.join(COLUMNS)} FROM calls ORDER BY number")
        return [
            Call(**{**row, "state": Outcome(row["state"])})
            for row in (dict(zip(COLUMNS, values, strict=True)) for values in found)
        ]

    def spent_dollars(self) -> float:
        """Settled costs and open reservations; calls of an unknown price count nothing."""
        query = "SELECT COALESCE(SUM(COALESCE(dollars, reserved_dollars)), 0) FROM calls"
        return float(self.connection.execute(query).fetchone()[0])

    def refused_classes(self) -> tuple[str, ...]:
        """Classes of which the model has lately refused an idea: asking again would cost and bring nothing."""
        return tuple({call.kind for call in self.rows()[-REFUSALS:] if call.state is Outcome.REFUSED})

    def unspent(self, rows: list[Row]) -> Iterator[str]:
        """Proposals that were paid for and that no trial has told anything about, oldest first: of the last few."""
        known = [call.proposal for call in self.rows() if call.proposal][-MEMORY:]
        for proposal in known:
            edits = part_of(proposal, "edits")
            tried = [row for row in rows if part_of(row.proposal, "edits") == edits]
            told = any(row.state.counts for row in tried)
            if not told and sum(row.state is State.INFRA for row in tried) < ONCE_MORE:
                yield proposal


def settle_lost(ledger: Ledger) -> int:
    """After a crash: book what nobody has under way any more; returns how many calls that were."""
    lock = take(ledger.path.with_name(LOCK))
    if lock is None:
        return 0  # somebody is asking at this moment, and settles it
    with lock:
        return Calls(ledger).settle_lost()


@dataclass(frozen=True)
class Share:
    """How much of the prompts came from the cache, over calls that followed the one before at a like distance."""

    name: str
    calls: int
    prompt_tokens: int
    read_tokens: int
    dollars: float


def cache_shares(calls: list[Call]) -> Iterator[Share]:
    """Calls by the minutes since the one before: within 5, within an hour, later; the very first by itself."""
    done = [call for call in calls if call.state is Outcome.DONE]
    limits = {f"within {name}": minutes for name, minutes in LIFE_MINUTES.items()} | {"later": inf}
    groups: dict[str, list[Call]] = {"the first call": done[:1], **{name: [] for name in limits}}
    for before, call in pairwise(done):
        gap = datetime.fromisoformat(call.started_at) - datetime.fromisoformat(before.started_at)
        name = next(name for name, minutes in limits.items() if gap.total_seconds() / 60 <= minutes)
        groups[name].append(call)
    for name, members in groups.items():
        if members:
            yield Share(
                name,
                len(members),
                sum(call.prompt_tokens for call in members),
                sum(call.read_tokens for call in members),
                sum(call.dollars or 0.0 for call in members),
            )
