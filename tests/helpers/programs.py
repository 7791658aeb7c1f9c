"""Programs in a process of their own with a changed environment, and commands in this process."""

import os
import subprocess
import sys

from typer.testing import CliRunner

from experiments.cli import app
from experiments.run.run import Run

from .tiny_profile import ROOT


def run_python(*arguments, cwd, wrapper=(), **environment) -> subprocess.CompletedProcess[bytes]:
    """Run Python with the arguments, behind the command `wrapper` and with the variables of `environment`."""
    settings = {**os.environ, "PYTHONPATH": f"{ROOT}/tests/fixtures/profile", **environment}
    return subprocess.run([*wrapper, sys.executable, *arguments], cwd=cwd, capture_output=True, env=settings)


def run_experiments(root, *arguments, **options) -> subprocess.CompletedProcess[bytes]:
    """Run `python -m experiments` in a repository."""
    return run_python("-m", "experiments", *arguments, cwd=root, **options)


def call_command(run: Run, *arguments: str) -> str:
    """Close the run, call a command on its repository and return what it prints."""
    run.close()
    done = CliRunner().invoke(app.app, [*arguments, "--root", str(run.workspace.root)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output
