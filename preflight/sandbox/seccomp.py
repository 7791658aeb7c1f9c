"""Which system calls a job may make, as a seccomp filter: a BPF program that is the same at every level.

An allow-list: what honest runs of every preset and tool make (preflight/sandbox/syscalls.tsv), and of calls with two
faces only the harmless one, told apart by their arguments. What is left out marks shared files (hints, locks, leases,
flags, eviction), reads such marks (residency, events), reaches around the walls (mounts, namespaces, io_uring, other
processes), outlives a process (System V and POSIX objects, keyrings) or counts for the whole machine (sysinfo, statfs).
"""

import csv
import functools
import platform
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from data.errors import SandboxError

TABLE = Path(__file__).with_name("syscalls.tsv")
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
O_DIRECT = {"x86_64": 0x4000, "aarch64": 0x10000}  # reads around the page cache, and writes evict it
MARKS = ("setxattr", "lsetxattr", "fsetxattr")
EPERM, EACCES, ENOSYS, EOPNOTSUPP = 1, 13, 38, 95

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
SOCK_STREAM, SOCK_TYPE_MASK, IPPROTO_TCP, MSG_FASTOPEN = 1, 0xF, 6, 0x20000000
SIGCHLD = 17
NEW_NAMESPACES, CLONE_PARENT, CLONE_PIDFD = 0x7E020000, 0x8000, 0x1000
COUNTED_SOCKETS = (57, 71, 77)  # SO_COOKIE, SO_NETNS_COOKIE, SO_PEERPIDFD: numbers that count for the whole machine
SIGNALS = ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC, F_GETPIPE_SZ: no locks, leases, notices, hints, owners
FCNTL = (0, 1, 2, 3, 1030, 1032)
F_SETFL = 4
# TCGETS, TIOCGWINSZ, TIOCGPGRP, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: no flags or versions of files
IOCTL = (0x5401, 0x5413, 0x540F, 0x541B, 0x5421, 0x5450, 0x5451)
NVIDIA_TYPE, UVM_BELOW, UVM_START_AND_END = 0x46, 0x100, (0x30000001, 0x30000002)  # of ioctl, open-gpu-kernel-modules
# MADV_NORMAL to MADV_DONTNEED, FREE, DONTFORK, DOFORK, NOHUGEPAGE, DONTDUMP, DODUMP, WIPEONFORK, KEEPONFORK,
# POPULATE_READ, POPULATE_WRITE: no MERGEABLE, COLD, PAGEOUT, COLLAPSE, HUGEPAGE, which mark pages of shared files
MADVISE = (0, 1, 2, 3, 4, 8, 10, 11, 15, 16, 17, 18, 19, 22, 23)
# PR_SET_PDEATHSIG, GET_PDEATHSIG, GET_DUMPABLE, GET_KEEPCAPS, SET_NAME, GET_NAME, GET_SECCOMP, CAPBSET_READ,
# GET_SECUREBITS, SET_TIMERSLACK, GET_TIMERSLACK, SET_NO_NEW_PRIVS, GET_NO_NEW_PRIVS, PR_SET_VMA (glibc names memory)
PRCTL = (1, 2, 3, 8, 15, 16, 21, 23, 27, 29, 30, 38, 39, 0x53564D41)
FOR_PROPOSERS = {"prctl": (22, 36, 41, 47)}  # PR_SET_SECCOMP, SET_CHILD_SUBREAPER, SET_THP_DISABLE, CAP_AMBIENT
# What CUDA's libraries are known to call; only where there is a GPU
FOR_GPUS = ("memfd_create", "mlock", "mlock2", "munlock", "sysinfo", "get_mempolicy", "mbind")

LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_SET, AND, SHIFT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x74, 0x06
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
NUMBER_OFFSET, ARCH_OFFSET, ARGUMENTS_OFFSET, X32_BIT = 0, 4, 16, 0x40000000

Step = tuple[int, int, int, int]
Steps = list[Step]


@dataclass(frozen=True)
class Needs:
    """What a job has to do beyond computing on its files."""

    ranks: bool = False  # several processes that meet on loopback, in sessions of their own
    proposer: bool = False  # a person's program with the internet: it never shares files with what is scored
    gpu: bool = False
    own_network: bool = True  # a network namespace: what it says there nobody else hears
    own_signals: bool = True  # none reaches a process that is not the job's


