"""Notes in the ledger that stand next to trials and decide nothing: rescores, ablations, promotions."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class PromotionAttempt:
    """The state of a trial's promotion, from one `promote` to the next."""

    trial: int
    passed_sha256: str = ""  # of the record's bundle that passed preflight
    environment: str = ""  # the bundle, hardware and torch that its seeds are measured with
    first_measurement: int = 0  # of the trial's, where the measurements with this environment begin
    failed_seed: int | None = None  # a seed that the program failed on
    failed_state: str = ""
    failure: str = ""
    looks: str = ""  # the numbers of seeds that were tested, separated by spaces


def now() -> str:
    """Return the current time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Notes:
    """Reads and writes the notes of one ledger; every write is one transaction."""

    connection: sqlite3.Connection

    def add_rescore(
        self, number: int, seed: int, knobs: Mapping[str, str], val_bpb: float, artifact_bytes: int, cpu_seconds: float
    ) -> None:
        """Record a score of the same weights, packed and scored with other knobs."""
        values = (number, seed, json.dumps(dict(knobs), sort_keys=True), val_bpb, artifact_bytes, cpu_seconds, now())
        with self.connection:
            self.connection.execute("INSERT INTO rescores VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def rescores(self, number: int) -> list[tuple[int, dict[str, str], float, int]]:
        """Return (seed, knobs, val_bpb, artifact_bytes) of each rescore, in the order they were taken."""
        query = "SELECT seed, knobs, val_bpb, artifact_bytes FROM rescores WHERE trial = ? ORDER BY rowid"
        return [(row[0], json.loads(row[1]), *row[2:]) for row in self.connection.execute(query, (number,))]

    def add_ablation(self, number: int, change: str, differences: list[float], verdict: str) -> None:
        """Record how a kept trial does without one of its changes."""
        with self.connection:
            values = (number, change, json.dumps(differences), verdict, now())
            self.connection.execute("INSERT INTO ablations VALUES (?, ?, ?, ?, ?)", values)

    def ablations(self, number: int) -> list[tuple[str, list[float], str]]:
        """Return (change, differences, verdict) of each ablation, in the order they were measured."""
        query = "SELECT change, differences, verdict FROM ablations WHERE trial = ? ORDER BY rowid"
        return [(row[0], json.loads(row[1]), row[2]) for row in self.connection.execute(query, (number,))]

    def add_promotion(self, number: int, folder: str, commit_id: str) -> None:
        """Record that a record folder was made from a trial."""
        with self.connection:
            self.connection.execute("INSERT INTO promotions VALUES (?, ?, ?, ?)", (number, folder, commit_id, now()))

    def promotions(self) -> list[tuple[int, str, str]]:
        """Return (trial, folder, commit) of each promotion, oldest first."""
        return self.connection.execute("SELECT trial, folder, commit_id FROM promotions ORDER BY rowid").fetchall()

    def promotion_attempt(self, number: int) -> PromotionAttempt:
        """Return the state of a trial's promotion; an empty one where none was attempted."""
        row = self.connection.execute("SELECT * FROM promotion_attempts WHERE trial = ?", (number,)).fetchone()
        return PromotionAttempt(*row) if row else PromotionAttempt(number)

    def set_promotion_attempt(self, attempt: PromotionAttempt) -> None:
        """Replace the state of a trial's promotion."""
        with self.connection:
            values = tuple(asdict(attempt).values())
            self.connection.execute("INSERT OR REPLACE INTO promotion_attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
