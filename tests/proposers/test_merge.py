"""The merge proposer: pairs of near misses that are compatible and new."""

import pytest
from helpers.proposers.rows import measured_row, near_misses

from common.errors import NoProposal
from proposers.merge import Merge
from proposers.reply import read_proposal


def test_merges_the_two_best_compatible_near_misses(make_context):
    rows = near_misses()
    proposal = read_proposal(Merge().propose(make_context(rows)), make_context(rows))
    assert "Trials 0001 and 0002" in proposal.title
    assert {edit.path for edit in proposal.edits} == {"base/optim/muon.py", "base/optim/adamw.py"}
    first = measured_row(4, *((edit.path, edit.search, edit.replace) for edit in proposal.edits))
    proposal = read_proposal(Merge().propose(make_context([*rows, first])), make_context([*rows, first]))
    assert "Trials 0001 and 0003" in proposal.title
    second = measured_row(5, *((edit.path, edit.search, edit.replace) for edit in proposal.edits))
    with pytest.raises(NoProposal, match="no two near misses"):  # 2 and 3 change the same line
        Merge().propose(make_context([*rows, first, second]))
