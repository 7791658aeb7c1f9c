"""The system calls that a job may make, as a seccomp filter: a BPF program that is the same at every level.

An allow-list: the calls that legitimate runs of every preset and tool make (syscalls.tsv in this folder), and of calls
with harmless and harmful uses only the harmless ones, told apart by their arguments. The calls that are left out mark
shared files (hints, locks, leases, flags, eviction), read such marks (residency, events), get around the isolation
(mounts, namespaces, io_uring, other processes), outlive a process (System V and POSIX objects, keyrings) or reveal
counts for the whole machine (sysinfo, statfs).
"""

import csv
import functools
import platform
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from common.errors import SandboxError

TABLE = Path(__file__).with_name("syscalls.tsv")
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
O_DIRECT = {"x86_64": 0x4000, "aarch64": 0x10000}  # reads around the page cache, and writes evict it
XATTR_SETTERS = ("setxattr", "lsetxattr", "fsetxattr")
EPERM, EACCES, ENOSYS, EOPNOTSUPP = 1, 13, 38, 95

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
SOCK_STREAM, SOCK_TYPE_MASK, IPPROTO_TCP, MSG_FASTOPEN = 1, 0xF, 6, 0x20000000
SIGCHLD = 17
NEW_NAMESPACES, CLONE_PARENT, CLONE_PIDFD = 0x7E020000, 0x8000, 0x1000
COUNTED_SOCKETS = (57, 71, 77)  # SO_COOKIE, SO_NETNS_COOKIE, SO_PEERPIDFD: numbers counted for the whole machine
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
# Calls that CUDA's libraries are known to make; allowed only where there is a GPU
FOR_GPUS = ("memfd_create", "mlock", "mlock2", "munlock", "sysinfo", "get_mempolicy", "mbind")

LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_SET, AND, SHIFT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x74, 0x06
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
NUMBER_OFFSET, ARCH_OFFSET, ARGUMENTS_OFFSET, X32_BIT = 0, 4, 16, 0x40000000

Step = tuple[int, int, int, int]
Steps = list[Step]


@dataclass(frozen=True)
class Needs:
    """Everything a job has to do beyond computing on its files."""

    ranks: bool = False  # several processes that meet on loopback, in sessions of their own
    proposer: bool = False  # a program of the human user, with the internet: it never shares files with what is scored
    gpu: bool = False
    own_network: bool = True  # a network namespace: nothing that it sends reaches another job
    own_signals: bool = True  # confined: none reaches a process outside the job


def program(needs: Needs, machine: str = platform.machine()) -> bytes:
    """Return the filter for a machine, this one by default.

    Raises:
        SandboxError: the numbers of the machine's system calls are not known.
    """
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
    """Return the number of every call in the table, by name, on a machine."""
    return {name: int(row[machine]) for name, row in _table().items() if row[machine] != "-"}


@functools.cache
def _table() -> dict[str, dict[str, str]]:
    """Return the rows of syscalls.tsv by the call's name."""
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return {row["name"]: row for row in csv.DictReader(lines, delimiter="\t")}


def _by_argument(machine: str, needs: Needs) -> dict[str, Steps]:
    """Return the steps that decide the calls with both harmless and harmful uses, by the call's name."""
    direct, messages = O_DIRECT[machine], needs.ranks or needs.gpu
    more_prctl = FOR_PROPOSERS["prctl"] if needs.proposer else ()
    checks = {
        "open": _allow_without(1, direct),
        "openat": _allow_without(2, direct),
        "clone": _allow_without(0, NEW_NAMESPACES | CLONE_PARENT | CLONE_PIDFD),
        "clone3": _refuse(ENOSYS),  # its flags are in memory, where no filter sees them; libraries fall back to clone
        "prctl": _allow_if_one_of(0, (*PRCTL, *more_prctl)),
        "prlimit64": _allow_if_one_of(0, (0,)),  # of the caller alone: a limit set on the supervisor would end it
        "sched_setaffinity": _allow_if_one_of(0, (0,)),
        "getpriority": _allow_if_one_of(1, (0,)),
        "getsockopt": _allow_if_none_of(2, COUNTED_SOCKETS),
        "preadv2": _allow_if_one_of(5, (0,), ENOSYS),
        "pwritev2": _allow_if_one_of(5, (0,), ENOSYS),
        "socket": _sockets(needs),
        # Descriptors in flight in one hold files that no poll finds: allowed only where the kernel itself counts
        "socketpair": _allow_if_one_of(0, (AF_UNIX,))
        if needs.proposer or (messages and needs.own_network)
        else _refuse(EPERM),
        "sendto": _allow_without(3, MSG_FASTOPEN),  # connects without asking Landlock
        "sendmsg": _allow_without(2, MSG_FASTOPEN) if messages or needs.proposer else _refuse(EPERM),
        "mbind": _allow_if_one_of(5, (0,)),
        "get_mempolicy": _allow_if_one_of(4, (0,)),
        # `sed -i` and `cp -p`, which agents use, carry on if a file system has no extended attributes
        **dict.fromkeys(XATTR_SETTERS, _refuse(EOPNOTSUPP if needs.proposer else EPERM)),
    }
    if needs.proposer:
        by_argument = {name for name, row in _table().items() if row["who"] == "by argument"}
        still_checked = {*"clone clone3 prctl prlimit64 socket socketpair sendto sendmsg".split(), *XATTR_SETTERS}
        return {name: checks[name] if name in still_checked else [(RETURN, 0, 0, ALLOW)] for name in by_argument}
    checks["fcntl"] = _fcntl(direct)
    checks["ioctl"] = _ioctl(needs.gpu)
    checks["madvise"] = _allow_if_one_of(2, MADVISE)
    checks["rt_sigaction"] = [(RETURN, 0, 0, ALLOW)]
    if not needs.ranks:  # a parent that ignores SIGCHLD has children whose CPU seconds are credited to no process
        checks["rt_sigaction"] = [*_load(0), (JUMP_EQUAL, 0, 1, SIGCHLD), *_refuse(EPERM), (RETURN, 0, 0, ALLOW)]
    # A lock on a shared file is a message to any job that runs at the same time, so none is taken. The call seems to
    # succeed: torch.compile needs it (its FileLock breaks where filelock falls back), and it guards only caches of
    # this job.
    checks["flock"] = _refuse(0)
    checks["fallocate"] = _refuse(EOPNOTSUPP)  # allocates gigabytes between two polls; libraries then write zeros
    checks["fadvise64"] = _refuse(ENOSYS)
    return checks


