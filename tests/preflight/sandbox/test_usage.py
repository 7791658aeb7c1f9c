"""Limits on a job: an excess of any resource ends the whole process tree, and is named as the reason."""

import dataclasses

import pytest
from helpers.sandbox import at_every_level, make_job

from preflight.sandbox import process_tree
from preflight.sandbox.job import Limits
from preflight.sandbox.start import run, start

SHORT_LIVED = """
import os, signal, time
try:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # then no process would be credited with a child's CPU seconds
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


@at_every_level
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
def test_an_exceeded_limit_ends_the_whole_tree(tmp_path, level, reason, source, limits):
    job = make_job(tmp_path, level, source, limits=limits)
    with start(job) as running:
        outcome = running.wait()
        assert not process_tree.descendants(running.process.pid)
    if reason == "too long":  # in a namespace the supervisor does not have to walk there
        reason = "wall" if level == "namespace" else "disk"
    assert outcome.reason == reason, (outcome, job.log.read_bytes()[-500:])
    assert outcome.status is None
    assert job.log.stat().st_size <= limits.log_bytes


@at_every_level
def test_one_file_cannot_fill_the_disk(tmp_path, level):
    source = "open('big', 'wb').truncate(1 << 40)"
    job = make_job(tmp_path, level, source, limits=Limits(20, 20, disk_bytes=1 << 24))
    outcome = run(job)
    assert not outcome.ok
    assert not (job.out / "big").exists() or (job.out / "big").stat().st_size <= 1 << 24


@at_every_level
def test_time_before_the_data_is_limited_too(tmp_path, level):
    job = make_job(tmp_path, level, "while True: pass", limits=Limits(20, 1, setup_cpu_seconds=1))
    (tmp_path / "view").mkdir()
    job = dataclasses.replace(job, inputs={"view": tmp_path / "view"}, release=(tmp_path, "view"))
    assert run(job).reason == "setup_cpu"
