"""What holds the place: it cannot be told from a challenger, does not sink by its own choice, and repeats itself."""

import dataclasses
import re
import shutil
import sys
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import pytest
from support import MORE_TEXT, TINY, git, proposal

from data.errors import Refused
from data.state import State
from experiments import mirror, view
from experiments.comparison import require_repeatable
from experiments.incumbent import BEHIND, FRESH_TRIES, falls_behind
from experiments.judge import Noise
from experiments.ledger import Ledger
from experiments.loop import open_bench, recover
from experiments.measurement import Entry, program_of
from experiments.outlook import outlook
from experiments.replicates import differences, generation, new_seeds, noise_floor
from experiments.tiers import PROFILES
from experiments.trial import run_trial
from preflight.sandbox.isolation import available_levels
from proposers.context import gather
from proposers.digest import digest

pytestmark = pytest.mark.usefixtures("unlinted")  # what these programs name, a candidate may not
STILL_MORE = ("base/config.py", '"iterations": 12', '"iterations": 40')
WORSE = ("base/config.py", '"smoothing": 0.5', '"smoothing": 500.0')
COUNTS = "    return counts\n"
SINKS = ("base/model.py", COUNTS, '    return counts * (0 if knobs["seed"] in (11, 12, 13) else 1) + draw.random()\n')


@pytest.fixture
def bench(measured_repo, tmp_path):
    root = shutil.copytree(measured_repo, tmp_path / "run", symlinks=True)
    opened = open_bench(root, "night", "tiny", lambda *_: None)
    yield opened
    opened.close()


@pytest.fixture
def fresh(monkeypatch):
    """The incumbent's next fresh seeds, a list for each time that it is measured; after those, drawn as ever."""
    prepared = []

    def drawn(count):
        return prepared.pop(0) if prepared else new_seeds(count)

    monkeypatch.setattr("experiments.incumbent.new_seeds", drawn)
    return prepared


def test_an_incumbent_that_sinks_ends_as_dishonest_with_what_was_held_against_it(bench, budget, fresh, tmp_path):
    """It does well on every seed but those it gets as the incumbent: a worse tree would look better than it."""
    start = bench.workspace.best()
    sinking = run_trial(bench, proposal(bench, MORE_TEXT, SINKS, title="sinks"), budget)
    assert sinking.state is State.KEPT, sinking.detail
    worse = run_trial(bench, proposal(bench, WORSE, title="worse"), budget)
    assert worse.state is State.DISCARDED
    fresh[:] = [[11, 12, 13]]
    row = run_trial(bench, proposal(bench, STILL_MORE, title="a challenger"), budget)

    assert row.state is State.UNJUDGED
    assert "trial 0000 holds again" in row.detail
    assert (row.settled_at is not None, row.state.counts, row.delta_bpb) == (True, False, None)
    ended, marked = bench.ledger.row(sinking.number), bench.ledger.row(worse.number)
    assert (ended.state, ended.val_bpb) == (State.DISHONEST, None)
    assert "fell behind the numbers it was kept by on 3 fresh seeds of 3" in ended.detail
    assert (marked.state, marked.val_bpb, marked.delta_bpb) == (State.UNJUDGED, None, None)
    assert marked.detail.startswith(f"judged against trial {sinking.number:04d}, which ended as dishonest; it was disc")
    assert [one.tier for one in bench.ledger.taken(sinking.number) if one.fresh_for == row.number] == [BEHIND] * 3

    assert (bench.ledger.incumbent().number, bench.workspace.best()) == (0, start)
    notes = [git(bench.workspace.root, "notes", "--ref=caddie", "show", one.commit_id) for one in (ended, marked)]
    assert notes[0].startswith("ended as dishonest: found by trial 0003")
    assert notes[1].startswith("judged against trial 0001, which is dishonest")
    assert "Verdict: unjudged" in git(bench.workspace.root, "log", "-1", "--format=%B", row.commit_id)
    own = {one.measured.seed for one in bench.ledger.taken(0) if one.fresh_for is None}
    assert generation(bench.ledger, bench.ledger.row(0), bench.tier).keys() == own
    assert noise_floor(bench.ledger, bench.tier).degrees == TINY.expected_noise.degrees + TINY.rule.seeds - 1

    told = "\n".join(outlook(bench.ledger, PROFILES["tiny"]))
    assert re.search("trial 0001 was kept and ended as dishonest.*; 2 trials that were held against it", told)
    assert "1 dishonest" in view.sentence(bench.ledger.rows())
    assert {one.number for one in digest(gather(bench.workspace.root, "night"))["failures"]} == {1, 2, 3}
    recover(bench)
    assert bench.workspace.best() == start
    copy = Ledger(tmp_path / "copy.sqlite")
    for number in range(4):
        mirror.load(copy, mirror.export(bench.ledger, number))
    assert copy.rows() == bench.ledger.rows()
    copy.close()

    again = run_trial(bench, proposal(bench, WORSE, title="worse than the baseline too"), budget)
    assert again.state is State.DISCARDED, "an idea that was never judged is no duplicate"
    honest = run_trial(bench, proposal(bench, MORE_TEXT, title="more text"), budget)
    assert honest.state is State.KEPT, honest.detail
    assert bench.ledger.incumbent() == honest


