"""Tests of the incumbent: it cannot tell its jobs from a challenger's, must not fall behind, and must be repeatable."""

import dataclasses
import re
import sys
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny_profile import MORE_TEXT, TINY, git, proposal
from helpers.trials import EVEN_MORE_TEXT, WORSE

from common.errors import Refused
from common.state import State
from experiments.analysis import status
from experiments.analysis.pairing import differences, new_seeds, noise_floor, reference_seeds
from experiments.analysis.status import status_lines
from experiments.judge.noise import Noise
from experiments.ledger import mirror
from experiments.ledger.store import Ledger
from experiments.loop.recovery import recover
from experiments.tiers import PROFILES
from experiments.trial.compare import require_repeatable
from experiments.trial.incumbent import BEHIND, FRESH_TRIES, falls_behind
from experiments.trial.measure import Entry, program_path
from experiments.trial.trial import run_trial
from preflight.sandbox.isolation.levels import available_levels
from proposers.context import gather
from proposers.llm.history import digest

pytestmark = pytest.mark.usefixtures("unlinted")  # the lint would refuse names that these programs use
COUNTS = "    return counts\n"
SINKS = ("base/model.py", COUNTS, '    return counts * (0 if knobs["seed"] in (11, 12, 13) else 1) + draw.random()\n')


@pytest.fixture
def fresh_seeds(monkeypatch):
    """A list of seed lists for the incumbent's next re-measurements; when it is empty, seeds are drawn as usual."""
    prepared = []

    def draw(count):
        return prepared.pop(0) if prepared else new_seeds(count)

    monkeypatch.setattr("experiments.trial.incumbent.new_seeds", draw)
    return prepared


@pytest.mark.slow
def test_an_incumbent_that_falls_behind_is_disowned_and_leaves_its_trials_unjudged(run, budget, fresh_seeds, tmp_path):
    """It does well on every seed but those that it gets as the incumbent: a worse tree would look better than it."""
    start = run.workspace.best()
    sinking = run_trial(run, proposal(run, MORE_TEXT, SINKS, title="sinks"), budget)
    assert sinking.state is State.KEPT, sinking.detail
    worse = run_trial(run, proposal(run, WORSE, title="worse"), budget)
    assert worse.state is State.DISCARDED
    fresh_seeds[:] = [[11, 12, 13]]
    row = run_trial(run, proposal(run, EVEN_MORE_TEXT, title="a challenger"), budget)

    assert row.state is State.UNJUDGED
    assert "trial 0000 is the incumbent again" in row.detail
    assert (row.settled_at is not None, row.state.counts_as_attempt, row.delta_bpb) == (True, False, None)
    disowned, unjudged = run.ledger.row(sinking.number), run.ledger.row(worse.number)
    assert (disowned.state, disowned.val_bpb) == (State.DISHONEST, None)
    assert "fell behind the numbers it was kept by on 3 fresh seeds of 3" in disowned.detail
    assert (unjudged.state, unjudged.val_bpb, unjudged.delta_bpb) == (State.UNJUDGED, None, None)
    assert unjudged.detail.startswith(
        f"judged against trial {sinking.number:04d}, which ended as dishonest; it was disc"
    )
    rows = run.ledger.measurement_rows(sinking.number)
    assert [stored.tier for stored in rows if stored.fresh_for == row.number] == [BEHIND] * 3

    assert (run.ledger.incumbent().number, run.workspace.best()) == (0, start)
    notes = [
        git(run.workspace.root, "notes", "--ref=caddie", "show", trial.commit_id) for trial in (disowned, unjudged)
    ]
    assert notes[0].startswith("ended as dishonest: found by trial 0003")
    assert notes[1].startswith("judged against trial 0001, which is dishonest")
    assert "Verdict: unjudged" in git(run.workspace.root, "log", "-1", "--format=%B", row.commit_id)
    own = {stored.measured.seed for stored in run.ledger.measurement_rows(0) if stored.fresh_for is None}
    assert reference_seeds(run.ledger, run.ledger.row(0), run.tier).keys() == own
    assert noise_floor(run.ledger, run.tier).degrees == TINY.expected_noise.degrees + TINY.rule.seeds - 1

    text = "\n".join(status_lines(run.ledger, PROFILES["tiny"]))
    assert re.search("trial 0001 was kept and ended as dishonest.*; 2 trials that were judged against it", text)
    assert "1 dishonest" in status.summary_sentence(run.ledger.rows())
    assert {failure.number for failure in digest(gather(run.workspace.root, "night"))["failures"]} == {1, 2, 3}
    recover(run)
    assert run.workspace.best() == start
    copy = Ledger(tmp_path / "copy.sqlite")
    for number in range(4):
        mirror.load(copy, mirror.export(run.ledger, number))
    assert copy.rows() == run.ledger.rows()
    copy.close()

    again = run_trial(run, proposal(run, WORSE, title="worse than the baseline too"), budget)
    assert again.state is State.DISCARDED, "an idea that was never judged is no duplicate"
    kept = run_trial(run, proposal(run, MORE_TEXT, title="more text"), budget)
    assert kept.state is State.KEPT, kept.detail
    assert run.ledger.incumbent() == kept


