"""Rescoring: finished weights with other knobs give the numbers of a trial that had these knobs from the start."""

import subprocess
import sys

import pytest
from helpers.tiny_profile import proposal

from experiments.ledger import mirror
from experiments.ledger.store import Ledger
from experiments.trial.trial import run_trial

pytestmark = pytest.mark.trial


def rescore(run, number, *assignments):
    root = run.workspace.root
    command = [sys.executable, "-m", "experiments", "rescore", str(number), "--run", "night", "--root", str(root)]
    command += [part for text in assignments for part in ("--set", text)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_rescore_equals_what_a_trial_with_these_knobs_measures(run, budget):
    edit = ("base/config.py", '"smoothing": 0.5', '"smoothing": 2.0')
    row = run_trial(run, proposal(run, edit, title="smoother"), budget)
    before = mirror.export(run.ledger, 0)
    trial = {measurement.seed: measurement.val_bpb for measurement in run.ledger.measurements(row.number)}
    done = rescore(run, 0, "smoothing=2.0")
    assert done.returncode == 0, done.stdout + done.stderr
    after = mirror.export(run.ledger, 0)
    rescores = run.ledger.rescores(0)
    assert len(rescores) == run.tier.rule.seeds
    for seed, knobs, val_bpb, _ in rescores:
        assert knobs == {"smoothing": "2.0"}
        assert val_bpb == pytest.approx(trial.get(seed, val_bpb), abs=1e-9)
        assert f"{val_bpb:.4f} bpb" in done.stdout
    assert trial.keys() & {seed for seed, *_ in rescores}
    assert after.pop("rescores")
    assert {**after, "rescores": []} == before  # a note; the trial itself is settled


def test_knobs_of_quantization_start_from_the_checkpoint(run, budget):
    """The same numbers as a trial that was trained with them; without checkpoints, a line that says what to do."""
    edit = ("base/config.py", '"levels": 255', '"levels": 1')
    row = run_trial(run, proposal(run, edit, title="one level"), budget)
    own = [stored for stored in run.ledger.measurement_rows(row.number) if stored.fresh_for is None]
    assert own
    seeds = {stored.measured.seed for stored in own}
    for stored in run.ledger.measurement_rows(0):
        if stored.measured.seed not in seeds:
            (run.measurement_folder(0, stored) / "checkpoint.bin").unlink()
            (run.measurement_folder(0, stored) / "weights.bin").unlink()
    assert rescore(run, 0, "levels=1").returncode == 0
    found = {seed: val_bpb for seed, _, val_bpb, _ in run.ledger.rescores(0)}
    for stored in own:
        assert found[stored.measured.seed] == pytest.approx(stored.measured.val_bpb, abs=1e-9)
    for stored in run.ledger.measurement_rows(0):
        (run.measurement_folder(0, stored) / "checkpoint.bin").unlink(missing_ok=True)
    done = rescore(run, 0, "levels=1")
    assert done.returncode == 2
    assert "checkpoint.bin is gone" in done.stdout.replace("\n", " ")
    assert rescore(run, 0, "smoothing=1.0").returncode == 0, "which needs the weights alone"


def test_knobs_of_training_are_refused(run):
    """They have shaped the weights already: setting them would change nothing, or the meaning of the weights."""
    done = rescore(run, 0, "passes=2")
    assert done.returncode == 2
    assert "got ['passes'], expected names of knobs: levels, smoothing" in done.stdout
    assert run.ledger.rescores(0) == []


def test_missing_weights_are_reported_in_one_line(run):
    first, *others = run.ledger.measurement_rows(0)
    for row in others:
        (run.measurement_folder(0, row) / "weights.bin").unlink()
    assert rescore(run, 0, "smoothing=2.0").returncode == 0
    assert [seed for seed, *_ in run.ledger.rescores(0)] == [first.measured.seed]
    (run.measurement_folder(0, first) / "weights.bin").unlink()
    done = rescore(run, 0, "smoothing=2.0")
    assert done.returncode == 2
    assert "run the trial again to have it: `rerun 0`" in done.stdout.replace("\n", " ")


def test_an_older_ledger_gains_the_table(run, tmp_path):
    record = mirror.export(run.ledger, 0)
    record.pop("rescores")
    ledger = Ledger(tmp_path / "other.sqlite")
    mirror.load(ledger, record)
    assert ledger.rescores(0) == []
    ledger.close()
