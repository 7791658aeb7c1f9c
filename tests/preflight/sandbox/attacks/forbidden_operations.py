"""Try every kernel operation that a job has no use for; print the result of each: "open" or the name of an error."""

import ctypes
import errno
import fcntl
import json
import mmap
import os
import resource
import signal
import socket
import struct

INPUT, SHARD = "{in}/view", "{in}/view/shard"
libc = ctypes.CDLL(None, use_errno=True)
NEWUSER, NEWNS, SIGCHLD = 0x10000000, 0x00020000, 17


def call(number, *arguments):
    result = libc.syscall(number, *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def forked(number, *arguments):
    """Make a system call that forks; the child exits at once."""
    pid = libc.syscall(number, *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if pid == 0:
        os._exit(0)
    if pid < 0:
        raise OSError(ctypes.get_errno(), "")
    os.waitpid(pid, 0)


def nested(number, *arguments):
    """Make a system call in a new user namespace, in which the caller has every capability."""
    pid = libc.syscall(56, ctypes.c_long(NEWUSER | NEWNS | SIGCHLD), *[ctypes.c_long(0)] * 4)
    if pid == 0:
        result = libc.syscall(number, *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
        os._exit(0 if result >= 0 else ctypes.get_errno())
    if pid < 0:
        raise OSError(ctypes.get_errno(), "")
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise OSError(code, "")


def settings():
    """Open a kernel setting for writing, without writing to it."""
    for folder, _, names in os.walk("/proc/sys"):
        for name in names:
            try:
                os.close(os.open(os.path.join(folder, name), os.O_WRONLY))
            except OSError:
                continue
            return
    raise PermissionError(errno.EACCES, "")


def lease():
    fcntl.fcntl(shard(), 1024, fcntl.F_RDLCK)


def mapped(advice):
    view = mmap.mmap(shard(), 4096, access=mmap.ACCESS_READ)
    view[0]
    view.madvise(advice)


def shard():
    return os.open(SHARD, os.O_RDONLY)


def lock(command):
    fcntl.fcntl(shard(), command, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 0, 0, 0))


def touch(path):
    return os.utime(path, ns=(os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns))


def set_affinity(pid):
    os.sched_setaffinity(pid, os.sched_getaffinity(pid))


OUTSIDER = os.getppid() if "{level}" == "landlock" else {harness}  # there the supervisor, which runs outside
OPERATIONS = {
    "clone into a user namespace": lambda: forked(56, NEWUSER | SIGCHLD, 0, 0, 0, 0),
    "clone3 into a user namespace": lambda: forked(435, struct.pack("8Q", NEWUSER, 0, 0, 0, 17, 0, 0, 0), 64),
    "unshare": lambda: call(272, NEWUSER),
    "fsopen": lambda: nested(430, b"tmpfs", 0),
    "open_tree": lambda: nested(428, -100, b".", 1),
    "fsmount": lambda: nested(432, -1, 0, 0),
    "chroot": lambda: nested(161, b"."),
    "mount_setattr": lambda: nested(442, -100, b".", 0, b"", 0),
    "pivot_root": lambda: nested(155, b".", b"."),
    "vsock": lambda: socket.socket(socket.AF_VSOCK),
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "crypto sockets": lambda: socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET),
    "packet sockets": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "memfd_secret": lambda: call(447, 0),
    "io_uring": lambda: call(425, 1, bytes(120)),
    "keyrings": lambda: call(250, 0, -4, 1),
    "inotify": lambda: call(294, 0),
    "fanotify": lambda: call(300, 0x200, 0),
    "dnotify": lambda: fcntl.fcntl(os.open(INPUT, os.O_RDONLY), fcntl.F_NOTIFY, fcntl.DN_ACCESS),
    "lease": lease,
    "lock on an input": lambda: lock(fcntl.F_SETLK),
    "lock of an open file on an input": lambda: lock(37),
    "reading locks": lambda: lock(fcntl.F_GETLK),
    "write lifetime hint": lambda: fcntl.fcntl(shard(), 1036, struct.pack("Q", 3)),
    "inode version": lambda: fcntl.ioctl(shard(), 0x40087602, struct.pack("l", 5)),
    "inode flags": lambda: fcntl.ioctl(shard(), 0x40086602, struct.pack("l", 0x80040)),
    "project": lambda: fcntl.ioctl(shard(), 0x801C581F, bytes(28)),
    "extents": lambda: fcntl.ioctl(shard(), 0x6612),
    "eviction by fadvise": lambda: os.posix_fadvise(shard(), 0, 0, os.POSIX_FADV_DONTNEED),
    "eviction by madvise pageout": lambda: mapped(21),
    "eviction by madvise cold": lambda: mapped(20),
    "huge pages by madvise collapse": lambda: mapped(25),
    "eviction by reading uncached": lambda: os.preadv(shard(), [bytearray(1)], 0, 0x80),
    "residency by mincore": lambda: call(27, ctypes.addressof(ctypes.c_char.from_buffer(PAGE)), 4096, bytes(8)),
    "residency by cachestat": lambda: call(451, shard(), struct.pack("QQ", 0, 4096), bytes(40), 0),
    "residency by preadv2": lambda: os.preadv(shard(), [bytearray(1)], 0, os.RWF_NOWAIT),
    "readahead": lambda: call(187, shard(), 0, 4096),
    "advice to another process": lambda: call(440, call(434, os.getpid(), 0), struct.pack("QQ", 0, 0), 0, 21, 0),
    "pidfd": lambda: call(434, os.getpid(), 0),
    "socket cookie": lambda: socket.socketpair()[0].getsockopt(socket.SOL_SOCKET, 57, 8),
    "file handles": lambda: call(303, -100, SHARD.encode(), struct.pack("Ii", 120, 0) + bytes(128), bytes(8), 0),
    "sysinfo": lambda: call(99, bytes(128)),
    "a page map": lambda: os.open("/proc/self/pagemap", os.O_RDONLY),
    "kernel settings": settings,
    "times of a device": lambda: touch("/dev/null"),
    "mode of a device": lambda: os.chmod("/dev/null", 0o666),
    "times of an input": lambda: touch(SHARD),
    "attributes of an input": lambda: os.setxattr(SHARD, "user.letter", b"1"),
    "second name of an input": lambda: os.link(SHARD, "second"),
    "priority of an outsider": lambda: os.setpriority(0, OUTSIDER, os.getpriority(0, OUTSIDER)),
    "reading the priority of an outsider": lambda: os.getpriority(0, OUTSIDER),
    "processors of an outsider": lambda: set_affinity(OUTSIDER),
    "disk priority of an outsider": lambda: call(251, 1, OUTSIDER, call(252, 1, OUTSIDER)),
    "limits of an outsider": lambda: resource.prlimit(OUTSIDER, resource.RLIMIT_NOFILE),
    "an outsider's folder in /proc": lambda: os.stat(os.path.join(f"/proc/{OUTSIDER}", "root", "etc")),
}
signal.signal(signal.SIGIO, signal.SIG_IGN)  # sent by leases and watches
PAGE = mmap.mmap(-1, 4096)
results = {}
for name, attempt in OPERATIONS.items():
    try:
        attempt()
        results[name] = "open"
    except OSError as error:
        results[name] = errno.errorcode.get(error.errno, str(error))
print(json.dumps(results))
