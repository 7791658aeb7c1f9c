"""Runs whose proposer asks the Messages API on loopback: answers for the tiny base/, and the loop as a process."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

from experiments.costs.llm_calls import Call, Calls
from experiments.ledger.rows import Row
from experiments.ledger.store import Ledger
from experiments.proposal.options import ProposerOptions

from ..runs import ledger_file
from ..servers.messages import answered
from ..tiny_profile import ROOT

ANTHROPIC = ProposerOptions("anthropic")
CONFIG = "base/config.py"
BETTER = answered(CONFIG, '"iterations": 4', '"iterations": 40', title="more text")
SMOOTHER = answered(CONFIG, '"smoothing": 0.5', '"smoothing": 400.0', title="smoother")
TWICE = answered(CONFIG, '"passes": 1', '"passes": 2', title="twice")


def start_loop(root: Path, *arguments, **options) -> subprocess.Popen:
    """Start `python -m experiments run` with the LLM as the proposer."""
    command = [sys.executable, "-m", "experiments", "run", "--root", str(root), "--run", "night", "--profile", "tiny"]
    command += ["--proposer", "anthropic", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)


def calls_and_rows(root: Path) -> tuple[list[Call], list[Row]]:
    with closing(Ledger(ledger_file(root))) as ledger:
        return Calls(ledger).rows(), ledger.rows()