def program(needs: Needs, machine: str = platform.machine()) -> bytes:
    """The filter for a machine, this one by default; raises SandboxError where its numbers are not known."""
    if machine not in AUDIT_ARCH:
        raise SandboxError(
            f"got a {machine} machine, expected one of {', '.join(AUDIT_ARCH)} for the system call filter"
        )
    calls = numbers(machine)
    steps = [(LOAD, 0, 0, ARCH_OFFSET), (JUMP_EQUAL, 1, 0, AUDIT_ARCH[machine]), (RETURN, 0, 0, KILL)]
    steps += [(LOAD, 0, 0, NUMBER_OFFSET), (JUMP_AT_LEAST, 0, 1, X32_BIT), *_refuse(ENOSYS)]
    checked = _by_argument(machine, needs)
    groups = {"every"} | ({"ranks", "proposer"} if needs.proposer else {"ranks"} if needs.ranks else set())
    allowed = {name for name, row in _table().items() if row["who"] in groups}
    allowed |= set(FOR_GPUS) | {"recvmsg", "bind", "listen", "accept4"} if needs.gpu else set()
    allowed -= set() if needs.own_signals else set(SIGNALS)
    for name in [*checked, *sorted(allowed - checked.keys())]:
        if (number := calls.get(name)) is not None:
            block = checked.get(name, [(RETURN, 0, 0, ALLOW)])
            steps += [(JUMP_EQUAL, 0, len(block), number), *block]
    steps += _refuse(EPERM)
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def numbers(machine: str) -> dict[str, int]:
    """Number of every call in the table on a machine."""
    return {name: int(row[machine]) for name, row in _table().items() if row[machine] != "-"}


@functools.cache
def _table() -> dict[str, dict[str, str]]:
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return {row["name"]: row for row in csv.DictReader(lines, delimiter="\t")}


def _by_argument(machine: str, needs: Needs) -> dict[str, Steps]:
    """Calls with two faces, each with the steps that decide it."""
    direct, messages = O_DIRECT[machine], needs.ranks or needs.gpu
    more = FOR_PROPOSERS["prctl"] if needs.proposer else ()
    found = {
        "open": _without(1, direct),
        "openat": _without(2, direct),
        "clone": _without(0, NEW_NAMESPACES | CLONE_PARENT | CLONE_PIDFD),
        "clone3": _refuse(ENOSYS),  # its flags stand in memory, where no filter sees them; libraries fall back to clone
        "prctl": _one_of(0, (*PRCTL, *more)),
        "prlimit64": _one_of(0, (0,)),  # of itself: a limit set on the supervisor would end it
        "sched_setaffinity": _one_of(0, (0,)),
        "getpriority": _one_of(1, (0,)),
        "getsockopt": _none_of(2, COUNTED_SOCKETS),
        "preadv2": _one_of(5, (0,), ENOSYS),
        "pwritev2": _one_of(5, (0,), ENOSYS),
        "socket": _sockets(needs),
        # Descriptors that are under way in one hold files that no look finds: only where the kernel itself counts
        "socketpair": _one_of(0, (AF_UNIX,)) if needs.proposer or (messages and needs.own_network) else _refuse(EPERM),
        "sendto": _without(3, MSG_FASTOPEN),  # connects without asking Landlock
        "sendmsg": _without(2, MSG_FASTOPEN) if messages or needs.proposer else _refuse(EPERM),
        "mbind": _one_of(5, (0,)),
        "get_mempolicy": _one_of(4, (0,)),
        # `sed -i` and `cp -p`, which agents use, go on without where a file system has none
        **dict.fromkeys(MARKS, _refuse(EOPNOTSUPP if needs.proposer else EPERM)),
    }
    if needs.proposer:
        by_argument = {name for name, row in _table().items() if row["who"] == "by argument"}
        stay = {"clone", "clone3", "prctl", "prlimit64", "socket", "socketpair", "sendto", "sendmsg", *MARKS}
        return {name: found[name] if name in stay else [(RETURN, 0, 0, ALLOW)] for name in by_argument}
    found["fcntl"] = _fcntl(direct)
    found["ioctl"] = _ioctl(needs.gpu)
    found["madvise"] = _one_of(2, MADVISE)
    found["rt_sigaction"] = [(RETURN, 0, 0, ALLOW)]
    if not needs.ranks:  # who ignores SIGCHLD has children whose CPU seconds are credited to nobody
        found["rt_sigaction"] = [*_load(0), (JUMP_EQUAL, 0, 1, SIGCHLD), *_refuse(EPERM), (RETURN, 0, 0, ALLOW)]
    # A lock on a shared file is a message to whoever runs at the same time. It seems to succeed: torch.compile cannot
    # do without (its FileLock breaks where filelock falls back), and what it guards are caches of this job alone.
    found["flock"] = _refuse(0)
    found["fallocate"] = _refuse(EOPNOTSUPP)  # gigabytes between two looks; libraries then write zeros
    found["fadvise64"] = _refuse(ENOSYS)
    return found


