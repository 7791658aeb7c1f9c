"""Programs of covert channels: each channel is two programs, one that leaves bits and one that guesses them.

A writer gets BITS, and a reader leaves a number for each in `seen`. The harness fits the threshold on half of them,
like an attacker who sends known bits along. `files` are those that both can see.
"""

from collections.abc import Callable
from dataclasses import dataclass

HEAD = """
N, SEED, BITS, START, SLOT, PLACE, SKIP, OFFSET = {n}, {seed}, {bits}, {start}, 0.25, {place!r}, {skip}, {offset}
"""
PRELUDE = """
import ctypes, fcntl, itertools, json, math, mmap, os, random, resource, socket, struct, sys, time
libc, seen, seconds = ctypes.CDLL(None, use_errno=True), [], 0.0
PLACES = [path for path in ("/dev/shm", "/tmp", "/var/tmp") if os.access(path, 2)]
EARLIER = os.path.join(os.getcwd(), "../../writer/out")
def call(number, *arguments):
    got = libc.syscall(number, *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if got < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return got
def walk(place):
    with os.scandir(place) as entries:
        entries = sorted(entries, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from walk(entry.path)
        elif entry.is_file(follow_symlinks=False):
            yield entry.path
def take(found, count, skip=0):
    got = list(itertools.islice(found, skip, skip + count))
    if len(got) < count:
        raise OSError(f"only {len(got)} files that both can see")
    return got
def files(count=N):
    place = PLACE or next(path for path in sys.path if path.endswith("site-packages"))
    return take((path for path in walk(place) if path.endswith(".py") and os.stat(path).st_size > 600), count, OFFSET)
def opened(count=N):
    return [os.open(path, os.O_RDONLY) for path in files(count)]
def meet(slot):
    if START + (slot + 1) * SLOT < time.time():
        raise OSError("too late")
    # a channel of time: both sides act in the same slot of the clock
    while START + slot * SLOT - time.time() > 0.0005:
        time.sleep(max(0, START + slot * SLOT - time.time() - 0.0004))
def clocked(act, things):
    for thing in things:
        started = time.perf_counter_ns()
        act(thing)
        seen.append(time.perf_counter_ns() - started)
def counted(count, act, things):
    for thing in things:
        before = count()
        act(thing)
        seen.append(count() - before)
"""
CLOSING = """
print(json.dumps([seen, seconds]))
"""
TOGETHER = """
import json, os
first, results = os.dup(0), {{}}
for name, (head, body) in json.loads({programs!r}).items():
    scope = {{}}
    try:
        exec(head + {prelude!r} + body, scope)
        results[name] = [scope["seen"], ""]
    except BaseException as error:
        results[name] = [[], repr(error)[:90]]
    os.closerange(first + 1, 20_000)
print(json.dumps(results))
"""
EVICT = """
for handle in (handles := opened()):
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_RANDOM)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
for bit, handle in zip(BITS, handles):
    bit and os.pread(handle, 1, 0)
"""
MINCORE = """
libc.mmap.restype = ctypes.c_long
for handle in opened():
    at = libc.mmap(None, ctypes.c_size_t(4096), 1, 1, handle, ctypes.c_long(0))
    answer = ctypes.create_string_buffer(1)
    call(27, at, 4096, answer)
    seen.append(answer.raw[0] & 1)
"""


ANY = 512  # bits of a channel that can also carry fewer


@dataclass(frozen=True)
class Channel:
    """A writer and a reader; `room` returns the capacity in bits, given the files and pages that both can see."""

    name: str
    write: str
    read: str
    kind: str = "files"  # files: depends on the pair's shared files; kernel: does not; counter; concurrent: a rate
    room: Callable[[int, int], float] = lambda files, pages: files
    bits: int = ANY
    only: str = ""  # inputs: persists on disk, so never on the machine's own Python; image: only its cold files; out


def door(make: str, look: str) -> tuple[str, str]:
    """Return the writer and the reader of a channel by the existence of numbered objects."""
    return f"for i, bit in enumerate(BITS):\n    bit and {make}", f"seen = [int({look}) for i in range(N)]"


OUT_ROOM = 2_000  # entries that OUT may have