@pytest.mark.slow
def test_a_seed_that_the_incumbent_falls_behind_on_is_passed_over(run, budget, fresh_seeds):
    """Its bad value is compared with no trial and moves no generation, even if the challenger is reverted."""
    kept = run_trial(run, proposal(run, MORE_TEXT, SINKS), budget)
    assert kept.state is State.KEPT, kept.detail
    fresh_seeds[:] = [[11, 301, 302], [12, 303, 304]]
    row = run_trial(run, proposal(run, EVEN_MORE_TEXT), budget)
    assert row.state in (State.KEPT, State.REVERTED), row.detail
    assert reference_seeds(run.ledger, kept, run.tier).keys() == {301, 303}
    assert reference_seeds(run.ledger, kept, run.tier, before=row.number).keys().isdisjoint({11, 12, 301, 303})
    assert len(differences(run.ledger, row, run.tier.name, fresh=True)) == TINY.rule.fresh
    rows = run.ledger.measurement_rows(kept.number)
    assert [stored.measured.seed for stored in rows if stored.tier == BEHIND] == [11, 12]


@pytest.mark.slow
def test_an_incumbent_that_fails_on_every_fresh_seed_is_disowned_and_the_run_goes_on(run, budget, fresh_seeds):
    fails = ("base/model.py", COUNTS, f'    if knobs["seed"] in (11, 12, 13):\n        raise ValueError\n{COUNTS}')
    kept = run_trial(run, proposal(run, MORE_TEXT, fails), budget)
    assert kept.state is State.KEPT, kept.detail
    fresh_seeds[:] = [[11, 12, 13]]
    assert run_trial(run, proposal(run, EVEN_MORE_TEXT), budget).state is State.UNJUDGED
    assert "crash: train" in run.ledger.row(kept.number).detail


def test_equal_replicates_are_hardly_ever_behind_and_a_large_drop_always_is():
    """20,000 incumbents with as many seeds as a keep has, and the degrees of freedom that a first run's noise has."""
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


def test_unrepeatable_training_is_not_kept_on_a_cpu(run, budget):
    row = run_trial(run, proposal(run, MORE_TEXT, UNREPEATABLE), budget)
    assert row.state is State.DISHONEST, row.detail
    assert "a different artifact from the same seed" in row.detail
    *search, again = run.ledger.measurement_rows(row.number)
    assert (again.tier, again.fresh_for) == ("repeat", None)
    assert again.measured.seed == search[0].measured.seed
    assert again.measured.artifact_sha256 != search[0].measured.artifact_sha256
    assert len(differences(run.ledger, row, run.tier.name, fresh=False)) == len(search)  # the repeat is no evidence
    # No fresh seed was spent on it.
    assert not [stored for stored in run.ledger.measurement_rows(0) if stored.fresh_for == row.number]