def _sockets(needs: Needs) -> Steps:
    """Families that may be opened; without a network of its own a job has streams only, which Landlock holds."""
    if not (needs.ranks or needs.proposer):
        return _one_of(0, (AF_UNIX,)) if needs.gpu and needs.own_network else _refuse(EPERM)
    routes = _one_of(2, (0,))  # what interfaces there are; all other protocols of the family reach into the kernel
    steps = [*_load(0), (JUMP_EQUAL, 0, len(routes), AF_NETLINK), *routes]
    if not (needs.own_network or needs.proposer):
        steps += [*_load(1), (AND, 0, 0, SOCK_TYPE_MASK), (JUMP_EQUAL, 1, 0, SOCK_STREAM), *_refuse(EPERM)]
        steps += [*_load(2), (JUMP_EQUAL, 2, 0, 0), (JUMP_EQUAL, 1, 0, IPPROTO_TCP), *_refuse(EPERM)]
        return steps + _one_of(0, (AF_INET, AF_INET6))
    local = () if needs.proposer else (AF_UNIX,)  # who has the internet shall not reach the machine's daemons
    return steps + _one_of(0, (*local, AF_INET, AF_INET6))


def _fcntl(direct: int) -> Steps:
    steps = [*_load(1), (JUMP_EQUAL, 0, 4, F_SETFL)]
    steps += [*_load(2), (JUMP_SET, 0, 1, direct), *_refuse(EPERM), (RETURN, 0, 0, ALLOW)]
    return steps + _one_of(1, FCNTL)


def _ioctl(gpu: bool) -> Steps:
    if not gpu:
        return _one_of(1, IOCTL)
    steps = [*_load(1), (JUMP_AT_LEAST, 1, 0, UVM_BELOW), (RETURN, 0, 0, ALLOW)]
    steps += [(SHIFT, 0, 0, 8), (AND, 0, 0, 0xFF), (JUMP_EQUAL, 0, 1, NVIDIA_TYPE), (RETURN, 0, 0, ALLOW)]
    return steps + _one_of(1, (*IOCTL, *UVM_START_AND_END))


def _one_of(argument: int, values: Iterable[int], errno: int = EPERM) -> Steps:
    """Allowed if the argument has one of these values."""
    steps = _load(argument)
    for value in values:
        steps += [(JUMP_EQUAL, 0, 1, value), (RETURN, 0, 0, ALLOW)]
    return steps + _refuse(errno)


def _none_of(argument: int, values: Iterable[int]) -> Steps:
    """Allowed if the argument has none of these values."""
    steps = _load(argument)
    for value in values:
        steps += [(JUMP_EQUAL, 0, 1, value), *_refuse(EPERM)]
    return [*steps, (RETURN, 0, 0, ALLOW)]


def _without(argument: int, bits: int) -> Steps:
    """Allowed if none of these bits is set."""
    return [*_load(argument), (JUMP_SET, 0, 1, bits), *_refuse(EPERM), (RETURN, 0, 0, ALLOW)]


def _load(argument: int) -> Steps:
    """The low half of an argument: all that the kernel reads of an int."""
    return [(LOAD, 0, 0, ARGUMENTS_OFFSET + 8 * argument)]


def _refuse(errno: int) -> Steps:
    return [(RETURN, 0, 0, ERRNO | errno)]
