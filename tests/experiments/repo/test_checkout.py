"""Branches for the user are never overwritten."""

import pytest
from helpers.runs import ledger_file, refs

from common.errors import WorkspaceError
from experiments.ledger.store import Ledger
from experiments.promotion.branches import finalize
from experiments.repo.checkout import Checkout


def test_a_second_finalize_says_what_to_do(repo_with_keep):
    checkout, ledger = Checkout(repo_with_keep, "night"), Ledger(ledger_file(repo_with_keep))
    finalize(checkout, ledger, "HEAD", "finalize/night")
    before = refs(repo_with_keep)
    for name in ("finalize/night", "finalize/night/more", "main/x", "experiments/night/0007"):
        with pytest.raises(WorkspaceError, match="--branch NAME|outside experiments/"):
            finalize(checkout, ledger, "HEAD", name)
    assert refs(repo_with_keep) == before
    assert finalize(checkout, ledger, "HEAD", "finalize/again")
    ledger.close()