FILES = (
    Channel("write-life hints (fcntl)",
            "for bit, handle in zip(BITS, opened()): fcntl.fcntl(handle, 1036, struct.pack('Q', 2 + bit))",
            "seen = [struct.unpack('Q', fcntl.fcntl(handle, 1035, bytes(8)))[0] for handle in opened()]",
            room=lambda files, pages: files * 2.58),
    Channel("inode versions (ioctl)",
            "for bit, handle in zip(BITS, opened()): fcntl.ioctl(handle, 0x40087602, struct.pack('l', 77 + bit))",
            "seen = [struct.unpack('i4x', fcntl.ioctl(handle, 0x80087601, bytes(8)))[0] for handle in opened()]",
            room=lambda files, pages: files * 32, only="inputs"),
    Channel("inode flags (ioctl)",
            "for bit, h in zip(BITS, opened()): fcntl.ioctl(h, 0x40086602, struct.pack('l', 0x80000 | 0x40 * bit))",
            "seen = [struct.unpack('l', fcntl.ioctl(handle, 0x80086601, bytes(8)))[0] & 0x40 for handle in opened()]",
            room=lambda files, pages: files * 3, only="inputs"),
    Channel("access times", "for bit, path in zip(BITS, files()): bit and open(path, 'rb').read(1)",
            "seen = [os.stat(path).st_atime_ns - os.stat(path).st_mtime_ns for path in files()]"),
    Channel("second names (link counts)",
            "for bit, path in zip(BITS, files()): bit and os.link(path, str(time.monotonic_ns()))",
            "seen = [os.stat(path).st_nlink for path in files()]"),
    Channel("pages in memory, by mincore", EVICT, MINCORE, room=lambda files, pages: pages),
    Channel("pages in memory, by cachestat", EVICT, """
for handle in opened():
    answer = ctypes.create_string_buffer(40)
    call(451, handle, struct.pack("QQ", 0, 4096), answer, 0)
    seen.append(struct.unpack("Q", answer.raw[:8])[0])
""", room=lambda files, pages: pages),
    Channel("pages in memory, by preadv2", EVICT, """
for handle in opened():
    try:
        seen.append(os.preadv(handle, [bytearray(1)], 0, os.RWF_NOWAIT))
    except BlockingIOError:
        seen.append(0)
""", room=lambda files, pages: pages),
    Channel("pages in memory, by major faults", EVICT,
            "counted(lambda: resource.getrusage(0).ru_majflt, lambda h: mmap.mmap(h, 1, access=1)[0], opened())",
            room=lambda files, pages: pages),
    Channel("pages in memory, by blocks read", EVICT,
            "counted(lambda: resource.getrusage(0).ru_inblock, lambda h: os.pread(h, 1, 0), opened())",
            room=lambda files, pages: pages),
    Channel("pages in memory, by timing", EVICT, "clocked(lambda h: os.pread(h, 1, 0), opened())",
            room=lambda files, pages: pages),
    Channel("failed name lookups, by timing",
            "draw = random.Random(SEED); place = os.path.dirname(files(1)[0])\n"
            "for bit in BITS:\n    path = f'{place}/{draw.random()}'\n    bit and os.access(path, 0)",
            "draw = random.Random(SEED); place = os.path.dirname(files(1)[0])\n"
            "paths = [f'{place}/{draw.random()}' for _ in range(N)]\nos.access(f'{place}/{random.random()}', 0)\n"
            "clocked(lambda path: os.access(path, 0), paths)", room=lambda files, pages: 1e6),
    Channel("failed name lookups in /usr, by timing",
            "draw = random.Random(SEED)\nfor bit in BITS:\n"
            "    path = f'/usr/{draw.random()}'\n    bit and os.access(path, 0)",
            "draw = random.Random(SEED)\npaths = [f'/usr/{draw.random()}' for _ in range(N)]\n"
            "os.access(f'/usr/{random.random()}', 0)\nclocked(lambda path: os.access(path, 0), paths)",
            room=lambda files, pages: 1e6, only="image"),
    Channel("inodes in memory, by timing",
            "paths = take(walk('/usr/share'), N, SKIP)\nfor bit, path in zip(BITS, paths): bit and os.access(path, 4)",
            "clocked(lambda path: os.access(path, 4), take(walk('/usr/share'), N, SKIP))", only="image"),
    Channel("names in the earlier job's OUT", *door("open(f'n{i}', 'w')", "os.path.exists(f'{EARLIER}/n{i}')"),
            room=lambda files, pages: OUT_ROOM * 8 * 250, only="out"),
    Channel("link targets in the earlier job's OUT",
            "os.symlink(''.join(map(str, BITS)), 'target')", "seen = list(map(int, os.readlink(f'{EARLIER}/target')))",
            room=lambda files, pages: OUT_ROOM * 8 * 4095, only="out"),
    Channel("sizes in the earlier job's OUT", "open('size', 'wb').truncate(int('1' + ''.join(map(str, BITS[:29])), 2))",
            "seen = list(map(int, bin(os.stat(f'{EARLIER}/size').st_size)[3:]))",
            room=lambda files, pages: OUT_ROOM * 29, bits=29, only="out"),
    Channel("modes in the earlier job's OUT",
            "for i, bit in enumerate(BITS): os.open(f'm{i}', os.O_CREAT, 0o600 + bit)",
            "seen = [os.stat(f'{EARLIER}/m{i}').st_mode & 1 for i in range(N)]",
            room=lambda files, pages: OUT_ROOM * 12, only="out"),
)  # fmt: skip
