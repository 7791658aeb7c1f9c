"""List from inside a job all that it can open, write, stat, reach, signal, set and call; print sets of labels."""

import ctypes
import errno
import json
import os
import re
import resource
import signal
import socket
import stat
import sys

MOST_OPENED, MOST_IN_FOLDER, DEPTH = 2_500, 60, 5
PARTS = {
    "proc": 4,
    "dev": 3,
    "etc": 3,
    "sys": 3,
}  # of a path that are in its label; other names differ by machine
HARMLESS_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx")
LABELED_FOLDERS = [("{in}/view", "IN"), (os.getcwd(), "OUT"), (os.environ["TMPDIR"], "TMP")]
LABELED_FOLDERS += [(os.path.realpath(sys.prefix), "PYTHON"), (os.path.realpath(sys.base_prefix), "PYTHON")]
STATTED = """/root /home /etc/passwd /etc/shadow /var/log /boot /proc/1 /proc/kcore /proc/1/root /dev/kmsg /dev/mem
/dev/kvm /dev/fuse /dev/net/tun /run /mnt /opt /srv /var/tmp /tmp /sys /sys/fs/cgroup /proc/sys
..  ../.. ../log.txt""".split()
TOPS = """/usr /bin /lib /etc /proc /proc/self /sys /sys/devices /dev /tmp /var /home /root /run /srv /opt /mnt /work ..
../..""".split()
# Calls that exit, wait forever, or affect the whole machine
SKIPPED = {15, 34, 56, 57, 58, 60, 62, 129, 130, 153, 162, 169, 200, 202, 219, 231, 234}
PRCTL_SKIPPED = {22, 1499557217}
libc = ctypes.CDLL(None, use_errno=True)
opened = 0
reached = {name: set() for name in ("read", "write", "stat", "sockets", "reach", "signal", "set", "prctl", "calls")}


def label(path):
    """Return the label of a path: the same on every machine."""
    path = os.path.abspath(path)
    for folder, name in LABELED_FOLDERS:
        if path == folder or path.startswith(folder + "/"):
            return name
    path = re.sub(r"\d+", "N", path)
    return "/".join(path.split("/")[: PARTS.get(path.split("/")[1], 2)])


def succeeds(act, *arguments):
    try:
        act(*arguments)
    except (OSError, ValueError, OverflowError):
        return False
    return True


def try_open(path, flags):
    os.close(os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY))


def visit(path, depth=0):
    """Try to list a folder and to create something in it, then visit its entries."""
    global opened
    name = f"{path}/probe{os.getpid()}"
    if succeeds(os.mkdir, name):
        os.rmdir(name)
        reached["write"].add(label(path) + "/")
    try:
        with os.scandir(path) as entries:
            entries = sorted(entries, key=lambda entry: entry.name)[: MOST_IN_FOLDER if depth else None]
    except OSError:
        return
    reached["read"].add(label(path) + "/")
    for entry in entries:
        opened += 1
        if opened > MOST_OPENED:
            return
        try:
            mode = entry.stat(follow_symlinks=False).st_mode
        except OSError:
            continue
        if stat.S_ISDIR(mode):
            own = not entry.name.isdigit() or entry.name == str(os.getpid()) or path != "/proc"
            if depth < DEPTH and own and label(entry.path) not in ("IN", "OUT"):
                visit(entry.path, depth + 1)
        elif stat.S_ISREG(mode) or entry.name in HARMLESS_DEVICES or entry.name.startswith("nvidia"):
            if succeeds(try_open, entry.path, os.O_RDONLY):
                reached["read"].add(label(entry.path))
            if succeeds(try_open, entry.path, os.O_WRONLY):
                reached["write"].add(label(entry.path))


def error_name(act):
    """Return the name of the error that a call raises, "open" if it raises none."""
    try:
        act()
    except OSError as error:
        return errno.errorcode.get(error.errno, "error")
    return "open"


def in_child(act):
    """Return the wait status of a call in a process of its own, which a timer ends."""
    pid = os.fork()
    if pid == 0:
        signal.setitimer(signal.ITIMER_REAL, 1.0)
        os._exit(act())
    return os.waitpid(pid, 0)[1]


def call(number):
    """Return 1 if the system call is refused; its arguments are invalid for every call."""
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(-1)] * 6)
    return 1 if result == -1 and ctypes.get_errno() in (errno.EPERM, errno.ENOSYS) else 0


def prctl(option):
    """Return 1 if the prctl option is refused."""
    return 1 if libc.prctl(option, ctypes.c_long(0), ctypes.c_long(0), ctypes.c_long(0), ctypes.c_long(0)) < 0 else 0


def connect(family, kind, address):
    with socket.socket(family, kind) as client:
        client.settimeout(1)
        client.connect(address)


visit("/")
for folder in [folder for folder, _ in LABELED_FOLDERS] + TOPS:  # in case "/" itself cannot be listed
    opened = 0
    visit(folder, 1)
reached["stat"] = {path for path in STATTED if succeeds(os.stat, path)}
for family in range(1, 46):
    for kind in (1, 2, 3, 5):
        try:
            socket.socket(family, kind).close()
        except OSError:
            continue
        reached["sockets"].add(f"{family}/{kind}")
for name, family, kind, address in (
    ("loopback", socket.AF_INET, 1, ("127.0.0.1", 9)),
    ("loopback 6", socket.AF_INET6, 1, ("::1", 9)),
    ("a route out", socket.AF_INET, 2, ("192.0.2.1", 9)),
    ("abstract", socket.AF_UNIX, 1, "\0nobody"),
):
    outcome = error_name(lambda family=family, kind=kind, address=address: connect(family, kind, address))
    if outcome not in ("EPERM", "EACCES", "ENETUNREACH", "EAFNOSUPPORT", "EADDRNOTAVAIL"):
        reached["reach"].add(f"{name}: {outcome}")
own = {os.getpid(), *([] if os.getppid() > 1 else [1])}
for pid in {1, 2, os.getppid(), *range(max(3, os.getpid() - 30), os.getpid())} - own:
    if succeeds(os.kill, pid, 0):
        reached["signal"].add("the parent" if pid == os.getppid() else "process 1" if pid == 1 else "another")
for name, act in {
    "nice up": lambda: os.nice(1),
    "nice down": lambda: os.setpriority(0, 0, -1),
    "real time": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    "idle": lambda: os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)),
    "processors": lambda: os.sched_setaffinity(0, os.sched_getaffinity(0)),
    "host name": lambda: socket.sethostname(socket.gethostname()),
    "limits up": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (10_000_000, 10_000_000)),
    "limits down": lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    "user": lambda: os.setuid(os.getuid() + 1),
    "groups": lambda: os.setgroups([]),
    "root": lambda: os.chroot("."),
    "session": lambda: os.setsid(),
}.items():
    if in_child(lambda act=act: 0 if succeeds(act) else 1) == 0:
        reached["set"].add(name)
reached["prctl"] = {
    option for option in range(1, 82) if option not in PRCTL_SKIPPED and in_child(lambda o=option: prctl(o)) == 0
}
reached["calls"] = {n for n in range(471) if n not in SKIPPED and in_child(lambda n=n: call(n)) != 256}
print(json.dumps({name: sorted(things, key=str) for name, things in reached.items()}))
