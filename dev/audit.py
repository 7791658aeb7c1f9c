"""What a job can reach, pinned by level and person: renews the lists of tests/preflight/audit_expected.toml.

The reasons there are written by hand; a system call's is its place in preflight/sandbox/syscalls.tsv.

.venv/bin/python -m dev.audit
"""

import json
import os
import platform
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from dev.hostile import STRANGER, Act, perform, scene
from preflight.sandbox import seccomp
from preflight.sandbox.isolation import available_levels

ROOT = Path(__file__).resolve().parent.parent
EXPECTED = ROOT / "tests" / "preflight" / "audit_expected.toml"
PROGRAM = ROOT / "tests" / "preflight" / "attacks" / "audit.py"
LEVELS = [level for level in available_levels() if level != "none"]


def views() -> list[tuple[str, str, int, int]]:
    """Every view that is pinned: its name, level, uid and ranks."""
    people = {"root": 0, "person": STRANGER} if os.geteuid() == 0 else {"person": os.geteuid()}
    alone = [(f"{level}_{name}", level, uid, 1) for level in LEVELS for name, uid in people.items()]
    return alone + [
        (f"{level}_{name}_ranks", level, uid, 2) for level in LEVELS for name, uid in list(people.items())[:1]
    ]


def audit(level: str, uid: int, ranks: int) -> dict[str, list[str]]:
    """What a job of this level, person and number of ranks found, by kind."""
    with scene(uid) as folder:
        act = Act(PROGRAM.read_text(), inputs={"view": str(folder / "view")}, ranks=ranks)
        (done,) = perform(uid, level, folder, act)
    if not done.said:
        raise SystemExit(f"got no list from the job, but {done}")
    return {kind: sorted({named(kind, str(thing)) for thing in things}) for kind, things in done.said.items()}


def named(kind: str, thing: str) -> str:
    """The same on every machine: calls by name, and one name for the folders that this Python happens to stand in."""
    if kind == "calls":
        return calls().get(thing, thing)
    for prefix in (sys.prefix, sys.base_prefix):
        top = f"/{Path(prefix).parts[1]}"
        if top != "/usr" and kind == "read" and thing.rstrip("/") == top:
            return "ABOVE PYTHON"
    return thing


def calls() -> dict[str, str]:
    """Number -> name."""
    return {str(number): name for name, number in seccomp.numbers(platform.machine()).items()}


def pinned() -> dict[str, dict[str, dict[str, list[str]]]]:
    return tomllib.loads(EXPECTED.read_text())["view"]


def unexplained(kind: str, things: Iterable[str]) -> list[str]:
    """Things that a job may reach and nobody has said why."""
    why = tomllib.loads(EXPECTED.read_text())["why"]
    known = {*why.get(kind, {}), *(calls().values() if kind == "calls" else ())}
    return sorted(set(things) - known)


def written(view: str, found: dict[str, list[str]]) -> str:
    """A view as TOML."""
    lines = [f"[view.{view}]"]
    for kind, things in found.items():
        lines.append(f"{kind} = [{', '.join(json.dumps(thing) for thing in things)}]")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    kept = EXPECTED.read_text().partition("[view.")[0]
    EXPECTED.write_text(kept + "\n".join(written(view, audit(*how)) for view, *how in views()))
