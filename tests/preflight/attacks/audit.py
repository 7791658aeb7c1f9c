"""Lists from inside a job all that it can open, write, stat, reach, signal, set and call; prints sets of labels."""

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
PARTS = {"proc": 4, "dev": 3, "etc": 3, "sys": 3}  # of a path in its label; elsewhere names are the machine's own
HARMLESS_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx")
PLACES = [("{in}/view", "IN"), (os.getcwd(), "OUT"), (os.environ["TMPDIR"], "TMP")]
PLACES += [(os.path.realpath(sys.prefix), "PYTHON"), (os.path.realpath(sys.base_prefix), "PYTHON")]
STATTED = """/root /home /etc/passwd /etc/shadow /var/log /boot /proc/1 /proc/kcore /proc/1/root /dev/kmsg /dev/mem
/dev/kvm /dev/fuse /dev/net/tun /run /mnt /opt /srv /var/tmp /tmp /sys /sys/fs/cgroup /proc/sys
..  ../.. ../log.txt""".split()
TOPS = """/usr /bin /lib /etc /proc /proc/self /sys /sys/devices /dev /tmp /var /home /root /run /srv /opt /mnt /work ..
../..""".split()
SKIPPED = {
    15,
    34,
    56,
    57,
    58,
    60,
    62,
    129,
    130,
    153,
    162,
    169,
    200,
    202,
    219,
    231,
    234,
}  # end, wait for ever, or reach far
PRCTL_SKIPPED = {22, 1499557217}
libc = ctypes.CDLL(None, use_errno=True)
opened = 0
found = {name: set() for name in ("read", "write", "stat", "sockets", "reach", "signal", "set", "prctl", "calls")}


def label(path):
    path = os.path.abspath(path)
    for place, name in PLACES:
        if path == place or path.startswith(place + "/"):
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
    """A folder: is it listed, can something be made in it; then what it holds."""
    global opened
    name = f"{path}/probe{os.getpid()}"
    if succeeds(os.mkdir, name):
        os.rmdir(name)
        found["write"].add(label(path) + "/")
    try:
        with os.scandir(path) as entries:
            entries = sorted(entries, key=lambda entry: entry.name)[: MOST_IN_FOLDER if depth else None]
    except OSError:
        return
    found["read"].add(label(path) + "/")
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
                found["read"].add(label(entry.path))
            if succeeds(try_open, entry.path, os.O_WRONLY):
                found["write"].add(label(entry.path))


def answer(act):
    """The name of the error; "open" without one."""
    try:
        act()
    except OSError as error:
        return errno.errorcode.get(error.errno, "error")
    return "open"


def in_child(act):
    """Its exit status from a process of its own, which a clock ends."""
    pid = os.fork()
    if pid == 0:
        signal.setitimer(signal.ITIMER_REAL, 1.0)
        os._exit(act())
    return os.waitpid(pid, 0)[1]


def called(number):
    """One where the call was refused; with arguments that no call can use."""
    got = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(-1)] * 6)
    return 1 if got == -1 and ctypes.get_errno() in (errno.EPERM, errno.ENOSYS) else 0


def controlled(option):
    return 1 if libc.prctl(option, ctypes.c_long(0), ctypes.c_long(0), ctypes.c_long(0), ctypes.c_long(0)) < 0 else 0


def connects(family, kind, address):
    with socket.socket(family, kind) as one:
        one.settimeout(1)
        one.connect(address)


visit("/")
for place in [place for place, _ in PLACES] + TOPS:  # where "/" itself cannot be listed
    opened = 0
    visit(place, 1)
found["stat"] = {path for path in STATTED if succeeds(os.stat, path)}
for family in range(1, 46):
    for kind in (1, 2, 3, 5):
        try:
            socket.socket(family, kind).close()
        except OSError:
            continue
        found["sockets"].add(f"{family}/{kind}")
for name, family, kind, address in (
    ("loopback", socket.AF_INET, 1, ("127.0.0.1", 9)),
    ("loopback 6", socket.AF_INET6, 1, ("::1", 9)),
    ("a route out", socket.AF_INET, 2, ("192.0.2.1", 9)),
    ("abstract", socket.AF_UNIX, 1, "\0nobody"),
):
    got = answer(lambda family=family, kind=kind, address=address: connects(family, kind, address))
    if got not in ("EPERM", "EACCES", "ENETUNREACH", "EAFNOSUPPORT", "EADDRNOTAVAIL"):
        found["reach"].add(f"{name}: {got}")
own = {os.getpid(), *([] if os.getppid() > 1 else [1])}
for pid in {1, 2, os.getppid(), *range(max(3, os.getpid() - 30), os.getpid())} - own:
    if succeeds(os.kill, pid, 0):
        found["signal"].add("the parent" if pid == os.getppid() else "process 1" if pid == 1 else "another")
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
        found["set"].add(name)
found["prctl"] = {
    option for option in range(1, 82) if option not in PRCTL_SKIPPED and in_child(lambda o=option: controlled(o)) == 0
}
found["calls"] = {n for n in range(471) if n not in SKIPPED and in_child(lambda n=n: called(n)) != 256}
print(json.dumps({name: sorted(things, key=str) for name, things in found.items()}))