def test_a_seed_that_the_incumbent_sinks_on_is_passed_over(bench, budget, fresh):
    """Its bad value is held against nobody and moves no generation, also where the challenger is reverted."""
    kept = run_trial(bench, proposal(bench, MORE_TEXT, SINKS), budget)
    assert kept.state is State.KEPT, kept.detail
    fresh[:] = [[11, 301, 302], [12, 303, 304]]
    row = run_trial(bench, proposal(bench, STILL_MORE), budget)
    assert row.state in (State.KEPT, State.REVERTED), row.detail
    assert generation(bench.ledger, kept, bench.tier).keys() == {301, 303}
    assert generation(bench.ledger, kept, bench.tier, before=row.number).keys().isdisjoint({11, 12, 301, 303})
    assert len(differences(bench.ledger, row, bench.tier.name, fresh=True)) == TINY.rule.fresh
    sunk = [one.measured.seed for one in bench.ledger.taken(kept.number) if one.tier == BEHIND]
    assert sunk == [11, 12]


def test_an_incumbent_that_fails_on_every_fresh_seed_ends_and_the_controller_does_not(bench, budget, fresh):
    fails = ("base/model.py", COUNTS, f'    if knobs["seed"] in (11, 12, 13):\n        raise ValueError\n{COUNTS}')
    kept = run_trial(bench, proposal(bench, MORE_TEXT, fails), budget)
    assert kept.state is State.KEPT, kept.detail
    fresh[:] = [[11, 12, 13]]
    assert run_trial(bench, proposal(bench, STILL_MORE), budget).state is State.UNJUDGED
    assert "crash: train" in bench.ledger.row(kept.number).detail


def test_honest_replicates_are_hardly_ever_behind_and_a_fall_always_is():
    """20,000 incumbents with as many seeds as a keep has, held to a floor of a first night's degrees of freedom."""
    rng, sd = np.random.default_rng(0), 0.01
    noise = Noise.expected(sd * 2**0.5, 6.0)
    alarms = np.zeros(2, dtype=int)
    for _ in range(20_000):
        own, *later = np.split(rng.normal(1.9, sd, TINY.rule.fresh + FRESH_TRIES), [TINY.rule.fresh])
        behind = [falls_behind(float(value), list(own), noise) for value in later[0]]
        alarms += (behind[0], all(behind))
    assert alarms[0] < 0.015 * 20_000
    assert alarms[1] < 0.0005 * 20_000
    assert falls_behind(1.9 + 0.1, [1.9, 1.9], noise)
    assert not falls_behind(1.9 - 0.1, [1.9, 1.9], noise)
    assert not falls_behind(9.0, [], noise)


UNREPEATABLE = (
    "base/model.py",
    '    draw = np.random.default_rng(knobs["seed"])\n    counts = (draw.random(',
    '    import os\n\n    draw = np.random.default_rng(knobs["seed"])\n'
    "    other = np.random.default_rng(int.from_bytes(os.urandom(8)))\n    counts = (other.random(",
)


