"""Attacks that once broke the isolation, and similar ones, in real jobs started by root and by an ordinary user.

dev/hostile.py runs the jobs, dev/benchmarks/channels/programs.py has the covert channels.
"""

import functools
import os
import re
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.sandbox import at_every_level
from helpers.servers.host import servers

from dev.benchmarks.channels.counters import CONCURRENT, KERNEL
from dev.benchmarks.channels.measure import PAIRS, measure, measure_all
from dev.benchmarks.channels.programs import FILES
from dev.hostile import OTHER_UID, Attack, attack_folder, reason_unavailable, run_attacks, run_attacks_as
from preflight.sandbox.isolation import residue

ATTACKS = Path(__file__).parent / "attacks"
UIDS = [0, OTHER_UID] if os.geteuid() == 0 else [os.geteuid()]
USER_NAMES = {0: "root"}
REFUSALS = {*"EPERM EACCES ENOSYS EROFS ESRCH ENOENT EAFNOSUPPORT EPROTONOSUPPORT EXDEV ENOTTY ENOTSUP".split()}
MIB = 1 << 20
IN_USR = "failed name lookups in /usr, by timing"
assert IN_USR in {channel.name for channel in FILES}


def quick(cases, count):
    """Return the cases for a parameter, all but the first `count` in `make test-all` alone."""
    return [*cases[:count], *(pytest.param(case, marks=pytest.mark.slow) for case in cases[count:])]


as_every_user = pytest.mark.parametrize("uid", UIDS, ids=lambda uid: USER_NAMES.get(uid, "user"))


@contextmanager
def required_user(uid):
    """Skip the test where a process cannot run as this user, unless CI requires a sandbox."""
    if (reason := reason_unavailable(uid)) and not os.environ.get("CADDIE_REQUIRE_SANDBOX"):
        pytest.skip(reason)  # a laptop without root cannot become another user; CI sets the variable and fails
    assert not reason
    yield


def run_attack(uid, level, source, **fields):
    """Run one hostile program that sees the folder's input."""
    with required_user(uid), attack_folder(uid) as folder:
        attack = Attack(source, inputs={"view": str(folder / "view")}, **fields)
        (result,) = run_attacks(uid, level, folder, attack)
    return result


@functools.cache
def channel_measurements(level, uid, common):
    """Measure every covert channel between two scorers, on inputs or on the machine's own files."""
    with required_user(uid), attack_folder(uid):
        kinds = ("", "inputs", "out") if common else ("", "image")
        channels = [channel for channel in (*FILES, *(KERNEL if common else ())) if channel.only in kinds]
        return measure_all(channels, replace(PAIRS[0], common=common), level, uid, 64)


@functools.cache
def forbidden_operations(level, uid):
    source = (ATTACKS / "forbidden_operations.py").read_text()
    return run_attack(uid, level, source.replace("{level}", level).replace("{harness}", str(os.getpid())))


@at_every_level
@as_every_user
@pytest.mark.parametrize("channel", [*FILES, *KERNEL], ids=lambda channel: channel.name)
def test_nothing_passes_to_the_next_job(level, uid, channel):
    if level == "landlock" and channel.name == IN_USR:  # open at this level, so the bound of every row includes it
        assert residue.BITS[level] >= channel.room(0, 0)
        return
    for common in ("bundle", ""):
        measurement = channel_measurements(level, uid, common).get(channel.name)
        assert not measurement or not measurement.share, (measurement, common or "the machine's own files")


@at_every_level
@pytest.mark.parametrize("channel", quick(CONCURRENT[:4], 2), ids=lambda channel: channel.name)
def test_nothing_passes_to_a_concurrent_job(level, channel):
    for _ in range(3):
        measurement = measure(channel, replace(PAIRS[-1], common=""), level, os.geteuid())
        if "late" not in measurement.note:  # on a busy machine they may have missed each other
            break
    assert not measurement.share, measurement


OPERATIONS = re.findall(r'^    "([^"]+)": ', (ATTACKS / "forbidden_operations.py").read_text(), re.MULTILINE)


@at_every_level
@as_every_user
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_forbidden_operation_is_refused(level, uid, operation):
    result = forbidden_operations(level, uid)
    assert result.output, result
    assert result.output[operation] in REFUSALS, result.output[operation]


@at_every_level
@as_every_user
def test_no_counter_of_the_machine_can_be_read(level, uid):
    result = run_attack(uid, level, (ATTACKS / "counters.py").read_text())
    assert result.output == [], result.log[-2000:]


