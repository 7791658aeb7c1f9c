"""Lock this process into a few paths and a few system calls, then become another program.

Landlock (Linux 5.13 on) needs no namespace and no privilege, so it works where containers forbid bubblewrap. What it
does not cover is closed by a seccomp filter (preflight/syscalls.py). Runs as a script with the standard library
alone: `python -I -S landlock.py '{"read": […], "write": […], "network": false, "filter": HEX}' -- PROGRAM …`.
"""

import ctypes
import json
import os
import stat
import struct
import sys

# Landlock access rights (include/uapi/linux/landlock.h), by the ABI that brought them
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
ALL_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
TRUNCATE, IOCTL_DEV = 1 << 14, 1 << 15
ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
TCP = 0b11  # bind, connect: ABI 4
SCOPES = 0b11  # abstract Unix sockets, signals: ABI 6
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
RULE_PATH_BENEATH, VERSION_FLAG = 1, 1

PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, PR_SET_SECCOMP = 38, 24, 22
CAP_COUNT = 41

libc = ctypes.CDLL(None, use_errno=True)


def abi() -> int:
    """The kernel's Landlock version; 0 where it has none."""
    return max(0, int(libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), VERSION_FLAG)))


def check(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def restrict(read: list[str], write: list[str], network: bool, program: bytes) -> None:
    """From here on this process and its children read `read`, write `write`, and reach nothing else."""
    version = abi()
    handled = max((rights for since, rights in ALL_BY_ABI.items() if since <= version), default=0)
    if not handled:
        raise OSError("this kernel has no Landlock")
    net = TCP if version >= 4 and not network else 0
    attributes = struct.pack("=QQQ", handled, net, SCOPES if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = check(libc.syscall(CREATE_RULESET, attributes, ctypes.c_size_t(size), 0), "landlock_create_ruleset")
    reading = EXECUTE | READ_FILE | READ_DIR
    for path, rights in [(path, reading) for path in read] + [(path, handled) for path in write]:
        allow(ruleset, path, rights & handled)
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    if os.geteuid() == 0:
        for capability in range(CAP_COUNT):
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # takes effect at exec; a missing one is no loss
    check(libc.syscall(RESTRICT_SELF, ruleset, 0), "landlock_restrict_self")
    os.close(ruleset)
    filter_system_calls(program)


def allow(ruleset: int, path: str, rights: int) -> None:
    """Rights beneath a path; one that does not exist on this machine needs no right."""
    try:
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(os.fstat(beneath).st_mode):
        rights &= ON_FILES
    rule = struct.pack("=Qi", rights, beneath)
    check(libc.syscall(ADD_RULE, ruleset, RULE_PATH_BENEATH, rule, 0), f"landlock_add_rule {path}")
    os.close(beneath)


def filter_system_calls(program: bytes) -> None:
    """Install a seccomp filter; needs no_new_privs."""
    buffer = ctypes.create_string_buffer(program)
    description = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    check(libc.prctl(PR_SET_SECCOMP, 2, description, 0, 0), "seccomp")


def main() -> None:
    spec, program = json.loads(sys.argv[1]), sys.argv[3:]
    restrict(spec["read"], spec["write"], spec["network"], bytes.fromhex(spec["filter"]))
    os.execv(program[0], program)


if __name__ == "__main__":
    main()
