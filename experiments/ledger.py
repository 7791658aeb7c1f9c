"""The run's memory: one SQLite file, intent before work, each row settled once and read-only after."""

import json
import os
import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from data.errors import LedgerError
from data.state import State
from experiments import disowned, filesystem
from experiments.job import Measured
from experiments.migrations import migrate
from preflight.proof import Honesty


@dataclass(frozen=True)
class Row:
    """One trial as the ledger knows it; numbers are absent until they have been measured."""

    number: int
    state: State
    title: str
    kind: str
    hypothesis: str
    expected_delta_bpb: float | None
    proposal: str
    parent: str
    profile: str
    tier: str
    sandbox_level: str
    trials_can_read_text: bool
    tree: str | None
    commit_id: str | None
    knobs: str | None  # the resolved configuration as JSON, by the program's own account
    detail: str
    val_bpb: float | None
    delta_bpb: float | None
    artifact_bytes: int | None
    train_seconds: float | None
    score_seconds: float | None
    honesty_bpb: float | None
    rare_bpb: float | None
    lines_added: int | None
    lines_removed: int | None
    net_code_lines: int | None  # gained or lost, by syntax nodes and bytes of literals (preflight/syntax.py)
    started_at: str
    settled_at: str | None
    fingerprint: str | None  # of the tree, comments and layout aside (experiments/novelty.py)
    change: str | None  # the changed lines, each as a short hash: JSON
    steps: int | None  # of training, where they were given out by cost (experiments/compute.py); None = the tier's
    step_cost: float | None  # CPU seconds of a step over the baseline's
    spent: str | None  # [used, limit] of every finite budget, the closest to its limit of all seeds: JSON

    @property
    def valued(self) -> bool:
        """Whether its value counts; what a limit ended may have one that is only shown."""
        return self.val_bpb is not None and (self.state.judged or self.state is State.BASELINE)


@dataclass(frozen=True)
class Taken:
    """One measurement and why it was taken."""

    measured: Measured
    tier: str
    split: str
    fresh_for: int | None  # the trial whose provisional keep asked for fresh seeds; None = the search itself
    folder: str  # below the trial that asked for it; empty in ledgers of before its name was random


COLUMNS = [column.name for column in fields(Row)]


