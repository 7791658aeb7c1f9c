"""Novelty of proposals: fingerprints of trees, and changes that repeat the lines of an earlier trial."""

import json
from dataclasses import replace

import pytest
from helpers.proposers.contexts import context
from helpers.proposers.rows import BASE, edited, measured_row

from common.errors import ProposalError
from common.state import State
from experiments.proposal import novelty
from proposers.reply import read_proposal

LINES = ("base/optim/muon.py", "import torch\n", "import torch\n\n" + "".join(f"A{i} = {i}\n" for i in range(9)))


def test_fingerprint_depends_on_syntax_only():
    spaced = edited(BASE, ("base/optim/muon.py", "import torch\n", "import torch  # yes\n\n\n"))
    assert novelty.fingerprint(spaced) == novelty.fingerprint(BASE)
    assert novelty.fingerprint(edited(BASE, LINES)) != novelty.fingerprint(BASE)
    assert novelty.fingerprint(edited(BASE, ("base/optim/muon.py", "import torch\n", "def (\n"))) != ""


def test_fingerprint_depends_on_paths_and_contents_but_not_on_order():
    without = {path: source for path, source in BASE.items() if path != "base/optim/mousse.py"}
    moved = {**without, "base/new.py": BASE["base/optim/mousse.py"]}
    assert len({novelty.fingerprint(tree) for tree in (BASE, without, moved)}) == 3
    assert novelty.fingerprint(dict(reversed(BASE.items()))) == novelty.fingerprint(BASE)


def test_same_tree_is_refused_with_the_earlier_result():
    earlier = measured_row(1, LINES, delta=0.0031)
    again = json.loads(earlier.proposal) | {"title": "new words"}
    again["edits"][0]["replace"] = again["edits"][0]["replace"].replace("\n\n", "\n\n\n# a comment\n")
    with pytest.raises(ProposalError, match=r"this tree is trial 0001 \(discarded, \+0.0031 bpb\)"):
        read_proposal(json.dumps(again), context(BASE, [earlier]))
    assert read_proposal(json.dumps(again), context(BASE, [replace(earlier, state=State.INFRA)]))


def test_nearly_the_same_lines_are_refused_if_they_were_measured():
    earlier = measured_row(1, LINES, delta=0.0031)
    again = json.loads(earlier.proposal)
    again["edits"][0]["replace"] += "B = 1\n"
    with pytest.raises(ProposalError, match=r"9\d% of its lines are those of trial 0001"):
        read_proposal(json.dumps(again), context(BASE, [earlier]))
    crashed = replace(earlier, state=State.CRASH)
    assert read_proposal(json.dumps(again), context(BASE, [crashed]))  # a fixed crash is not a repetition
    again["edits"][0]["replace"] = LINES[1] + "".join(f"C{i} = {i}\n" for i in range(9))
    assert read_proposal(json.dumps(again), context(BASE, [earlier]))


def test_change_of_one_number_is_novel():
    earlier = measured_row(1, ("base/config.py", 'knob(0.025, "Muon', 'knob(0.03, "Muon'))
    again = json.loads(earlier.proposal)
    again["edits"][0]["replace"] = again["edits"][0]["replace"].replace("0.03", "0.04")
    assert read_proposal(json.dumps(again), context(BASE, [earlier]))
