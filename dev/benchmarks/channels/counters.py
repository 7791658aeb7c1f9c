"""Writers and readers of channels through kernel objects, kernel counters, and jobs that run at the same time."""

from dev.benchmarks.channels.programs import ANY, Channel, door

KEY = "0x0cad0000 + SEED % 9999 * 1024 + i"
NODES = "['/dev/null', '/dev/zero', '/dev/full', '/dev/random', '/dev/urandom', '/dev/tty']"
SYSCTL = "/proc/sys/kernel/printk_ratelimit_burst"
PIDFD = "(lambda pid: (os.fstat(os.pidfd_open(pid)).st_ino, os.waitpid(pid, 0))[0])(os.fork() or os._exit(0))"
FORKED = "(lambda pid: (os.waitpid(pid, 0), pid)[1])(os.fork() or os._exit(0))"
PIPE = "(pair := os.pipe(), os.fstat(pair[0]).st_ino, os.close(pair[0]), os.close(pair[1]))[1]"
PINNED = "os.sched_setaffinity(0, {0})\n"  # these count in batches, one per processor
COOKIE = "struct.unpack('Q', socket.socketpair()[0].getsockopt(1, 57, 8))[0]"
FREE = "(libc.sysinfo(b := ctypes.create_string_buffer(128)), struct.unpack('6Q', b.raw[:48])[5])[1]"
FRESH = "open(str(time.monotonic_ns()), 'wb')"
CACHED = "f = open(str(time.monotonic_ns()), 'wb+'); f.truncate(1 << 23); f.read()"  # fills memory, not the disk
MODULO = """
STEP, SYMBOLS = {step}, {symbols}
def value(): return ({value})
def symbol(): return value() % (STEP * SYMBOLS) // STEP
"""


def kernel(name: str, write: str, read: str, room: float = ANY, bits: int = ANY) -> Channel:
    """Return a channel by kernel objects, with the same room for every pair of jobs."""
    return Channel(name, write, read, "kernel", lambda files, pages: room, bits)


def counter(name: str, value: str, bump: str, step: int, symbols: int = 16, pinned: str = "") -> Channel:
    """Return a channel by a counter of the whole machine: the writer drives it to a position in a cycle, to be read."""
    head = pinned + MODULO.format(value=value, step=step, symbols=symbols)
    write = head + f"while symbol() != (BITS[0] + SYMBOLS // 2) % SYMBOLS:\n    {bump}"
    return Channel(name, write, head + "seen = [value() % (STEP * SYMBOLS) / STEP]", "counter", bits=symbols)


def concurrent(name: str, write: str, read: str, bits: int = 256) -> Channel:
    """Return a channel by state that lasts while both jobs run; the seconds of writer and reader give a rate."""
    timed = "started = time.perf_counter()\n{}\nseconds = time.perf_counter() - started\n"
    return Channel(name, timed.format(write) + "meet(2)", "meet(1)\n" + timed.format(read), "concurrent", bits=bits)


def slots(name: str, write: str, read: str, milliseconds: float, bits: int = 128, crowd: int = 1) -> Channel:
    """Return a channel of one bit per slot of a shared clock; `crowd` writers do the same at once."""
    head = f"SLOT, parent = {milliseconds} / 1000, os.getpid()\n"
    crowded = f"{head}[os.getpid() == parent and os.fork() for _ in range({crowd - 1})]\n"
    write = f"{crowded}for i, bit in enumerate(BITS):\n    meet(i)\n    {write}"
    read = f"{head}for i in range(N):\n    meet(i + 0.3)\n    {read}\nseconds = N * SLOT"
    return Channel(name, write + "\nos.getpid() == parent or os._exit(0)", read, "concurrent", bits=bits)