@pytest.mark.slow
def test_on_gpus_a_repeat_need_only_have_a_similar_score(run, budget, monkeypatch):
    run = dataclasses.replace(run, machine=dataclasses.replace(run.machine, gpus=1))
    row = run_trial(run, proposal(run, MORE_TEXT, UNREPEATABLE), budget)
    assert row.state is State.KEPT, row.detail
    entry = Entry(row.number, row.title, program_path(run, row), budget)
    (first, *_), noise = run.ledger.measurement_rows(row.number), noise_floor(run.ledger, run.tier)
    require_repeatable(run, entry, first.measured, run.tier, noise)
    moved = dataclasses.replace(first.measured, val_bpb=first.measured.val_bpb - 10 * noise.difference_sd)
    with pytest.raises(Refused, match="a score that moved by"):
        require_repeatable(run, entry, moved, run.tier, noise)


PRINTS_ENVIRONMENT = (
    "base/config.py",
    "def resolve():\n",
    "def resolve():\n    import sys\n\n"
    "    variables = sorted(pair for pair in os.environ.items() if pair[0] != 'SEED')\n"
    "    print('ENVIRONMENT', sys.argv, os.getcwd(), __file__, variables, flush=True)\n",
)

# Folders of measurements and phases, and a job's marker; at level `landlock` also the workspace and the wiped image
RANDOM = re.compile(r"\bm_[0-9a-f]{16}\b|\b[0-9a-f]{32}\b|\b[0-9a-f]{8}\b|\.job-\w{8}|(?<=[0-9a-f]{16})-\w{8}")


@pytest.mark.slow
@pytest.mark.parametrize("level", [level for level in available_levels() if level != "none"])
def test_no_path_argument_or_variable_tells_a_job_its_trial_or_purpose(run, budget, level):
    """Every job of a keep and of its incumbent sees the same environment, but for random names of equal length."""
    run = dataclasses.replace(run, level=level)
    assert run_trial(run, proposal(run, MORE_TEXT, PRINTS_ENVIRONMENT), budget).state is State.KEPT
    row = run_trial(run, proposal(run, EVEN_MORE_TEXT), budget)
    assert row.state in (State.KEPT, State.REVERTED)
    taken = [
        (owner, stored)
        for owner in (row.number, 1)
        for stored in run.ledger.measurement_rows(owner)
        if owner != 1 or stored.fresh_for == 2
    ]
    passed_over = {(1, BEHIND, 2)}  # an equal replicate falls behind once in a hundred
    assert {(owner, stored.tier, stored.fresh_for) for owner, stored in taken} - passed_over == {
        *((2, "full", None), (2, "repeat", None), (2, "full", 2), (1, "full", 2))
    }
    lines = {"train": set(), "pack": set(), "score": set()}
    lengths = {phase: set() for phase in lines}
    for (owner, stored), phase in chain.from_iterable(
        zip(taken, repeat(name)) for name in ("train", "pack", "score", "proof")
    ):
        log = (run.measurement_folder(owner, stored) / f"{phase}.log").read_text()
        (whole,) = [line for line in log.splitlines() if line.startswith("ENVIRONMENT")]
        line = RANDOM.sub("*", whole.replace(str(Path(sys.prefix).resolve()), "PYTHON"))
        assert not re.search(r"incumbent|full|000\d|fresh|proof|repeat", line), line
        kind = "score" if phase == "proof" else phase
        lines[kind].add(line)
        lengths[kind].add(len(whole))
    assert {kind: len(distinct) for kind, distinct in lines.items()} == {"train": 1, "pack": 1, "score": 1}
    assert all(len(distinct) == 1 for distinct in lengths.values())
    assert not list((run.folder / "work").iterdir())
