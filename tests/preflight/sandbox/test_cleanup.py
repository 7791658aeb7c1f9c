"""Cleanup after jobs: deep folders, and the remains of a harness and a supervisor that were killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from helpers.sandbox import IMPORTS, at_every_level
from helpers.tiny_profile import ROOT

from preflight.sandbox.cleanup import LOCK_NAME, reap, remove_tree


def test_remove_tree_removes_folders_too_deep_for_recursion(tmp_path):
    folder = tmp_path / "deep"
    source = "import os\nfor _ in range(1500): os.mkdir('d'); os.chdir('d')"
    folder.mkdir()
    subprocess.run([sys.executable, "-c", source], cwd=folder, check=True)
    remove_tree(folder)
    assert not folder.exists()


@at_every_level
def test_reap_clears_up_after_a_killed_harness_and_supervisor(tmp_path, level):
    (tmp_path / "view").mkdir()
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a.bin").write_text("tokens")
    source = "import time; open('alive', 'w').write('x'); time.sleep(60)"
    folder = tmp_path / "jobs" / "job"
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{IMPORTS}"
        f"job = Job((sys.executable, '-c', {source!r}), Path({str(folder)!r}), Limits(60, 60), follow=('alive',), "
        f"inputs={{'view': Path({str(tmp_path / 'view')!r})}}, release=(Path({str(tmp_path / 'shards')!r}), 'view'), "
        f"level={level!r})\nwith start(job) as running:\n    print(running.process.pid, flush=True)\n    running.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as harness:
        supervisor = int(harness.stdout.readline())
        deadline = time.monotonic() + 60
        while not (folder / "out" / "alive").exists():
            assert time.monotonic() < deadline
        workspace = Path((folder / LOCK_NAME).read_text())
        assert workspace.is_dir()
        os.kill(supervisor, signal.SIGKILL)
        harness.kill()
    reap(tmp_path / "jobs")
    assert not workspace.exists()
    assert not (tmp_path / "jobs").exists()
