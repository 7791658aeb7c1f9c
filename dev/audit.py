"""What a job can reach, pinned with a reason for each: renews tests/preflight/audit_expected.toml, keeping reasons.

.venv/bin/python -m dev.audit
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from dev.hostile import STRANGER, Act, own_folder, play, play_as
from preflight.sandbox.isolation import available_levels

ROOT = Path(__file__).resolve().parent.parent
EXPECTED = ROOT / "tests" / "preflight" / "audit_expected.toml"
PROGRAM = ROOT / "tests" / "preflight" / "attacks" / "audit.py"
UNEXPLAINED = "unexplained"
HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
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
    folder = own_folder(uid)
    try:
        (folder / "view").mkdir()
        (folder / "view" / "shard").write_bytes(bytes(5_000))
        for path in (folder / "view", folder / "view" / "shard"):
            os.chown(path, uid, uid)
        act = Act(PROGRAM.read_text(), inputs={"view": str(folder / "view")}, ranks=ranks)
        (done,) = play([act], folder, level) if uid == os.geteuid() else play_as(uid, [act], folder, level)
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)
    if not done.said:
        raise SystemExit(f"got no list from the job, but {done}")
    return {kind: [str(thing) for thing in things] for kind, things in done.said.items()}


def reasons(view: str) -> dict[str, dict[str, str]]:
    """Kind -> thing -> why a job may."""
    pinned = tomllib.loads(EXPECTED.read_text()).get(view, {}) if EXPECTED.exists() else {}
    return {
        kind: {str(thing): reason for reason, things in by_reason.items() for thing in things}
        for kind, by_reason in pinned.items()
    }


def written(view: str, found: dict[str, list[str]]) -> str:
    """A view as TOML: below each kind, things by their reason."""
    known, names, lines = reasons(view), call_names(), []
    for kind, things in found.items():
        lines.append(f"[{view}.{kind}]")
        by_reason: dict[str, list[str]] = {}
        for thing in things:
            by_reason.setdefault(known.get(kind, {}).get(thing, UNEXPLAINED), []).append(thing)
        for reason, held in sorted(by_reason.items()):
            lines.append(f"{json.dumps(reason)} = [")
            lines += [
                f"    {json.dumps(thing)}," + (f"  # {names.get(thing, '?')}" if kind == "calls" else "")
                for thing in held
            ]
            lines.append("]")
        lines.append("")
    return "\n".join(lines)


def call_names() -> dict[str, str]:
    """Names of system calls, for whoever reads the file."""
    text = HEADER.read_text() if HEADER.exists() else ""
    return {number: name for name, number in re.findall(r"#define __NR_(\w+) (\d+)", text)}


if __name__ == "__main__":
    head = "# What a job can reach, by level and person, each with its reason: renewed by `python -m dev.audit`.\n\n"
    made = head + "\n".join(written(view, audit(level, uid, ranks)) for view, level, uid, ranks in views())
    print(f"{made.count(UNEXPLAINED)} kinds have things without a reason", file=sys.stderr)
    EXPECTED.write_text(made)
