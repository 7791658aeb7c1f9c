"""The supervisor: it releases data, ends what outlives a job, and survives whatever a candidate does to it."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.sandbox import IMPORTS, at_every_level, living_processes, make_job
from helpers.tiny_profile import ROOT

from preflight.sandbox import process_tree
from preflight.sandbox.job import Limits
from preflight.sandbox.start import run, start


@at_every_level
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
    job = make_job(tmp_path, level, source)
    with start(job) as running:
        assert running.wait().ok
        assert not process_tree.descendants(running.process.pid)
    assert not living_processes(job)


@at_every_level
def test_the_clock_starts_when_the_data_appear(tmp_path, level):
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a.bin").write_text("tokens")
    view = tmp_path / "view"
    view.mkdir()
    source = """
import json, os, sys, time
train = sys.argv[1] + "/view/train"
visible_before = os.path.exists(train)
for _ in range(10**7): pass
open("ready", "w")
while not os.path.exists(train):
    time.sleep(0.01)  # the program polls for its shards, as base/ does
print(json.dumps([visible_before, open(train + "/a.bin").read()]))
"""
    job = make_job(tmp_path, level, source, inputs={"view": view}, release=(tmp_path / "shards", "view"))
    outcome = run(job)
    assert outcome.ok, job.log.read_text()
    assert json.loads(job.log.read_text()) == [False, "tokens"]
    assert outcome.cpu_seconds < outcome.setup_seconds
    assert (tmp_path / "shards" / "a.bin").read_text() == "tokens"


@at_every_level
def test_the_death_of_the_harness_ends_the_job(tmp_path, level):
    source = "import time\nopen('alive', 'w').write('x')\ntime.sleep(60)"
    job = make_job(tmp_path, level, source, follow=("alive",))
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{IMPORTS}"
        f"command = (sys.executable, '-c', {source!r})\n"
        f"run(Job(command, Path({str(job.folder)!r}), Limits(60, 60), follow=('alive',), level={level!r}))"
    )
    harness = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 60
    while not (job.out / "alive").exists():
        assert time.monotonic() < deadline
    assert living_processes(job)
    harness.kill()
    harness.wait()
    while living_processes(job):  # the supervisor ends the tree
        assert time.monotonic() < deadline


@at_every_level
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
    outcome = run(make_job(tmp_path, level, source, limits=Limits(20, 2)))
    assert outcome.reason == "cpu" or outcome.status  # in a namespace it can kill bubblewrap, and itself with it
    assert not outcome.ok


UNUSUAL_OUTPUTS = {  # those that sleep stay while the supervisor polls: an exit would come before its next poll
    "a folder in place of a file that is followed": "os.mkdir('followed'); time.sleep(2)",
    "a file that no one may read": "os.umask(0o777); os.close(os.open('shut', os.O_CREAT | os.O_WRONLY, 0))",
    "a hole as large as the disk": "open('hole', 'wb').truncate(1 << 30)",
    "closed streams": "os.close(1); os.close(2); time.sleep(1)",
    "many names": "[open(f'n{i}', 'w').close() for i in range(1000)]",
    "a name that is no text": "open(b'\\xff\\xfe', 'w').close()",
}


@at_every_level
@pytest.mark.parametrize("name", UNUSUAL_OUTPUTS)
def test_unusual_outputs_do_not_end_the_supervisor(tmp_path, level, name):
    job = make_job(tmp_path, level, f"import os, time\n{UNUSUAL_OUTPUTS[name]}", follow=("followed",))
    with start(job) as running:
        if running.poll(1.5) is None:  # the supervisor has polled fifteen times by now
            assert len(list(Path(f"/proc/{running.process.pid}/fd").iterdir())) < 25
        outcome = running.wait()
    assert outcome.ok, (outcome, job.log.read_text())
    assert sum(512 * path.stat().st_blocks for path in job.out.iterdir()) < 1 << 20  # a hole stays in the sandbox
