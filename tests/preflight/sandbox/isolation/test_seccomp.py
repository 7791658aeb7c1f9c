"""The system call filter, run by a slow copy of the kernel's interpreter: its verdict on every call and argument."""

import struct

import pytest

from common.errors import SandboxError
from preflight.sandbox.isolation import seccomp
from preflight.sandbox.isolation.seccomp import AUDIT_ARCH, Needs, numbers, program

ALLOW, EPERM, ENOSYS = "allow", 1, 38
NEEDS = {
    "one rank": Needs(),
    "ranks": Needs(ranks=True),
    "ranks on the machine's network": Needs(ranks=True, own_network=False),
    "a GPU": Needs(gpu=True),
    "a proposer": Needs(proposer=True, own_network=False),
    "no signals": Needs(own_signals=False),
}
MACHINES = list(AUDIT_ARCH)


def decide(code: bytes, machine: str, number: int, *arguments: int, arch: int | None = None):
    """Return the kernel's verdict: classic BPF over struct seccomp_data (linux/filter.h), one instruction at a time."""
    packed = struct.pack("=IIQ6Q", number, arch or AUDIT_ARCH[machine], 0, *(*arguments, *[0] * 6)[:6])
    steps = [struct.unpack_from("=HBBI", code, at) for at in range(0, len(code), 8)]
    value, at = 0, 0
    while True:
        operation, yes, no, k = steps[at]
        at += 1
        if operation == 0x20:
            (value,) = struct.unpack_from("=I", packed, k)
        elif operation == 0x54:
            value &= k
        elif operation == 0x74:
            value >>= k
        elif operation in (0x15, 0x35, 0x45):
            matches = {0x15: value == k, 0x35: value >= k, 0x45: bool(value & k)}[operation]
            at += yes if matches else no
        else:
            assert operation == 0x06, operation
            action, errno = k & 0xFFFF0000, k & 0xFFFF
            return {0x7FFF0000: ALLOW, 0x00050000: errno, 0x80000000: "kill"}[action]


def filter_for(needs: str, machine: str):
    """Return a function that decides a call by its name and arguments."""
    code, calls = program(NEEDS[needs], machine), numbers(machine)
    return lambda name, *arguments: decide(code, machine, calls[name], *arguments)


on_every_machine = pytest.mark.parametrize("machine", MACHINES)
for_all_needs = pytest.mark.parametrize("needs", NEEDS)


@on_every_machine
@for_all_needs
def test_a_call_that_is_not_listed_fails(machine, needs):
    code, listed = program(NEEDS[needs], machine), set(numbers(machine).values())
    assert len(code) // 8 <= 4096  # the kernel's own limit
    assert {decide(code, machine, number) for number in range(600) if number not in listed} == {EPERM}
    assert decide(code, machine, 0x40000000) == ENOSYS  # x32
    assert decide(code, machine, 0, arch=0x40000003) == "kill"  # i386


@on_every_machine
def test_the_calls_of_legitimate_runs_are_allowed(machine):
    call, table = filter_for("one rank", machine), seccomp._table()
    for name in [name for name, row in table.items() if row["who"] == "every" and row[machine] != "-"]:
        assert call(name) == ALLOW, name
    for name in [name for name, row in table.items() if row["who"] in ("ranks", "proposer") and row[machine] != "-"]:
        assert call(name) == EPERM, name