KERNEL = (
    kernel(
        "times of device nodes",
        f"for i, node in enumerate({NODES}):\n"
        "    os.utime(node, (1e9, 1e9 + int(''.join(map(str, BITS[i * 20 : i * 20 + 20])), 2)))",
        f"for node in {NODES}: seen += map(int, format(int(os.stat(node).st_mtime - 1e9) % (1 << 20), '020b'))",
        room=6 * 2 * 60,
        bits=120,
    ),
    kernel(
        "kernel settings (/proc/sys)",
        f"open({SYSCTL!r}, 'w').write(str(10 + int(''.join(map(str, BITS)), 2)))",
        f"seen = list(map(int, format(int(open({SYSCTL!r}).read()) - 10, '030b')))",
        room=763 * 8,
        bits=30,
    ),
    kernel("System V shared memory", *door(f"call(29, {KEY}, 4096, 0o1666)", f"libc.shmget({KEY}, 0, 0) >= 0"), 1e6),
    kernel("System V semaphores", *door(f"call(64, {KEY}, 1, 0o1666)", f"libc.semget({KEY}, 0, 0) >= 0"), 1e6),
    kernel("System V messages", *door(f"call(68, {KEY}, 0o1666)", f"libc.msgget({KEY}, 0) >= 0"), 1e6),
    kernel(
        "POSIX messages",
        *door("call(240, b'c%d' % i, 0x42, 0o666, None)", "libc.syscall(240, b'c%d' % i, 0, 0, None) >= 0"),
        1e6,
    ),
    kernel(
        "keys",
        *door(
            "call(248, b'user', b'c%d' % i, b'1', 1, -4)",
            "libc.syscall(250, 10, ctypes.c_long(-4), b'user', b'c%d' % i, 0) >= 0",
        ),
        1e5,
    ),
    kernel(
        "files in /dev/shm, /tmp, /var/tmp",
        *door(
            "[open(f'{p}/c{SEED}{i}', 'w') for p in PLACES]", "sum(os.path.exists(f'{p}/c{SEED}{i}') for p in PLACES)"
        ),
        1e6,
    ),
)
COUNTERS = (
    counter("inode of a pidfd", PIDFD, FORKED, 32),
    counter("own process number", FORKED, "value()", 32),
    counter(
        "processes so far (/proc/stat)", "int(open('/proc/stat').read().split('processes ')[1].split()[0])", FORKED, 32
    ),
    counter("cookie of a socket", COOKIE, "for _ in range(99): value()", 1 << 12, pinned=PINNED),
    counter("inode of a pipe", PIPE, "for _ in range(99): value()", 1 << 10, pinned=PINNED),
    counter(
        "free blocks (statfs)",
        "-os.statvfs('.').f_bfree",
        f"f = {FRESH}; os.posix_fallocate(f.fileno(), 0, 1 << 22)",
        4096,
    ),
    counter("free inodes (statfs)", "-os.statvfs('.').f_ffree", FRESH, 32),
    counter("memory in use (sysinfo)", f"-{FREE} >> 20", CACHED, 32, 8),
    counter(
        "cached memory (/proc/meminfo)",
        "int(open('/proc/meminfo').read().split('Cached:')[1].split()[0]) >> 10",
        CACHED,
        32,
        8,
    ),
)
TOUCH = "view = mmap.mmap(handle, 0, access=1); views = globals().setdefault('views', []); views.append(view); view[0]"
PAGEMAP = """
libc.mmap.restype = ctypes.c_long
pagemap = os.open('/proc/self/pagemap', os.O_RDONLY)
for handle in opened():
    at = libc.mmap(None, ctypes.c_size_t(4096), 1, 1, handle, ctypes.c_long(0))
    ctypes.c_char.from_address(at).value
    seen.append(os.pread(pagemap, 8, at // 4096 * 8)[7] & 1)
"""
GETLK = """
for handle in opened():
    got = fcntl.fcntl(handle, 36, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 0, 0))
    seen.append(struct.unpack('hhqqi4x', got)[0] != fcntl.F_UNLCK)
"""
BUSY = """
for handle in opened():
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        seen.append(0)
    except BlockingIOError:
        seen.append(1)
"""
NOTIFY = """
watch, paths = libc.inotify_init1(os.O_NONBLOCK), files()
marks = {call(254, watch, os.fsencode(path), 0x20): i for i, path in enumerate(paths)}
meet(1.5)
seen, got = [0] * N, b""
try:
    while part := os.read(watch, 1 << 16): got += part
except BlockingIOError:
    pass
while got:
    mark, _, _, length = struct.unpack('iIII', got[:16])
    seen[marks[mark]], got = 1, got[16 + length :]
"""
ABSTRACT = """
held = [socket.socket(1) for _ in BITS]
for i, (one, bit) in enumerate(zip(held, BITS)): bit and one.bind(f"\\0c{SEED}{i}")
"""
LOOK = "seen = [socket.socket(1).connect_ex(f'\\0c{SEED}{i}') != 111 for i in range(N)]"
SPIN = "while bit and time.time() < START + (i + 0.9) * SLOT: pass"
PACE = """end, laps = time.perf_counter() + SLOT / 2, 0
    while time.perf_counter() < end: laps += 1
    seen.append(laps)"""
HELD = """held = [os.pipe() for _ in range(1200)] if bit else []
    meet(i + 0.7)
    for pair in held: [os.close(end) for end in pair]"""
SIZE = "pair = os.pipe(); seen.append(fcntl.fcntl(pair[0], 1032)); os.close(pair[0]); os.close(pair[1])"
CONCURRENT = (
    concurrent(
        "locks (flock)", "for bit, handle in zip(BITS, opened()): bit and fcntl.flock(handle, fcntl.LOCK_SH)", BUSY
    ),
    concurrent(
        "locks (OFD)",
        "for bit, h in zip(BITS, opened()): bit and fcntl.fcntl(h, 37, struct.pack('hhqqi4x', 0, 0, 0, 0, 0))",
        GETLK,
    ),
    concurrent(
        "pages mapped by others (pagemap)", f"for bit, handle in zip(BITS, opened()):\n    if bit: {TOUCH}", PAGEMAP
    ),
    Channel(
        "opened files (inotify)",
        "meet(1)\nfor bit, path in zip(BITS, files()): bit and open(path)\nmeet(2)\nseconds = SLOT",
        NOTIFY,
        "concurrent",
        bits=256,
    ),
    concurrent("abstract sockets", ABSTRACT, LOOK),
    concurrent("memfd", "held = [os.memfd_create(str(bit)) for bit in BITS]", "seen = [0 for _ in range(N)]"),
    slots("pages of pipes of one user", HELD, SIZE, 60),
    slots("load of the processors", SPIN, PACE, 100, crowd=2),
)
