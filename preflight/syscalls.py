"""System calls that no candidate needs, as a seccomp filter: a BPF program for bubblewrap and for Landlock alike.

Three kinds are refused: what outlives a process (System V and POSIX objects, keyrings), what reaches into others or
around the walls (ptrace, mounts, namespaces, io_uring), and what escapes a process group. The last is what makes a
fork bomb mortal: the kernel kills a group in one sweep, and without setsid nothing leaves it.
"""

import platform
import struct

from data.errors import SandboxError

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALWAYS = {  # name -> number on x86_64, aarch64
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "mount": (165, 40),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
}
GROUPS = {"setpgid": (109, 154), "setsid": (112, 157)}  # torchrun needs them, one rank does not
SOCKETS = {"socket": (41, 198)}  # Landlock does not cover all of them; socketpair stays

LOAD, JUMP_EQUAL, JUMP_AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050001, 0x80000000  # refused calls fail with EPERM
ARCH_OFFSET, NUMBER_OFFSET, X32_BIT = 4, 0, 0x40000000


def program(groups: bool, sockets: bool) -> bytes:
    """The filter for this machine; `groups` and `sockets` allow those calls. Raises SandboxError on others."""
    machine = platform.machine()
    if machine not in AUDIT_ARCH:
        raise SandboxError(
            f"got a {machine} machine, expected one of {', '.join(AUDIT_ARCH)} for the system call filter"
        )
    column = list(AUDIT_ARCH).index(machine)
    refused = {**ALWAYS, **({} if groups else GROUPS), **({} if sockets else SOCKETS)}
    numbers = [pair[column] for pair in refused.values()]
    steps = [(LOAD, 0, 0, ARCH_OFFSET), (JUMP_EQUAL, 1, 0, AUDIT_ARCH[machine]), (RETURN, 0, 0, KILL)]
    steps += [(LOAD, 0, 0, NUMBER_OFFSET), (JUMP_AT_LEAST, len(numbers) + 1, 0, X32_BIT)]
    steps += [(JUMP_EQUAL, len(numbers) - i, 0, number) for i, number in enumerate(numbers)]
    steps += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
