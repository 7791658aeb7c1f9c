"""The walls, at every level this machine offers: each test is a hostile program in a real sandbox."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import ROOT

from data.errors import Refused
from preflight.sandbox import Job, Limits, image, process_tree, run, start, take
from preflight.sandbox.cleanup import LOCK_NAME, clear, discard, marker
from preflight.sandbox.isolation import available_levels

LEVELS = [level for level in available_levels() if level != "none"]
LIMITS = Limits(wall_seconds=20, cpu_seconds=20)
walls = pytest.mark.parametrize("level", LEVELS)


def program(tmp_path, level, source, name="job", limits=LIMITS, **extra) -> Job:
    """`source` finds its inputs below sys.argv[1]."""
    return Job((sys.executable, "-c", source, "{in}"), tmp_path / name, limits, level=level, **extra)


def printed(job: Job):
    """What the program printed as JSON on its last line."""
    outcome = run(job)
    assert outcome.ok, (outcome, job.log.read_text())
    return json.loads(job.log.read_text().splitlines()[-1])


def in_own_venv(tmp_path, source, linked=False) -> subprocess.CompletedProcess:
    """A program of the harness on a new virtual environment below /tmp, found in its folder or by a link to it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (tmp_path / "link").symlink_to("venv")
    command = [tmp_path / ("link" if linked else "venv") / "bin" / "python", "-c", source]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)


def test_this_machine_has_a_wall():
    if not LEVELS and not os.environ.get("CADDIE_REQUIRE_SANDBOX"):
        pytest.skip("neither bubblewrap nor Landlock works here; CI sets CADDIE_REQUIRE_SANDBOX=1 and fails")
    assert LEVELS


@walls
@pytest.mark.parametrize("linked", [False, True], ids=["in a folder", "behind a link"])
def test_an_interpreter_below_tmp_is_found(tmp_path, level, linked):
    """A clone in /tmp, which every job sees empty; by a link it is the same interpreter with the same image."""
    script = (
        "import sys\nfrom pathlib import Path\nfrom preflight.sandbox import Job, Limits, image, run\n"
        f"job = Job((sys.executable, '-c', 'print(1 + 1)'), Path('job').resolve(), Limits(60, 60), level={level!r})\n"
        "print(run(job).ok, job.log.read_text().split(), image.image().root.exists())\n"
    )
    done = in_own_venv(tmp_path, script, linked)
    assert done.stdout.split() == ["True", "['2']", "True"], (done.stdout, done.stderr)


