"""The ledger: a run's trials and measurements in one SQLite file.

A row is written before its trial starts, settled once, and read-only afterwards.
"""

import json
import os
import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.errors import LedgerError
from common.state import State
from experiments.ledger import filesystem
from experiments.ledger.amendments import Amendments
from experiments.ledger.measurement import Measurement
from experiments.ledger.migrations import migrate
from experiments.ledger.notes import Notes, now
from experiments.ledger.requests import Requests
from experiments.ledger.rows import COLUMNS, MeasurementRow, Row, class_name
from preflight.scoring.honesty import Honesty

# A condition on trials: verdicts that moved the incumbent to a trial, the judge's own or a later one.
WAS_INCUMBENT = (
    "state IN ('kept', 'baseline') OR number IN (SELECT trial FROM verdicts WHERE state IN ('kept', 'kept (person)'))"
)


class Ledger(Notes, Requests):
    """A run's SQLite database; every write is one transaction.

    Args:
        path: The database file, created if missing. On a read-only medium a temporary copy of it is opened.

    Raises:
        LedgerError: The file is not a ledger, or a newer version of caddie wrote it.

    Example:
        >>> ledger = Ledger(Path("trials/demo/ledger.sqlite"))
        >>> [(row.number, row.val_bpb) for row in ledger.rows() if row.has_value]
        [(0, 1.9354), (2, 1.9038)]
        >>> ledger.close()
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._all_rows: tuple[tuple[int, int], list[Row]] | None = None
        self.copy: tempfile.TemporaryDirectory[str] | None = None
        if not os.access(path.parent, os.W_OK):  # SQLite would want to write files next to it
            self.copy = tempfile.TemporaryDirectory(prefix="caddie-ledger-")
            for file in path.parent.glob(f"{path.name}*"):
                shutil.copy(file, self.copy.name)
            path = Path(self.copy.name) / path.name
        try:
            # The thread that collects an unclosed ledger closes it; SQLite itself is built for several threads.
            self.connection = sqlite3.connect(path, timeout=10.0, check_same_thread=False)
            self.connection.execute("PRAGMA foreign_keys = ON")
            self.connection.execute(f"PRAGMA journal_mode = {filesystem.journal_mode(path.parent)}")
            self.connection.execute("PRAGMA synchronous = FULL")  # what is settled survives a power cut
            weakref.finalize(self, self.connection.close)  # Python 3.13 warns about a database that was not closed
            migrate(self.connection)
        except sqlite3.Error as error:
            raise LedgerError(f"{self.path}: expected a ledger, found {error}") from error

    def close(self) -> None:
        """Close the database and remove its temporary copy."""
        self.connection.close()
        if self.copy:
            self.copy.cleanup()

    def fact(self, name: str) -> str | None:
        """Return a fact of the run, such as its profile; None if it was never set."""
        row = self.connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else None

    def set_fact(self, name: str, value: str) -> None:
        """Set or replace a fact of the run."""
        with self.connection:
            self.connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def begin(self, at_least: int = 0, **columns: object) -> int:
        """Insert a row for a trial that is about to start; return its number, counted from 0 (the baseline)."""
        with self.connection:
            next_number = int(self.connection.execute("SELECT COALESCE(MAX(number) + 1, 0) FROM trials").fetchone()[0])
            number = max(next_number, at_least)
            values = {"number": number, "state": State.PROPOSED.value, "started_at": now(), **columns}
            names, marks = ", ".join(values), ", ".join("?" * len(values))
            self.connection.execute(f"INSERT INTO trials ({names}) VALUES ({marks})", tuple(values.values()))
        return number

    def update(self, number: int, **columns: object) -> None:
        """Set columns of a trial in progress; raises LedgerError if it is settled."""
        self._write(number, columns)

    def settle(self, number: int, state: State, **columns: object) -> None:
        """Settle a trial with its final state and columns; raises LedgerError if it is settled already."""
        assert state.finished
        self._write(number, {"state": state.value, "settled_at": now(), **columns})

    def _write(self, number: int, columns: dict[str, object]) -> None:
        names = ", ".join(f"{name} = ?" for name in columns)
        with self.connection:
            cursor = self.connection.execute(
                f"UPDATE trials SET {names} WHERE number = ? AND settled_at IS NULL", (*columns.values(), number)
            )
        if cursor.rowcount != 1:
            raise LedgerError(f"trial {number} is already settled; expected one in progress")

    def add_measurement(
        self, number: int, tier: str, split: str, measured: Measurement, fresh_for: int | None = None, folder: str = ""
    ) -> None:
        """Record a measurement of a trial's tree (`MeasurementRow` describes the fields)."""
        values = (number, measured.seed, tier, split, json.dumps(asdict(measured)), now(), fresh_for, folder)
        with self.connection:
            self.connection.execute("INSERT INTO measurements VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def transfer_measurements(self, earlier: int, number: int) -> None:
        """Transfer the measurements of an earlier attempt at the same tree to another trial."""
        with self.connection:
            self.connection.execute("UPDATE measurements SET trial = ? WHERE trial = ?", (number, earlier))

    def measurement_rows(self, number: int) -> list[MeasurementRow]:
        """Return every measurement of a trial's tree, in the order they were taken."""
        query = "SELECT measured, tier, split, fresh_for, folder FROM measurements WHERE trial = ? ORDER BY rowid"
        loaded = [(json.loads(row[0]), row[1:]) for row in self.connection.execute(query, (number,))]
        return [MeasurementRow(_measured(values), *rest) for values, rest in loaded]

    def measured_at(self, tier: str) -> set[int]:
        """Return the numbers of the trials that have a measurement at a tier."""
        return {row[0] for row in self.connection.execute("SELECT trial FROM measurements WHERE tier = ?", (tier,))}

    def data_seed(self, number: int, tier: str, seed: int, fresh_for: int | None) -> int | None:
        """Return the data seed used for this seed or for its batch (runner/job.py); None if there is none yet."""
        batch = "fresh_for IS ? AND (fresh_for IS NOT NULL OR trial = ? AND tier = ?)"
        query = f"SELECT json_extract(measured, '$.data_seed') FROM measurements WHERE seed = ? OR {batch} "
        rows = self.connection.execute(f"{query} ORDER BY seed = ? DESC", (seed, fresh_for, number, tier, seed))
        return next((row[0] or 0 for row in rows), None)

    def measurements(self, number: int) -> list[Measurement]:
        """Return the measurements without tier and purpose, in the order they were taken."""
        return [row.measured for row in self.measurement_rows(number)]

    def add_stage(self, number: int, stage: str, seconds: float) -> None:
        """Add seconds to a stage of a trial."""
        with self.connection:
            self.connection.execute("INSERT INTO stages VALUES (?, ?, ?)", (number, stage, seconds))

    def stages(self, number: int) -> dict[str, float]:
        """Return the seconds of each stage of a trial."""
        query = "SELECT stage, SUM(seconds) FROM stages WHERE trial = ? GROUP BY stage"
        return dict(self.connection.execute(query, (number,)).fetchall())

    def rows(self) -> list[Row]:
        """Return all trials by number, read anew once anyone has written to the ledger."""
        if self.connection.in_transaction:  # what it sees may be rolled back
            return self._rows("ORDER BY number")
        others_changes = self.connection.execute("PRAGMA data_version").fetchone()[0]
        changes = (self.connection.total_changes, others_changes)
        if self._all_rows is None or self._all_rows[0] != changes:
            self._all_rows = (changes, self._rows("ORDER BY number"))
        return list(self._all_rows[1])

    def row(self, number: int) -> Row:
        """Return one trial; raises LedgerError if there is none of this number."""
        rows = self._rows("WHERE number = ?", (number,))
        if not rows:
            raise LedgerError(f"no trial {number} in {self.path}; `status` lists what there is")
        return rows[0]

    def with_commit(self, commit: str) -> Row | None:
        """Return the trial that a commit made the incumbent, or the baseline, even if it is kept no longer."""
        rows = self._rows(f"WHERE commit_id = ? AND ({WAS_INCUMBENT})", (commit,))
        return rows[0] if rows else None

    def incumbent(self) -> Row | None:
        """Return the newest trial that is kept, or the baseline."""
        rows = self._rows(f"WHERE {WAS_INCUMBENT} ORDER BY number DESC")
        return next((row for row in rows if row.state.is_kept), None)

    def baseline(self) -> Row | None:
        """Return the trial that the run starts from."""
        rows = self._rows("WHERE state = 'baseline' ORDER BY number")
        return rows[0] if rows else None

    def disown(self, number: int, found_by: int, reason: str) -> None:
        """Record that a kept trial turned out to be dishonest: its row reads so from now on (ledger/amendments.py)."""
        with self.connection:
            self.connection.execute("INSERT INTO disowned VALUES (?, ?, ?, ?)", (number, found_by, reason, now()))

    def unsettled(self) -> list[Row]:
        """Return the trials in progress, by number."""
        return self._rows("WHERE settled_at IS NULL ORDER BY number")

    def _rows(self, where: str, values: Iterable[object] = ()) -> list[Row]:
        records = self.connection.execute(f"SELECT {', '.join(COLUMNS)} FROM trials {where}", tuple(values))
        amendments = Amendments.read(self.connection)
        rows = [amendments.apply(dict(zip(COLUMNS, record, strict=True))) for record in records]
        for row in rows:
            row["state"], row["trials_can_read_text"] = State(row["state"]), bool(row["trials_can_read_text"])
            row["kind"] = class_name(row["kind"])
        return [Row(**row) for row in rows]


def _measured(values: dict[str, Any]) -> Measurement:
    """Return the measurement that `add_measurement` stored as `values`."""
    spent = {name: tuple(budget) for name, budget in values.get("spent", {}).items()}
    return Measurement(**{**values, "honesty": Honesty(**values["honesty"]), "spent": spent})


def contains_run(path: Path) -> bool:
    """Return True if there is a ledger with a run in it."""
    if not path.exists() or not path.stat().st_size:
        return False
    ledger = Ledger(path)
    try:
        return ledger.fact("profile") is not None
    finally:
        ledger.close()
