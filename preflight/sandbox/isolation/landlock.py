"""The last step before a candidate: send its folder's handle, switch user, restrict paths and system calls, exec.

Runs as a script with the standard library alone, at both levels: `python -I -S landlock.py SPEC -- PROGRAM …`. Landlock
(Linux 5.13 on) needs no namespace and no privilege, so it works where containers forbid bubblewrap; the gaps it leaves
are closed by the system call filter.
"""

import array
import ctypes
import json
import os
import resource
import signal
import socket
import stat
import struct
import sys

# Landlock access rights (include/uapi/linux/landlock.h), by the ABI that brought them
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
ALL_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
TRUNCATE, IOCTL_DEV = 1 << 14, 1 << 15
FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
TCP, CONNECT_TCP, BIND_TCP = 0b11, 0b10, 0b01  # ABI 4
SCOPES = 0b11  # abstract Unix sockets, signals: ABI 6
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
RULE_PATH_BENEATH, RULE_NET_PORT, VERSION_FLAG = 1, 2, 1

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, PR_SET_SECCOMP, PR_SET_DUMPABLE = 38, 24, 22, 4
CAP_COUNT = 41
SOCKET_DESCRIPTOR = 3  # of the referee's socket: all that a candidate inherits besides the standard three

libc = ctypes.CDLL(None, use_errno=True)


def abi() -> int:
    """Return the kernel's Landlock version; 0 if it has none."""
    return max(0, int(libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), VERSION_FLAG)))


def check(result: int, operation: str) -> int:
    """Return the result of a C call; raise OSError with the operation's name if it failed."""
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{operation}: {os.strerror(ctypes.get_errno())}")
    return result


def send_folders(channel: int, folders: list[str]) -> None:
    """Send the supervisor handles of OUT and the other writable folders: in a namespace it cannot reach them itself."""
    handles = [os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) for folder in folders]
    with socket.socket(fileno=channel) as supervisor:
        supervisor.sendmsg([b"O"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", handles))])
        supervisor.recv(1)  # the supervisor has received them
    for handle in handles:
        os.close(handle)


def switch_user(user: int) -> None:
    """Become a user that nothing else on this machine runs as, irrevocably."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def restrict(read: list[str], write: list[str], connect: list[int] | None) -> None:
    """Restrict this process and its children to these paths and ports from now on.

    Args:
        read: paths beneath which files may be read and executed.
        write: paths beneath which everything is allowed.
        connect: TCP ports to connect to; None allows no network, [] leaves the network unrestricted.
    """
    version = abi()
    handled = max((rights for since, rights in ALL_BY_ABI.items() if since <= version), default=0)
    if not handled:
        raise OSError("this kernel has no Landlock")
    net = TCP if version >= 4 and connect != [] else 0
    attributes = struct.pack("=QQQ", handled, net, SCOPES if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = check(libc.syscall(CREATE_RULESET, attributes, ctypes.c_size_t(size), 0), "landlock_create_ruleset")
    reading = EXECUTE | READ_FILE | READ_DIR
    for path, rights in [(path, reading) for path in read] + [(path, handled) for path in write]:
        allow(ruleset, path, rights & handled)
    for port in connect or [] if net else []:
        rule = struct.pack("=QQ", CONNECT_TCP | (BIND_TCP if port == 0 else 0), port)
        check(libc.syscall(ADD_RULE, ruleset, RULE_NET_PORT, rule, 0), f"landlock_add_rule port {port}")
    check(libc.syscall(RESTRICT_SELF, ruleset, 0), "landlock_restrict_self")
    os.close(ruleset)


def allow(ruleset: int, path: str, rights: int) -> None:
    """Grant rights beneath a path; a path that does not exist on this machine needs none."""
    try:
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(os.fstat(beneath).st_mode):
        rights &= FILE_RIGHTS
    rule = struct.pack("=Qi", rights, beneath)
    check(libc.syscall(ADD_RULE, ruleset, RULE_PATH_BENEATH, rule, 0), f"landlock_add_rule {path}")
    os.close(beneath)


def filter_system_calls(program: bytes) -> None:
    """Install a seccomp filter; needs no_new_privs."""
    buffer = ctypes.create_string_buffer(program)
    description = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    check(libc.prctl(PR_SET_SECCOMP, 2, description, 0, 0), "seccomp")


def main() -> None:
    """Read the specification from the inherited descriptor, apply it, and become the program."""
    with os.fdopen(int(sys.argv[1]), "rb") as file:  # a descriptor: the candidate can read nothing of it later
        spec = json.load(file)
    program = sys.argv[3:]
    if spec["channel"] is not None:
        send_folders(spec["channel"], spec["writable"])
    os.chdir(spec["writable"][0])
    if spec["socket"] is not None:
        os.dup2(spec["socket"], SOCKET_DESCRIPTOR)
    os.closerange(SOCKET_DESCRIPTOR + (spec["socket"] is not None), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    for limit, value in spec["limits"].items():
        number = getattr(resource, limit)
        hard = resource.getrlimit(number)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (value, value))
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    for capability in range(CAP_COUNT) if os.geteuid() == 0 else ():
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # takes effect at exec; one the kernel lacks does no harm
    if spec["user"] is not None:
        switch_user(spec["user"])
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # the change of user has cleared it
    if spec["landlock"] is not None:
        restrict(**spec["landlock"])
    filter_system_calls(bytes.fromhex(spec["filter"]))
    os.execv(program[0], program)


if __name__ == "__main__":
    main()