@walls
def test_no_key_in_any_environment(tmp_path, level, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret-of-the-person")
    source = """
import glob, json, os
found = []
for path in glob.glob("/proc/*/environ") + ["/proc/self/environ", "/proc/1/environ"]:
    try:
        found.append(open(path, "rb").read().decode("latin1"))
    except OSError:
        pass
print(json.dumps([dict(os.environ), found]))
"""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as neighbour:
        environment, others = printed(program(tmp_path, level, source))
        neighbour.communicate(b"\n")
    assert "sk-secret" not in json.dumps([environment, others])
    allowed = {"PATH", "LANG", "USER", "HOME", "TMPDIR", "XDG_CACHE_HOME", "PWD", "LC_CTYPE", "CADDIE_JOB"}
    allowed |= {"TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "LD_LIBRARY_PATH"}
    assert {name for name in environment if not name.startswith("PYTHON")} <= allowed


@walls
def test_only_the_view_can_be_read(tmp_path, level):
    (tmp_path / "view").mkdir()
    (tmp_path / "view" / "mine.txt").write_text("mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "dev.bin").write_text("held out")
    hidden = [tmp_path / "other" / "dev.bin", tmp_path, ROOT / "preflight" / "limits.py", ROOT / "experiments"]
    hidden += [ROOT / ".git", Path.home(), Path("/etc/passwd"), Path("/etc/shadow"), Path(f"/proc/{os.getpid()}/cwd")]
    source = f"""
import json, os, sys
seen = []
for path in {[str(path) for path in hidden]!r}:
    try:
        os.listdir(path) if os.path.isdir(path) else open(path).read()
        names = os.listdir(path) if os.path.isdir(path) else ["content"]
        seen.append([path, names])
    except OSError:
        pass
print(json.dumps([open(sys.argv[1] + "/view/mine.txt").read(), seen]))
"""
    mine, seen = printed(program(tmp_path, level, source, inputs={"view": tmp_path / "view"}))
    assert mine == "mine"
    # In a namespace the paths to the interpreter exist as folders; nothing else of them is there.
    leaks = [(path, names) for path, names in seen if set(names) - {"bin", ".venv", ".pyenv"}]
    assert not leaks


@walls
def test_nothing_outside_out_can_be_written(tmp_path, level):
    (tmp_path / "view").mkdir()
    (tmp_path / "view" / "shard").write_text("x")
    targets = [ROOT / "stolen", tmp_path / "stolen", tmp_path / "view" / "shard", tmp_path / "job" / "stolen"]
    targets += [Path("/usr/stolen"), Path(sys.prefix) / "stolen", Path("/stolen"), Path("/etc/stolen")]
    source = f"""
import json, sys
written = []
for path in {[str(path) for path in targets]!r} + [sys.argv[1] + "/view/shard", sys.argv[1] + "/view/new", "/job/x"]:
    try:
        open(path, "w").write("x")
        written.append(path)
    except OSError:
        pass
open("mine", "w").write("x")
print(json.dumps(written))
"""
    assert not printed(program(tmp_path, level, source, inputs={"view": tmp_path / "view"}))
    assert (tmp_path / "job" / "out" / "mine").read_text() == "x"
    assert (tmp_path / "view" / "shard").read_text() == "x"
    assert not [path for path in targets if path.name == "stolen" and path.exists()]


@walls
def test_nothing_is_left_for_the_next_phase(tmp_path, level):
    places = "['/tmp', '/var/tmp', '/dev/shm', os.environ['HOME'], os.environ['TMPDIR'], os.environ['XDG_CACHE_HOME']]"
    source = f"""
import ctypes, json, os
written = []
for folder in {places}:
    try:
        open(folder + "/caddie_left", "w").write("x")
        written.append(folder)
    except OSError:
        pass
shm = ctypes.CDLL(None).shmget(0x5eed, 4096, 0o1666)
print(json.dumps([written, shm]))
"""
    look = f"""
import ctypes, json, os
left = [folder for folder in {places} if os.path.exists(folder + "/caddie_left")]
print(json.dumps([left, ctypes.CDLL(None).shmget(0x5eed, 4096, 0)]))
"""
    printed(program(tmp_path, level, source))
    left, shm = printed(program(tmp_path, level, look, name="next"))
    assert left == []
    assert shm == -1
    for folder in ("/tmp", "/var/tmp", "/dev/shm"):
        assert not (Path(folder) / "caddie_left").exists()
    assert not (tmp_path / "job" / "scratch").exists()


@walls
def test_no_network(tmp_path, level):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        source = f"""
import json, socket
try:
    socket.create_connection(("127.0.0.1", {server.getsockname()[1]}), timeout=2)
    print(json.dumps("connected"))
except OSError as error:
    print(json.dumps("refused"))
"""
        assert printed(program(tmp_path, level, source)) == "refused"


@walls
def test_a_double_fork_does_not_outlive_the_job(tmp_path, level):
    source = """
import contextlib, os, time
if os.fork() == 0:
    with contextlib.suppress(PermissionError):
        os.setsid()
    if os.fork() == 0:
        while True:
            open("alive", "w").write("x")
            time.sleep(0.01)
    os._exit(0)
os.wait()
while not os.path.exists("alive"):
    time.sleep(0.01)
"""
    job = program(tmp_path, level, source)
    with start(job) as running:
        assert running.wait().ok
        assert not process_tree.descendants(running.process.pid)
    assert not _marked(job)


SHORT_LIVED = """
import os, signal, time
try:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # then nobody would be credited with a child's CPU seconds
except OSError:
    pass
while True:
    if os.fork() == 0:
        started = time.process_time()
        while time.process_time() - started < 0.01:
            pass
        os._exit(0)
    os.wait()
"""
UNLINKED = """
import contextlib, os, time
with contextlib.suppress(OSError):  # in a namespace there is no more room
    for i in range(100):
        file = open(str(i), "wb")
        os.unlink(str(i))
        os.dup(file.fileno())
        file.write(bytes(1 << 22))
        file.flush()
time.sleep(60)
"""
TOO_LONG = """
import os, time
for _ in range(100):
    os.mkdir("d" * 200)
    os.chdir("d" * 200)
time.sleep(60)
"""
THREADS = """
import threading, time
while True:
    threading.Thread(target=time.sleep, args=(60,)).start()
"""
ESCAPING = """
import os
while True:
    os.fork()
    try:
        os.setsid()
    except OSError:
        pass
"""
SMALL_DISK = Limits(20, 20, disk_bytes=1 << 26)
FEW = Limits(20, 20, processes=40)


@walls
@pytest.mark.parametrize(
    ("reason", "source", "limits"),
    [
        ("wall", "import time; time.sleep(60)", Limits(1, 20)),
        ("cpu", "while True: pass", Limits(20, 1)),
        ("cpu", SHORT_LIVED, Limits(30, 1)),
        ("disk", UNLINKED, Limits(20, 20, disk_bytes=1 << 26)),
        ("processes", THREADS, Limits(20, 20, threads=200)),
        ("too long", TOO_LONG, Limits(3, 20, disk_bytes=1 << 26)),
        ("memory", "a = []\nwhile True: a.append(bytearray(1 << 24))", Limits(20, 20, memory_bytes=1 << 28)),
        ("log", "while True: print('x' * 10**6)", Limits(20, 20, log_bytes=1 << 20)),
        ("disk", "i = 0\nwhile True:\n open(str(i), 'wb').write(bytes(1 << 22)); i += 1", SMALL_DISK),
        ("disk", "i = 0\nwhile True:\n open(str(i), 'w'); i += 1", Limits(20, 20, files=500)),
        ("processes", "import os, time\nwhile True:\n if os.fork() == 0: time.sleep(60)", FEW),
        ("processes", "import os\nwhile True:\n os.fork()", FEW),
        ("processes", ESCAPING, FEW),
    ],
)  # fmt: skip
def test_limits_end_the_whole_tree(tmp_path, level, reason, source, limits):
    job = program(tmp_path, level, source, limits=limits)
    with start(job) as running:
        outcome = running.wait()
        assert not process_tree.descendants(running.process.pid)
    if reason == "too long":  # in a namespace nothing has to walk there
        reason = "wall" if level == "namespace" else "disk"
    assert outcome.reason == reason, (outcome, job.log.read_bytes()[-500:])
    assert outcome.status is None
    assert job.log.stat().st_size <= limits.log_bytes


@walls
def test_one_file_cannot_fill_the_disk(tmp_path, level):
    source = "open('big', 'wb').truncate(1 << 40)"
    job = program(tmp_path, level, source, limits=Limits(20, 20, disk_bytes=1 << 24))
    outcome = run(job)
    assert not outcome.ok
    assert not (job.out / "big").exists() or (job.out / "big").stat().st_size <= 1 << 24


@walls
def test_the_clock_starts_when_the_data_appear(tmp_path, level):
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a.bin").write_text("tokens")
    view = tmp_path / "view"
    view.mkdir()
    source = """
import json, os, sys, time
train = sys.argv[1] + "/view/train"
there = os.path.exists(train)
for _ in range(10**7): pass
open("ready", "w")
while not os.path.exists(train):
    time.sleep(0.01)  # the program polls for its shards, as base/ does
print(json.dumps([there, open(train + "/a.bin").read()]))
"""
    job = program(tmp_path, level, source, inputs={"view": view}, release=(tmp_path / "shards", "view"))
    outcome = run(job)
    assert outcome.ok, job.log.read_text()
    assert json.loads(job.log.read_text()) == [False, "tokens"]
    assert outcome.cpu_seconds < outcome.setup_seconds
    assert (tmp_path / "shards" / "a.bin").read_text() == "tokens"


RESULTS = {
    "symlink": "os.symlink('/etc/hostname', 'result')",
    "pipe": "import contextlib\nwith contextlib.suppress(OSError): os.mkfifo('result')",
    "folder": "os.mkdir('result')",
    "second name": "open('x', 'w').write('x'); os.link('x', 'result')",
    "too large": "open('result', 'wb').write(bytes(2000))",
    "sparse": "open('result', 'wb').truncate(1 << 30)",
    "missing": "pass",
}


@walls
@pytest.mark.parametrize("name", RESULTS)
def test_only_a_plain_small_file_is_taken(tmp_path, level, name):
    job = program(tmp_path, level, "import os\n" + RESULTS[name])
    assert run(job).ok
    with pytest.raises(Refused, match="result"):
        take(job.out, "result", 1000, tmp_path / "store")
    assert not (tmp_path / "store").exists()


@walls
def test_what_is_swapped_later_is_not_what_was_taken(tmp_path, level):
    job = program(tmp_path, level, "open('result', 'w').write('first')")
    assert run(job).ok
    digest = take(job.out, "result", 1000, tmp_path / "store")
    (job.out / "result").write_text("later")
    assert (tmp_path / "store").read_text() == "first"
    assert take(tmp_path, "store", 1000, tmp_path / "again") == digest


@walls
def test_the_harness_dying_ends_the_job(tmp_path, level):
    source = "import time\nopen('alive', 'w').write('x')\ntime.sleep(60)"
    job = program(tmp_path, level, source, follow=("alive",))
    runner = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\nfrom preflight.sandbox import *\n"
        f"command = (sys.executable, '-c', {source!r})\n"
        f"run(Job(command, Path({str(job.folder)!r}), Limits(60, 60), follow=('alive',), level={level!r}))"
    )
    harness = subprocess.Popen([sys.executable, "-c", runner])
    deadline = time.monotonic() + 60
    while not (job.out / "alive").exists():
        assert time.monotonic() < deadline
    assert _marked(job)
    harness.kill()
    harness.wait()
    while _marked(job):  # the supervisor ends the tree
        assert time.monotonic() < deadline


def _marked(job):
    """Processes of a job that live."""
    wanted = marker(job.folder).encode()
    return [pid for pid in process_tree.processes() if wanted in process_tree.environment(pid)]


@walls
def test_no_attribute_of_a_foreign_file_can_be_changed(tmp_path, level):
    """Modes, times and extended attributes would be a letter-box between phases."""
    (tmp_path / "view").mkdir()
    shard = tmp_path / "view" / "shard"
    shard.write_text("x")
    before = shard.stat()
    source = """
import json, os, sys
done = []
shard = sys.argv[1] + "/view/shard"
for name, change in {
    "chmod": lambda path: os.chmod(path, 0o777),
    "chown": lambda path: os.chown(path, 1, 1),
    "utime": lambda path: os.utime(path, (1, 1)),
    "setxattr": lambda path: os.setxattr(path, "user.letter", b"hello"),
}.items():
    try:
        change(shard)
        done.append(name)
    except OSError:
        pass
print(json.dumps(done))
"""
    assert printed(program(tmp_path, level, source, inputs={"view": tmp_path / "view"})) == []
    after = shard.stat()
    assert (after.st_mode, after.st_uid, after.st_mtime) == (before.st_mode, before.st_uid, before.st_mtime)
    assert os.listxattr(shard) == []


@walls
def test_the_supervisor_cannot_be_harmed_from_inside(tmp_path, level):
    source = """
import os, resource, signal, time
for pid in {os.getppid(), *range(max(2, os.getpid() - 5), os.getpid())}:
    for harm in (
        lambda: resource.prlimit(pid, resource.RLIMIT_CPU, (0, 0)),
        lambda: os.kill(pid, signal.SIGKILL) if pid != os.getppid() or os.getppid() > 2 else None,
    ):
        try:
            harm()
        except OSError:
            pass
while True:
    pass
"""
    outcome = run(program(tmp_path, level, source, limits=Limits(20, 2)))
    assert outcome.reason == "cpu" or outcome.status  # in a namespace it can end its own walls, and itself with them
    assert not outcome.ok


@walls
def test_time_before_the_data_is_limited_too(tmp_path, level):
    job = program(tmp_path, level, "while True: pass", limits=Limits(20, 1, setup_cpu_seconds=1))
    (tmp_path / "view").mkdir()
    import dataclasses

    job = dataclasses.replace(job, inputs={"view": tmp_path / "view"}, release=(tmp_path, "view"))
    assert run(job).reason == "setup_cpu"


def test_discard_removes_what_recursion_cannot(tmp_path):
    folder = tmp_path / "deep"
    source = "import os\nfor _ in range(1500): os.mkdir('d'); os.chdir('d')"
    folder.mkdir()
    subprocess.run([sys.executable, "-c", source], cwd=folder, check=True)
    discard(folder)
    assert not folder.exists()


ODD = {  # those that sleep stay while the supervisor looks: an end would come before its next look
    "a folder in place of a file that is followed": "os.mkdir('followed'); time.sleep(2)",
    "a file that nobody may read": "os.umask(0o777); os.close(os.open('shut', os.O_CREAT | os.O_WRONLY, 0))",
    "a hole as large as the disk": "open('hole', 'wb').truncate(1 << 30)",
    "closed streams": "os.close(1); os.close(2); time.sleep(1)",
    "many names": "[open(f'n{i}', 'w').close() for i in range(1000)]",
    "a name that is no text": "open(b'\\xff\\xfe', 'w').close()",
}


@walls
@pytest.mark.parametrize("name", ODD)
def test_nothing_odd_in_out_ends_the_supervisor(tmp_path, level, name):
    job = program(tmp_path, level, f"import os, time\n{ODD[name]}", follow=("followed",))
    with start(job) as running:
        if running.settle(1.5) is None:  # looked at fifteen times by now
            assert len(list(Path(f"/proc/{running.process.pid}/fd").iterdir())) < 25
        outcome = running.wait()
    assert outcome.ok, (outcome, job.log.read_text())
    assert sum(512 * path.stat().st_blocks for path in job.out.iterdir()) < 1 << 20  # a hole stays in the sandbox


@walls
def test_a_strict_umask_hides_nothing_from_a_job(tmp_path, level):
    source = "import json, sys; print(json.dumps(open(sys.argv[1] + '/view/shard').read()))"
    before = os.umask(0o077)
    try:
        (tmp_path / "view").mkdir()
        (tmp_path / "view" / "shard").write_text("mine")
        assert printed(program(tmp_path, level, source, inputs={"view": tmp_path / "view"})) == "mine"
    finally:
        os.umask(before)


@walls
def test_shards_that_only_their_owner_reads_are_copied(tmp_path, level):
    (tmp_path / "view").mkdir()
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a.bin").write_text("tokens")
    (tmp_path / "shards" / "a.bin").chmod(0o600)
    source = """
import json, os, sys, time
open("ready", "w")
while not os.path.exists(sys.argv[1] + "/view/train"):
    time.sleep(0.01)  # the program polls for its shards, as base/ does
print(json.dumps(open(sys.argv[1] + "/view/train/a.bin").read()))
"""
    job = program(tmp_path, level, source, inputs={"view": tmp_path / "view"}, release=(tmp_path / "shards", "view"))
    assert printed(job) == "tokens"
    assert (tmp_path / "shards" / "a.bin").stat().st_mode & 0o777 == 0o600


@walls
def test_what_a_killed_harness_and_supervisor_leave_is_cleared(tmp_path, level):
    (tmp_path / "view").mkdir()
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a.bin").write_text("tokens")
    source = "import time; open('alive', 'w').write('x'); time.sleep(60)"
    folder = tmp_path / "jobs" / "job"
    runner = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom pathlib import Path\nfrom preflight.sandbox import *\n"
        f"job = Job((sys.executable, '-c', {source!r}), Path({str(folder)!r}), Limits(60, 60), follow=('alive',), "
        f"inputs={{'view': Path({str(tmp_path / 'view')!r})}}, release=(Path({str(tmp_path / 'shards')!r}), 'view'), "
        f"level={level!r})\nwith start(job) as running:\n    print(running.process.pid, flush=True)\n    running.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", runner], stdout=subprocess.PIPE, text=True) as harness:
        supervisor = int(harness.stdout.readline())
        deadline = time.monotonic() + 60
        while not (folder / "out" / "alive").exists():
            assert time.monotonic() < deadline
        workspace = Path((folder / LOCK_NAME).read_text())
        assert workspace.is_dir()
        os.kill(supervisor, signal.SIGKILL)
        harness.kill()
    clear(tmp_path / "jobs")
    assert not workspace.exists()
    assert not (tmp_path / "jobs").exists()


