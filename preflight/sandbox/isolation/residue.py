"""The protections of each isolation level, and an upper bound on the bits that may still pass from one job to the next.

A bit of memory saves at most one bit of text, so the sum is a bound on what the audit of a score cannot detect. It is
added to the score error bound of every row.
"""

import os
import platform
from dataclasses import dataclass
from math import inf

from preflight.sandbox.cgroup import Group
from preflight.sandbox.image.image import folder, in_memory
from preflight.sandbox.isolation import seccomp

GOAL_BITS = 1_000.0
# dev/benchmarks/channels.md. In a namespace 724 bits were found: 720 in the times of device nodes, which only a
# proposer of root can set, and 4 in a counter that other processes count as well; the rest is a margin for counters
# driven more finely. At `landlock` 934,000: names looked up without success in folders that anyone may walk pass by
# timing, and a million would fit.
BITS = {"namespace": 850.0, "landlock": 1_100_000.0, "none": inf}


def bits(level: str) -> float:
    """Return the bound of a level on this machine.

    In a namespace it presumes that the image is in memory: on a disk the files remember look-ups as at `landlock`.
    """
    on_disk = level == "namespace" and not in_memory(folder())
    return BITS["landlock" if on_disk else level]


def bpb(level: str, text_bytes: int, val_bpb: float) -> float:
    """Return the largest error in bits per byte that the bound allows on so much text; never more than all of it."""
    return min(bits(level) / text_bytes, val_bpb)


def describe(level: str) -> str:
    """Return the bound as words for a message."""
    left = bits(level)
    return f"{left:,.0f} bits from job to job, the goal is {GOAL_BITS:,.0f}" if left < inf else "jobs share everything"


@dataclass(frozen=True)
class Protection:
    """The state of one protection on this machine, and the best possible one."""

    by_kernel: bool  # enforced by the kernel rather than by polling
    state: str
    best: str


def protections(level: str) -> dict[str, Protection]:
    """Return the protections of a level on this machine by topic, for the doctor's report."""
    own_user, isolated = os.geteuid() == 0 and level != "none", level != "none"
    group = Group.make(1 << 30, 64)
    if group:
        group.remove()
    network = {"namespace": "a network of its own", "landlock": "no sockets; several ranks: TCP to any address"}
    polled = "polled ten times a second"
    calls = f"{len(seccomp.numbers(platform.machine()))} calls known; those not allowed fail" if isolated else "none"
    files = folder() if isolated else None
    return {
        "user": Protection(
            own_user, "one for each job" if own_user else "yours, for every job", "one for each job: needs root"
        ),
        "memory": Protection(bool(group), "a control group" if group else polled, "a control group"),
        "disk": Protection(level == "namespace", "in memory, sized" if level == "namespace" else "polled", "sized"),
        "network": Protection(level == "namespace", network.get(level, "the machine's own"), "none"),
        "filter": Protection(isolated, calls, "an allow-list of system calls"),
        "files": Protection(
            bool(files and in_memory(files)), f"a copy in {files}" if files else "the machine's own", "in memory"
        ),
    }
