"""Ways to hold more disk or memory than a limit allows; each prints what it really holds, until it is stopped."""

import fcntl
import os
import socket
import time

WAY, MOST = "{way}", int("{most}")
held, kept = 0, []


def report(more):
    global held
    held += more
    print("held", held, flush=True)


def blocks(size):
    """Return an open file that fills `size` bytes of the disk, and the bytes that it really fills."""
    handle = os.open(f"file{time.monotonic_ns()}", os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(handle, 0, size)
    return handle, 512 * os.fstat(handle).st_blocks


def unlinked(size):
    """Return the same for a file that has been deleted."""
    handle, filled = blocks(size)
    for name in os.listdir("."):
        os.unlink(name)
    return handle, filled


def fallocate():
    handle, filled = blocks(60 << 20)
    os.close(handle)
    return filled


def mapped():
    import mmap

    handle, filled = unlinked(32 << 20)
    kept.append(mmap.mmap(handle, 32 << 20))
    os.close(handle)
    return filled


def in_flight():
    handle, filled = unlinked(32 << 20)
    kept.append(socket.socketpair())
    socket.send_fds(kept[-1][0], [b"x"], [handle])
    os.close(handle)
    return filled


def in_a_cycle():
    """Fill the disk with a file held by sockets that hold each other, while no process holds any of them."""
    handle, filled = unlinked(32 << 20)
    sender, receiver = socket.socketpair()
    socket.send_fds(sender, [b"x"], [handle, sender.fileno(), receiver.fileno()])
    os.close(handle)
    sender.close()
    receiver.close()
    return filled


def devices():
    folder = next(
        path for path in ("/dev", "/dev/pts", "/run", "/", "/etc", "/var", "/home") if os.access(path, os.W_OK)
    )
    with open(f"{folder}/hoard{time.monotonic_ns()}", "wb") as file:
        return file.write(bytes(16 << 20))


def sockets():
    pair = socket.socketpair()
    kept.append(pair)
    filled = 0
    for end in pair:
        end.setblocking(False)
        try:
            while True:
                filled += end.send(bytes(1 << 16))
        except BlockingIOError:
            pass
    return filled


def pipes():
    reading, writing = os.pipe()
    try:
        fcntl.fcntl(writing, 1031, 1 << 20)
    except OSError:
        pass
    os.set_blocking(writing, False)
    filled = 0
    try:
        while True:
            filled += os.write(writing, bytes(1 << 16))
    except BlockingIOError:
        return filled


def names():
    """Create entries instead of bytes: each costs the kernel about a kilobyte that no limit on bytes counts."""
    for _ in range(1_000):
        os.close(os.open(f"{os.environ['TMPDIR']}/n{time.monotonic_ns()}", os.O_CREAT))
    return 1_000


report(0)
while held <= MOST:
    report(globals()[WAY]())
time.sleep(0.3)  # holds it for three polls of the supervisor: this wait is part of the attack