def _sockets(needs: Needs) -> Steps:
    """Allow some families; a job without a network of its own may open streams only, which Landlock restricts."""
    if not (needs.ranks or needs.proposer):
        return _allow_if_one_of(0, (AF_UNIX,)) if needs.gpu and needs.own_network else _refuse(EPERM)
    routes = _allow_if_one_of(2, (0,))  # lists the interfaces; all other protocols of the family reach into the kernel
    steps = [*_load(0), (JUMP_EQUAL, 0, len(routes), AF_NETLINK), *routes]
    if not (needs.own_network or needs.proposer):
        steps += [*_load(1), (AND, 0, 0, SOCK_TYPE_MASK), (JUMP_EQUAL, 1, 0, SOCK_STREAM), *_refuse(EPERM)]
        steps += [*_load(2), (JUMP_EQUAL, 2, 0, 0), (JUMP_EQUAL, 1, 0, IPPROTO_TCP), *_refuse(EPERM)]
        return steps + _allow_if_one_of(0, (AF_INET, AF_INET6))
    local = () if needs.proposer else (AF_UNIX,)  # a job with the internet must not reach the machine's daemons
    return steps + _allow_if_one_of(0, (*local, AF_INET, AF_INET6))


def _fcntl(direct: int) -> Steps:
    """Allow the commands of FCNTL, and F_SETFL without O_DIRECT."""
    steps = [*_load(1), (JUMP_EQUAL, 0, 4, F_SETFL)]
    steps += [*_load(2), (JUMP_SET, 0, 1, direct), *_refuse(EPERM), (RETURN, 0, 0, ALLOW)]
    return steps + _allow_if_one_of(1, FCNTL)


def _ioctl(gpu: bool) -> Steps:
    """Allow the requests of IOCTL, and on a GPU those of NVIDIA's driver."""
    if not gpu:
        return _allow_if_one_of(1, IOCTL)
    steps = [*_load(1), (JUMP_AT_LEAST, 1, 0, UVM_BELOW), (RETURN, 0, 0, ALLOW)]
    steps += [(SHIFT, 0, 0, 8), (AND, 0, 0, 0xFF), (JUMP_EQUAL, 0, 1, NVIDIA_TYPE), (RETURN, 0, 0, ALLOW)]
    return steps + _allow_if_one_of(1, (*IOCTL, *UVM_START_AND_END))


def _allow_if_one_of(argument: int, values: Iterable[int], errno: int = EPERM) -> Steps:
    """Allow the call if the argument has one of these values."""
    steps = _load(argument)
    for value in values:
        steps += [(JUMP_EQUAL, 0, 1, value), (RETURN, 0, 0, ALLOW)]
    return steps + _refuse(errno)


def _allow_if_none_of(argument: int, values: Iterable[int]) -> Steps:
    """Allow the call if the argument has none of these values."""
    steps = _load(argument)
    for value in values:
        steps += [(JUMP_EQUAL, 0, 1, value), *_refuse(EPERM)]
    return [*steps, (RETURN, 0, 0, ALLOW)]


def _allow_without(argument: int, bits: int) -> Steps:
    """Allow the call if none of these bits of the argument is set."""
    return [*_load(argument), (JUMP_SET, 0, 1, bits), *_refuse(EPERM), (RETURN, 0, 0, ALLOW)]


def _load(argument: int) -> Steps:
    """Load the low half of an argument: all that the kernel reads of an int."""
    return [(LOAD, 0, 0, ARGUMENTS_OFFSET + 8 * argument)]


def _refuse(errno: int) -> Steps:
    """Fail the call with this error; 0 pretends success."""
    return [(RETURN, 0, 0, ERRNO | errno)]
