"""Finished weights scored again with other knobs: the numbers of a trial that had these knobs from the start."""

import subprocess
import sys

import pytest
from support import proposal

from experiments import mirror
from experiments.ledger import Ledger
from experiments.trial import run_trial

pytestmark = pytest.mark.trial


def rescore(bench, number, *assignments):
    root = bench.workspace.root
    command = [sys.executable, "-m", "experiments", "rescore", str(number), "--run", "night", "--root", str(root)]
    command += [part for text in assignments for part in ("--set", text)]
    return subprocess.run(command, capture_output=True, text=True)


def test_it_is_what_a_trial_with_these_knobs_measures(bench, budget):
    edit = ("base/config.py", '"smoothing": 0.5', '"smoothing": 2.0')
    row = run_trial(bench, proposal(bench, edit, title="smoother"), budget)
    before = mirror.export(bench.ledger, 0)
    trial = {one.seed: one.val_bpb for one in bench.ledger.measurements(row.number)}
    done = rescore(bench, 0, "smoothing=2.0")
    assert done.returncode == 0, done.stdout + done.stderr
    after = mirror.export(bench.ledger, 0)
    found = bench.ledger.rescores(0)
    assert len(found) == bench.tier.rule.seeds
    for seed, knobs, val_bpb, _ in found:
        assert knobs == {"smoothing": "2.0"}
        assert val_bpb == pytest.approx(trial.get(seed, val_bpb), abs=1e-9)
        assert f"{val_bpb:.4f} bpb" in done.stdout
    assert trial.keys() & {seed for seed, *_ in found}
    assert after.pop("rescores")
    assert {**after, "rescores": []} == before  # a note; the trial itself is settled


def test_knobs_of_training_are_refused(bench):
    """They are in the weights already: setting them would change nothing, or the meaning of the weights."""
    done = rescore(bench, 0, "passes=2")
    assert done.returncode == 2
    assert "got ['passes'], expected names of knobs: smoothing" in done.stdout
    assert bench.ledger.rescores(0) == []


def test_weights_that_are_gone_are_one_line(bench):
    first, *others = bench.ledger.taken(0)
    for one in others:
        (bench.measured_in(0, one) / "weights.bin").unlink()
    assert rescore(bench, 0, "smoothing=2.0").returncode == 0
    assert [seed for seed, *_ in bench.ledger.rescores(0)] == [first.measured.seed]
    (bench.measured_in(0, first) / "weights.bin").unlink()
    done = rescore(bench, 0, "smoothing=2.0")
    assert done.returncode == 2
    assert "run the trial again to have its weights" in done.stdout.replace("\n", " ")


def test_a_ledger_of_before_gains_the_table(bench, tmp_path):
    record = mirror.export(bench.ledger, 0)
    record.pop("rescores")
    ledger = Ledger(tmp_path / "other.sqlite")
    mirror.load(ledger, record)
    assert ledger.rescores(0) == []
    ledger.close()
