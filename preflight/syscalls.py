"""System calls that no candidate needs, as a seccomp filter: a BPF program for bubblewrap and for Landlock alike.

Three kinds are refused: what outlives a process (System V and POSIX objects, keyrings), what reaches into others or
around the walls (ptrace, mounts, namespaces, io_uring), and what escapes a process group. The last is what makes a
fork bomb mortal: the kernel kills a group in one sweep, and without setsid nothing leaves it.
"""

import platform
import struct
from collections.abc import Mapping

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
    "memfd_create": (319, 279),
}
ATTRIBUTES = {  # of files outside OUT, which Landlock leaves open; harmless where mounts are read-only
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
}
SIGNALS = {  # to others of the same user: Landlock scopes them from ABI 6 on
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
}
GROUPS = {"setpgid": (109, 154), "setsid": (112, 157)}  # torchrun needs them, one rank does not
SOCKETS = {"socket": (41, 198)}  # Landlock does not cover all of them; socketpair stays

SIGACTION, SIGCHLD = (13, 134), 17  # who ignores SIGCHLD has children whose CPU seconds are credited to nobody
AF_UNIX = 1
PRLIMIT, ITSELF = (302, 261), 0  # a limit set on the warden would end it

LOAD, JUMP_EQUAL, JUMP_AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050001, 0x80000000  # refused calls fail with EPERM
ARCH_OFFSET, NUMBER_OFFSET, FIRST_ARGUMENT_OFFSET, X32_BIT = 4, 0, 16, 0x40000000

Calls = Mapping[str, tuple[int, int | None]]


def program(*more: Calls, groups: bool, unix: bool = True) -> bytes:
    """The filter for this machine: `ALWAYS`, then `more`; `groups` leaves torchrun what it needs.

    Without `unix` no socket of that family is made: who may use the network shall not reach the machine's daemons.

    Raises SandboxError on a machine whose numbers are not known.
    """
    machine = platform.machine()
    if machine not in AUDIT_ARCH:
        raise SandboxError(
            f"got a {machine} machine, expected one of {', '.join(AUDIT_ARCH)} for the system call filter"
        )
    column = list(AUDIT_ARCH).index(machine)
    refused = [pair[column] for calls in (ALWAYS, *more, {} if groups else GROUPS) for pair in calls.values()]
    numbers = [number for number in refused if number is not None]
    steps = [(LOAD, 0, 0, ARCH_OFFSET), (JUMP_EQUAL, 1, 0, AUDIT_ARCH[machine]), (RETURN, 0, 0, KILL)]
    steps += [(LOAD, 0, 0, NUMBER_OFFSET), (JUMP_AT_LEAST, 0, 1, X32_BIT), (RETURN, 0, 0, REFUSE)]
    if not groups:
        steps += _by_first_argument(SIGACTION[column], SIGCHLD, REFUSE, ALLOW)
    if not unix:
        steps += _by_first_argument(SOCKETS["socket"][column], AF_UNIX, REFUSE, ALLOW)
    steps += _by_first_argument(PRLIMIT[column], ITSELF, ALLOW, REFUSE)
    steps += [(JUMP_EQUAL, len(numbers) - i, 0, number) for i, number in enumerate(numbers)]
    steps += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _by_first_argument(number: int, value: int, equal: int, other: int) -> list[tuple[int, int, int, int]]:
    """Steps that decide one call by its first argument and pass all others on."""
    return [
        (JUMP_EQUAL, 0, 4, number),
        (LOAD, 0, 0, FIRST_ARGUMENT_OFFSET),
        (JUMP_EQUAL, 0, 1, value),
        (RETURN, 0, 0, equal),
        (RETURN, 0, 0, other),
    ]
