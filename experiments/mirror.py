"""The ledger as files under a ref, so that git alone carries a run to another machine and back.

refs/caddie/<run>/ledger is a chain of commits that only grows; its tree holds facts.json and one trials/0042.json for
each settled trial: the row, its measurements, its stages.
"""

import hashlib
import json
import re
import sqlite3
from pathlib import Path

from data.errors import CaddieError, LedgerError, WorkspaceError
from experiments.ledger import Ledger
from experiments.standing import checked_name, is_begun
from experiments.workspace import Workspace, without_credentials
from preflight import bundle
from preflight.text import one_line

FACTS = ("profile", "lessons", "lessons_at")
CALLS = "calls.json"  # what the model was asked, and what that cost
TABLES = ("trials", "measurements", "stages", "rescores", "ablations", "promotions", "disowned")
# A re-measurement under way belongs to a trial that may be lost, and its number taken again.
FINISHED = " AND (fresh_for IS NULL OR fresh_for IN (SELECT number FROM trials WHERE settled_at IS NOT NULL))"


def ref(run: str) -> str:
    return f"refs/caddie/{run}/ledger"


def update(workspace: Workspace, ledger: Ledger) -> bool:
    """Add what has settled since the last time; whether there was anything."""
    names = (*FACTS, *ledger.facts("record_"))  # which seeds a promotion must take along
    files = {"facts.json": _text({name: ledger.fact(name) for name in names})}
    files[CALLS] = _text(_rows(ledger, "calls", "settled_at IS NOT NULL", ()))
    files |= {
        f"trials/{row.number:04d}.json": _text(export(ledger, row.number)) for row in ledger.rows() if row.settled_at
    }
    head = workspace.resolve(ref(workspace.run))
    known = workspace.listing(head) if head else {}
    changed = {path: content for path, content in files.items() if known.get(path) != _blob_id(content)}
    if changed:
        workspace.record(
            ref(workspace.run), changed, head, f"{len(changed)} of {len(files)} files of run {workspace.run}"
        )
    return bool(changed)


def restore(root: Path, run: str, remote: str) -> int:
    """Bring a run back from a remote: branches, trees, ledger and bundles; returns the number of trials."""
    root = root.resolve()
    folder = root / "trials" / checked_name(run)
    if is_begun(folder / "ledger.sqlite"):
        raise CaddieError(f"{folder}: run {run} is here already; move it away or choose another checkout")
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
            if value is not None:
                ledger.set_fact(name, value)
        with ledger.connection:
            insert(ledger, "calls", json.loads(contents.pop(CALLS, b"[]")))
        records = [json.loads(contents[path]) for path in sorted(contents)]
        for record in records:
            load(ledger, record)
        rows = ledger.rows()
        for row in rows:
            if row.valued and row.commit_id:
                program = folder / f"{row.number:04d}" / bundle.NAME
                program.parent.mkdir(parents=True, exist_ok=True)
                program.write_bytes(bundle.build(workspace.read(row.commit_id)))
    except (ValueError, KeyError, TypeError, AttributeError, sqlite3.Error) as error:
        reason = one_line(f"{type(error).__name__}: {error}")
        raise WorkspaceError(f"{ref(run)}: expected a ledger mirror, found {reason}") from error
    finally:
        ledger.close()
    for left in (
        "ledger.sqlite-wal",
        "ledger.sqlite-shm",
    ):  # of the one that was lost: SQLite would take it for its own
        if (folder / left).exists():
            (folder / left).replace(folder / f"{left}.lost")
    partial.replace(folder / "ledger.sqlite")  # only now is the run here
    return len(rows)


def export(ledger: Ledger, number: int) -> dict[str, list[dict[str, object]]]:
    """All that is known of one trial, as plain values by table."""
    found = {}
    for table in TABLES:
        where = ("number" if table == "trials" else "trial") + " = ?" + (FINISHED if table == "measurements" else "")
        found[table] = _rows(ledger, table, where, (number,))
    return found


def _rows(ledger: Ledger, table: str, where: str, values: tuple[object, ...]) -> list[dict[str, object]]:
    cursor = ledger.connection.execute(f"SELECT * FROM {table} WHERE {where} ORDER BY rowid", values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, values, strict=True)) for values in cursor]


def load(ledger: Ledger, record: dict[str, list[dict[str, object]]]) -> None:
    """What `export` gave, into a ledger that does not have that trial."""
    for row in record["trials"]:
        commits = [row["parent"], row["commit_id"], row["tree"]]
        if not all(name is None or re.fullmatch("[0-9a-f]{40}", str(name)) for name in commits):
            raise LedgerError(f"expected commits by their 40 digits, got {one_line(str(commits), 200)}")
    with ledger.connection:
        for table in TABLES:
            insert(ledger, table, record.get(table, []))


def insert(ledger: Ledger, table: str, rows: list[dict[str, object]]) -> None:
    """Rows of a mirror into a table, within the caller's transaction; raises LedgerError for columns it lacks."""
    known = {str(column[1]) for column in ledger.connection.execute(f"PRAGMA table_info({table})")}
    for values in rows:
        if unknown := values.keys() - known:
            raise LedgerError(f"expected columns of {table}, got {sorted(unknown)} as well; update caddie?")
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        ledger.connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))


def _text(value: object) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _blob_id(content: bytes) -> str:
    """Git's name for this content: no process needed to know what is new."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