class Ledger:
    """All reads and writes of one run's database; every write is one transaction."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.copy: tempfile.TemporaryDirectory[str] | None = None
        if not os.access(path.parent, os.W_OK):  # a read-only medium: SQLite itself would want to write beside it
            self.copy = tempfile.TemporaryDirectory(prefix="caddie-ledger-")
            for part in path.parent.glob(f"{path.name}*"):
                shutil.copy(part, self.copy.name)
            path = Path(self.copy.name) / path.name
        try:
            # Whichever thread collects a forgotten ledger closes it; SQLite itself is built for several threads.
            self.connection = sqlite3.connect(path, timeout=10.0, check_same_thread=False)
            self.connection.execute("PRAGMA foreign_keys = ON")
            self.connection.execute(f"PRAGMA journal_mode = {journal_mode(path.parent)}")
            self.connection.execute("PRAGMA synchronous = FULL")  # what is settled survives a power cut
            weakref.finalize(self, self.connection.close)  # for who forgets: Python 3.13 complains of an open database
            migrate(self.connection)
        except sqlite3.Error as error:
            raise LedgerError(f"{self.path}: expected a ledger, found {error}") from error

    def close(self) -> None:
        self.connection.close()
        if self.copy:
            self.copy.cleanup()

    def fact(self, name: str) -> str | None:
        """A fact of the run, such as its profile."""
        found = self.connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return str(found[0]) if found else None

    def facts(self, beginning: str) -> list[str]:
        """Names of facts that begin so."""
        query = "SELECT name FROM facts WHERE substr(name, 1, ?) = ? ORDER BY name"
        return [str(row[0]) for row in self.connection.execute(query, (len(beginning), beginning))]

    def set_fact(self, name: str, value: str) -> None:
        with self.connection:
            self.connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def begin(self, at_least: int = 0, **columns: object) -> int:
        """Write the intent to try something; returns its number, counted from 0 (the baseline)."""
        with self.connection:
            following = int(self.connection.execute("SELECT COALESCE(MAX(number) + 1, 0) FROM trials").fetchone()[0])
            number = max(following, at_least)
            values = {"number": number, "state": State.PROPOSED.value, "started_at": now(), **columns}
            names, marks = ", ".join(values), ", ".join("?" * len(values))
            self.connection.execute(f"INSERT INTO trials ({names}) VALUES ({marks})", tuple(values.values()))
        return number

    def update(self, number: int, **columns: object) -> None:
        """Add to a trial that is under way."""
        self._write(number, columns)

    def settle(self, number: int, state: State, **columns: object) -> None:
        """End a trial, once."""
        assert state.finished
        self._write(number, {"state": state.value, "settled_at": now(), **columns})

    def _write(self, number: int, columns: dict[str, object]) -> None:
        names = ", ".join(f"{name} = ?" for name in columns)
        with self.connection:
            done = self.connection.execute(
                f"UPDATE trials SET {names} WHERE number = ? AND settled_at IS NULL", (*columns.values(), number)
            )
        if done.rowcount != 1:
            raise LedgerError(f"trial {number} is settled already; expected one that is under way")

    def add_measurement(
        self, number: int, tier: str, split: str, measured: Measured, fresh_for: int | None = None, folder: str = ""
    ) -> None:
        values = (number, measured.seed, tier, split, json.dumps(asdict(measured)), now(), fresh_for, folder)
        with self.connection:
            self.connection.execute("INSERT INTO measurements VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def hand_over(self, earlier: int, number: int) -> None:
        """What an earlier try measured of the same tree becomes another trial's."""
        with self.connection:
            self.connection.execute("UPDATE measurements SET trial = ? WHERE trial = ?", (number, earlier))

    def taken(self, number: int) -> list[Taken]:
        """Every measurement of a trial's tree, in the order they were taken."""
        query = "SELECT measured, tier, split, fresh_for, folder FROM measurements WHERE trial = ? ORDER BY rowid"
        loaded = [(json.loads(row[0]), row[1:]) for row in self.connection.execute(query, (number,))]
        return [Taken(_measured(values), *rest) for values, rest in loaded]

    def data_seed(self, number: int, tier: str, seed: int, fresh_for: int | None) -> int | None:
        """What turned the data for this seed, or for others of its batch (job.py); None where nothing has yet."""
        batch = "fresh_for IS ? AND (fresh_for IS NOT NULL OR trial = ? AND tier = ?)"
        query = f"SELECT json_extract(measured, '$.data_seed') FROM measurements WHERE seed = ? OR {batch} "
        found = self.connection.execute(f"{query} ORDER BY seed = ? DESC", (seed, fresh_for, number, tier, seed))
        return next((row[0] or 0 for row in found), None)

    def measurements(self, number: int) -> list[Measured]:
        return [one.measured for one in self.taken(number)]

    def add_rescore(
        self, number: int, seed: int, knobs: Mapping[str, str], val_bpb: float, artifact_bytes: int, cpu_seconds: float
    ) -> None:
        """The same weights, packed and scored with other knobs: a note that decides nothing."""
        values = (number, seed, json.dumps(dict(knobs), sort_keys=True), val_bpb, artifact_bytes, cpu_seconds, now())
        with self.connection:
            self.connection.execute("INSERT INTO rescores VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def rescores(self, number: int) -> list[tuple[int, dict[str, str], float, int]]:
        """(seed, knobs, val_bpb, artifact_bytes) of each, in the order they were taken."""
        query = "SELECT seed, knobs, val_bpb, artifact_bytes FROM rescores WHERE trial = ? ORDER BY rowid"
        return [(row[0], json.loads(row[1]), *row[2:]) for row in self.connection.execute(query, (number,))]

    def add_ablation(self, number: int, change: str, differences: list[float], verdict: str) -> None:
        """A winner without one of its changes: a note beside the trial."""
        with self.connection:
            values = (number, change, json.dumps(differences), verdict, now())
            self.connection.execute("INSERT INTO ablations VALUES (?, ?, ?, ?, ?)", values)

    def ablations(self, number: int) -> list[tuple[str, list[float], str]]:
        """(change, differences, verdict) of each, in the order they were made."""
        query = "SELECT change, differences, verdict FROM ablations WHERE trial = ? ORDER BY rowid"
        return [(row[0], json.loads(row[1]), row[2]) for row in self.connection.execute(query, (number,))]

    def add_promotion(self, number: int, folder: str, commit_id: str) -> None:
        """A record folder that was made of a trial."""
        with self.connection:
            self.connection.execute("INSERT INTO promotions VALUES (?, ?, ?, ?)", (number, folder, commit_id, now()))

    def promotions(self) -> list[tuple[int, str, str]]:
        """(trial, folder, commit) of each, oldest first."""
        return self.connection.execute("SELECT trial, folder, commit_id FROM promotions ORDER BY rowid").fetchall()

    def add_stage(self, number: int, stage: str, seconds: float) -> None:
        with self.connection:
            self.connection.execute("INSERT INTO stages VALUES (?, ?, ?)", (number, stage, seconds))

    def stages(self, number: int) -> dict[str, float]:
        found = self.connection.execute(
            "SELECT stage, SUM(seconds) FROM stages WHERE trial = ? GROUP BY stage", (number,)
        )
        return dict(found.fetchall())

    def rows(self) -> list[Row]:
        return self._rows("ORDER BY number")

    def row(self, number: int) -> Row:
        found = self._rows("WHERE number = ?", (number,))
        if not found:
            raise LedgerError(f"no trial {number} in {self.path}; `status` lists what there is")
        return found[0]

    def with_tree(self, tree: str, fingerprint: str) -> Row | None:
        """An earlier trial that counts, of the same tree or of one with the same syntax."""
        found = self._rows("WHERE tree = ? OR fingerprint = ? ORDER BY number", (tree, fingerprint))
        return next((row for row in found if row.state.counts), None)

    def with_commit(self, commit: str) -> Row | None:
        """The incumbent that a commit was, even if it has ended as dishonest since."""
        found = self._rows("WHERE commit_id = ? AND state IN ('kept', 'baseline')", (commit,))
        return found[0] if found else None

    def lost(self, tree: str) -> list[Row]:
        """Trials of a tree that ended with the machine."""
        return self._rows("WHERE tree = ? AND state = 'infra' ORDER BY number", (tree,))

    def incumbent(self) -> Row | None:
        """The newest kept trial that has not ended as dishonest since, or the baseline."""
        found = self._rows("WHERE state IN ('kept', 'baseline') ORDER BY number DESC")
        return next((row for row in found if row.state in (State.KEPT, State.BASELINE)), None)

    def baseline(self) -> Row | None:
        """The trial that the run starts from."""
        found = self._rows("WHERE state = 'baseline' ORDER BY number")
        return found[0] if found else None

    def disown(self, number: int, found_by: int, reason: str) -> None:
        """A kept trial ends as dishonest after all: a fact beside its row, which reads so from now on."""
        with self.connection:
            self.connection.execute("INSERT INTO disowned VALUES (?, ?, ?, ?)", (number, found_by, reason, now()))

    def unsettled(self) -> list[Row]:
        return self._rows("WHERE settled_at IS NULL ORDER BY number")

    def _rows(self, where: str, values: Iterable[object] = ()) -> list[Row]:
        found = self.connection.execute(f"SELECT {', '.join(COLUMNS)} FROM trials {where}", tuple(values))
        later = disowned.read(self.connection)
        rows = [disowned.as_known_now(dict(zip(COLUMNS, values, strict=True)), later) for values in found]
        return [
            Row(**{**row, "state": State(row["state"]), "trials_can_read_text": bool(row["trials_can_read_text"])})
            for row in rows
        ]


def _measured(values: dict[str, Any]) -> Measured:
    """A measurement as `add_measurement` wrote it down."""
    spent = {name: tuple(both) for name, both in values.get("spent", {}).items()}
    return Measured(**{**values, "honesty": Honesty(**values["honesty"]), "spent": spent})


def journal_mode(folder: Path) -> str:
    """WAL lets `status --watch` read beside the writer, but only where memory is shared (sqlite.org/wal.html)."""
    return "WAL" if filesystem.kind(folder) in filesystem.LOCAL else "DELETE"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
