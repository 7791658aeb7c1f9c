"""Attacks that once passed the walls, and their kin, in real jobs: by root and by an ordinary person.

dev/hostile.py runs the jobs, dev/benchmarks/channel_programs.py has the letter boxes.
"""

import functools
import os
import re
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from outsiders import servers

from dev.benchmarks.channel_counters import BESIDE, KERNEL
from dev.benchmarks.channel_measure import PAIRS, measure, measure_all
from dev.benchmarks.channel_programs import FILES
from dev.hostile import STRANGER, Act, no_such_person, perform, play_as, scene
from preflight.sandbox import residue
from preflight.sandbox.isolation import available_levels

ATTACKS = Path(__file__).parent / "attacks"
LEVELS = [level for level in available_levels() if level != "none"]
PEOPLE = [0, STRANGER] if os.geteuid() == 0 else [os.geteuid()]
PERSON = {0: "root"}.get
SHUT = {
    "EPERM",
    "EACCES",
    "ENOSYS",
    "EROFS",
    "ESRCH",
    "ENOENT",
    "EAFNOSUPPORT",
    "EPROTONOSUPPORT",
    "EXDEV",
    "ENOTTY",
    "ENOTSUP",
}
MEBI = 1 << 20
IN_USR = "names looked up in vain in /usr, by timing"
assert IN_USR in {channel.name for channel in FILES}

walls = pytest.mark.parametrize("level", LEVELS)
people = pytest.mark.parametrize("uid", PEOPLE, ids=lambda uid: PERSON(uid, "person"))


@contextmanager
def person(uid):
    """Skips where this machine cannot make such a person; where CI asks for walls, it has to."""
    if (why := no_such_person(uid)) and not os.environ.get("CADDIE_REQUIRE_SANDBOX"):
        pytest.skip(why)  # on a laptop without root there is no other person to be; CI sets the variable and fails
    assert not why
    yield


def alone(uid, level, source, **fields):
    """One hostile program that sees the scene's input."""
    with person(uid), scene(uid) as folder:
        (done,) = perform(uid, level, folder, Act(source, inputs={"view": str(folder / "view")}, **fields))
    return done


@functools.cache
def letters(level, uid, common):
    """What came through every letter box between two scorers, on inputs or on the machine's own files."""
    with person(uid), scene(uid):
        kinds = ("", "inputs", "out") if common else ("", "image")
        channels = [channel for channel in (*FILES, *(KERNEL if common else ())) if channel.only in kinds]
        return measure_all(channels, replace(PAIRS[0], common=common), level, uid, 64)


@functools.cache
def doors(level, uid):
    source = (ATTACKS / "doors.py").read_text().replace("{level}", level).replace("{harness}", str(os.getpid()))
    return alone(uid, level, source)


@walls
@people
@pytest.mark.parametrize("channel", [*FILES, *KERNEL], ids=lambda channel: channel.name)
def test_nothing_passes_to_the_next_job(level, uid, channel):
    if level == "landlock" and channel.name == IN_USR:  # open at this level: then the bound of every row counts it
        assert residue.BITS[level] >= channel.room(0, 0)
        return
    for common in ("bundle", ""):
        found = letters(level, uid, common).get(channel.name)
        assert not found or not found.share, (found, common or "the machine's own files")


@walls
@pytest.mark.parametrize("channel", BESIDE[:4], ids=lambda channel: channel.name)
def test_nothing_passes_to_a_job_beside(level, channel):
    for _ in range(3):
        found = measure(channel, replace(PAIRS[-1], common=""), level, os.geteuid())
        if "late" not in found.note:  # on a busy machine they may have missed each other
            break
    assert not found.share, found


DOORS = re.findall(r'^    "([^"]+)": ', (ATTACKS / "doors.py").read_text(), re.MULTILINE)


@walls
@people
@pytest.mark.parametrize("door", DOORS)
def test_the_door_is_shut(level, uid, door):
    done = doors(level, uid)
    assert done.said, done
    assert done.said[door] in SHUT, done.said[door]


@walls
@people
def test_no_counter_of_the_machine_can_be_read(level, uid):
    done = alone(uid, level, (ATTACKS / "counters.py").read_text())
    assert done.said == [], done.log[-2000:]


