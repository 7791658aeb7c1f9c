"""Names of runs: a run's name is one folder below trials/ and a component of git refs."""

import re

from common.errors import CaddieError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def checked_name(run: str) -> str:
    """Return a run's name; raises CaddieError unless it is valid as a folder and as a component of git refs."""
    if not NAME.fullmatch(run) or ".." in run or run.endswith((".", ".lock")):
        raise CaddieError(f"got run {run[:80]!r}, expected letters, digits, '-', '_' and '.', as in night-2")
    return run
