"""What was found out later: incumbents that ended as dishonest, and all that was judged against them.

A settled row is never written again. What is known about it now is laid over it whenever it is read, so that no reader
has to ask: the incumbent itself reads as `dishonest`, what was measured against its numbers as `unjudged`, and neither
has a value.
"""

import sqlite3
from typing import Any

from data.state import State

VALUELESS = {"val_bpb": None, "delta_bpb": None}
MEASURED = (State.KEPT, State.REVERTED, State.DISCARDED)  # the states that an incumbent's numbers decide


def read(connection: sqlite3.Connection) -> dict[str, tuple[int, str]]:
    """(trial, why) of each, by its commit."""
    query = "SELECT commit_id, trial, reason FROM disowned JOIN trials ON trial = number"
    return {commit: (trial, reason) for commit, trial, reason in connection.execute(query)}


def as_known_now(row: dict[str, Any], found: dict[str, tuple[int, str]]) -> dict[str, Any]:
    """A row's columns under what is known of it and of its parent."""
    if not found or row["state"] not in MEASURED:
        return row
    was = f"it was {row['state']}: {row['detail']}"
    if own := found.get(str(row["commit_id"])):
        return {**row, **VALUELESS, "state": State.DISHONEST.value, "detail": f"{own[1]}; {was}"}
    if parents := found.get(str(row["parent"])):
        told = f"judged against trial {parents[0]:04d}, which ended as dishonest; {was}"
        return {**row, **VALUELESS, "state": State.UNJUDGED.value, "detail": told}
    return row