@walls
@people
def test_no_free_space_of_the_machine_can_be_read(level, uid):
    source = """
import json, os, sys
free = []
for path in ("/", ".", "/usr", sys.prefix, "{in}/view", "/dev", "/dev/shm", os.environ["TMPDIR"]):
    try:
        free.append([path, os.statvfs(path).f_bfree * os.statvfs(path).f_frsize, os.statvfs(path).f_ffree])
    except OSError:
        pass
print(json.dumps(free))
"""
    done = alone(uid, level, source)
    real = [os.statvfs(path) for path in (tempfile.gettempdir(), "/", "/dev/shm", "/dev")]
    real = [(info.f_bfree * info.f_frsize, info.f_ffree) for info in real]
    near = lambda one, other: one > MEBI and abs(one - other) < other / 50  # noqa: E731
    told = [path for path, free, files in done.said for disk in real if near(free, disk[0]) or near(files, disk[1])]
    assert not told


@walls
@people
@pytest.mark.parametrize(
    ("way", "most", "limits"),
    [
        ("fallocate", 80 * MEBI, {"disk_bytes": 64 * MEBI}),
        ("mapped", 80 * MEBI, {"disk_bytes": 64 * MEBI}),
        ("in_flight", 80 * MEBI, {"disk_bytes": 64 * MEBI}),
        ("in_a_circle", 80 * MEBI, {"disk_bytes": 64 * MEBI}),
        ("devices", 160 * MEBI, {"memory_bytes": 128 * MEBI, "temporary_bytes": 16 * MEBI}),
        ("sockets", 128 * MEBI, {"memory_bytes": 128 * MEBI}),
        ("pipes", 48 * MEBI, {"memory_bytes": 48 * MEBI}),
        ("names", 200_000, {"files": 2_000}),  # looked at ten times a second at Landlock: so many are a second's
    ],
)
def test_no_limit_can_be_outrun(level, uid, way, most, limits):
    source = (ATTACKS / "hoards.py").read_text().replace("{way}", way).replace("{most}", str(most))
    done = alone(uid, level, source, limits=limits)
    held = max(map(int, re.findall(r"^held (\d+)$", done.log, re.MULTILINE)))
    assert held <= most, (held // MEBI, done.reason)


SUICIDES = {
    "itself": "os.kill(os.getpid(), 9)",
    "its group": "os.killpg(0, 9)",
    "its parent too": "os.fork() or (os.kill(os.getppid(), 9), os._exit(0)); time.sleep(5)",
    "by a limit of its own": "resource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nwhile True: pass",
    "by a thread": "threading.Thread(target=os.kill, args=(os.getpid(), 9)).start(); time.sleep(5)",
}


@walls
@people
@pytest.mark.parametrize("way", SUICIDES)
def test_who_kills_itself_has_crashed(level, uid, way):
    done = alone(uid, level, "import os, resource, threading, time\n" + SUICIDES[way])
    assert done.verdict == "crash", done
    assert "Traceback" not in done.log


@walls
@people
def test_the_person_s_nice_is_kept(level, uid):
    with person(uid), scene(uid) as folder:
        act = Act("import json, os; print(json.dumps([os.getpriority(0, 0), os.sched_getscheduler(0)]))")
        (done,) = play_as(uid, [act], folder, level, nice=5)
    assert done.said[0] >= 5


LOOK = """
import json, os, sys
descriptors = sorted(os.listdir("/proc/self/fd")) if os.access("/proc/self/fd", os.R_OK) else []
names = ("../log.txt", "../supervisor.lock", "../scratch", "../../7", "../../7_incum" + "bent")
above = [path for path in names if os.path.exists(path)]
environment = {name: value for name, value in os.environ.items()}
print(json.dumps([os.getcwd(), sys.orig_argv, environment, descriptors, "{in}/view", above]))
"""


@walls
@people
def test_a_job_cannot_tell_what_it_is_for(level, uid):
    with person(uid), scene(uid) as folder:
        looks = [Act(LOOK, name, {"view": str(folder / "view")}) for name in ("7", "7_incumbent")]
        told = [str(done.said) for done in perform(uid, level, folder, *looks)]
    assert not any(word in text for text in told for word in ("_incumbent", folder.name))


@walls
@people
@pytest.mark.parametrize("ranks", [1, 2])
def test_nobody_outside_is_reached(level, uid, ranks):
    with person(uid), scene(uid) as folder, servers(folder) as (addresses, reached):
        source = f"""
import socket
for family, kind, address in {list(addresses.values())!r}:
    for protocol in (0, 262) if kind == 1 and family == 2 else (0,):  # and multipath TCP
        try:
            one = socket.socket(family, kind, protocol)
            one.settimeout(1)
            one.connect(tuple(address) if isinstance(address, list) else address)
            one.send(b"hello")
        except OSError:
            pass
print("tried")
"""
        (done,) = perform(uid, level, folder, Act(source, ranks=ranks))
    assert "tried" in done.log
    assert reached == set()
