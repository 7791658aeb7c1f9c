"""What each level holds, and what may still pass from one job to the next, in bits.

A bit of memory saves at most one bit of text, so the sum is a bound on what the proof of a score cannot see. It is
added to the honesty bound of every row.
"""

import os
import platform
from dataclasses import dataclass
from math import inf

from preflight.sandbox import seccomp
from preflight.sandbox.cgroup import Group
from preflight.sandbox.image import folder, in_memory

GOAL_BITS = 1_000.0
# dev/benchmarks/channels.md. In a namespace 724 bits were found: 720 in the times of device nodes, which only a
# proposer of root can set, and 4 in a counter that others count as well; the rest is for counters driven more finely.
# At `landlock` 934,000: names looked up in vain in folders that anybody may walk pass by timing, a million would fit.
BITS = {"namespace": 850.0, "landlock": 1_100_000.0, "none": inf}


def bits(level: str) -> float:
    """Of a level on this machine: in a namespace the files have to be in memory for it, or they remember as any do."""
    on_disk = level == "namespace" and not in_memory(folder())
    return BITS["landlock" if on_disk else level]


def bpb(level: str, text_bytes: int, val_bpb: float) -> float:
    """How far bits per byte of so much text can be off by it: never by more than all of it."""
    return min(bits(level) / text_bytes, val_bpb)


def in_words(level: str) -> str:
    left = bits(level)
    return f"{left:,.0f} bits from job to job, the goal is {GOAL_BITS:,.0f}" if left < inf else "jobs share everything"


@dataclass(frozen=True)
class Held:
    """One thing that a level holds, and whether the kernel does it rather than a look now and then."""

    kernel: bool
    words: str
    best: str


def holds(level: str) -> dict[str, Held]:
    """What stands between a job and the machine here, for a person to read."""
    own_user, walls = os.geteuid() == 0 and level != "none", level != "none"
    group = Group.make(1 << 30, 64)
    if group:
        group.remove()
    network = {"namespace": "a network of its own", "landlock": "no sockets; several ranks: TCP to any address"}
    calls = f"{len(seccomp.numbers(platform.machine()))} calls known, what is not allowed fails" if walls else "none"
    files = folder() if walls else None
    return {
        "user": Held(
            own_user, "one for each job" if own_user else "yours, for every job", "one for each job: needs root"
        ),
        "memory": Held(bool(group), "a control group" if group else "looked at ten times a second", "a control group"),
        "disk": Held(level == "namespace", "in memory, sized" if level == "namespace" else "looked at", "sized"),
        "network": Held(level == "namespace", network.get(level, "the machine's own"), "none"),
        "filter": Held(walls, calls, "an allow-list of system calls"),
        "files": Held(
            bool(files and in_memory(files)), f"a copy in {files}" if files else "the machine's own", "in memory"
        ),
    }