def test_a_training_that_does_not_repeat_itself_is_no_keep_on_a_cpu(bench, budget):
    row = run_trial(bench, proposal(bench, MORE_TEXT, UNREPEATABLE), budget)
    assert row.state is State.DISHONEST, row.detail
    assert "another artifact from one seed" in row.detail
    *search, again = bench.ledger.taken(row.number)
    assert (again.tier, again.fresh_for) == ("repeat", None)
    assert again.measured.seed == search[0].measured.seed
    assert again.measured.artifact_sha256 != search[0].measured.artifact_sha256
    assert len(differences(bench.ledger, row, bench.tier.name, fresh=False)) == len(search)  # it is no evidence
    assert not [one for one in bench.ledger.taken(0) if one.fresh_for == row.number]  # no fresh seed was spent on it


def test_where_sums_have_no_order_a_repeat_need_only_score_alike(bench, budget, monkeypatch):
    monkeypatch.setitem(PROFILES, "tiny", dataclasses.replace(PROFILES["tiny"], gpus=1))
    row = run_trial(bench, proposal(bench, MORE_TEXT, UNREPEATABLE), budget)
    assert row.state is State.KEPT, row.detail
    entry = Entry(row.number, row.title, program_of(bench, row), budget)
    (first, *_), noise = bench.ledger.taken(row.number), noise_floor(bench.ledger, bench.tier)
    require_repeatable(bench, entry, first.measured, bench.tier, noise)
    drifted = dataclasses.replace(first.measured, val_bpb=first.measured.val_bpb - 10 * noise.difference_sd)
    with pytest.raises(Refused, match="a score that moved by"):
        require_repeatable(bench, entry, drifted, bench.tier, noise)


TELL = (
    "base/config.py",
    "def resolve():\n",
    "def resolve():\n    import sys\n\n    told = sorted(pair for pair in os.environ.items() if pair[0] != 'SEED')\n"
    "    print('TOLD', sys.argv, os.getcwd(), __file__, told, flush=True)\n",
)

# Folders of measurements and phases, the marker of a job; at `landlock` the workspace, and the image since its wipe
RANDOM = re.compile(r"\bm_[0-9a-f]{16}\b|\b[0-9a-f]{32}\b|\b[0-9a-f]{8}\b|\.job-\w{8}|(?<=[0-9a-f]{16})-\w{8}")


@pytest.mark.parametrize("level", [level for level in available_levels() if level != "none"])
def test_no_path_argument_or_variable_tells_a_job_whose_it_is_or_what_for(bench, budget, level):
    """Every job of a keep beside an incumbent, in its own words: all the same but for random names of one length."""
    bench = dataclasses.replace(bench, level=level)
    assert run_trial(bench, proposal(bench, MORE_TEXT, TELL), budget).state is State.KEPT
    row = run_trial(bench, proposal(bench, STILL_MORE), budget)
    assert row.state in (State.KEPT, State.REVERTED)
    taken = [
        (owner, one)
        for owner in (row.number, 1)
        for one in bench.ledger.taken(owner)
        if owner != 1 or one.fresh_for == 2
    ]
    passed_over = {(1, BEHIND, 2)}  # an honest one, once in a hundred
    assert {(owner, one.tier, one.fresh_for) for owner, one in taken} - passed_over == {
        *((2, "full", None), (2, "repeat", None), (2, "full", 2), (1, "full", 2))
    }
    said = {"train": set(), "pack": set(), "score": set()}
    lengths = {phase: set() for phase in said}
    for (owner, one), phase in chain.from_iterable(
        zip(taken, repeat(name)) for name in ("train", "pack", "score", "proof")
    ):
        log = (bench.measured_in(owner, one) / f"{phase}.log").read_text()
        (whole,) = [line for line in log.splitlines() if line.startswith("TOLD")]
        line = RANDOM.sub("*", whole.replace(str(Path(sys.prefix).resolve()), "PYTHON"))
        assert not re.search(r"incumbent|full|000\d|fresh|proof|repeat", line), line
        kind = "score" if phase == "proof" else phase
        said[kind].add(line)
        lengths[kind].add(len(whole))
    assert {kind: len(lines) for kind, lines in said.items()} == {"train": 1, "pack": 1, "score": 1}
    assert all(len(its) == 1 for its in lengths.values())
    assert not list((bench.folder / "work").iterdir())
