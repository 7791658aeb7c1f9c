"""Disowned incumbents: kept trials that turned out to be dishonest, and the trials that were judged against them.

A settled row is never written again. Instead, what was learned later is applied to a row whenever it is read: the
incumbent itself reads as `dishonest`, a trial that was judged against its numbers as `unjudged`, and neither has a
value.
"""

import sqlite3
from typing import Any

from common.state import State

VALUELESS = {"val_bpb": None, "delta_bpb": None}
MEASURED = (State.KEPT, State.REVERTED, State.DISCARDED)  # the states that an incumbent's numbers decide


def read(connection: sqlite3.Connection) -> dict[str, tuple[int, str]]:
    """Return (trial, reason) of each disowned incumbent, by its commit."""
    query = "SELECT commit_id, trial, reason FROM disowned JOIN trials ON trial = number"
    return {commit: (trial, reason) for commit, trial, reason in connection.execute(query)}


def with_disownment(row: dict[str, Any], disowned: dict[str, tuple[int, str]]) -> dict[str, Any]:
    """Return a row's columns, changed if the trial itself or its parent was disowned."""
    if not disowned or row["state"] not in MEASURED:
        return row
    before = f"it was {row['state']}: {row['detail']}"
    if own := disowned.get(str(row["commit_id"])):
        return {**row, **VALUELESS, "state": State.DISHONEST.value, "detail": f"{own[1]}; {before}"}
    if parent := disowned.get(str(row["parent"])):
        detail = f"judged against trial {parent[0]:04d}, which ended as dishonest; {before}"
        return {**row, **VALUELESS, "state": State.UNJUDGED.value, "detail": detail}
    return row
