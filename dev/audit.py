"""List what a job can reach, by sandbox level and user: updates tests/preflight/sandbox/audit_expected.toml.

The reasons in that file are written by hand; those for system calls are in preflight/sandbox/isolation/syscalls.tsv.

    python -m dev.audit
"""

import argparse
import json
import os
import platform
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from dev.hostile import OTHER_UID, Attack, attack_folder, run_attacks
from preflight.sandbox.isolation import seccomp
from preflight.sandbox.isolation.levels import available_levels

ROOT = Path(__file__).resolve().parent.parent
EXPECTED = ROOT / "tests" / "preflight" / "sandbox" / "audit_expected.toml"
PROGRAM = ROOT / "tests" / "preflight" / "sandbox" / "attacks" / "audit.py"
LEVELS = [level for level in available_levels() if level != "none"]


def views() -> list[tuple[str, str, int, int]]:
    """Return every view in the file: its name, level, uid and ranks."""
    users = {"root": 0, "person": OTHER_UID} if os.geteuid() == 0 else {"person": os.geteuid()}
    single = [(f"{level}_{name}", level, uid, 1) for level in LEVELS for name, uid in users.items()]
    return single + [
        (f"{level}_{name}_ranks", level, uid, 2) for level in LEVELS for name, uid in list(users.items())[:1]
    ]


def audit(level: str, uid: int, ranks: int) -> dict[str, list[str]]:
    """Return what a job of this level, user and number of ranks can reach, by kind."""
    with attack_folder(uid) as folder:
        attack = Attack(PROGRAM.read_text(), inputs={"view": str(folder / "view")}, ranks=ranks)
        (result,) = run_attacks(uid, level, folder, attack)
    if not result.output:
        raise SystemExit(f"expected a list from the job, got {result}")
    return {
        kind: sorted({portable_name(kind, str(thing)) for thing in things}) for kind, things in result.output.items()
    }


def portable_name(kind: str, thing: str) -> str:
    """Return a name that is the same on every machine: for system calls, and for the folders above this Python."""
    if kind == "calls":
        return system_calls().get(thing, thing)
    for prefix in (sys.prefix, sys.base_prefix):
        top = f"/{Path(prefix).parts[1]}"
        if top != "/usr" and kind == "read" and thing.rstrip("/") == top:
            return "ABOVE PYTHON"
    return thing


def system_calls() -> dict[str, str]:
    """Map each number to its name."""
    return {str(number): name for name, number in seccomp.numbers(platform.machine()).items()}


def expected_views() -> dict[str, dict[str, dict[str, list[str]]]]:
    """Read what each view is expected to reach."""
    expected: dict[str, dict[str, dict[str, list[str]]]] = tomllib.loads(EXPECTED.read_text())["view"]
    return expected


def unexplained(kind: str, things: Iterable[str]) -> list[str]:
    """Return the things that a job may reach without a written reason."""
    reasons = tomllib.loads(EXPECTED.read_text())["why"]
    explained = {*reasons.get(kind, {}), *(system_calls().values() if kind == "calls" else ())}
    return sorted(set(things) - explained)


def to_toml(view: str, reached: dict[str, list[str]]) -> str:
    """Format a view as TOML."""
    lines = [f"[view.{view}]"]
    for kind, things in reached.items():
        lines.append(f"{kind} = [{', '.join(json.dumps(thing) for thing in things)}]")
    return "\n".join([*lines, ""])


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    reasons = EXPECTED.read_text().partition("[view.")[0]
    pages = [to_toml(name, audit(level, uid, ranks)) for name, level, uid, ranks in views()]
    EXPECTED.write_text(reasons + "\n".join(pages))


if __name__ == "__main__":
    main()