@on_every_machine
@pytest.mark.parametrize("needs", [needs for needs in NEEDS if needs != "a proposer"])
def test_calls_are_told_apart_by_their_arguments(machine, needs):
    call = filter_for(needs, machine)
    commands = {command for command in range(2000) if call("fcntl", 3, command) == ALLOW}
    assert commands == {0, 1, 2, 3, 4, 1030, 1032}
    assert call("fcntl", 3, 4, seccomp.O_DIRECT[machine]) == EPERM
    assert {advice for advice in range(120) if call("madvise", 0, 0, advice) == ALLOW} == set(seccomp.MADVISE)
    for bit in range(32):
        expected = EPERM if (1 << bit) & (0x7E020000 | 0x8000 | 0x1000) else ALLOW
        assert call("clone", 1 << bit) == expected, hex(1 << bit)
    assert call("clone3") == ENOSYS
    assert call("openat", 0, 0, seccomp.O_DIRECT[machine] | 2) == EPERM
    assert call("openat", 0, 0, 0o100 | 2) == ALLOW
    assert [call("prlimit64", pid) for pid in (0, 1, 2**32 - 1)] == [ALLOW, EPERM, EPERM]
    assert call("preadv2", 3, 0, 1, 0, 0, 8) == ENOSYS
    assert call("flock") == 0  # seems to succeed
    assert call("sched_setaffinity", 7) == EPERM
    assert [call("getsockopt", 3, 1, option) for option in (3, 57, 71, 77)] == [ALLOW, EPERM, EPERM, EPERM]
    assert call("fallocate") == 95
    # neither the kernel nor the filter reads the upper half of an argument that is an int
    assert call("fcntl", 3, (1 << 32) | 1036) == EPERM
    assert call("ioctl", 3, 0x5401) == ALLOW
    assert call("ioctl", 3, 0x40087602) == EPERM  # FS_IOC_SETVERSION
    assert call("ioctl", 3, 0x40086602) == EPERM  # FS_IOC_SETFLAGS
    assert (call("ioctl", 3, 0xC020462A) == ALLOW) is (needs == "a GPU")  # the driver's own


SOCKETS = {  # family, kind, protocol -> the needs that allow it
    (1, 1, 0): {"ranks", "a GPU"},
    (2, 1, 0): {"ranks", "ranks on the machine's network", "a proposer"},
    (2, 1, 6): {"ranks", "ranks on the machine's network", "a proposer"},
    (2, 1 | 0o2004000, 0): {"ranks", "ranks on the machine's network", "a proposer"},
    (2, 1, 262): {"ranks", "a proposer"},  # multipath TCP, which Landlock does not restrict
    (2, 2, 0): {"ranks", "a proposer"},
    (2, 3, 0): {"ranks", "a proposer"},  # raw: needs a capability that no job has
    (10, 1, 0): {"ranks", "ranks on the machine's network", "a proposer"},
    (16, 3, 0): {"ranks", "ranks on the machine's network", "a proposer"},
    (16, 3, 6): set(),
    (40, 1, 0): set(),  # vsock
    (17, 3, 0): set(),  # packets
    (38, 5, 0): set(),  # the kernel's ciphers
}


@on_every_machine
@for_all_needs
@pytest.mark.parametrize("socket", SOCKETS)
def test_socket_families(machine, needs, socket):
    assert (filter_for(needs, machine)("socket", *socket) == ALLOW) is (needs in SOCKETS[socket])


@on_every_machine
def test_descriptors_are_sent_only_where_they_are_counted(machine):
    assert filter_for("one rank", machine)("socketpair", 1) == EPERM
    assert filter_for("ranks on the machine's network", machine)("socketpair", 1) == EPERM
    assert filter_for("ranks", machine)("socketpair", 1) == ALLOW  # on file systems whose size the kernel limits
    assert filter_for("ranks on the machine's network", machine)("sendto", 3, 0, 0, 0x20000000) == EPERM
    assert filter_for("ranks on the machine's network", machine)("sendmsg", 3, 0, 0x20000000) == EPERM


@on_every_machine
def test_signals_are_refused_where_nothing_else_confines_them(machine):
    assert [filter_for(needs, machine)("kill", 1, 9) for needs in ("one rank", "no signals")] == [ALLOW, EPERM]
    assert filter_for("one rank", machine)("rt_sigaction", 17) == EPERM  # SIGCHLD: no process would be credited
    assert filter_for("ranks", machine)("rt_sigaction", 17) == ALLOW


def test_a_machine_with_unknown_call_numbers():
    with pytest.raises(SandboxError, match="riscv64"):
        program(Needs(), "riscv64")
