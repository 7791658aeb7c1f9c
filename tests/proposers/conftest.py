"""Fixtures for tests of proposers: contexts, an LLM proposer that does not sleep, and a program as proposer."""

import shlex
import sys

import pytest
from helpers.proposers.contexts import context
from helpers.proposers.rows import BASE
from helpers.proposers.small_tree import TREE

from experiments.ledger.store import Ledger
from experiments.proposal.options import ProposerOptions
from proposers.command import Command
from proposers.llm.anthropic import Anthropic
from proposers.reply import next_proposal


@pytest.fixture
def make_context(tmp_path):
    """A function that returns a context of the real base/, with a ledger on disk."""
    Ledger(tmp_path / "ledger.sqlite").close()

    def make(rows=(), tree=BASE, **fields):
        return context(tree, rows, tmp_path / "proposer", **fields)

    return make


@pytest.fixture
def make_anthropic(api):
    """A function that returns a proposer whose pauses are recorded in `paused`, not slept; closes the one before."""

    def make(**options):
        for earlier in proposers:
            earlier.close()
        paused = []
        proposers.append(Anthropic(ProposerOptions(**options), sleep=paused.append))
        proposers[-1].paused = paused
        return proposers[-1]

    proposers = []
    yield make
    for earlier in proposers:
        earlier.close()


@pytest.fixture
def run_program(tmp_path):
    """A function that runs a Python program as the proposer, and returns the proposal made from its answer."""

    def run(source, show=(), passed=()):
        program = tmp_path / "program.py"
        program.write_text("import json, os, sys\ncontext = json.load(sys.stdin)\n" + source)
        options = ProposerOptions(command=shlex.join((sys.executable, str(program))), show=show, passed=passed)
        return next_proposal(Command(options), context(TREE, folder=tmp_path / "proposer"))

    return run
