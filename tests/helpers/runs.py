"""Runs of the profile `tiny` as a user sees them: requests, doctor's lines about the repository, commands, refs."""

import os
import subprocess
import sys

from experiments.doctor.repository import repository
from experiments.proposal.options import ProposerOptions
from experiments.run.request import RunRequest
from experiments.run.run import open_run

from .tiny_profile import ROOT, git


def request(root, run="night", **changes):
    proposer = ProposerOptions("scripted")
    return RunRequest(run=run, profile="tiny", hours=1.0, root=root, proposer=proposer, **changes)


def doctor_lines(root, run="night", **changes):
    """Return what doctor says about the repository, by the name of the check."""
    return {line.what: line for line in repository(request(root, run, **changes))}


def start_run(root, run="night"):
    """Open a run and close it again."""
    open_run(root, run, "tiny", lambda *_: None).close()


def run_command(root, *arguments, **environment):
    """Run `python -m experiments` in a repository."""
    return subprocess.run(
        [sys.executable, "-m", "experiments", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}/tests/fixtures/profile", **environment},
    )


def ledger_file(root, run="night"):
    return root / "trials" / run / "ledger.sqlite"


def empty_ledger(root):
    """Truncate the ledger, as a full disk may."""
    ledger_file(root).write_bytes(b"")


def refs(root):
    return git(root, "for-each-ref", "--format=%(refname) %(objectname)")
