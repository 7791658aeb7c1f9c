"""Doctor as a function and as a command, and machines that lack something."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from experiments.doctor.checks import Check, examine
from experiments.doctor.result import CheckResult
from experiments.run.request import RunRequest

from .tiny_profile import ROOT


def check_results(request: RunRequest, *which: Check) -> dict[str, CheckResult]:
    """Return the results of some checks, or of all, by their names."""
    results = examine(request) if not which else (result for check in which for result in check(request))
    return {result.what: result for result in results}


def with_proposer(request: RunRequest, **changes) -> RunRequest:
    """Return the request with other options of the proposer."""
    return replace(request, proposer=replace(request.proposer, **changes))


def doctor(root: Path, *options, wrapper=(), **environment) -> tuple[int, str]:
    """Run the command in a process of its own, in a changed environment; return its exit status and output."""
    command = [sys.executable, "-m", "experiments", "doctor", "--root", str(root), "--profile", "tiny", *options]
    settings = {**os.environ, **environment}
    done = subprocess.run([*wrapper, *command], capture_output=True, text=True, cwd=ROOT, env=settings)
    return done.returncode, done.stdout + done.stderr


def red_line(text: str, what: str) -> str:
    """Return the red line about `what` and the line below it, which says what to type."""
    lines = text.splitlines()
    number = next((i for i, line in enumerate(lines) if line.startswith(f"bad   {what} ")), None)
    assert number is not None, text
    assert lines[number + 1].strip().startswith("type: "), text
    assert "nothing starts" in lines[-1]
    return lines[number] + lines[number + 1]


def path_without(folder: Path, *programs: str) -> str:
    """Fill a folder with links to every program of this machine except some, and return it as a PATH."""
    folder.mkdir()
    for directory in os.environ["PATH"].split(":"):
        for program in sorted(Path(directory).iterdir()) if Path(directory).is_dir() else ():
            link = folder / program.name
            if program.name not in programs and not link.is_symlink():
                link.symlink_to(program)
    return str(folder)
