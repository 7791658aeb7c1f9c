"""The ledger's schema as numbered steps, each applied once and in order."""

import re
import sqlite3
from collections.abc import Callable

from common.errors import LedgerError

Migration = Callable[[sqlite3.Connection], None]
MIGRATIONS: list[Migration] = []


def migration(step: Migration) -> Migration:
    """Register a step; its name is recorded in the ledger once it has been applied."""
    MIGRATIONS.append(step)
    return step


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a ledger of any version to the newest schema.

    Raises:
        LedgerError: A newer version of caddie wrote the ledger.
    """
    connection.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY)")
    applied = {row[0] for row in connection.execute("SELECT name FROM migrations")}
    known = {step.__name__ for step in MIGRATIONS}
    if applied - known:
        unknown = sorted(applied - known)
        raise LedgerError(f"got a ledger with the unknown migrations {unknown}, from a newer version; update caddie")
    for step in MIGRATIONS:
        if step.__name__ not in applied:
            with connection:
                connection.execute("BEGIN")  # sqlite3 opens no transaction for CREATE on its own
                step(connection)
                connection.execute("INSERT INTO migrations VALUES (?)", (step.__name__,))


@migration
def m001_initial(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
    connection.execute(
        """CREATE TABLE trials (
            number INTEGER PRIMARY KEY,
            state TEXT NOT NULL,
            title TEXT NOT NULL,
            kind TEXT NOT NULL,
            hypothesis TEXT NOT NULL,
            expected_delta_bpb REAL,
            proposal TEXT NOT NULL,
            parent TEXT NOT NULL,
            profile TEXT NOT NULL,
            tier TEXT NOT NULL,
            sandbox_level TEXT NOT NULL,
            trials_can_read_text INTEGER NOT NULL,
            tree TEXT,
            commit_id TEXT,
            knobs TEXT,
            detail TEXT NOT NULL DEFAULT '',
            val_bpb REAL,
            delta_bpb REAL,
            artifact_bytes INTEGER,
            train_seconds REAL,
            score_seconds REAL,
            honesty_bpb REAL,
            rare_bpb REAL,
            lines_added INTEGER,
            lines_removed INTEGER,
            started_at TEXT NOT NULL,
            settled_at TEXT
        )"""
    )
    connection.execute("CREATE INDEX trials_tree ON trials (tree)")
    connection.execute(
        """CREATE TABLE measurements (
            trial INTEGER NOT NULL REFERENCES trials (number),
            seed INTEGER NOT NULL,
            tier TEXT NOT NULL,
            split TEXT NOT NULL,
            measured TEXT NOT NULL,
            taken_at TEXT NOT NULL
        )"""
    )
    connection.execute("CREATE TABLE stages (trial INTEGER NOT NULL, stage TEXT NOT NULL, seconds REAL NOT NULL)")


@migration
def m002_rescores(connection: sqlite3.Connection) -> None:
    connection.execute(
        """CREATE TABLE rescores (
            trial INTEGER NOT NULL REFERENCES trials (number),
            seed INTEGER NOT NULL,
            knobs TEXT NOT NULL,
            val_bpb REAL NOT NULL,
            artifact_bytes INTEGER NOT NULL,
            score_cpu_seconds REAL NOT NULL,
            taken_at TEXT NOT NULL
        )"""
    )


@migration
def m003_judge(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE measurements ADD COLUMN fresh_for INTEGER")
    connection.execute("ALTER TABLE trials ADD COLUMN net_code_lines INTEGER")
    connection.execute(
        """CREATE TABLE ablations (
            trial INTEGER NOT NULL REFERENCES trials (number),
            change TEXT NOT NULL,
            differences TEXT NOT NULL,
            verdict TEXT NOT NULL,
            taken_at TEXT NOT NULL
        )"""
    )


@migration
def m004_proposers(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE trials ADD COLUMN fingerprint TEXT")
    connection.execute("ALTER TABLE trials ADD COLUMN change TEXT")
    connection.execute("CREATE INDEX trials_fingerprint ON trials (fingerprint)")
    connection.execute(
        """CREATE TABLE calls (
            number INTEGER PRIMARY KEY,
            purpose TEXT NOT NULL,
            kind TEXT NOT NULL,
            state TEXT NOT NULL,
            trial INTEGER NOT NULL,
            model TEXT NOT NULL,
            reserved_dollars REAL,
            dollars REAL,
            fresh_tokens INTEGER NOT NULL DEFAULT 0,
            write_5m_tokens INTEGER NOT NULL DEFAULT 0,
            write_1h_tokens INTEGER NOT NULL DEFAULT 0,
            read_tokens INTEGER NOT NULL DEFAULT 0,
            output_tokens INTEGER NOT NULL DEFAULT 0,
            thinking_tokens INTEGER NOT NULL DEFAULT 0,
            prompt_characters INTEGER NOT NULL,
            seconds REAL,
            request_id TEXT NOT NULL DEFAULT '',
            detail TEXT NOT NULL DEFAULT '',
            proposal TEXT,
            started_at TEXT NOT NULL,
            settled_at TEXT
        )"""
    )


@migration
def m005_promotions(connection: sqlite3.Connection) -> None:
    connection.execute(
        """CREATE TABLE promotions (
            trial INTEGER NOT NULL REFERENCES trials (number),
            folder TEXT NOT NULL,
            commit_id TEXT NOT NULL,
            taken_at TEXT NOT NULL
        )"""
    )


@migration
def m006_dishonest_incumbents(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE measurements ADD COLUMN folder TEXT NOT NULL DEFAULT ''")
    connection.execute(
        """CREATE TABLE disowned (
            trial INTEGER PRIMARY KEY REFERENCES trials (number),
            found_by INTEGER NOT NULL,
            reason TEXT NOT NULL,
            taken_at TEXT NOT NULL
        )"""
    )


@migration
def m007_budgets(connection: sqlite3.Connection) -> None:
    for column in ("steps INTEGER", "step_cost REAL", "spent TEXT"):
        connection.execute(f"ALTER TABLE trials ADD COLUMN {column}")


@migration
def m008_indices(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE INDEX measurements_by_trial ON measurements (trial)")
    connection.execute("CREATE INDEX stages_by_trial ON stages (trial)")
    connection.execute("CREATE INDEX trials_by_commit ON trials (commit_id)")


@migration
def m009_promotion_attempts(connection: sqlite3.Connection) -> None:
    connection.execute(
        """CREATE TABLE promotion_attempts (
            trial INTEGER PRIMARY KEY REFERENCES trials (number),
            passed_sha256 TEXT NOT NULL,
            environment TEXT NOT NULL,
            first_measurement INTEGER NOT NULL,
            failed_seed INTEGER,
            failed_state TEXT NOT NULL,
            failure TEXT NOT NULL,
            looks TEXT NOT NULL
        )"""
    )
    attempts_from_facts(connection)


@migration
def m010_requests(connection: sqlite3.Connection) -> None:
    connection.execute(
        """CREATE TABLE requests (
            number INTEGER PRIMARY KEY,
            action TEXT NOT NULL,
            trial INTEGER REFERENCES trials (number),
            argument TEXT NOT NULL,
            asked_at TEXT NOT NULL,
            outcome TEXT NOT NULL DEFAULT '',
            done_at TEXT
        )"""
    )
    connection.execute(
        """CREATE TABLE verdicts (
            trial INTEGER NOT NULL REFERENCES trials (number),
            state TEXT NOT NULL,
            reason TEXT NOT NULL,
            val_bpb REAL,
            delta_bpb REAL,
            taken_at TEXT NOT NULL
        )"""
    )
    remarks = "trial INTEGER NOT NULL REFERENCES trials (number), text TEXT NOT NULL, made_at TEXT"
    connection.execute(f"CREATE TABLE remarks ({remarks})")


@migration
def m011_sizes(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE trials ADD COLUMN size TEXT")


def attempts_from_facts(connection: sqlite3.Connection) -> None:
    """Move the state of promotions out of the facts `record_N…` that earlier versions kept it in."""
    facts = dict(connection.execute("SELECT name, value FROM facts WHERE name LIKE 'record\\_%' ESCAPE '\\'"))
    numbers = {int(found[1]) for name in facts if (found := re.match(r"record_(\d+)", name))}
    for number in sorted(numbers & {row[0] for row in connection.execute("SELECT number FROM trials")}):
        fact = f"record_{number}"
        failure = facts.get(f"{fact}_failed", "")
        failed = re.match(r"seed (\d+) ended as ([^:]+): ", failure)
        values = (
            *(number, facts.get(f"{fact}_passed", ""), facts.get(fact, ""), int(facts.get(f"{fact}_from", 0))),
            *((int(failed[1]), failed[2], failure) if failed else (None, "", "")),
            facts.get(f"{fact}_looks", ""),
        )
        connection.execute("INSERT OR REPLACE INTO promotion_attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
    connection.execute("DELETE FROM facts WHERE name LIKE 'record\\_%' ESCAPE '\\'")