def test_a_wipe_leaves_one_image(tmp_path):
    """Of an interpreter of its own, whose image no other test uses meanwhile."""
    source = """
from preflight.sandbox import image
with image.lease() as old:
    before = {path.stat().st_ino for path in old.root.iterdir()}
    image.wipe()
    assert old.root.exists(), "a job runs from it"
image.wipe()
with image.lease() as new:
    assert not before & {path.stat().st_ino for path in new.root.iterdir()}
    assert not old.root.exists()
    name = new.root.name.partition("-")[0]
    assert [path for path in new.root.parent.glob(f"{name}-*") if path.is_dir()] == [new.root]
"""
    ran = in_own_venv(tmp_path, source)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.slow
def test_no_room_for_a_second_image_is_said_in_a_line(tmp_path):
    """In a /dev/shm that holds one and a half."""
    if "namespace" not in LEVELS:
        pytest.skip("bubblewrap is needed to have a small /dev/shm")
    size = sum(path.lstat().st_size for path in image.image().root.rglob("*") if path.is_file())
    source = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom data.errors import SandboxError\n"
        "from preflight.sandbox import image\nimage.image()\n"
        "try:\n    image.wipe()\nexcept SandboxError as error:\n    print(error)\nprint(image.image().root.exists())"
    )
    command = ["bwrap", "--dev-bind", "/", "/", "--size", str(int(1.6 * size)), "--tmpfs", "/dev/shm", "--"]
    done = subprocess.run([*command, sys.executable, "-c", source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "larger" in done.stdout
    assert done.stdout.endswith("True\n")
