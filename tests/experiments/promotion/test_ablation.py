"""Tests of ablation: a kept trial measured without each of its changes in turn."""

import random
import re
from statistics import fmean

import pytest
from helpers.tiny_profile import TINY, proposal

from common.errors import CaddieError
from common.state import State
from experiments.promotion.ablation import ablate, changes, without
from experiments.trial.trial import run_trial
from preflight.source.tree import PLAIN, Source


def test_each_hunk_of_a_diff_is_reverted_on_its_own():
    lines = [f"line {i}\n" for i in range(30)]
    after = [*lines[:3], "changed\n", *lines[4:20], "new\n", "newer\n", *lines[20:]]

    def source(text):
        return Source(PLAIN, "".join(text).encode())

    parent = {"base/a.py": source(lines), "base/gone.py": source(["x\n"])}
    tree = {"base/a.py": source(after), "base/b.py": source(["y\n"])}
    hunks = changes(parent, tree)
    assert [change.label for change in hunks] == [
        "base/a.py:4, +1 -1",
        "base/a.py:21, +2 -0",
        "base/b.py, a new file",
        "base/gone.py, removed",
    ]
    first = [*lines[:20], "new\n", "newer\n", *lines[20:]]
    assert hunks[0].tree["base/a.py"] == source(first)
    assert hunks[1].tree["base/a.py"] == source([*lines[:3], "changed\n", *lines[4:]])
    assert "base/b.py" not in hunks[2].tree
    assert hunks[3].tree["base/gone.py"] == parent["base/gone.py"]


def test_undoing_some_changes_together_equals_a_diff_that_never_had_them():
    """Random edits of three files; leaving out all of them gives the parent, none the tree."""
    rng = random.Random(5)
    for _ in range(20):
        old = {f"base/{name}.py": [f"{name} {i}\n" for i in range(80)] for name in "abc"}
        places = [(path, line) for path in old for line in sorted(rng.sample(range(0, 80, 8), 3))]
        edits = [(path, line, rng.choice(("", "x\n", "x\ny\n"))) for path, line in places]

        def edited(chosen, old=old):
            new = {path: list(lines) for path, lines in old.items()}
            for path, line, text in chosen:
                new[path][line] = text
            return {path: Source(PLAIN, "".join(lines).encode()) for path, lines in new.items()}

        parent, tree = edited([]), edited(edits)
        labels = [change.label for change in changes(parent, tree)]
        assert len(labels) == len(edits)
        left_out = {i for i in range(len(edits)) if rng.random() < 0.5}
        expected = edited([edit for i, edit in enumerate(edits) if i not in left_out])
        assert without(parent, tree, [labels[i] for i in left_out]) == expected


@pytest.mark.slow
def test_a_kept_trial_is_measured_without_each_of_its_changes(run, budget):
    """One change improves the score, one does not affect it, and the first needs the third."""
    need = ("base/model.py", "import VOCAB\n", "import VOCAB\nTIMES = 3\n")
    use = (
        "base/model.py",
        'for step in range(knobs["iterations"]):',
        'for step in range(TIMES * knobs["iterations"]):',
    )
    idle = ("base/scorer.py", "        self.seen = 0\n", "        self.seen = 0\n        self.read = 0\n")
    comment = ("base/config.py", "import os\n", "import os\n\n# a remark\n")
    row = run_trial(run, proposal(run, need, use, idle, comment), budget)
    assert row.state is State.KEPT, row.detail
    ablated = list(ablate(run, row, budget))
    assert [re.sub(r":\d+", "", change.label) for change in ablated] == [
        "base/model.py, +1 -0",
        "base/model.py, +1 -1",
        "base/scorer.py, +1 -0",
    ]
    needed, wins, idle_change = ablated
    assert needed.verdict.startswith("crash")
    assert fmean(wins.differences) == pytest.approx(-row.delta_bpb, abs=0.02)
    assert len(wins.differences) == TINY.rule.fresh
    assert idle_change.differences == [0.0] * TINY.rule.fresh
    assert run.ledger.row(row.number) == row
    with pytest.raises(CaddieError, match="never measured"):
        list(ablate(run, run_trial(run, proposal(run, parent="0" * 40, title="x"), budget), budget))


def test_a_single_change_cannot_be_ablated(run_with_keep, budget):
    run, kept = run_with_keep, run_with_keep.ledger.incumbent()
    with pytest.raises(CaddieError, match="is one change"):
        list(ablate(run, kept, budget))