@at_every_level
@as_every_user
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
    result = run_attack(uid, level, source)
    real = [os.statvfs(path) for path in (tempfile.gettempdir(), "/", "/dev/shm", "/dev")]
    real = [(info.f_bfree * info.f_frsize, info.f_ffree) for info in real]
    near = lambda reported, actual: reported > MIB and abs(reported - actual) < actual / 50  # noqa: E731
    leaks = [
        path
        for path, free_bytes, free_files in result.output
        for disk_bytes, disk_files in real
        if near(free_bytes, disk_bytes) or near(free_files, disk_files)
    ]
    assert not leaks


@at_every_level
@as_every_user
@pytest.mark.parametrize(
    ("way", "most", "limits"),
    [
        ("fallocate", 80 * MIB, {"disk_bytes": 64 * MIB}),
        ("mapped", 80 * MIB, {"disk_bytes": 64 * MIB}),
        ("in_flight", 80 * MIB, {"disk_bytes": 64 * MIB}),
        ("in_a_cycle", 80 * MIB, {"disk_bytes": 64 * MIB}),
        ("devices", 160 * MIB, {"memory_bytes": 128 * MIB, "temporary_bytes": 16 * MIB}),
        ("sockets", 128 * MIB, {"memory_bytes": 128 * MIB}),
        ("pipes", 48 * MIB, {"memory_bytes": 48 * MIB}),
        ("names", 40_000, {"files": 2_000}),
    ],
)
def test_no_limit_can_be_evaded(level, uid, way, most, limits):
    if (way, level) == ("names", "landlock"):  # the kernel counts no names there: what a second of a fast machine makes
        most = 200_000
    source = (ATTACKS / "resource_hoarding.py").read_text().replace("{way}", way).replace("{most}", str(most))
    result = run_attack(uid, level, source, limits=limits)
    held = max(map(int, re.findall(r"^held (\d+)$", result.log, re.MULTILINE)))
    assert held <= most, (held // MIB, result.reason)


SUICIDES = {
    "itself": "os.kill(os.getpid(), 9)",
    "its group": "os.killpg(0, 9)",
    "its parent too": "os.fork() or (os.kill(os.getppid(), 9), os._exit(0)); time.sleep(5)",
    "by a limit of its own": "resource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nwhile True: pass",
    "by a thread": "threading.Thread(target=os.kill, args=(os.getpid(), 9)).start(); time.sleep(5)",
}


@at_every_level
@as_every_user
@pytest.mark.parametrize("way", SUICIDES)
def test_a_program_that_kills_itself_has_crashed(level, uid, way):
    result = run_attack(uid, level, "import os, resource, threading, time\n" + SUICIDES[way])
    assert result.verdict == "crash", result
    assert "Traceback" not in result.log


@at_every_level
@as_every_user
def test_the_niceness_of_the_user_is_kept(level, uid):
    with required_user(uid), attack_folder(uid) as folder:
        attack = Attack("import json, os; print(json.dumps([os.getpriority(0, 0), os.sched_getscheduler(0)]))")
        (result,) = run_attacks_as(uid, [attack], folder, level, nice=5)
    assert result.output[0] >= 5


LOOK = """
import json, os, sys
descriptors = sorted(os.listdir("/proc/self/fd")) if os.access("/proc/self/fd", os.R_OK) else []
names = ("../log.txt", "../supervisor.lock", "../scratch", "../../7", "../../7_incum" + "bent")
above = [path for path in names if os.path.exists(path)]
environment = {name: value for name, value in os.environ.items()}
print(json.dumps([os.getcwd(), sys.orig_argv, environment, descriptors, "{in}/view", above]))
"""


@at_every_level
@as_every_user
def test_a_job_cannot_tell_what_it_is_for(level, uid):
    with required_user(uid), attack_folder(uid) as folder:
        looks = [Attack(LOOK, name, {"view": str(folder / "view")}) for name in ("7", "7_incumbent")]
        texts = [str(result.output) for result in run_attacks(uid, level, folder, *looks)]
    assert not any(word in text for text in texts for word in ("_incumbent", folder.name))


@at_every_level
@as_every_user
@pytest.mark.parametrize("ranks", [1, 2])
def test_no_server_outside_is_reached(level, uid, ranks):
    with required_user(uid), attack_folder(uid) as folder, servers(folder) as (addresses, reached):
        source = f"""
import socket
for family, kind, address in {list(addresses.values())!r}:
    for protocol in (0, 262) if kind == 1 and family == 2 else (0,):  # and multipath TCP
        try:
            client = socket.socket(family, kind, protocol)
            client.settimeout(1)
            client.connect(tuple(address) if isinstance(address, list) else address)
            client.send(b"hello")
        except OSError:
            pass
print("tried")
"""
        (result,) = run_attacks(uid, level, folder, Attack(source, ranks=ranks))
    assert "tried" in result.log
    assert reached == set()
