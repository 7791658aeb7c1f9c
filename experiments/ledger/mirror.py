"""Mirror the ledger as files under a git ref, so that git alone can carry a run to another machine and back.

refs/caddie/<run>/ledger is a chain of commits that only grows; its tree holds facts.json, calls.json and, for each
settled trial, one file such as trials/0042.json: the row, its measurements and its stages.
"""

import hashlib
import json
import re
import sqlite3
from pathlib import Path

from common.errors import CaddieError, LedgerError, WorkspaceError
from common.profiles import ProfileTable
from common.text import one_line
from experiments.ledger.migrations import attempts_from_facts
from experiments.ledger.store import Ledger, contains_run
from experiments.repo.repository import without_credentials
from experiments.repo.run_name import checked_name
from experiments.repo.workspace import Workspace
from preflight.source import bundle

FACTS = ("profile", "profile_table", "head_base", "lessons", "lessons_at", "options")
# Options that stay here: whoever restores a run must not start a program, or loosen the sandbox, without asking for it.
LOCAL_OPTIONS = frozenset({"command", "show", "pass", "script", "level", "unsafe", "push"})
CALLS = "calls.json"  # requests to the model and their cost
TABLES = (
    "trials",
    "measurements",
    "stages",
    "rescores",
    "ablations",
    "promotions",
    "disowned",
    "promotion_attempts",
    "verdicts",
    "remarks",
)
# A re-measurement in progress belongs to a trial that may be lost; its number would then be used again.
FINISHED = " AND (fresh_for IS NULL OR fresh_for IN (SELECT number FROM trials WHERE settled_at IS NOT NULL))"


def ref(run: str) -> str:
    """Return the name of a run's mirror ref."""
    return f"refs/caddie/{run}/ledger"


def update(workspace: Workspace, ledger: Ledger) -> bool:
    """Commit the trials that were settled since the last update; return True if there were any changes."""
    facts = {name: ledger.fact(name) for name in FACTS}
    options = json.loads(facts["options"] or "{}")
    facts["options"] = json.dumps({name: options[name] for name in sorted(options.keys() - LOCAL_OPTIONS)})
    files = {"facts.json": _text(facts)}
    files[CALLS] = _text(_rows(ledger, "calls", "settled_at IS NOT NULL", ()))
    files |= {
        f"trials/{row.number:04d}.json": _text(export(ledger, row.number)) for row in ledger.rows() if row.settled_at
    }
    head = workspace.resolve(ref(workspace.run))
    mirrored = workspace.listing(head) if head else {}
    changed = {path: content for path, content in files.items() if mirrored.get(path) != _blob_id(content)}
    if changed:
        workspace.commit_files(
            ref(workspace.run), changed, head, f"{len(changed)} of {len(files)} files of run {workspace.run}"
        )
    return bool(changed)


def restore(root: Path, run: str, remote: str) -> int:
    """Restore a run from a remote: branches, trees, ledger and bundles; return the number of trials.

    Raises:
        CaddieError: The checkout has a run of this name already, or the remote has none.
        WorkspaceError: The mirror cannot be read.
    """
    root = root.resolve()
    folder = root / "trials" / checked_name(run)
    if contains_run(folder / "ledger.sqlite"):
        raise CaddieError(f"{folder}: run {run} already exists; move it away or use another checkout")
    workspace = Workspace(root, run)
    workspace.fetch(remote)
    head = workspace.resolve(ref(run))
    if head is None:
        raise CaddieError(
            f"{without_credentials(remote)}: expected {ref(run)}, found no such ref; was the run started with --push?"
        )
    listing = workspace.listing(head)
    contents = {path: workspace.blob(blob) for path, blob in listing.items()}
    partial = folder / "ledger.partial"
    partial.unlink(missing_ok=True)
    ledger = Ledger(partial)
    try:
        for name, value in json.loads(contents.pop("facts.json")).items():
            if name == "options":  # of a mirror that another version, or someone else, wrote
                value = json.dumps({key: each for key, each in json.loads(value).items() if key not in LOCAL_OPTIONS})
            if name == "profile_table" and value is not None:
                value = json.dumps(_portable(json.loads(value)))
            if value is not None:
                ledger.set_fact(name, value)
        with ledger.connection:
            insert(ledger, "calls", json.loads(contents.pop(CALLS, b"[]")))
        records = [json.loads(contents[path]) for path in sorted(contents)]
        for record in records:
            load(ledger, record)
        with ledger.connection:
            attempts_from_facts(ledger.connection)  # of a mirror that an earlier version wrote
        rows = ledger.rows()
        for row in rows:
            if row.has_value and row.commit_id:
                program = folder / f"{row.number:04d}" / bundle.NAME
                program.parent.mkdir(parents=True, exist_ok=True)
                program.write_bytes(bundle.build(workspace.read(row.commit_id)))
    except (ValueError, KeyError, TypeError, AttributeError, sqlite3.Error) as error:
        reason = one_line(f"{type(error).__name__}: {error}")
        raise WorkspaceError(f"{ref(run)}: expected a ledger mirror, found {reason}") from error
    finally:
        ledger.close()
    for name in ("ledger.sqlite-wal", "ledger.sqlite-shm"):  # of a lost ledger: SQLite would apply it to the new one
        if (folder / name).exists():
            (folder / name).replace(folder / f"{name}.lost")
    partial.replace(folder / "ledger.sqlite")  # only now does the run exist
    return len(rows)


def _portable(table: dict[str, object]) -> dict[str, object]:
    """Return a profile of a mirror, with its corpus in shards/: a path means nothing on another machine."""
    portable = {**table, "corpus": Path(str(table.get("corpus", "pocket"))).name}
    ProfileTable.from_plain(str(table.get("name", "")), portable)  # raises CaddieError for what is no profile
    return portable


def export(ledger: Ledger, number: int) -> dict[str, list[dict[str, object]]]:
    """Return everything that the ledger has on one trial, as plain values by table."""
    record = {}
    for table in TABLES:
        where = ("number" if table == "trials" else "trial") + " = ?" + (FINISHED if table == "measurements" else "")
        record[table] = _rows(ledger, table, where, (number,))
    return record


def _rows(ledger: Ledger, table: str, where: str, values: tuple[object, ...]) -> list[dict[str, object]]:
    cursor = ledger.connection.execute(f"SELECT * FROM {table} WHERE {where} ORDER BY rowid", values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, values, strict=True)) for values in cursor]


def load(ledger: Ledger, record: dict[str, list[dict[str, object]]]) -> None:
    """Insert an exported trial into a ledger that lacks it; raises LedgerError for invalid commits or columns."""
    for row in record["trials"]:
        commits = [row["parent"], row["commit_id"], row["tree"]]
        if not all(name is None or re.fullmatch("[0-9a-f]{40}", str(name)) for name in commits):
            raise LedgerError(f"expected commits by their 40 digits, got {one_line(str(commits), 200)}")
    with ledger.connection:
        for table in TABLES:
            insert(ledger, table, record.get(table, []))


def insert(ledger: Ledger, table: str, rows: list[dict[str, object]]) -> None:
    """Insert a mirror's rows into a table, in the caller's transaction; raises LedgerError for unknown columns."""
    known = {str(column[1]) for column in ledger.connection.execute(f"PRAGMA table_info({table})")}
    for values in rows:
        if unknown := values.keys() - known:
            raise LedgerError(f"expected columns of {table}, got unknown {sorted(unknown)}; update caddie")
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        ledger.connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))


def _text(value: object) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _blob_id(content: bytes) -> str:
    """Return git's name for this content; computed here, so that finding the changes starts no process."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
