"""Hostile programs in real sandbox jobs, at every isolation level that this machine offers."""

import json
import os
import subprocess
import sys

import pytest
from helpers.tiny_profile import ROOT

from preflight.sandbox import process_tree
from preflight.sandbox.cleanup import marker
from preflight.sandbox.isolation.levels import available_levels
from preflight.sandbox.job import Job, Limits
from preflight.sandbox.start import run

LEVELS = [level for level in available_levels() if level != "none"]
LIMITS = Limits(wall_seconds=20, cpu_seconds=20)
IMPORTS = (
    "import sys\nfrom pathlib import Path\nfrom preflight.sandbox.job import Job, Limits\n"
    "from preflight.sandbox.start import run, start\n"
)

at_every_level = pytest.mark.parametrize("level", LEVELS)


def make_job(tmp_path, level, source, name="job", limits=LIMITS, **fields) -> Job:
    """Make a job that runs `source`, which finds its inputs below sys.argv[1]."""
    return Job((sys.executable, "-c", source, "{in}"), tmp_path / name, limits, level=level, **fields)


def run_for_json(job: Job):
    """Run a job that must succeed and return the JSON on the last line that it prints."""
    outcome = run(job)
    assert outcome.ok, (outcome, job.log.read_text())
    return json.loads(job.log.read_text().splitlines()[-1])


def run_in_new_venv(tmp_path, source, linked=False) -> subprocess.CompletedProcess:
    """Run a program of the harness on a new virtual environment below /tmp, reached by its folder or by a link."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (tmp_path / "link").symlink_to("venv")
    command = [tmp_path / ("link" if linked else "venv") / "bin" / "python", "-c", source]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)


def living_processes(job: Job) -> list[int]:
    """Return the ids of the job's living processes."""
    wanted = marker(job.folder).encode()
    return [pid for pid in process_tree.processes() if wanted in process_tree.environment(pid)]
